"""Models of a function from the points where it is known, and the population that looks for the least value of one.

Models take points, float64 (n, d), and give float64 (n,); small is good.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from scipy.interpolate import RBFInterpolator

from raes.types import Float64

Model = Callable[[Float64], Float64]

FULL_QUADRATIC = 20
"""Numbers up to which a quadratic model has products of two different ones."""
RIDGE = 1e-4
"""Penalty on the squares' coefficients; a hundredth of it on the linear ones."""
STEEPEST = 5.0
"""Values are cut off so many times the third quartile above the best one: far values say little near the best."""
HEAVIEST = 20.0
"""Weight of the best point, as a multiple of that of the worst (Hansen 2019, section 2)."""
KERNELS = ("cubic", "thin_plate_spline", "linear")
"""Radial basis functions of the global ensemble."""
FARTHEST = 0.3
"""Share of the box's diagonal from which on a point counts as far from all others."""


def local_model(points: Float64, values: Float64) -> Model:
    """A weighted quadratic, and a cubic radial basis function through what it leaves over.

    Args:
        points: float64 (n, d), in units of the region around the best one, which is 0.
        values: float64 (n,), the least of which is that of the best one.
    """
    above = values - values.min()
    unit = float(np.quantile(above, 0.75)) or float(above.max()) or 1.0
    with np.errstate(over="ignore"):
        above = np.minimum(above / unit, STEEPEST)
    weights = np.linspace(HEAVIEST, 1.0, len(above))[ranks(above)]
    weights /= HEAVIEST * np.maximum(1.0, np.abs(points).max(axis=1)) ** 2
    rows = _features(points)
    penalty = np.full(rows.shape[1], RIDGE)
    penalty[: 1 + points.shape[1]] *= 0.01
    weighted = rows * weights[:, None]
    coefficients = np.linalg.solve(weighted.T @ rows + np.diag(penalty), weighted.T @ above)
    rest = _interpolator(points, above - rows @ coefficients, "cubic")
    return lambda where: _features(where) @ coefficients + rest(where)


def global_model(points: Float64, values: Float64, caution: float, distance: float) -> Model:
    """The mean of an ensemble on the values' ranks, less its members' disagreement and the distance to what is known.

    Args:
        points: float64 (n, d), in [0, 1].
        values: float64 (n,).
        caution: factor on the standard deviation of the ensemble.
        distance: factor on the distance (Regis & Shoemaker 2007), a share of the box's diagonal, at most `FARTHEST`.
    """
    shares = ranks(values) / max(1, len(values) - 1)
    ensemble = [_interpolator(points, shares, kernel) for kernel in KERNELS]

    def model(where: Float64) -> Float64:
        found = np.stack([one(where) for one in ensemble])
        gaps = np.sqrt(np.square(where[:, None] - points).sum(axis=2)).min(axis=1) / np.sqrt(points.shape[1])
        score: Float64 = found.mean(axis=0) - caution * found.std(axis=0) - distance * np.minimum(gaps, FARTHEST)
        return score

    return model


def evolve(
    model: Model, population: Float64, low: float, high: float, generations: int, rng: np.random.Generator
) -> Float64:
    """A population after differential evolution towards the best (current-to-best/1, Storn & Price 1997), best first.

    Args:
        model: what is minimised.
        population: float64 (n, d), of the first generation.
        low: end of the box, the same for all coordinates.
        high: the other one.
        generations: how many.
        rng: all random numbers.
    """
    count, dim = population.shape
    values = model(population)
    for _ in range(generations):
        factor = rng.uniform(0.3, 0.9, (count, 1))
        one, other = population[rng.integers(count, size=count)], population[rng.integers(count, size=count)]
        towards = factor * (population[values.argmin()] - population) * (rng.random((count, 1)) < 0.7)
        changed = rng.random((count, dim)) < 0.9
        trial = np.clip(np.where(changed, population + towards + factor * (one - other), population), low, high)
        found = model(trial)
        better = found < values
        population = np.where(better[:, None], trial, population)
        values = np.where(better, found, values)
    return population[np.argsort(values, kind="stable")]


def apart(candidates: Float64, count: int, known: Float64, gap: float, spare: Callable[[], Float64]) -> Float64:
    """The first candidates that keep a distance from what is known and from each other, float64 (count, d).

    Args:
        candidates: float64 (n, d), best first.
        count: how many are wanted.
        known: float64 (m, d).
        gap: the least distance, the largest difference of a coordinate.
        spare: gives a point in the place of one that is missing.
    """
    taken = list[Float64]()
    for candidate in candidates:
        if len(taken) == count:
            break
        if all(np.abs(candidate - other).max() >= gap for other in [*known, *taken]):
            taken.append(candidate)
    while len(taken) < count:
        taken.append(spare())
    return np.stack(taken) if taken else np.zeros((0, candidates.shape[1]))


def latin_hypercube(count: int, dim: int, rng: np.random.Generator) -> Float64:
    """Points in [0, 1], float64 (count, dim), one in each of `count` equal slices of every coordinate."""
    slices = np.stack([rng.permutation(count) for _ in range(dim)], axis=1)
    return (slices + rng.random((count, dim))) / count


def ranks(values: Float64) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    """The place of each value, 0 for the least; of equal ones the first comes first."""
    return np.argsort(np.argsort(values, kind="stable"), kind="stable")


def _features(points: Float64) -> Float64:
    """1, the coordinates, and their products, float64 (n, terms)."""
    dim = points.shape[1]
    first, second = np.triu_indices(dim) if dim <= FULL_QUADRATIC else (np.arange(dim), np.arange(dim))
    return np.concatenate([np.ones((len(points), 1)), points, points[:, first] * points[:, second]], axis=1)


def _interpolator(points: Float64, values: Float64, kernel: str) -> Model:
    """A radial basis function with a linear tail; with a constant one where there are too few points for it."""
    degree = 1 if len(points) > points.shape[1] + 1 else 0
    if degree == 0:
        kernel = "linear"
    found: Model = RBFInterpolator(points, values, kernel=kernel, degree=degree, smoothing=1e-7)
    return found
