"""The canonical evolution strategy (Chrabaszcz, Loshchilov, Hutter 2018, arXiv 1802.08842, algorithm 2), with the step
size rule of its implementation.

Symbols: n members, the mu best are parents with weights w_j ~ log(mu + 0.5) - log(j), which sum to 1;
mu_w = 1 / sum w_j^2; p the evolution path of sigma, d parameters.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np

from raes.results import Batch
from raes.search.running_stats import RunningStats
from raes.search.shaping import shared_by_ties
from raes.types import Count, Float64, Floating, NotNegative, Positive

from .population import PopulationSearch, PopulationSettings
from .protocol import Conditions, WeightedSum


@dataclass(frozen=True)
class CanonicalESSettings(PopulationSettings):
    """Configuration group `algorithm`, option `canonical_es`; the keys of `PopulationSettings`, and:

    Attributes:
        parents: mu; None: half the population.
        rate: factor on the step of theta.
        adapt_sigma: factor on the speed at which sigma adapts; 0 keeps it.
    """

    name: Literal["canonical_es"] = "canonical_es"
    sigma: Positive = 0.05
    parents: Count | None = None
    rate: Positive = 1.0
    adapt_sigma: NotNegative = 0.0

    def __post_init__(self) -> None:
        if self.parents is not None and self.parents > (self.population or self.parents):
            raise ValueError(f"parents={self.parents}: must be at most population={self.population}")


@dataclass(frozen=True)
class CanonicalESState:
    """Everything that the search needs to go on.

    Attributes:
        generation: updates so far.
        theta: (d,).
        sigma: the noise scale.
        path: float64 (d,), p.
        conditions: of the episodes.
    """

    generation: int
    theta: Floating
    sigma: float
    path: Float64
    conditions: Conditions


class CanonicalES(PopulationSearch):
    """The canonical evolution strategy with cumulative step-size adaptation."""

    def init(self, theta: Floating, observations: RunningStats) -> CanonicalESState:
        """The state that starts at theta with these observation statistics."""
        return CanonicalESState(
            0, theta, self._settings.sigma, np.zeros(theta.size), self.first_conditions(observations)
        )

    def scale(self, state: CanonicalESState) -> float:
        """sigma."""
        return state.sigma

    def update(
        self,
        state: CanonicalESState,
        batch: Batch,
        fitness: Float64,
        conditions: Conditions,
        weighted_sum: WeightedSum,
    ) -> tuple[CanonicalESState, dict[str, float]]:
        """theta += rate * sigma * sum w_j eps_j; p and sigma as in cumulative step-size adaptation."""
        weights = self._weights(fitness)
        mixed = weighted_sum(batch.genomes.noise_index, weights.astype(np.float32))
        theta = state.theta + state.theta.dtype.type(self._settings.rate * state.sigma) * mixed
        effective, dim = 1 / float(np.square(weights).sum()), theta.size
        speed = (effective + 2) / (dim + effective + 5)
        path = (1 - speed) * state.path + math.sqrt(speed * (2 - speed) * effective) * mixed
        growth = self._settings.adapt_sigma * speed / 2 * (float(np.square(path).sum()) / dim - 1)
        sigma = state.sigma * math.exp(min(1.0, growth))
        return CanonicalESState(state.generation + 1, theta, sigma, path, conditions), {"sigma": sigma}

    def _weights(self, fitness: Float64) -> Float64:
        """w of each member, 0 beyond the parents; equal fitness shares its weights."""
        parents = min(len(fitness), self._settings.parents or max(1, self._settings.episodes // 2))
        by_rank = np.zeros(len(fitness))
        by_rank[:parents] = math.log(parents + 0.5) - np.log(np.arange(1, parents + 1))
        return shared_by_ties(fitness, by_rank / by_rank.sum())
