"""The Deep GA (Such, Madhavan, Conti, Lehman, Stanley, Clune 2018, arXiv 1712.06567, algorithm 1).

The best T of n members are the parents; children are theta + sigma eps of a random parent, without crossover; one
elite, chosen by further episodes of the best and of the elite before, goes on unchanged. A member is its chain of noise
indices: 8 bytes per generation.
Deviation: the first generation is the first parameters and mutations of them, not n draws of the initialisation.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal, Self

import numpy as np

from raes.results import Batch
from raes.rng import Purpose, generator
from raes.search.running_stats import RunningStats
from raes.tasks import Genomes, Layers, Lineages, Round, Snapshot, Tasks
from raes.types import Count, Float64, Floating, Int64, Natural, Positive

from .base import probe_round
from .population import PopulationSearch, PopulationSettings
from .protocol import Conditions, WeightedSum


@dataclass(frozen=True)
class GASettings(PopulationSettings):
    """Configuration group `algorithm`, option `ga`; the keys of `PopulationSettings`, and:

    Attributes:
        population: as there; None: 10 times `parents`.
        sigma: the mutation power.
        parents: T.
        candidates: how many compete for the elite's place: the elite of before and the best of the generation.
        elite_episodes: of each of them; 0, or a single candidate: the best of the generation is the elite.
    """

    name: Literal["ga"] = "ga"
    sigma: Positive = 0.05
    parents: Count = 20
    candidates: Count = 10
    elite_episodes: Natural = 5

    def __post_init__(self) -> None:
        if self.parents > (self.population or self.parents):
            raise ValueError(f"parents={self.parents}: must be at most population={self.population}")
        if self.candidates > self.parents:
            raise ValueError(f"candidates={self.candidates}: must be at most parents={self.parents}")

    def sized(self, num_params: int, layers: Layers) -> Self:
        """With a population."""
        return replace(self, population=self.population or 10 * self.parents)

    @property
    def contested(self) -> bool:
        """Whether the elite is chosen by further episodes."""
        return self.elite_episodes > 0 and self.candidates > 1


@dataclass(frozen=True)
class GAState:
    """Everything that the search needs to go on.

    Attributes:
        generation: so far.
        theta: (d,), the elite.
        parents: their chains, best first; the elite is the first, once it is chosen.
        elite: the chain that `theta` is, int64 (generations,).
        chosen: whether the elite of this generation is.
        conditions: of the episodes.
    """

    generation: int
    theta: Floating
    parents: Lineages
    elite: Int64
    chosen: bool
    conditions: Conditions


class GA(PopulationSearch):
    """The Deep GA: truncation selection, mutation, one elite."""

    def init(self, theta: Floating, observations: RunningStats) -> GAState:
        """The state whose only parent is theta."""
        parents = lineages(theta[None], [np.zeros(0, np.int64)], self._settings.sigma)
        return GAState(0, theta, parents, parents.chain(0), True, self.first_conditions(observations))

    def snapshot(self, state: GAState) -> Snapshot:
        """The elite, and the parents."""
        return replace(super().snapshot(state), lineages=state.parents)

    def genomes(self, state: GAState, first: int, count: int) -> Genomes:
        """A mutation of a random parent each; member 0 is the elite itself."""
        noise_index = self.noise_indices(state.generation, state.theta.size, first, count)
        rng = generator(self._seed, Purpose.SELECTION, state.generation)
        parent = rng.integers(0, len(state.parents), size=first + count)[first:]
        scale = np.full(count, self._settings.sigma, state.theta.dtype)
        if first == 0:
            parent[0], scale[0] = 0, 0
        return Genomes(noise_index, scale, parent)

    def update(
        self, state: GAState, batch: Batch, fitness: Float64, conditions: Conditions, weighted_sum: WeightedSum
    ) -> tuple[GAState, dict[str, float]]:
        """The best T become parents, of equals the first; the elite is not chosen yet.

        The elite of before is among the candidates, in the last place if its own episode did not earn it one.
        """
        settings = self._settings
        best = np.argsort(-fitness, kind="stable")[: settings.parents]
        genomes = batch.genomes.take(best)
        assert genomes.parent is not None
        chains = []
        for parent, index, scale in zip(genomes.parent.tolist(), genomes.noise_index, genomes.scale, strict=True):
            chain = state.parents.chain(parent)
            chains.append(np.append(chain, index) if scale else chain)
        if settings.contested and len(chains) > 1:
            others = [chain for chain in chains if not np.array_equal(chain, state.elite)]
            rank = next((row for row, chain in enumerate(chains) if np.array_equal(chain, state.elite)), len(chains))
            place = min(rank, settings.candidates - 1, len(chains) - 1)
            chains = [*others[:place], state.elite, *others[place:]][: len(chains)]
        parents = lineages(state.parents.roots, chains, settings.sigma)
        following = GAState(state.generation + 1, state.theta, parents, state.elite, False, conditions)
        if not settings.contested or len(parents) == 1:
            following = self._choose(following, 0, weighted_sum)
        return following, {"chain_length": float(max(map(len, chains)))}

    def next_round(self, state: GAState) -> Round:
        """First a probe of the candidates for the elite: further episodes, the same for each, without action noise;
        then a generation."""
        if state.chosen:
            return super().next_round(state)
        candidates, episodes = min(self._settings.candidates, len(state.parents)), self._settings.elite_episodes
        count = candidates * episodes
        index = np.arange(count)
        genomes = Genomes(np.zeros(count, np.int64), np.zeros(count, np.float32), index // episodes)
        none = np.zeros(count, dtype=bool)
        tasks = Tasks(Purpose.PROBE, state.generation, index, index % episodes, none, genomes)
        return probe_round(self.snapshot(state), tasks)

    def after_probe(
        self, state: GAState, batch: Batch | None, weighted_sum: WeightedSum
    ) -> tuple[GAState, dict[str, float]]:
        """The elite is the candidate with the highest mean, of equals the first; without any mean the first of all."""
        if batch is None:
            return self._choose(state, 0, weighted_sum), {}
        assert batch.genomes.parent is not None
        totals = np.bincount(batch.genomes.parent, weights=self.fitness(batch)[:, 0])
        counts = np.bincount(batch.genomes.parent)
        means = np.where(counts > 0, totals / np.maximum(counts, 1), -np.inf)
        chosen = int(means.argmax())
        return self._choose(state, chosen, weighted_sum), {"elite_mean": float(means[chosen])}

    def _choose(self, state: GAState, row: int, weighted_sum: WeightedSum) -> GAState:
        """The state with this parent as the elite, first among the parents."""
        chains = [state.parents.chain(number) for number in range(len(state.parents))]
        elite = chains.pop(row)
        theta, known = state.parents.roots[0], 0
        if np.array_equal(elite[: len(state.elite)], state.elite):
            theta, known = state.theta, len(state.elite)
        for link in elite[known:]:  # one after the other, as actors add them, for the same bits
            theta = theta + weighted_sum(np.array([link]), np.array([self._settings.sigma], theta.dtype))
        parents = lineages(state.parents.roots, [elite, *chains], self._settings.sigma)
        return replace(state, theta=theta, parents=parents, elite=elite, chosen=True)


def lineages(roots: Floating, chains: list[Int64], scale: float) -> Lineages:
    """Chains that all begin at the first root."""
    ends = np.cumsum([len(chain) for chain in chains])
    return Lineages(roots, np.zeros(len(chains), np.int64), ends, np.concatenate(chains), scale)
