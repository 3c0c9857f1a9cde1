"""An algorithm outside of the package: an evolution strategy that adapts sigma by Rechenberg's one-fifth rule.

    python -m raes.train env=CartPole algorithm=custom algorithm.module=examples.one_fifth:OneFifth

Members are theta + sigma eps_i, and theta itself as member 0. The best member is the next theta. Where more than a
fifth of the members are better than theta, sigma grows, else it shrinks. Run from the folder that holds `examples`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from raes.algorithms.population import PopulationSearch
from raes.algorithms.protocol import Conditions
from raes.types import Float32


@dataclass(frozen=True)
class State:
    """Everything that the search needs to go on; every field is stored in checkpoints."""

    generation: int
    theta: Float32
    sigma: float
    conditions: Conditions


class OneFifth(PopulationSearch):
    """See the module's docstring."""

    def __init__(self, settings: Any, optimizer: Any, seed: int, table_size: int, rate: float = 0.5) -> None:
        super().__init__(settings, optimizer, seed, table_size)
        self.rate = rate

    def init(self, theta: Float32, observations: Any) -> State:
        return State(0, theta, self._settings.sigma, self.first_conditions(observations))

    def scale(self, state: State) -> float:
        return state.sigma

    def genomes(self, state: State, first: int, count: int) -> Any:
        genomes = super().genomes(state, first, count)  # theta + sigma eps_i, by the seed of the run
        if first == 0:
            genomes.scale[0] = 0  # member 0 is theta
        return genomes

    def update(self, state: State, batch: Any, fitness: Any, conditions: Conditions, weighted_sum: Any) -> Any:
        parent = fitness[batch.index == 0]  # empty where its episode failed
        share = float((fitness > parent[0]).mean()) if parent.size else 0.2
        best = np.flatnonzero(fitness == fitness.max())[:1]  # of equals the first
        step = weighted_sum(batch.genomes.noise_index[best], batch.genomes.scale[best])
        sigma = state.sigma * math.exp(self.rate * (share - 0.2))
        return State(state.generation + 1, state.theta + step, sigma, conditions), {"sigma": sigma, "better": share}
