"""An algorithm of a user: an evolution strategy that adapts sigma by Rechenberg's one-fifth rule.

    python -m raes.train env=CartPole algorithm=custom algorithm.module=examples.one_fifth:OneFifth

It shows what an algorithm outside of RAES is: a frozen state, and a class with `init`, `scale`, `genomes` and
`update`. Member 0 is theta itself, and the others are theta + sigma eps_i. The best member is the next theta. If more
than a fifth of the members are better than theta, sigma grows, else it shrinks. Run it from the folder that contains
`examples`.

The training prints a line per generation, as with any algorithm; metrics.jsonl and TensorBoard have `search/sigma`.
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
    """Everything that the next generation depends on; checkpoints store every field."""

    generation: int
    theta: Float32
    sigma: float
    conditions: Conditions


class OneFifth(PopulationSearch):
    """An evolution strategy with Rechenberg's one-fifth rule; `rate` is the speed of sigma's adaptation."""

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
        best = np.flatnonzero(fitness == fitness.max())[:1]  # of equal members the first
        step = weighted_sum(batch.genomes.noise_index[best], batch.genomes.scale[best])
        sigma = state.sigma * math.exp(self.rate * (share - 0.2))
        return State(state.generation + 1, state.theta + step, sigma, conditions), {"sigma": sigma, "better": share}
