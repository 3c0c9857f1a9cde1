"""Exponential natural evolution strategies (Glasmachers et al. 2010; Wierstra et al. 2014, JMLR 15, algorithm 5 with
its table 1).

Symbols: members mu + sigma B s_k with s_k ~ N(0, I), |det B| = 1, utilities u_k. Costs of d^2 memory and d^3 time.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from scipy.linalg import expm

from raes.results import Batch
from raes.rng import Purpose, generator
from raes.search.running_stats import RunningStats
from raes.search.shaping import nes_utilities
from raes.tasks import Genomes
from raes.types import Float64, Floating, Positive

from .population import PopulationSearch, PopulationSettings, vectors
from .protocol import Conditions, WeightedSum


@dataclass(frozen=True)
class XNESSettings(PopulationSettings):
    """Configuration group `algorithm`, option `xnes`; the keys of `PopulationSettings`, and:

    Attributes:
        mean_rate: the learning rate of mu.
        rate: that of sigma and B; None: (9 + 3 ln d) / (5 d sqrt(d)).
    """

    name: Literal["xnes"] = "xnes"
    mean_rate: Positive = 1.0
    rate: Positive | None = None

    def __post_init__(self) -> None:
        if self.min_timesteps:
            raise ValueError(f"min_timesteps={self.min_timesteps}: must be 0 for xNES, whose population is fixed")


@dataclass(frozen=True)
class XNESState:
    """Everything that the search needs to go on.

    Attributes:
        generation: updates so far.
        theta: (d,), the image of the mean.
        mean: float64 (d,), mu.
        sigma: the scale.
        shape: float64 (d, d), B.
        conditions: of the episodes.
    """

    generation: int
    theta: Floating
    mean: Float64
    sigma: float
    shape: Float64
    conditions: Conditions


class XNES(PopulationSearch):
    """Exponential natural evolution strategies, full covariance."""

    def memory(self, num_params: int) -> int:
        """B, its gradient, and what the matrix exponential needs."""
        return 8 * 8 * num_params**2

    def init(self, theta: Floating, observations: RunningStats) -> XNESState:
        """The state that starts at theta with these observation statistics."""
        conditions = self.first_conditions(observations)
        return XNESState(0, theta, theta.astype(np.float64), self._settings.sigma, np.eye(theta.size), conditions)

    def correlated(self, state: XNESState, correlation: Float64) -> XNESState:
        """A first state with these correlations, float64 (d, d), between members' numbers: those of B B^T."""
        values, turned = np.linalg.eigh(correlation)
        factor = math.exp(float(np.log(values).mean()) / 2)
        shape = (turned * (np.sqrt(values) / factor)) @ turned.T
        return replace(state, sigma=state.sigma * factor, shape=shape)

    def spread(self, state: XNESState) -> Float64:
        """sigma * sqrt(diag(B B^T))."""
        spread: Float64 = state.sigma * np.sqrt(np.square(state.shape).sum(axis=1))
        return spread

    def covariance(self, state: XNESState) -> Float64:
        """sigma^2 B B^T."""
        covariance: Float64 = state.sigma**2 * (state.shape @ state.shape.T)
        return covariance

    def genomes(self, state: XNESState, first: int, count: int) -> Genomes:
        """mu + sigma B s_k, as vectors, cut from one product: BLAS rounds a row by where it is among the others."""
        members = state.mean + state.sigma * self._noise(state) @ state.shape.T
        return vectors(members[first : first + count], state.theta.dtype)

    def update(
        self, state: XNESState, batch: Batch, fitness: Float64, conditions: Conditions, weighted_sum: WeightedSum
    ) -> tuple[XNESState, dict[str, float]]:
        """mu += rate * sigma B sum u s; sigma *= exp(rate/2 * trace(M)/d); B = B expm(rate/2 * (M - trace(M)/d I)).

        M = sum u_k (s_k s_k^T - I).
        """
        utilities, noise, dim = nes_utilities(fitness), self._noise(state)[batch.index], state.mean.size
        rate = self._settings.rate or (9 + 3 * math.log(dim)) / (5 * dim * math.sqrt(dim))
        mean = state.mean + self._settings.mean_rate * state.sigma * state.shape @ (utilities @ noise)
        natural = (noise * utilities[:, None]).T @ noise - utilities.sum() * np.eye(dim)
        growth = float(np.trace(natural)) / dim
        sigma = state.sigma * math.exp(rate / 2 * growth)
        shape = state.shape @ expm(rate / 2 * (natural - growth * np.eye(dim)))
        return XNESState(state.generation + 1, mean.astype(state.theta.dtype), mean, sigma, shape, conditions), {
            "sigma": sigma,
            "condition": float(np.linalg.cond(shape)) ** 2,
        }

    def _noise(self, state: XNESState) -> Float64:
        """s, float64 (n, d), of a whole generation."""
        rng = generator(self._seed, Purpose.SAMPLE, state.generation)
        return rng.standard_normal((self.min_groups, state.mean.size))
