"""What all searches share: the conditions of their episodes, the episodes' random numbers, and what they observe."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, Self

import numpy as np

from raes.results import Batch
from raes.rng import Purpose, generator
from raes.search import running_stats
from raes.search.drawn_noise import drawn_index
from raes.search.optimizers import OptimizerSettings
from raes.search.running_stats import RunningStats
from raes.search.schedules import EpisodeCap
from raes.tasks import Genomes, Layers, Round, Snapshot, Tasks
from raes.types import SETTINGS, Float64, Int64, Natural, NotNegative, Share

from .protocol import Conditions, WeightedSum

DRAW_CHUNK = 1024
"""Groups whose random numbers are drawn together, so that any range of groups gives the same numbers."""
LENGTH_MEMORY = 0.9
"""Weight of the past in the running mean episode length."""
OBSERVATION_CLIP = 5.0


@dataclass(frozen=True)
class SearchSettings:
    """The keys that all algorithms have in common; a function that is no environment needs none of them.

    Attributes:
        min_timesteps: the fewest timesteps per generation.
        normalize_observations: whether policies see (observation - mean) / std.
        observation_share: share of the episodes whose observations enter the statistics.
        action_noise: std of the Gaussian noise on continuous actions, in training only.
        alive_bonus: reward a timestep that only pays for being alive; left out of the fitness, not of the returns.
        episode_cap: the longest training episode.
    """

    __pydantic_config__ = SETTINGS

    min_timesteps: Natural = 0
    normalize_observations: bool = True
    observation_share: Share = 1.0
    action_noise: NotNegative = 0.0
    alive_bonus: float = 0.0
    episode_cap: EpisodeCap = field(default_factory=EpisodeCap)

    size_key: ClassVar[str] = "population"
    """The key for the size of a generation."""
    uses_optimizer: ClassVar[bool] = False
    """Whether the algorithm steps with the optimiser of the configuration."""

    @property
    def episodes(self) -> int:
        """Training episodes of a generation, at least."""
        raise NotImplementedError

    def sized(self, num_params: int, layers: Layers) -> Self:
        """With what depends on the parameters filled in, where it was left open.

        Args:
            num_params: d.
            layers: what they are made of, see `LowRank`; empty where they are not made of layers.

        Raises:
            UserError: the settings do not fit.
        """
        return self


class Search(ABC):
    """What the algorithms build on; see `Algorithm` for the methods.

    Attributes:
        pipelines: whether a generation may perturb the state before the last update (`runtime.pipeline=1`).
        needs_behavior: whether it reads what episodes did, besides their returns.
        compares_generations: whether it compares the fitness of members of different generations.
        group: episodes that count only together: 2 for antithetic pairs, else 1.
        min_groups: the fewest groups of a generation.
        max_groups: the most that `min_timesteps` may extend it to; None for no bound.
        min_timesteps: the fewest timesteps of a generation.
        least_spread: float64 (d,), below which no standard deviation falls, as of whole numbers; None for no limit.
    """

    pipelines = False
    needs_behavior = False
    compares_generations = False
    group = 1
    max_groups: int | None = None
    least_spread: Float64 | None = None

    def __init__(self, settings: SearchSettings, optimizer: OptimizerSettings, seed: int, table_size: int) -> None:
        self.min_groups, self.min_timesteps = settings.episodes // self.group, settings.min_timesteps
        self._conditions = settings
        self._optimizer, self._seed, self._table_size = optimizer, seed, table_size

    def memory(self, num_params: int) -> int:
        """Bytes that the search's own state needs beyond a few vectors of d numbers."""
        return 0

    def snapshot(self, state: Any) -> Snapshot:
        """theta, and the conditions of this generation's episodes."""
        return self.conditioned(Snapshot(state.generation, state.theta), state.conditions)

    def next_round(self, state: Any) -> Round:
        """The next generation; a search that must know more before it overrides this."""
        return Round(
            snapshot=self.snapshot(state),
            ask=lambda first, count: self.ask(state, first, count),
            group=self.group,
            min_groups=self.min_groups,
            max_groups=self.max_groups,
            min_timesteps=self.min_timesteps,
            expected_length=float(state.conditions.running_length),
        )

    def tell(
        self, state: Any, round: Round, batch: Batch | None, weighted_sum: WeightedSum
    ) -> tuple[Any, dict[str, float]]:
        """The state after a generation (`step`) or after a probe (`after_probe`)."""
        if round.purpose is Purpose.PROBE:
            return self.after_probe(state, batch, weighted_sum)
        assert batch is not None
        return self.step(state, batch, weighted_sum)

    @abstractmethod
    def ask(self, state: Any, first: int, count: int) -> Tasks:
        """The training episodes of `count` groups from number `first` on; the same however the groups are cut."""

    @abstractmethod
    def step(self, state: Any, batch: Batch, weighted_sum: WeightedSum) -> tuple[Any, dict[str, float]]:
        """The state after a generation, and metrics for the log."""

    def after_probe(self, state: Any, batch: Batch | None, weighted_sum: WeightedSum) -> tuple[Any, dict[str, float]]:
        """The state after a probe, and metrics for the log; only a search that probes has this.

        Args:
            state: whose probe it was.
            batch: the episodes without a fault, (n, 1); None where all failed.
            weighted_sum: of slices of noise.
        """
        raise NotImplementedError(f"{type(self).__name__} asks for no probe")

    def spread(self, state: Any) -> Float64 | None:
        """The standard deviations of the members, float64 (d,); None where the search does not adapt them."""
        return None

    def covariance(self, state: Any) -> Float64 | None:
        """The covariance of the members, float64 (d, d), or its diagonal (d,); None where there is none."""
        spread = self.spread(state)
        return None if spread is None else np.square(spread)

    def exhausted(self, state: Any) -> str | None:
        """Why the search can get no further, by its own numbers; None where it can."""
        return None

    def normalizer(self, observations: RunningStats) -> tuple[Float64, Float64, float]:
        """What is subtracted from observations, the factor on the rest, both float64 (obs,), and the bound on what
        comes out.

        The mean, and 1 / std with std = sqrt(max(variance, 0.01)); clipped to +-5, as Salimans et al. have it.
        """
        return observations.mean, observations.scale(), OBSERVATION_CLIP

    # For the algorithms' own use.

    def first_conditions(self, observations: RunningStats) -> Conditions:
        """Those of generation 0."""
        return Conditions(observations, self._conditions.episode_cap.first(), 0.0)

    def next_conditions(self, conditions: Conditions, batch: Batch) -> Conditions:
        """Those after a generation of the same policy."""
        observations = conditions.observations
        if batch.moments is not None:
            observations = running_stats.merge(observations, batch.moments)
        past = LENGTH_MEMORY if conditions.running_length else 0.0
        length = past * conditions.running_length + (1 - past) * float(batch.lengths.mean())
        cap = self._conditions.episode_cap.following(conditions.episode_cap, length, batch.capped_share)
        return Conditions(observations, cap, length)

    def conditioned(self, snapshot: Snapshot, conditions: Conditions) -> Snapshot:
        """The snapshot with the normaliser, the action noise and the cap."""
        cap = None if math.isinf(conditions.episode_cap) else int(conditions.episode_cap)
        snapshot = replace(snapshot, action_noise=self._conditions.action_noise, max_steps=cap)
        if not self._conditions.normalize_observations:
            return snapshot
        mean, scale, bound = self.normalizer(conditions.observations)
        return replace(snapshot, obs_mean=mean, obs_scale=scale, obs_clip=bound)

    def fitness(self, batch: Batch) -> Float64:
        """The returns without the alive bonus, float64 (n, m)."""
        return batch.returns - self._conditions.alive_bonus * batch.lengths

    def tasks(self, generation: int, first: int, genomes: Genomes, shared_reset: bool = False) -> Tasks:
        """The training episodes of these genomes, whose first one belongs to group number `first`.

        Args:
            generation: theirs.
            first: group.
            genomes: of whole groups.
            shared_reset: whether the episodes of a group share their reset seed.
        """
        count = len(genomes.scale) // self.group
        index = np.arange(self.group * first, self.group * (first + count))
        share = self._conditions.observation_share if self._conditions.normalize_observations else 0.0
        if 0 < share < 1:
            draws = _drawn(lambda chunk: self._uniforms(generation, chunk), first, count)[:, : self.group]
            observe = draws.ravel() < share
        else:
            observe = np.full(len(index), share > 0)
        return Tasks(
            purpose=Purpose.TRAINING,
            generation=generation,
            index=index,
            reset=index - index % self.group if shared_reset else index,
            observe=observe,
            genomes=genomes,
        )

    def noise_indices(self, generation: int, num_params: int, first: int, count: int) -> Int64:
        """Where the noise of groups first, first + 1, ... lies in the table, int64 (count,); see `DrawnNoise` too."""
        if not self._table_size:
            return drawn_index(generation, np.arange(first, first + count))
        high = self._table_size - num_params + 1

        def draw(chunk: int) -> Int64:
            return generator(self._seed, Purpose.NOISE_INDEX, generation, chunk).integers(0, high, size=DRAW_CHUNK)

        indices: Int64 = _drawn(draw, first, count)
        return indices

    def _uniforms(self, generation: int, chunk: int) -> Float64:
        return generator(self._seed, Purpose.OBSERVE, generation, chunk).random((DRAW_CHUNK, 2))


def _drawn(draw: Any, first: int, count: int) -> Any:
    """Rows first, first + 1, ... of what is drawn a chunk at a time."""
    chunks = range(first // DRAW_CHUNK, (first + max(count, 1) - 1) // DRAW_CHUNK + 1)
    start = first % DRAW_CHUNK
    return np.concatenate([draw(chunk) for chunk in chunks])[start : start + count]


def probe_round(snapshot: Snapshot, tasks: Tasks) -> Round:
    """A round of these episodes alone, each a group of its own.

    Args:
        snapshot: its own, of the search's generation.
        tasks: of purpose PROBE.
    """
    return Round(snapshot, lambda first, count: tasks, min_groups=len(tasks), purpose=Purpose.PROBE)
