"""When one run of a search of a function has ended: its tolerances, and the record that they read.

Names and defaults are those of Hansen 2016 (arXiv 1604.00772), section B.3, and of Auger & Hansen 2005. Everything is a
function of the record and of the search's spread, so that a resumed run ends where it would have ended.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np

from raes.types import SETTINGS, Float64, NotNegative

LONGEST_RECORD = 20_000
"""Generations that stagnation looks back at, at most."""
TREND = 7
"""Generations in which a noisy function must show progress."""
CERTAIN = 2.5
"""Standard errors above 0 of a slope that is progress."""
BARREN_GENERATIONS = 10
"""Generations in a row without a finite value after which a run ends."""


@dataclass(frozen=True)
class Tolerances:
    """What ends a run of a search; 0 leaves one out.

    Attributes:
        x: the largest standard deviation of a coordinate, as a share of the first one.
        f: the range of the best values of the last generations, and of all values of the last one.
        growth: the factor on the largest standard deviation from which on sigma was too small or f has no minimum.
        lost: a run ends, too, once its best values still change by less than `1 / lost` of what it lacks to the best
            value of the runs before it.
    """

    __pydantic_config__ = SETTINGS

    x: NotNegative = 1e-12
    f: NotNegative = 1e-11
    growth: NotNegative = 1e4
    lost: NotNegative = 1.0

    def of_noise(self) -> Tolerances:
        """The same for a noisy function: differences between values mean little there, so that a run ends by
        stagnation and by x."""
        return replace(self, f=0.0, lost=0.0)


@dataclass(frozen=True)
class RunRecord:
    """What a run has reached, generation by generation, the newest last.

    Attributes:
        generations: so far.
        best: float64 (k,), the best fitness of each of the last generations.
        medians: float64 (k,), their medians.
        range: of the fitness of the last generation.
        barren: generations in a row without a finite value.
        equal: generations in a row without a difference between the best fitness and the quarter behind it.
    """

    generations: int
    best: Float64
    medians: Float64
    range: float
    barren: int
    equal: int

    @staticmethod
    def empty() -> RunRecord:
        """Of a run that begins."""
        return RunRecord(0, np.zeros(0), np.zeros(0), math.inf, 0, 0)

    def after(self, fitness: Float64) -> RunRecord:
        """With a generation's finite fitness, float64 (n,)."""
        if not fitness.size:
            return replace(self, generations=self.generations + 1, barren=self.barren + 1)
        ranked = np.sort(fitness)[::-1]
        best, worst = float(ranked[0]), float(ranked[-1])
        flat = best == float(ranked[math.ceil(0.1 + len(ranked) / 4) - 1 if len(ranked) > 1 else 0])
        return replace(
            self,
            generations=self.generations + 1,
            best=np.append(self.best, best)[-LONGEST_RECORD:],
            medians=np.append(self.medians, ranked[len(ranked) // 2])[-LONGEST_RECORD:],
            range=best - worst,
            barren=0,
            equal=self.equal + 1 if flat and len(ranked) > 1 else 0,
        )


def hindered(record: RunRecord) -> bool:
    """Whether noise hides the progress of a run, which is asked every `TREND` generations: their medians have no trend
    upwards by a t-test on the slope of their regression line (Hellwig & Beyer 2016, PPSN XIV, section 3)."""
    if not record.generations or record.generations % TREND or len(record.medians) < TREND:
        return False  # one test for each stretch: many would find a lack of progress by chance
    values, time = record.medians[-TREND:], np.arange(TREND) - (TREND - 1) / 2
    slope = float(time @ values) / float(time @ time)
    rest = values - values.mean() - slope * time
    return slope < CERTAIN * math.sqrt(float(rest @ rest) / (TREND - 2) / float(time @ time))


def ending(
    record: RunRecord,
    population: int,
    center: Float64,
    spread: Float64 | None,
    first_spread: float,
    best_before: float,
    tolerances: Tolerances,
) -> str | None:
    """Why a run has ended, in words; None where it goes on.

    Args:
        record: its generations so far.
        population: members of a generation.
        center: float64 (d,).
        spread: float64 (d,), standard deviations; None where the search has none that adapt.
        first_spread: the largest one at the start.
        best_before: the best fitness of the runs before it, -inf for none.
        tolerances: see there.
    """
    dim = center.size
    if spread is not None:
        if not (np.isfinite(spread).all() and np.isfinite(center).all()):
            return "numbers beyond float64"
        largest = float(spread.max())
        if largest < tolerances.x * first_spread:
            return "tolerance of x"
        if tolerances.growth and largest > tolerances.growth * first_spread:
            return "growth of the standard deviations"
        if (center + 0.2 * spread == center).any():
            return "no effect on a coordinate"
    if record.barren >= BARREN_GENERATIONS:
        return "no finite value"
    window = 10 + math.ceil(30 * dim / population)
    if len(record.best) >= window:
        last = record.best[-window:]
        change = float(last.max() - last.min())
        if change < tolerances.f and record.range < tolerances.f:
            return "tolerance of f"
        if change == 0.0 and spread is not None:
            return "equal values"
        if tolerances.lost and best_before - float(last.max()) > tolerances.lost * change:
            return "worse than an earlier run"
    if record.equal >= window // 3 + 10 and spread is not None:
        return "equal values"
    return "stagnation" if spread is not None and _stagnates(record, dim, population) else None


def _stagnates(record: RunRecord, dim: int, population: int) -> bool:
    """Whether neither the best nor the median values of the newest 30 % are better than those of the oldest 30 %."""
    least = 120 + 30 * dim / population
    length = int(min(LONGEST_RECORD, least + 0.2 * record.generations))
    if len(record.best) < length or record.generations % 10:
        return False
    part = max(1, int(0.3 * length))
    return all(
        np.median(values[-part:]) <= np.median(values[-length : -length + part])
        for values in (record.best, record.medians)
    )
