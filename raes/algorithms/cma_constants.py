"""The learning rates of CMA-ES, which follow from d and from the population.

Equations (n) are those of Hansen 2016 (arXiv 1604.00772, as revised in 2023), A-n those of Akimoto & Hansen 2020 (arXiv
1905.05885).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from raes.types import Float64


@dataclass(frozen=True)
class Rates:
    """The learning of a covariance, or of a diagonal one.

    Attributes:
        weights: float64 (n,), by rank, best first; the positive ones sum to 1.
        path_rate: c_c, of the path.
        one_rate: c_1, of the rank-one update.
        many_rate: c_mu, of the rank-mu update.
    """

    weights: Float64
    path_rate: float
    one_rate: float
    many_rate: float


@dataclass(frozen=True)
class Constants:
    """All of them.

    Attributes:
        positive: float64 (n,), the weights of the mean by rank; 0 for the worse half.
        effective: mu_eff.
        sigma_rate: c_sigma, of sigma's path.
        damping: d_sigma.
        expected: E||N(0, I)||.
        shape: the learning of C.
        scale: that of S.
        every: generations between two decompositions of C.
    """

    positive: Float64
    effective: float
    sigma_rate: float
    damping: float
    expected: float
    shape: Rates
    scale: Rates
    every: int


@lru_cache(maxsize=64)
def constants(dim: int, population: int, active: bool, full: bool) -> Constants:
    """The default parameters.

    Args:
        dim: d.
        population: n.
        active: whether the worst members have negative weights.
        full: whether C adapts.
    """
    raw = math.log((population + 1) / 2) - np.log(np.arange(1, population + 1))  # (49)
    parents = population // 2
    best = raw[:parents]
    effective = float(best.sum() ** 2 / np.square(best).sum())  # (8)
    sigma_rate = (effective + 2) / (dim + effective + 5)  # (55)
    damping = 1 + 2 * max(0.0, math.sqrt((effective - 1) / (dim + 1)) - 1) + sigma_rate  # (55)
    shape, scale = shape_rates(dim, population, effective), free_rates(dim, dim, population, effective)
    positive = np.concatenate([best / best.sum(), np.zeros(population - parents)])
    return Constants(
        positive=positive,
        effective=effective,
        sigma_rate=sigma_rate,
        damping=damping,
        expected=math.sqrt(dim) * (1 - 1 / (4 * dim) + 1 / (21 * dim**2)),
        shape=_rates(positive, raw if active else None, effective, shape, (1 - shape[0] - shape[1]) / (dim * shape[1])),
        scale=_rates(positive, raw if active else None, effective, scale, math.inf),
        every=max(1, int(1 / (10 * dim * (shape[0] + shape[1])))) if full else 1,  # section B.2
    )


def shape_rates(dim: int, population: int, effective: float) -> tuple[float, float, float]:
    """c_1, c_mu and c_c of C: the tutorial's (56) to (58), or those of A-30 to A-32 where these are larger, as they are
    from some twenty parameters on."""
    one = 2 / ((dim + 1.3) ** 2 + effective)
    many = min(1 - one, 2 * (0.25 + effective + 1 / effective - 2) / ((dim + 2) ** 2 + effective))
    path = (4 + effective / dim) / (dim + 4 + 2 * effective / dim)
    other = free_rates(dim, dim * (dim + 1) // 2, population, effective)
    return other if other[0] > one else (one, many, path)


def free_rates(dim: int, degrees: int, population: int, effective: float) -> tuple[float, float, float]:
    """c_1, c_mu and c_c of so many degrees of freedom (A-30 to A-32)."""
    one = 1 / (2 * (degrees / dim + 1) * (dim + 1) ** 0.75 + effective / 2)
    many = min(1 - one, one * (effective + 1 / effective - 2 + population / (2 * (population + 5))))
    return one, many, math.sqrt(effective * one) / 2


def _rates(
    positive: Float64, raw: Float64 | None, effective: float, rates: tuple[float, float, float], limit: float
) -> Rates:
    """With the weights of the worse half.

    Args:
        positive: float64 (n,), the others.
        raw: float64 (n,), the weights before they are scaled (49); None: the worse half has none.
        effective: mu_eff.
        rates: c_1, c_mu and c_c.
        limit: of the sum of the negative weights, so that the covariance stays positive (52).
    """
    one, many, path = rates
    negative = None if raw is None else np.where(positive > 0, 0.0, np.minimum(raw, 0.0))
    if negative is None or not negative.any():
        return Rates(positive, path, one, many)
    effective_negative = float(negative.sum() ** 2 / np.square(negative).sum())
    most = min(1 + one / many, 1 + 2 * effective_negative / (effective + 2), limit)  # (50), (51), (52)
    weights: Float64 = positive - negative / negative.sum() * max(0.0, most)  # (53)
    return Rates(weights, path, one, many)
