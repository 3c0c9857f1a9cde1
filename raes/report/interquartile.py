"""Interquartile means with stratified bootstrap intervals, as Agarwal et al. 2021 recommend for few seeds.

"Deep Reinforcement Learning at the Edge of the Statistical Precipice", NeurIPS 2021, arXiv 2108.13264: the mean of the
middle half of all scores, with a 95 % percentile interval from resampling the runs of each task with replacement. Their
library rliable computes the same; this is its method in numpy.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from raes.types import Float64

TRIMMED = 0.25
"""Share of the scores left out at either end, rounded down: nothing of 3 scores, one at either end of 4 to 7."""
LEVEL = 0.95


@dataclass(frozen=True)
class Interval:
    """An interquartile mean with its interval, whose ends are NaN for a single run."""

    iqm: float
    low: float
    high: float


def iqm(scores: Float64) -> Float64:
    """The interquartile mean over the first axis: float64 (n, ...) -> (...)."""
    cut = int(TRIMMED * scores.shape[0])
    middle: Float64 = np.sort(scores, axis=0)[cut : scores.shape[0] - cut].mean(axis=0)
    return middle


def intervals(scores: Sequence[Float64], resamples: int, seed: int = 0) -> tuple[Float64, Float64, Float64]:
    """Interquartile mean over all runs of all tasks, and the ends of its interval, each float64 (...).

    Args:
        scores: of each task float64 (n, ...), one row per run; each task is a stratum, resampled separately.
        resamples: bootstrap samples.
        seed: of the resampling, so that a report can be repeated.
    """
    middle = iqm(np.concatenate(scores))
    if all(task.shape[0] < 2 for task in scores):
        nothing = np.full_like(middle, np.nan)
        return middle, nothing, nothing
    rng = np.random.default_rng(seed)
    drawn = [task[rng.integers(task.shape[0], size=(task.shape[0], resamples))] for task in scores]
    estimates = iqm(np.concatenate(drawn))  # (resamples, ...)
    low, high = np.quantile(estimates, [(1 - LEVEL) / 2, (1 + LEVEL) / 2], axis=0)
    return middle, low, high


def interval(scores: Sequence[Float64], resamples: int, seed: int = 0) -> Interval:
    """`intervals` of single numbers: of each task float64 (n,)."""
    middle, low, high = intervals(scores, resamples, seed)
    return Interval(float(middle), float(low), float(high))


def on_grid(
    curves: Sequence[tuple[Float64, Float64]], points: int, carried: Sequence[bool] = ()
) -> tuple[Float64, Float64]:
    """Curves (x, y) of several runs on a common grid: float64 (points,) and (runs, points).

    Straight lines between evaluations. The grid begins where the last run has its first evaluation and ends where the
    first run has its last one, so that nothing is extrapolated and every point uses all runs. Of several
    evaluations at one x the last one counts.

    Args:
        curves: one per run.
        points: of the grid.
        carried: runs whose last value stands for whatever would follow, since they ended at their goal; the grid goes
            on to where the first of the others ends, or the last run of all.
    """
    first = max(float(x[0]) for x, _ in curves)
    ends = [float(x[-1]) for x, _ in curves]
    open_ends = [end for end, goes_on in zip(ends, carried or [False] * len(ends), strict=True) if not goes_on]
    last = min(open_ends) if open_ends else max(ends)
    if last < first:
        return np.empty(0), np.empty((len(curves), 0))
    grid = np.linspace(first, last, points) if last > first else np.array([first])
    rows = []
    for x, y in curves:
        keep = np.append(np.diff(x) > 0, True)
        rows.append(np.interp(grid, x[keep], y[keep]))
    return grid, np.stack(rows)


def first_reaching(x: Float64, y: Float64, threshold: float) -> float:
    """The x of the first evaluation at or above the threshold; infinity where none is."""
    there = np.flatnonzero(y >= threshold)
    return float(x[there[0]]) if there.size else float("inf")
