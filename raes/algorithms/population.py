"""What the searches share that draw a population of independent members from a distribution.

Symbols: d parameters, n members a generation, eps_i ~ N(0, I_d) a slice of the shared noise, mu the mean.
"""

from __future__ import annotations

import math
from abc import abstractmethod
from dataclasses import dataclass, replace
from typing import Annotated, Any, Self

import numpy as np
from annotated_types import Ge

from raes.results import Batch
from raes.search.optimizers import OptimizerSettings
from raes.tasks import Genomes, Layers, Tasks
from raes.types import Float64, Positive

from .base import Search, SearchSettings
from .protocol import Conditions, WeightedSum


@dataclass(frozen=True)
class PopulationSettings(SearchSettings):
    """The keys that these methods have in common; those of `SearchSettings`, and:

    Attributes:
        population: members of a generation, one episode each, at least; None: 4 + floor(3 ln d).
        sigma: the noise scale at the start.
    """

    population: Annotated[int, Ge(2)] | None = None
    sigma: Positive = 0.1

    @property
    def episodes(self) -> int:
        """One for each member."""
        assert self.population is not None
        return self.population

    def sized(self, num_params: int, layers: Layers) -> Self:
        """With a population."""
        return replace(self, population=self.population or 4 + int(3 * math.log(num_params)))


class PopulationSearch(Search):
    """The methods are those of `Algorithm`; `genomes` and `update` are the algorithm's own."""

    def __init__(self, settings: PopulationSettings, optimizer: OptimizerSettings, seed: int, table_size: int) -> None:
        super().__init__(settings, optimizer, seed, table_size)
        self._settings: Any = settings

    def genomes(self, state: Any, first: int, count: int) -> Genomes:
        """The recipes of members first, first + 1, ...: theta + spread * eps_i, unless the algorithm has its own."""
        noise_index = self.noise_indices(state.generation, state.theta.size, first, count)
        return Genomes(noise_index, np.full(count, self.scale(state), state.theta.dtype))

    def scale(self, state: Any) -> float:
        """The factor on the noise of all members, on top of the snapshot's spread."""
        return 1.0

    @abstractmethod
    def update(
        self, state: Any, batch: Batch, fitness: Float64, conditions: Conditions, weighted_sum: WeightedSum
    ) -> tuple[Any, dict[str, float]]:
        """The next state, and metrics for the log.

        Args:
            state: of this generation.
            batch: it, (n, 1).
            fitness: float64 (n,), its returns without the alive bonus.
            conditions: of the next generation.
            weighted_sum: of slices of noise.
        """

    def ask(self, state: Any, first: int, count: int) -> Tasks:
        """Members first, first + 1, ..."""
        return self.tasks(state.generation, first, self.genomes(state, first, count))

    def step(self, state: Any, batch: Batch, weighted_sum: WeightedSum) -> tuple[Any, dict[str, float]]:
        """See `update`."""
        conditions = self.next_conditions(state.conditions, batch)
        fitness = self.fitness(batch)[:, 0]
        following, metrics = self.update(state, batch, fitness, conditions, weighted_sum)
        return following, {"theta_norm": float(np.linalg.norm(following.theta))} | metrics


def vectors(members: Float64, dtype: np.dtype[Any]) -> Genomes:
    """Genomes that are the parameters themselves, (n, d), of this dtype: for searches of few parameters."""
    none = np.zeros(len(members), np.int64)
    return Genomes(none, np.ones(len(members), np.float32), vectors=members.astype(dtype))
