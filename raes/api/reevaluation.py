"""What a search of a noisy function returns: the candidate with the best mean of further evaluations."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from raes.types import Float64

SHARE = 0.1
"""Of the budget, for the further evaluations."""
CANDIDATES = 8
"""Centres of ended runs that are kept, the newest."""
LEAST = 5
"""Evaluations below which there is nothing to choose by."""


def reserved(budget: int) -> int:
    """Evaluations of the budget that are left for the end."""
    return min(max(20, int(SHARE * budget)), budget // 2)


def chosen(
    candidates: list[Float64], fitness: Callable[[Float64], Float64], budget: int
) -> tuple[Float64, float, float]:
    """The best candidate, float64 (d,), the mean of its fitness, and the standard error of it.

    Sequential halving (Karnin, Koren, Somekh 2013): rounds of equal cost, after each of which the better half stays.

    Args:
        candidates: at least one.
        fitness: of points, float64 (n, d) to float64 (n,); NaN for none, which counts as the worst.
        budget: evaluations at most.
    """
    values: list[list[float]] = [[] for _ in candidates]
    left = list(range(len(candidates)))
    rounds = max(1, math.ceil(math.log2(len(candidates)))) + 1
    for _ in range(rounds):
        times = budget // (rounds * len(left))
        if not times:  # too few: all that is left goes to the first ones
            left, times = left[: max(1, budget // rounds)], 1
        for one in left:
            values[one] += fitness(np.repeat(candidates[one][None], times, axis=0)).tolist()
        left = sorted(left, key=lambda one: _mean(values[one]), reverse=True)[: math.ceil(len(left) / 2)]
    best = left[0]
    found = np.array(values[best])
    error = float(found.std(ddof=1) / math.sqrt(len(found))) if len(found) > 1 else math.nan
    return candidates[best], _mean(values[best]), error


def _mean(values: list[float]) -> float:
    return float(np.mean(values)) if np.isfinite(values).all() else -math.inf
