"""The weights of a model that workers hold: snapshots of them, and whether all workers have the same."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from raes.results import WeightsReport
from raes.rng import Purpose
from raes.runtime.executor import Executor
from raes.runtime.rounds import FinishedRound
from raes.storage.location import Location
from raes.storage.weights import WeightFiles
from raes.tasks import Round, Snapshot, evaluation_tasks
from raes.types import RunFailedError

TRIES = 3
"""How often a generation runs again whose workers disagree on the weights."""


class ModelWeights:
    """Writes a snapshot of the weights every so many generations, and judges the workers' reports."""

    def __init__(self, run_dir: Location, executor: Executor, every: int, parts: int) -> None:
        """Nothing is written yet.

        Args:
            run_dir: of the run.
            executor: whose workers hold the model.
            every: generations between snapshots; 0 for one at the end alone.
            parts: of a snapshot's file.
        """
        self._files, self._executor, self._every, self._parts = WeightFiles(run_dir), executor, every, parts
        self._saved, self._tries = 0, 0

    def resume(self, generation: int) -> None:
        """Go on from the newest snapshot that holds no more updates; those after it are removed."""
        self._files.rewind(generation)
        share_newest(self._files, self._executor, generation)

    def due(self, generation: int) -> bool:
        """Whether a snapshot should be written before this generation."""
        return bool(self._every) and generation > self._saved and generation % self._every == 0

    def round(self, snapshot: Snapshot) -> Round:
        """The round whose tasks are the parts of a snapshot's file."""
        tasks = evaluation_tasks(Purpose.WEIGHTS, snapshot.generation, self._parts)
        return Round(snapshot, evaluation=tasks, purpose=Purpose.WEIGHTS)

    def save(self, generation: int, finished: FinishedRound, needed: Iterable[int]) -> str | None:
        """Write and share the snapshot that such a round has brought; why that failed, or None.

        Args:
            generation: how many updates it holds.
            finished: the round.
            needed: generations whose weights are still needed, besides this one.
        """
        self._saved = generation
        if len(finished.parts) < self._parts:
            return f"no snapshot of the weights after generation {generation}: {finished.first_reason}"
        parts = [finished.parts[number] for number in range(self._parts)]
        self._files.write(generation, parts)
        self._files.keep([*needed, generation])
        self._executor.share_weights(generation, parts)
        return None

    def has(self, generation: int) -> bool:
        """Whether there is a snapshot of this generation."""
        return generation in self._files.generations()

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


def share_newest(files: WeightFiles, executor: Executor, generation: int) -> None:
    """Let workers begin with the newest snapshot that holds no more updates than this number."""
    newest = files.newest(generation)
    if newest is not None:
        executor.share_weights(newest, list(files.read(newest)))


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
