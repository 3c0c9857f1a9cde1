"""Random search: members are drawn near the first parameters, the best one is kept. The baseline that others must beat.

(Such et al. 2018, arXiv 1712.06567, section 4, compare with it on Atari.) A return seen once is all that decides. With
`around=best` they are drawn near the best one, as in the localized random search of Spall 2003 (section 2.2).
Where observations are normalised, the first generation only finds their statistics, which stay: a policy that was good
under some would be another one under others.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from raes.results import Batch
from raes.search.running_stats import RunningStats
from raes.tasks import Genomes, Lineages, Snapshot
from raes.types import Float64, Floating

from .population import PopulationSearch, PopulationSettings
from .protocol import Conditions, WeightedSum


@dataclass(frozen=True)
class RandomSearchSettings(PopulationSettings):
    """Configuration group `algorithm`, option `random_search`; the keys of `PopulationSettings`, and:

    Attributes:
        around: what members are drawn near: `first`, the first parameters, or `best`, the best member so far.
    """

    name: Literal["random_search"] = "random_search"
    around: Literal["first", "best"] = "first"


@dataclass(frozen=True)
class RandomSearchState:
    """Everything that the search needs to go on.

    Attributes:
        generation: so far.
        theta: (d,), the best member.
        root: (d,), the mean of the members: the first parameters, or theta.
        best: the best member's fitness.
        conditions: of the episodes.
    """

    generation: int
    theta: Floating
    root: Floating
    best: float
    conditions: Conditions


class RandomSearch(PopulationSearch):
    """Random search near the first parameters."""

    compares_generations = True

    def init(self, theta: Floating, observations: RunningStats) -> RandomSearchState:
        """The state whose members are drawn with theta as their mean."""
        return RandomSearchState(0, theta, theta, -math.inf, self.first_conditions(observations))

    def snapshot(self, state: RandomSearchState) -> Snapshot:
        """The best member, and the mean of the others."""
        zero = np.zeros(1, np.int64)
        roots = Lineages(state.root[None], zero, zero, np.zeros(0, np.int64))
        return self.conditioned(Snapshot(state.generation, state.theta, lineages=roots), state.conditions)

    def genomes(self, state: RandomSearchState, first: int, count: int) -> Genomes:
        """root + sigma eps_i."""
        noise_index = self.noise_indices(state.generation, state.theta.size, first, count)
        return Genomes(noise_index, np.full(count, self._settings.sigma, state.theta.dtype), np.zeros(count, np.int64))

    def update(
        self,
        state: RandomSearchState,
        batch: Batch,
        fitness: Float64,
        conditions: Conditions,
        weighted_sum: WeightedSum,
    ) -> tuple[RandomSearchState, dict[str, float]]:
        """The best member of all generations; of equals the first."""
        if self._settings.normalize_observations:
            if state.generation == 0:
                return replace(state, generation=1, conditions=conditions), {}
            conditions = replace(conditions, observations=state.conditions.observations)
        theta, best, row = state.theta, state.best, int(fitness.argmax())
        if fitness[row] > best:
            best = float(fitness[row])
            one = batch.genomes.noise_index[row : row + 1]
            theta = state.root + weighted_sum(one, np.full(1, self._settings.sigma, theta.dtype))
        root = theta if self._settings.around == "best" else state.root
        return RandomSearchState(state.generation + 1, theta, root, best, conditions), {"best": best}
