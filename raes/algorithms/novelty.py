"""Novelty search with ES: NS-ES, NSR-ES, NSRA-ES (Conti et al. 2018, arXiv 1712.06560, algorithms 1 to 3).

M agents share an archive of behaviours. Novelty is the mean distance to the k nearest in it. Each generation perturbs
one agent, drawn with a probability proportional to its novelty, and steps along w * ranks of F + (1 - w) * ranks of
novelty; then the agent's new behaviour joins the archive. NS has w = 0, NSR 0.5; NSRA starts at 1 and moves w.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np

from raes.results import Batch
from raes.rng import Purpose, generator
from raes.search import optimizers
from raes.search.archive import novelty
from raes.search.optimizers import OptimizerSettings
from raes.search.running_stats import RunningStats
from raes.search.shaping import SHAPINGS, check_shaping
from raes.tasks import Genomes, Lineages, Round, Snapshot, Tasks
from raes.types import Count, Float64, Floating, PositiveShare, RunFailedError, Share

from .base import probe_round
from .gradient import GradientSearch, GradientSettings, GradientState
from .protocol import Conditions, WeightedSum


@dataclass(frozen=True)
class NoveltySettings(GradientSettings):
    """The keys that the three have in common; those of `GradientSettings`, and:

    Attributes:
        agents: M.
        neighbors: k.
        probe_episodes: from which an agent's behaviour is averaged.
        shaping: of the returns; novelty always enters as centred ranks.
    """

    agents: Count = 3
    neighbors: Count = 10
    probe_episodes: Count = 1
    shaping: str = "centered_ranks"

    def __post_init__(self) -> None:
        super().__post_init__()
        check_shaping(self.shaping, self.alive_bonus)

    @property
    def first_weight(self) -> float:
        """w in the first generation: here returns do not count."""
        return 0.0

    def moved(self, weight: float, stale: int) -> float:
        """w after a probe; here it stays.

        Args:
            weight: w before.
            stale: generations since the best return of a probe, 0 where this one is the best.
        """
        return weight


@dataclass(frozen=True)
class NSESSettings(NoveltySettings):
    """Configuration group `algorithm`, option `ns_es`: novelty alone; the keys of `NoveltySettings`."""

    name: Literal["ns_es"] = "ns_es"


@dataclass(frozen=True)
class NSRESSettings(NoveltySettings):
    """Configuration group `algorithm`, option `nsr_es`; the keys of `NoveltySettings`, and:

    Attributes:
        weight: w, of the returns.
    """

    name: Literal["nsr_es"] = "nsr_es"
    weight: Share = 0.5

    @property
    def first_weight(self) -> float:
        """It stays there."""
        return self.weight


@dataclass(frozen=True)
class NSRAESSettings(NoveltySettings):
    """Configuration group `algorithm`, option `nsra_es`; the keys of `NoveltySettings`, and:

    Attributes:
        weight: w, of the returns, at the start.
        weight_step: by how much it moves, within [0, 1].
        patience: generations without a better return until it goes down.
    """

    name: Literal["nsra_es"] = "nsra_es"
    weight: Share = 1.0
    weight_step: PositiveShare = 0.05
    patience: Count = 10

    @property
    def first_weight(self) -> float:
        """It moves from here."""
        return self.weight

    def moved(self, weight: float, stale: int) -> float:
        """Up after a better return, down after every `patience` generations without one."""
        if stale == 0:
            return min(1.0, weight + self.weight_step)
        return weight if stale % self.patience else max(0.0, weight - self.weight_step)


@dataclass(frozen=True)
class Agent:
    """One of the M.

    Attributes:
        search: its theta, its optimiser, its conditions.
        behavior: float64 (b,); empty until it is known.
        known: whether it is that of its theta.
    """

    search: GradientState
    behavior: Float64
    known: bool


@dataclass(frozen=True)
class NoveltyState:
    """Everything that the search needs to go on.

    Attributes:
        generation: updates so far.
        theta: (d,), of the agent that this generation perturbs.
        current: which one that is.
        agents: all of them.
        archive: float64 (a, b).
        weight: w.
        best: the highest return of a probe.
        stale: generations since then.
    """

    generation: int
    theta: Floating
    current: int
    agents: tuple[Agent, ...]
    archive: Float64
    weight: float
    best: float
    stale: int

    @property
    def conditions(self) -> Conditions:
        """Those of the agent that is perturbed."""
        return self.agents[self.current].search.conditions


class NoveltySearch(GradientSearch):
    """NS-ES, NSR-ES and NSRA-ES, by the settings."""

    pipelines = False
    needs_behavior = True

    def __init__(self, settings: Any, optimizer: OptimizerSettings, seed: int, table_size: int) -> None:
        super().__init__(settings, optimizer, seed, table_size)
        self._novelty: Any = settings
        self._shape = SHAPINGS[settings.shaping]

    def init(self, theta: Floating, observations: RunningStats) -> NoveltyState:  # type: ignore[override]
        """M agents near theta: the first is theta itself, the others are perturbed by sigma."""
        agents = []
        for number in range(self._novelty.agents):
            rng = generator(self._seed, Purpose.SELECTION, 0, number + 1)
            away = rng.standard_normal(theta.size, dtype=np.float32) * np.float32(self._novelty.sigma)
            start = theta + away if number else theta
            conditions = self.first_conditions(observations)
            search = GradientState(0, start, optimizers.init(self._optimizer, theta.size, theta.dtype), conditions)
            agents.append(Agent(search, np.zeros(0), known=False))
        return NoveltyState(0, theta, 0, tuple(agents), np.zeros((0, 0)), self._novelty.first_weight, -np.inf, 0)

    def step(
        self, state: NoveltyState, batch: Batch, weighted_sum: WeightedSum
    ) -> tuple[NoveltyState, dict[str, float]]:
        """The agent's step, as ES makes it, on both kinds of ranks."""
        assert batch.behaviors is not None
        flat = batch.behaviors.reshape(-1, batch.behaviors.shape[2])
        new = novelty(flat, state.archive, self._novelty.neighbors).reshape(batch.returns.shape)
        returns = self._shape(self.fitness(batch), batch.sign_returns)
        novel = SHAPINGS["centered_ranks"](new, new)
        utilities = state.weight * returns + (1 - state.weight) * novel
        agent = state.agents[state.current]
        current = replace(agent.search, generation=state.generation)
        search, metrics = self.stepped(current, batch, self.estimate(batch, utilities, weighted_sum))
        agents = list(state.agents)
        agents[state.current] = Agent(search, agent.behavior, known=False)
        metrics |= {"novelty_mean": float(new.mean()), "weight": state.weight, "agent": float(state.current)}
        return replace(state, generation=state.generation + 1, theta=search.theta, agents=tuple(agents)), metrics

    def next_round(self, state: NoveltyState) -> Round:
        """First a probe of the agents whose behaviour is not known: episodes without noise; then a generation."""
        unknown = self._unknown(state)
        if not unknown:
            return super().next_round(state)
        roots = np.stack([state.agents[number].search.theta for number in unknown])
        rows, empty = np.arange(len(unknown)), np.zeros(len(unknown), np.int64)
        conditions = state.agents[unknown[0]].search.conditions  # several are unknown only before the first generation
        snapshot = Snapshot(state.generation, roots[0], lineages=Lineages(roots, rows, empty, empty[:0]))
        episodes = self._novelty.probe_episodes
        index = np.arange(len(unknown) * episodes)
        zeros = np.zeros(len(index), np.int64)
        genomes = Genomes(zeros, zeros.astype(np.float32), index // episodes)
        tasks = Tasks(Purpose.PROBE, state.generation, index, index % episodes, zeros.astype(bool), genomes)
        return probe_round(self.conditioned(snapshot, conditions), tasks)

    def after_probe(
        self, state: NoveltyState, batch: Batch | None, weighted_sum: WeightedSum
    ) -> tuple[NoveltyState, dict[str, float]]:
        """Behaviours join the archive; w moves; the next agent is drawn. A failed probe keeps the last behaviour."""
        means = self._probed(batch)
        agents, archive, reached = list(state.agents), state.archive, -np.inf
        for row, number in enumerate(self._unknown(state)):
            behavior = agents[number].behavior
            if row in means:
                behavior, fitness = means[row]
                archive = np.concatenate([archive.reshape(-1, behavior.size), behavior[None]])
                reached = max(reached, fitness)
            elif not behavior.size:  # before the first generation
                if not means:
                    raise RunFailedError("no agent's behaviour can be had: every probe failed")
                behavior = next(iter(means.values()))[0]
            agents[number] = Agent(agents[number].search, behavior, known=True)
        new = novelty(np.stack([agent.behavior for agent in agents]), archive, self._novelty.neighbors)
        total = float(new.sum())
        chances = new / total if total > 0 else np.full(len(new), 1 / len(new))
        current = int(generator(self._seed, Purpose.SELECTION, state.generation).choice(len(agents), p=chances))
        stale = 0 if reached > state.best else state.stale + 1
        weight, best = self._novelty.moved(state.weight, stale), max(state.best, reached)
        theta = agents[current].search.theta
        metrics = {"archive": float(len(archive)), "archive_spread": float(np.linalg.norm(archive.std(axis=0)))}
        if means:
            metrics["probe_return"] = reached
        return NoveltyState(state.generation, theta, current, tuple(agents), archive, weight, best, stale), metrics

    def _probed(self, batch: Batch | None) -> dict[int, tuple[Float64, float]]:
        """Mean behaviour and mean fitness of each agent that was probed and did not fail, by its row in the probe."""
        if batch is None:
            return {}
        assert batch.behaviors is not None
        assert batch.genomes.parent is not None
        values, fitness, parents = batch.behaviors[:, 0], self.fitness(batch)[:, 0], batch.genomes.parent
        return {
            int(row): (values[parents == row].mean(axis=0), float(fitness[parents == row].mean()))
            for row in np.unique(parents)
        }

    @staticmethod
    def _unknown(state: NoveltyState) -> list[int]:
        return [number for number, agent in enumerate(state.agents) if not agent.known]
