"""CMA-ES (Hansen 2016, arXiv 1604.00772, as revised in 2023), active: with the negative weights of its section B.2.

Symbols: mean m, members m + sigma y_k with y_k = B D z_k and z_k ~ N(0, I), C = B D^2 B^T; w the weights by rank, the
first mu of them positive. `covariance=diagonal` is sep-CMA-ES (Ros & Hansen 2008): C is a vector, B is I. Equation
numbers are Hansen's. A member without a result counts as the worst.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import Annotated, Literal

import numpy as np
from annotated_types import Ge

from raes.results import Batch
from raes.rng import Purpose, generator
from raes.search.optimizers import OptimizerSettings
from raes.search.running_stats import RunningStats
from raes.search.shaping import shared_by_ties
from raes.tasks import Genomes
from raes.types import Float64, Floating

from .population import PopulationSearch, PopulationSettings, vectors
from .protocol import Conditions, WeightedSum

SIGMA_MOST = 1e32
"""Where sigma stops to grow, as on a function that has no minimum."""
CONDITION_MOST = 1e14
"""Of C, from which on its eigenvectors are rounding errors (Hansen 2016, section B.3)."""


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
class Constants:
    """What follows from d and from the population (table 1).

    Attributes:
        weights: float64 (n,), by rank, best first; the positive ones sum to 1.
        effective: mu_eff of the positive ones.
        path_rate: c_c, of the covariance's path.
        sigma_rate: c_sigma, of sigma's path.
        damping: d_sigma.
        one_rate: c_1, of the rank-one update.
        many_rate: c_mu, of the rank-mu update.
        expected: E||N(0, I)||.
        every: generations between two decompositions of C.
    """

    weights: Float64
    effective: float
    path_rate: float
    sigma_rate: float
    damping: float
    one_rate: float
    many_rate: float
    expected: float
    every: int


@lru_cache(maxsize=64)
def constants(dim: int, population: int, active: bool, diagonal: bool) -> Constants:
    """The default parameters of table 1."""
    raw = math.log((population + 1) / 2) - np.log(np.arange(1, population + 1))  # (49)
    parents = population // 2
    positive, negative = raw[:parents], raw[parents:]
    effective = float(positive.sum() ** 2 / np.square(positive).sum())  # (8)
    sigma_rate = (effective + 2) / (dim + effective + 5)  # (55)
    damping = 1 + 2 * max(0.0, math.sqrt((effective - 1) / (dim + 1)) - 1) + sigma_rate  # (55)
    path_rate = (4 + effective / dim) / (dim + 4 + 2 * effective / dim)  # (56)
    faster = (dim + 2) / 3 if diagonal else 1.0  # Ros & Hansen 2008, section 3
    one = min(0.5, faster * 2 / ((dim + 1.3) ** 2 + effective))  # (57)
    many = min(1 - one, faster * 2 * (0.25 + effective + 1 / effective - 2) / ((dim + 2) ** 2 + effective))  # (58)
    weights = np.concatenate([positive / positive.sum(), np.zeros(population - parents)])
    if active:
        effective_negative = float(negative.sum() ** 2 / np.square(negative).sum())
        most = min(
            1 + one / many,  # (50)
            1 + 2 * effective_negative / (effective + 2),  # (51)
            (1 - one - many) / (dim * many),  # (52)
        )
        weights[parents:] = negative / -negative.sum() * max(0.0, most)  # (53)
    return Constants(
        weights=weights,
        effective=effective,
        path_rate=path_rate,
        sigma_rate=sigma_rate,
        damping=damping,
        one_rate=one,
        many_rate=many,
        expected=math.sqrt(dim) * (1 - 1 / (4 * dim) + 1 / (21 * dim**2)),
        every=max(1, int(1 / (10 * dim * (one + many)))),  # section B.2
    )


@dataclass(frozen=True)
class CMAESState:
    """Everything that the search needs to go on.

    Attributes:
        generation: the number of the next one.
        updates: since the start.
        theta: (d,), the image of the mean.
        mean: float64 (d,).
        sigma: the scale.
        covariance: float64 (d, d), C, or (d,) where it is diagonal.
        basis: float64 (d, d), B; (0, 0) where it is I.
        axes: float64 (d,), the diagonal of D.
        path: float64 (d,), the evolution path of the covariance.
        sigma_path: float64 (d,), that of sigma.
        conditions: of the episodes.
    """

    generation: int
    updates: int
    theta: Floating
    mean: Float64
    sigma: float
    covariance: Float64
    basis: Float64
    axes: Float64
    path: Float64
    sigma_path: Float64
    conditions: Conditions


class CMAES(PopulationSearch):
    """CMA-ES with a full or a diagonal covariance."""

    def __init__(self, settings: CMAESSettings, optimizer: OptimizerSettings, seed: int, table_size: int) -> None:
        super().__init__(settings, optimizer, seed, table_size)
        self._diagonal = settings.covariance == "diagonal"
        self._drawn: tuple[int, int, Float64] | None = None

    def memory(self, num_params: int) -> int:
        """C, B, what their decomposition needs, and a generation's products."""
        return 0 if self._diagonal else 8 * 8 * num_params**2

    def init(self, theta: Floating, observations: RunningStats) -> CMAESState:
        """The state that starts at theta with these observation statistics."""
        dim = theta.size
        zero, one = np.zeros(dim), np.ones(dim)
        basis = np.zeros((0, 0)) if self._diagonal else np.eye(dim)
        covariance = one if self._diagonal else np.eye(dim)
        conditions = self.first_conditions(observations)
        mean = theta.astype(np.float64)
        return CMAESState(0, 0, theta, mean, self._settings.sigma, covariance, basis, one, zero, zero, conditions)

    def genomes(self, state: CMAESState, first: int, count: int) -> Genomes:
        """m + sigma B D z_k, as vectors, cut from one product: BLAS rounds a row by where it is among the others."""
        members = state.mean + state.sigma * _turned(state, self._noise(state) * state.axes)
        return vectors(members[first : first + count], state.theta.dtype)

    def update(
        self, state: CMAESState, batch: Batch, fitness: Float64, conditions: Conditions, weighted_sum: WeightedSum
    ) -> tuple[CMAESState, dict[str, float]]:
        """The mean, both paths, C and sigma (section B.2)."""
        rates = self._rates(state.mean.size)
        noise = self._noise(state)
        weights = self._weights(batch, fitness, rates)
        steps = _turned(state, noise * state.axes)
        positive = np.maximum(weights, 0.0)
        step = positive @ steps  # (41)
        dim, done = state.mean.size, state.updates + 1
        sigma_path = (1 - rates.sigma_rate) * state.sigma_path + math.sqrt(
            rates.sigma_rate * (2 - rates.sigma_rate) * rates.effective
        ) * _turned(state, positive @ noise)  # (43)
        length = math.sqrt(float(sigma_path @ sigma_path))
        unbiased = length / math.sqrt(1 - (1 - rates.sigma_rate) ** (2 * done))
        steady = unbiased < (1.4 + 2 / (dim + 1)) * rates.expected
        path = (1 - rates.path_rate) * state.path
        if steady:
            path = path + math.sqrt(rates.path_rate * (2 - rates.path_rate) * rates.effective) * step  # (45)
        covariance = self._covariance(state, rates, noise, steps, weights, path, steady)
        growth = rates.sigma_rate / rates.damping * (length / rates.expected - 1)  # (44)
        mean, sigma = state.mean + state.sigma * step, min(SIGMA_MOST, state.sigma * math.exp(min(1.0, growth)))
        if self.least_spread is not None:
            covariance = _widened(covariance, self.least_spread / sigma)
        basis, axes = state.basis, state.axes
        if done % rates.every == 0:
            covariance, basis, axes = _decomposed(covariance, basis, axes)
        following = CMAESState(
            generation=state.generation + 1,
            updates=done,
            theta=mean.astype(state.theta.dtype),
            mean=mean,
            sigma=sigma,
            covariance=covariance,
            basis=basis,
            axes=axes,
            path=path,
            sigma_path=sigma_path,
            conditions=conditions,
        )
        return following, {"sigma": sigma, "condition": float(axes.max() / axes.min()) ** 2}

    def spread(self, state: CMAESState) -> Float64:
        """sigma * sqrt(C_ii)."""
        variances = state.covariance if self._diagonal else state.covariance.diagonal()
        spread: Float64 = state.sigma * np.sqrt(variances)
        return spread

    def covariance(self, state: CMAESState) -> Float64:
        """sigma^2 C."""
        return state.sigma**2 * state.covariance

    def exhausted(self, state: CMAESState) -> str | None:
        """The condition of C, and steps along an axis that change no digit of the mean (section B.3)."""
        if float(state.axes.max()) ** 2 > CONDITION_MOST * float(state.axes.min()) ** 2:
            return "condition"
        if self._diagonal:
            return None
        axis = state.generation % state.mean.size
        step = 0.1 * state.sigma * state.axes[axis] * state.basis[:, axis]
        return "no effect along an axis" if (state.mean + step == state.mean).all() else None

    def _covariance(
        self,
        state: CMAESState,
        rates: Constants,
        noise: Float64,
        steps: Float64,
        weights: Float64,
        path: Float64,
        steady: bool,
    ) -> Float64:
        """The rank-one and the rank-mu update (46), (47); negative weights as long as their steps are short."""
        lengths = np.square(noise).sum(axis=1)
        scaled = np.where(weights < 0, weights * state.mean.size / np.maximum(lengths, 1e-300), weights)
        lost = 0.0 if steady else rates.path_rate * (2 - rates.path_rate)
        kept = 1 + rates.one_rate * lost - rates.one_rate - rates.many_rate * float(weights.sum())
        covariance: Float64
        if self._diagonal:
            many = scaled @ np.square(steps)
            covariance = kept * state.covariance + rates.one_rate * np.square(path) + rates.many_rate * many
            return np.maximum(covariance, 1e-300)
        many = (steps.T * (rates.many_rate * scaled)) @ steps
        covariance = kept * state.covariance + rates.one_rate * np.outer(path, path) + many
        return covariance

    def _weights(self, batch: Batch, fitness: Float64, rates: Constants) -> Float64:
        """The weight of each member, float64 (n,): by rank; equal fitness shares its weights."""
        values = np.full(self.min_groups, fitness.min())
        values[batch.index] = fitness
        order = np.argsort(-values, kind="stable")
        ranked = values[order]
        if (ranked[1:] == ranked[:-1]).any():
            return shared_by_ties(values, rates.weights)
        weights = np.empty(len(order))
        weights[order] = rates.weights
        return weights

    def _rates(self, dim: int) -> Constants:
        return constants(dim, self.min_groups, self._settings.active, self._diagonal)

    def _noise(self, state: CMAESState) -> Float64:
        """z, float64 (n, d), of a whole generation."""
        key = (state.generation, state.mean.size)
        if self._drawn is None or self._drawn[:2] != key:
            rng = generator(self._seed, Purpose.SAMPLE, state.generation)
            self._drawn = (*key, rng.standard_normal((self.min_groups, state.mean.size)))
        return self._drawn[2]


def _turned(state: CMAESState, vectors: Float64) -> Float64:
    """B v of a vector (d,) or of the rows of a matrix (n, d)."""
    return vectors @ state.basis.T if state.basis.size else vectors


def _widened(covariance: Float64, least: Float64) -> Float64:
    """C with standard deviations of at least so much, float64 (d,), and the same correlations."""
    spread = np.sqrt(covariance if covariance.ndim == 1 else covariance.diagonal())
    factor: Float64 = np.maximum(1.0, least / np.maximum(spread, 1e-150))
    return covariance * (np.square(factor) if covariance.ndim == 1 else np.outer(factor, factor))


def _decomposed(covariance: Float64, basis: Float64, axes: Float64) -> tuple[Float64, Float64, Float64]:
    """C made symmetric, B and D; the last ones where C is no matrix of numbers any more."""
    if covariance.ndim == 1:
        return covariance, basis, np.sqrt(covariance)
    covariance = (covariance + covariance.T) / 2
    try:
        values, turned = np.linalg.eigh(covariance)
    except np.linalg.LinAlgError:
        return covariance, basis, axes
    return covariance, turned, np.sqrt(np.maximum(values, 1e-300))
