"""Whether returns differ at all: a search learns from differences between returns and from nothing else."""

from __future__ import annotations

import numpy as np

from raes.results import Batch
from raes.types import Float64

from .shaping import LEAST_SPREAD, SHAPINGS

GENERATIONS = 5
"""After so many generations without a difference the user is warned."""


class SpreadWatch:
    """Warns once where what a search compares has been equal in every generation since its start.

    A generation later on may have no spread because the task is solved, so that only the first ones of a search count.
    """

    def __init__(self, settings: object, look: str, prefix: str = "", sign: float = 1.0, begun: bool = False) -> None:
        """No generation yet.

        Args:
            settings: of the algorithm; `alive_bonus` and `shaping` count here, where it has them.
            look: what to look at, for the message.
            prefix: of the algorithm's keys, where the user writes one.
            sign: -1 where returns are negated values that are minimised.
            begun: whether generations came before, as in a run that is resumed; then there is no warning.
        """
        self._bonus = float(getattr(settings, "alive_bonus", 0.0))
        shaping = str(getattr(settings, "shaping", ""))
        self._by_signs = shaping in SHAPINGS and SHAPINGS[shaping].of_signs
        self._compared = "returns"
        if self._by_signs:
            self._compared = f"sums of the rewards' signs ({prefix}shaping={shaping})"
        elif self._bonus:
            self._compared = f"returns without the alive bonus ({prefix}alive_bonus={self._bonus:g})"
        self._look, self._sign = look, sign
        self._equal, self._ended = 0, begun
        self._last: Float64 = np.zeros(0)

    @property
    def ended(self) -> bool:
        """Whether there is nothing to warn of any more."""
        return self._ended

    def after(self, batch: Batch) -> str | None:
        """The warning, after the generation in which it is due.

        Args:
            batch: the generation; one of a single episode is compared with the generation before.
        """
        if self._ended:
            return None
        values = np.asarray(batch.sign_returns, np.float64) if self._by_signs else batch.returns
        values = (values if self._by_signs else values - self._bonus * batch.lengths).ravel()
        compared = values if values.size > 1 else np.append(self._last, values)
        scale = max(np.abs(compared).max(), np.abs(batch.returns).max())
        self._last = values[-1:]
        self._equal += 1
        self._ended = bool(np.ptp(compared) > LEAST_SPREAD * scale)
        if self._ended or self._equal < GENERATIONS:
            return None
        self._ended = True
        return (
            f"nothing to learn from: in each of the first {GENERATIONS} generations all {self._compared} are equal "
            f"(now {self._sign * values[-1] + 0.0:g}). If a better value is possible: {self._look}"
        )
