"""Whether all workers that hold a model have the same weights, from the digests that they report with their results."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from raes.results import WeightsReport
from raes.runtime.rounds import FinishedRound
from raes.tasks import Round
from raes.types import RunFailedError

TRIES = 3
"""How often a generation runs again whose workers disagree."""


class WeightsAgreement:
    """Has a round run again whose workers had different weights."""

    def __init__(self) -> None:
        self._tries = 0

    def repeated(self, finished: FinishedRound) -> tuple[Round, str] | None:
        """The round again, with the digests that are wrong, and a line for the user; None where all agree.

        Raises:
            RunFailedError: workers disagree though they have made their weights anew.
        """
        wrong = distrusted(finished.weights)
        if not wrong:
            self._tries = 0
            return None
        self._tries += 1
        named = ", ".join(f"{report.worker}: {report.digest}" for report in _each(finished.weights))
        if self._tries > TRIES:
            raise RunFailedError(
                f"the workers have different weights after the same updates ({named}), also after they have made them "
                "anew; use nodes of one kind with the same packages"
            )
        model = finished.round.snapshot.model
        assert model is not None
        snapshot = replace(finished.round.snapshot, model=replace(model, distrusted=wrong))
        text = (
            f"the workers have different weights ({named}); those of {', '.join(wrong)} are made anew, and generation "
            f"{finished.round.generation} runs again"
        )
        return replace(finished.round, snapshot=snapshot), text


def distrusted(reports: Iterable[WeightsReport]) -> tuple[str, ...]:
    """The digests of weights that most workers do not have; all of them where there is no majority.

    Pure. A worker that has reported two digests counts for both.
    """
    voters: dict[str, set[str]] = {}
    for report in reports:
        voters.setdefault(report.digest, set()).add(report.worker)
    if len(voters) < 2:
        return ()
    most = max(map(len, voters.values()))
    winners = [digest for digest, workers in voters.items() if len(workers) == most]
    trusted = winners[0] if len(winners) == 1 else None
    return tuple(sorted(digest for digest in voters if digest != trusted))


def _each(reports: Iterable[WeightsReport]) -> list[WeightsReport]:
    """One report per worker and digest."""
    return list({(report.worker, report.digest): report for report in reports}.values())
