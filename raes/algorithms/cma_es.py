"""CMA-ES (Hansen 2016, arXiv 1604.00772, as revised in 2023; equations (n) are its), active and with diagonal
acceleration (Akimoto & Hansen 2020, arXiv 1905.05885; equations A-n are theirs): dd-CMA-ES.

Symbols: members m + sigma S y_k with y_k = B D z_k and z_k ~ N(0, I); C = B D^2 B^T is the shape, the diagonal matrix S
the scale of each parameter, which adapts with learning rates of its own, and faster where the shape is round; w the
weights by rank. With `covariance=diagonal` C is I and S alone adapts. A member without a result counts as the worst.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Annotated, Literal, NamedTuple

import numpy as np
from annotated_types import Ge

from raes.results import Batch
from raes.rng import Purpose, generator
from raes.search.optimizers import OptimizerSettings
from raes.search.running_stats import RunningStats
from raes.search.shaping import shared_by_ties
from raes.tasks import Genomes
from raes.types import Float64, Floating, Int64

from .cma_constants import Rates, constants
from .population import PopulationSearch, PopulationSettings, vectors
from .protocol import Conditions, WeightedSum

SIGMA_MOST = 1e32
"""Where sigma stops to grow, as on a function that has no minimum."""
CONDITION_MOST = 1e14
"""Of C, from which on its eigenvectors are rounding errors (Hansen 2016, section B.3)."""
LEAST = 1e-300


@dataclass(frozen=True)
class CMAESSettings(PopulationSettings):
    """Configuration group `algorithm`, option `cma_es`; the keys of `PopulationSettings`, and:

    Attributes:
        covariance: `full`, d^2 numbers, or `diagonal`, d numbers.
        active: whether the worst members have negative weights.
    """

    name: Literal["cma_es"] = "cma_es"
    population: Annotated[int, Ge(4)] | None = None
    covariance: Literal["full", "diagonal"] = "full"
    active: bool = True

    def __post_init__(self) -> None:
        if self.min_timesteps:
            raise ValueError(f"min_timesteps={self.min_timesteps}: must be 0 for CMA-ES, whose population is fixed")


@dataclass(frozen=True)
class CMAESState:
    """Everything that the search needs to go on.

    Attributes:
        generation: the number of the next one.
        updates: since the start.
        theta: (d,), the image of the mean.
        mean: float64 (d,).
        sigma: the step size.
        scale: float64 (d,), the diagonal of S.
        shape: float64 (d, d), C; (0, 0) where it is I.
        basis: float64 (d, d), B; (0, 0) where it is I.
        axes: float64 (d,), the diagonal of D.
        sigma_path: float64 (d,), the evolution path of sigma.
        shape_path: float64 (d,), that of C.
        scale_path: float64 (d,), that of S.
        conditions: of the episodes.
    """

    generation: int
    updates: int
    theta: Floating
    mean: Float64
    sigma: float
    scale: Float64
    shape: Float64
    basis: Float64
    axes: Float64
    sigma_path: Float64
    shape_path: Float64
    scale_path: Float64
    conditions: Conditions


class CMAES(PopulationSearch):
    """CMA-ES with a full or a diagonal covariance."""

    def __init__(self, settings: CMAESSettings, optimizer: OptimizerSettings, seed: int, table_size: int) -> None:
        super().__init__(settings, optimizer, seed, table_size)
        self._full = settings.covariance == "full"
        self._drawn: tuple[int, int, Float64] | None = None

    def memory(self, num_params: int) -> int:
        """C, B, and what their decomposition needs."""
        return 8 * 8 * num_params**2 if self._full else 0

    def init(self, theta: Floating, observations: RunningStats) -> CMAESState:
        """The state that starts at theta with these observation statistics."""
        dim = theta.size
        zero, one = np.zeros(dim), np.ones(dim)
        square = np.eye(dim) if self._full else np.zeros((0, 0))
        conditions, mean = self.first_conditions(observations), theta.astype(np.float64)
        return CMAESState(
            0, 0, theta, mean, self._settings.sigma, one, square, square, one, zero, zero, zero, conditions
        )

    def correlated(self, state: CMAESState, correlation: Float64) -> CMAESState:
        """A first state with these correlations, float64 (d, d), between its members' numbers."""
        scale, shape, basis, axes = _decomposed(state.scale, correlation, state.basis, state.axes)
        return replace(state, scale=scale, shape=shape, basis=basis, axes=axes)

    def genomes(self, state: CMAESState, first: int, count: int) -> Genomes:
        """m + sigma S B D z_k, as vectors, cut from one product: BLAS rounds a row by where it is among the others."""
        members = state.mean + state.sigma * state.scale * _turned(state, self._noise(state) * state.axes)
        return vectors(members[first : first + count], state.theta.dtype)

    def update(
        self, state: CMAESState, batch: Batch, fitness: Float64, conditions: Conditions, weighted_sum: WeightedSum
    ) -> tuple[CMAESState, dict[str, float]]:
        """The mean, the paths, sigma, C and S (algorithm 1 of Akimoto & Hansen)."""
        dim, done = state.mean.size, state.updates + 1
        rates = constants(dim, self.min_groups, self._settings.active, self._full)
        noise, rank = self._noise(state), self._ranks(batch, fitness)
        weights = weights_of(rates.positive, rank)
        steps = _turned(state, noise * state.axes)
        step = state.scale * (weights @ steps)  # (41)
        sigma_path = _path(state.sigma_path, rates.sigma_rate, rates.effective, _turned(state, weights @ noise), True)
        length = math.sqrt(float(sigma_path @ sigma_path))  # (43)
        unbiased = length / math.sqrt(1 - (1 - rates.sigma_rate) ** (2 * done))
        steady = unbiased < (1.4 + 2 / (dim + 1)) * rates.expected
        growth = rates.sigma_rate / rates.damping * (length / rates.expected - 1)  # (44)
        mean, sigma = state.mean + state.sigma * step, min(SIGMA_MOST, state.sigma * math.exp(min(1.0, growth)))
        lengths = dim / np.maximum(np.square(noise).sum(axis=1), LEAST)
        shape, shape_path = state.shape, state.shape_path
        if self._full:
            shape_path = _path(state.shape_path, rates.shape.path_rate, rates.effective, step, steady)  # (45)
            shape = _shape(state, rates.shape, steps, rank, lengths, shape_path / state.scale, steady)
        scale_path = _path(state.scale_path, rates.scale.path_rate, rates.effective, step, steady)
        scale = _scale(state, rates.scale, noise, rank, lengths, scale_path / state.scale, steady)
        if self.least_spread is not None:
            widths = sigma * scale * (np.sqrt(np.maximum(shape.diagonal(), LEAST)) if self._full else 1.0)
            scale = scale * np.maximum(1.0, self.least_spread / np.maximum(widths, LEAST))
        basis, axes = state.basis, state.axes
        if self._full and done % rates.every == 0:
            scale, shape, basis, axes = _decomposed(scale, shape, basis, axes)
        following = CMAESState(
            generation=state.generation + 1,
            updates=done,
            theta=mean.astype(state.theta.dtype),
            mean=mean,
            sigma=sigma,
            scale=scale,
            shape=shape,
            basis=basis,
            axes=axes,
            sigma_path=sigma_path,
            shape_path=shape_path,
            scale_path=scale_path,
            conditions=conditions,
        )
        return following, {"sigma": sigma, "condition": float(axes.max() / axes.min()) ** 2}

    def spread(self, state: CMAESState) -> Float64:
        """sigma * S_ii * sqrt(C_ii)."""
        spread = state.sigma * state.scale
        return spread * np.sqrt(np.maximum(state.shape.diagonal(), LEAST)) if self._full else spread

    def covariance(self, state: CMAESState) -> Float64:
        """sigma^2 S C S."""
        scale = state.sigma * state.scale
        return state.shape * np.outer(scale, scale) if self._full else np.square(scale)

    def exhausted(self, state: CMAESState) -> str | None:
        """The condition of C, and steps along an axis that change no digit of the mean (Hansen 2016, section B.3)."""
        if float(state.axes.max()) ** 2 > CONDITION_MOST * float(state.axes.min()) ** 2:
            return "condition"
        if not self._full:
            return None
        axis = state.generation % state.mean.size
        step = 0.1 * state.sigma * state.scale * state.axes[axis] * state.basis[:, axis]
        return "no effect along an axis" if (state.mean + step == state.mean).all() else None

    def _ranks(self, batch: Batch, fitness: Float64) -> Ranks:
        """Who is where, best first."""
        values = np.full(self.min_groups, fitness.min())
        values[batch.index] = fitness
        order = np.argsort(-values, kind="stable")
        ranked = values[order]
        return Ranks(order, values if (ranked[1:] == ranked[:-1]).any() else None)

    def _noise(self, state: CMAESState) -> Float64:
        """z, float64 (n, d), of a whole generation."""
        key = (state.generation, state.mean.size)
        if self._drawn is None or self._drawn[:2] != key:
            rng = generator(self._seed, Purpose.SAMPLE, state.generation)
            self._drawn = (*key, rng.standard_normal((self.min_groups, state.mean.size)))
        return self._drawn[2]


class Ranks(NamedTuple):
    """The order of a generation.

    Attributes:
        order: int64 (n,), the members, best first.
        ties: float64 (n,), their fitness, where some are equal; else None.
    """

    order: Int64
    ties: Float64 | None


def weights_of(by_rank: Float64, ranks: Ranks) -> Float64:
    """The weight of each member, float64 (n,); equal fitness shares its weights."""
    if ranks.ties is not None:
        return shared_by_ties(ranks.ties, by_rank)
    weights = np.empty(len(by_rank))
    weights[ranks.order] = by_rank
    return weights


def _path(path: Float64, rate: float, effective: float, step: Float64, steady: bool) -> Float64:
    """An evolution path after a step; it only fades where sigma grows fast (43), (45)."""
    faded = (1 - rate) * path
    return faded + math.sqrt(rate * (2 - rate) * effective) * step if steady else faded


def _lost(rates: Rates, steady: bool) -> float:
    """The variance that a path lacks where it has only faded."""
    return 0.0 if steady else rates.path_rate * (2 - rates.path_rate)


def _shape(
    state: CMAESState, rates: Rates, steps: Float64, ranks: Ranks, lengths: Float64, path: Float64, steady: bool
) -> Float64:
    """C after the rank-one and the rank-mu update (46), (47); negative weights as long as their steps are short."""
    weights = weights_of(rates.weights, ranks)
    kept = 1 + rates.one_rate * (_lost(rates, steady) - 1) - rates.many_rate * float(weights.sum())
    scaled = rates.many_rate * np.where(weights < 0, weights * lengths, weights)
    shape: Float64 = kept * state.shape + rates.one_rate * np.outer(path, path) + (steps.T * scaled) @ steps
    return shape


def _scale(
    state: CMAESState, rates: Rates, noise: Float64, ranks: Ranks, lengths: Float64, path: Float64, steady: bool
) -> Float64:
    """S after its update, which is slower where C is far from round (A-10, A-21)."""
    weights = weights_of(rates.weights, ranks)
    scaled = np.where(weights < 0, weights * lengths, weights)
    turned = _turned(state, noise)
    round_path = _turned(state, _turned_back(state, path) / state.axes)
    change = rates.one_rate * (np.square(round_path) - 1 + _lost(rates, steady))
    change += rates.many_rate * (scaled @ np.square(turned) - float(weights.sum()))
    slower = max(1.0, float(state.axes.max() / state.axes.min()) - 1.0)
    scale: Float64 = state.scale * np.exp(np.clip(change / (2 * slower), -1.0, 1.0))
    return scale


def _turned(state: CMAESState, vectors: Float64) -> Float64:
    """B v of a vector (d,) or of the rows of a matrix (n, d)."""
    return vectors @ state.basis.T if state.basis.size else vectors


def _turned_back(state: CMAESState, vector: Float64) -> Float64:
    """B^T v."""
    return vector @ state.basis if state.basis.size else vector


def _decomposed(
    scale: Float64, shape: Float64, basis: Float64, axes: Float64
) -> tuple[Float64, Float64, Float64, Float64]:
    """S and C with variances of 1 in C, B and D; as they were where C is no covariance any more."""
    variances = shape.diagonal()
    if not (np.isfinite(shape).all() and (variances > 0).all()):
        return scale, shape, basis, axes
    widths = np.sqrt(variances)
    shape = (shape + shape.T) / (2 * np.outer(widths, widths))
    try:
        values, turned = np.linalg.eigh(shape)
    except np.linalg.LinAlgError:
        return scale, shape * np.outer(widths, widths), basis, axes
    return scale * widths, shape, turned, np.sqrt(np.maximum(values, LEAST))
