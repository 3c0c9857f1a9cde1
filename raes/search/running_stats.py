"""Running mean and variance of observations, in float64, merged by Chan's form of Welford's update."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from raes.results import Moments
from raes.types import Float64

PRIOR_COUNT = 1e-2
"""How many observations of variance 1 the statistics begin with (the reference's epsilon)."""
ROUNDING = 1e-12
"""Share of a sum of squares that may be rounding."""
CHUNK = 256
"""Observations that are summed at a time."""
CACHED = 2048
"""Numbers in the rows of an episode without statistics: few, so that they stay in the cache."""


@dataclass(frozen=True)
class RunningStats:
    """Statistics of everything observed so far.

    Attributes:
        count: observations, the prior's included.
        mean: float64 (obs,).
        m2: float64 (obs,), the sum of squared deviations from the mean.
    """

    count: float
    mean: Float64
    m2: Float64

    def scale(self, min_variance: float = 1e-2) -> Float64:
        """1 / std with std = sqrt(max(variance, min_variance)), float64 (obs,)."""
        return 1.0 / np.sqrt(np.maximum(self.m2 / self.count, min_variance))

    def without_prior(self) -> RunningStats:
        """The statistics of the observations alone; mean 0 and variance 1 where there are none.

        What is left of m2 by rounding counts as 0.
        """
        observed = self.count - PRIOR_COUNT
        if observed <= 0:
            return RunningStats(1.0, self.mean, np.ones_like(self.mean))
        mean = self.mean * (self.count / observed)
        m2 = self.m2 - PRIOR_COUNT - np.square(mean) * (PRIOR_COUNT * observed / self.count)
        return RunningStats(observed, mean, np.where(m2 > ROUNDING * self.m2, m2, 0.0))


def init(size: int) -> RunningStats:
    """Mean 0 and variance 1, worth `PRIOR_COUNT` observations."""
    return RunningStats(PRIOR_COUNT, np.zeros(size), np.full(size, PRIOR_COUNT))


def merge(stats: RunningStats, moments: Moments) -> RunningStats:
    """The statistics with these episodes added, in the order given."""
    for count, mean, m2 in zip(moments.count, moments.mean, moments.m2, strict=True):
        stats = _merged(stats, float(count), mean, m2)
    return stats


def _merged(stats: RunningStats, count: float, mean: Float64, m2: Float64) -> RunningStats:
    """The statistics with further observations, given by their number, their mean and their m2."""
    total = stats.count + count
    delta = mean - stats.mean
    return RunningStats(
        total,
        stats.mean + delta * (count / total),
        stats.m2 + m2 + np.square(delta) * (stats.count * count / total),
    )


class EpisodeObservations:
    """The observations of one episode, written into rows that are checked, and summed up, when they are full."""

    def __init__(self, size: int, chunk: int = CHUNK) -> None:
        self._rows = np.empty((chunk, size))
        self._views = list(self._rows)  # an index into an array takes three times as long
        self._unsummed = min(chunk, max(1, CACHED // max(1, size)))
        self.begin(summed=True)

    def begin(self, summed: bool) -> None:
        """Start another episode.

        Args:
            summed: whether statistics are kept.
        """
        self._used, self._finite = 0, True
        # How many rows are summed at a time decides the sums' last bits.
        self._chunk = len(self._rows) if summed else self._unsummed
        zeros = np.zeros(self._rows.shape[1])
        self._stats = RunningStats(0.0, zeros, zeros) if summed else None

    def next(self) -> Float64:
        """The row, (obs,), that the next observation must be written to; the rows before it are filled."""
        used = self._used
        if used == self._chunk:
            self._flush(used)
            used = 0
        self._used = used + 1
        return self._views[used]

    def end(self) -> tuple[RunningStats | None, bool, bool]:
        """The statistics without the last observation, which no action follows; whether these, and it, are finite."""
        self._flush(self._used - 1)
        return self._stats, self._finite, bool(np.isfinite(self._views[self._used - 1]).all())

    def _flush(self, count: int) -> None:
        rows = self._rows[:count]
        if self._stats is None or not count:
            self._finite = self._finite and bool(np.isfinite(rows).all())
            return
        mean = np.add.reduce(rows, 0) / count
        if not np.isfinite(mean).all() and not np.isfinite(rows).all():
            self._finite = False
        np.subtract(rows, mean, rows)  # in place: nobody reads the rows any more
        m2 = np.add.reduce(np.square(rows, rows), 0)
        self._stats = _merged(self._stats, float(count), mean, m2)
