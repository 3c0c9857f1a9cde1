"""Fitness shaping: raw returns (n, 2), columns + and -, to utilities (n, 2). Ties always share their rank."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from raes.types import Float64

LEAST_SPREAD = 1e-12
"""Returns that differ by a smaller part of themselves are equal, but for rounding."""


def average_ranks(values: Float64) -> Float64:
    """Ranks from 0 of a flat float64 (m,), ties averaged."""
    _, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
    ends = np.cumsum(counts)
    return ((ends - counts + ends - 1) / 2.0)[inverse]


def centered_ranks(returns: Float64) -> Float64:
    """rank / (2n - 1) - 0.5 over all 2n returns, ties averaged; 0 for a single one."""
    return _centered(average_ranks(returns.ravel())).reshape(returns.shape)


def openai_ranks(returns: Float64) -> Float64:
    """The reference implementation's ranks: by argsort, so ties are broken by position. For comparison only."""
    ranks = np.empty(returns.size, dtype=np.float64)
    ranks[returns.ravel().argsort()] = np.arange(returns.size)
    return _centered(ranks).reshape(returns.shape)


def _centered(ranks: Float64) -> Float64:
    """Ranks from 0, spread evenly over [-0.5, 0.5]."""
    return ranks / (ranks.size - 1) - 0.5 if ranks.size > 1 else np.zeros_like(ranks)


def zscore(returns: Float64) -> Float64:
    """(F - mean) / std over all 2n returns; zero where all are equal."""
    centred = returns - returns.mean()
    std = centred.std()
    scale = np.abs(returns).max()
    return centred / std if std > LEAST_SPREAD * scale else np.zeros_like(centred)


def identity(returns: Float64) -> Float64:
    """The returns themselves."""
    return returns


@dataclass(frozen=True)
class Shaping:
    """A function of the returns, or of the sums of the rewards' signs (`of_signs`)."""

    function: Callable[[Float64], Float64]
    of_signs: bool = False

    def __call__(self, returns: Float64, sign_returns: Float64) -> Float64:
        """Utilities (n, 2) of returns (n, 2) and of sums of reward signs (n, 2)."""
        return self.function(sign_returns if self.of_signs else returns)


SHAPINGS: dict[str, Shaping] = {
    "centered_ranks": Shaping(centered_ranks),
    "openai_ranks": Shaping(openai_ranks),
    "zscore": Shaping(zscore),
    "identity": Shaping(identity),
    "sign": Shaping(identity, of_signs=True),
    "centered_sign_rank": Shaping(centered_ranks, of_signs=True),
}


def check_shaping(shaping: str, alive_bonus: float) -> None:
    """Raise ValueError for an unknown name, and for a shaping by signs with an alive bonus, which it would ignore."""
    if shaping not in SHAPINGS:
        raise ValueError(f"shaping must be one of {', '.join(SHAPINGS)}, got {shaping!r}")
    if alive_bonus and SHAPINGS[shaping].of_signs:
        raise ValueError(f"alive_bonus={alive_bonus}: shaping={shaping} reads only signs; set it to 0")


def nes_utilities(fitness: Float64) -> Float64:
    """u_k = max(0, ln(n/2 + 1) - ln k) / sum - 1/n for rank k = 1 (best) to n; ties share the mean of theirs.

    Args:
        fitness: float64 (n,).

    Source: Wierstra et al. 2014, section 3.1.
    """
    count = fitness.size
    raw = np.maximum(0.0, np.log(count / 2 + 1) - np.log(np.arange(1, count + 1)))
    return shared_by_ties(fitness, raw / raw.sum() - 1 / count)


LARGEST = 1e150
"""Returns whose square overflows are made smaller: what follows from their differences stays as it is."""


def comparable(fitness: Float64, worst: float = math.inf) -> Float64:
    """Fitness without NaN and infinities, which become a little less than the least.

    Args:
        fitness: float64, of any shape.
        worst: the least of earlier ones that these are compared with; infinite for none. Where nothing is finite and
            nothing was, all become zero.
    """
    finite = np.isfinite(fitness)
    whole = bool(finite.all())
    if whole and np.abs(fitness).max() <= LARGEST:
        return fitness
    if not finite.any():
        return np.full_like(fitness, _less_than(worst) if math.isfinite(worst) else 0.0)
    values = fitness if whole else np.where(finite, fitness, np.inf)
    if np.abs(fitness[finite]).max() > LARGEST:
        values = values * 2.0**-600
    if whole:
        return values
    return np.where(finite, values, _less_than(min(float(values[finite].min()), worst)))


def _less_than(value: float) -> float:
    return value - max(abs(value) * 1e-9, float(np.finfo(np.float64).tiny))


def shared_by_ties(fitness: Float64, by_rank: Float64) -> Float64:
    """Give each fitness value the number of its rank, best first; equal ones share theirs evenly, float64 (n,)."""
    _, inverse = np.unique(-fitness, return_inverse=True)
    order = np.argsort(inverse, kind="stable")
    sums = np.bincount(inverse[order], weights=by_rank)
    return (sums / np.bincount(inverse))[inverse]
