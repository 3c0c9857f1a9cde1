"""Evolution Strategies (Salimans, Ho, Chen, Sidor, Sutskever 2017, arXiv 1703.03864, algorithms 1 and 2).

Symbols: theta in R^d, sigma the noise scale, eps_i ~ N(0, I_d) a slice of the shared noise, n pairs, u the shaped
fitness. Deviations from the reference implementation: ties share their rank; the episodes that feed the observation
statistics are chosen by the task's own random number; an alive bonus can be left out of the fitness, as in ARS.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace

import numpy as np

from raes.rng import Purpose, generator
from raes.search import optimizers, running_stats
from raes.search.optimizers import OptimizerSettings, OptimizerState
from raes.search.running_stats import RunningStats
from raes.search.schedules import EpisodeCap, exponential
from raes.search.shaping import SHAPINGS
from raes.types import SETTINGS, Batch, Float32, Genomes, Snapshot, Tasks

from .algorithm import WeightedSum

DRAW_CHUNK = 1024
"""Pairs whose random numbers are drawn together, so that any range of pairs gives the same numbers."""
LENGTH_MEMORY = 0.9
"""Weight of the past in the running mean episode length."""


@dataclass(frozen=True)
class ESSettings:
    """Configuration group `algorithm`, option `es`.

    Attributes:
        pairs: antithetic pairs a generation, at least; 2 episodes each.
        min_timesteps: timesteps a generation, at least.
        sigma: noise scale in the first generation.
        sigma_decay: factor on sigma each generation.
        sigma_min: where the decay ends.
        shaping: a name in `raes.search.shaping.SHAPINGS`.
        shared_reset: whether the two episodes of a pair share their reset seed.
        normalize_observations: whether policies see (observation - mean) / std, clipped to +-5.
        observation_share: share of the episodes whose observations enter the statistics.
        action_noise: std of the Gaussian noise on continuous actions, in training only.
        alive_bonus: reward a timestep that only pays for being alive; left out of the fitness, not of the returns.
        episode_cap: the longest training episode.
    """

    __pydantic_config__ = SETTINGS

    name: str = "es"
    pairs: int = 100
    min_timesteps: int = 0
    sigma: float = 0.05
    sigma_decay: float = 1.0
    sigma_min: float = 0.0
    shaping: str = "centered_ranks"
    shared_reset: bool = True
    normalize_observations: bool = True
    observation_share: float = 1.0
    action_noise: float = 0.0
    alive_bonus: float = 0.0
    episode_cap: EpisodeCap = field(default_factory=EpisodeCap)

    def __post_init__(self) -> None:
        if self.pairs < 1:
            raise ValueError(f"pairs must be at least 1, got {self.pairs}")
        if self.min_timesteps < 0:
            raise ValueError(f"min_timesteps must not be negative, got {self.min_timesteps}")
        if self.sigma <= 0:
            raise ValueError(f"sigma must be positive, got {self.sigma}")
        if not 0 < self.sigma_decay <= 1:
            raise ValueError(f"sigma_decay must lie in (0, 1], got {self.sigma_decay}")
        if not 0 <= self.sigma_min <= self.sigma:
            raise ValueError(f"sigma_min must lie in [0, sigma], got {self.sigma_min}")
        if self.shaping not in SHAPINGS:
            raise ValueError(f"shaping must be one of {', '.join(SHAPINGS)}, got {self.shaping!r}")
        if not 0 <= self.observation_share <= 1:
            raise ValueError(f"observation_share must lie in [0, 1], got {self.observation_share}")
        if self.alive_bonus and SHAPINGS[self.shaping].of_signs:
            raise ValueError(f"alive_bonus={self.alive_bonus}: shaping={self.shaping} reads only signs; set it to 0")
        if self.action_noise < 0:
            raise ValueError(f"action_noise must not be negative, got {self.action_noise}")


@dataclass(frozen=True)
class ESState:
    """Everything ES needs to go on.

    Attributes:
        generation: updates so far.
        theta: float32 (d,).
        optimizer: its moments.
        observations: running statistics of the observations.
        episode_cap: timesteps, infinite for none.
        running_length: running mean of the episodes' lengths, 0 before the first.
    """

    generation: int
    theta: Float32
    optimizer: OptimizerState
    observations: RunningStats
    episode_cap: float
    running_length: float


class ES:
    """See the module's docstring; the methods are those of `Algorithm`."""

    def __init__(self, settings: ESSettings, optimizer: OptimizerSettings, seed: int, table_size: int) -> None:
        self._settings, self._optimizer = settings, optimizer
        self._seed, self._table_size = seed, table_size
        self.min_pairs, self.min_timesteps = settings.pairs, settings.min_timesteps

    def init(self, theta: Float32, observations: RunningStats) -> ESState:
        """The state that starts at theta with these observation statistics."""
        return ESState(
            generation=0,
            theta=theta,
            optimizer=optimizers.init(self._optimizer, theta.size),
            observations=observations,
            episode_cap=self._settings.episode_cap.first(),
            running_length=0.0,
        )

    def sigma(self, generation: int) -> float:
        """The noise scale of a generation."""
        return exponential(self._settings.sigma, self._settings.sigma_decay, self._settings.sigma_min, generation)

    def expected_length(self, state: ESState) -> float:
        """The running mean length of the episodes, 0 before the first."""
        return state.running_length

    def snapshot(self, state: ESState) -> Snapshot:
        """theta, the normaliser, the action noise and the cap of this generation."""
        cap = None if math.isinf(state.episode_cap) else int(state.episode_cap)
        snapshot = Snapshot(state.generation, state.theta, action_noise=self._settings.action_noise, max_steps=cap)
        if not self._settings.normalize_observations:
            return snapshot
        return replace(snapshot, obs_mean=state.observations.mean, obs_scale=state.observations.scale())

    def ask(self, state: ESState, first_pair: int, count: int) -> Tasks:
        """theta + sigma eps_i as task 2i and theta - sigma eps_i as task 2i + 1."""
        pairs = np.arange(first_pair, first_pair + count)
        noise_index, observe_draw = self._draw(state.generation, state.theta.size, first_pair, count)
        index = np.stack([2 * pairs, 2 * pairs + 1], axis=1).ravel()
        sigma = np.float32(self.sigma(state.generation))
        share = self._settings.observation_share if self._settings.normalize_observations else 0.0
        return Tasks(
            purpose=Purpose.TRAINING,
            generation=state.generation,
            index=index,
            reset=index - index % 2 if self._settings.shared_reset else index,
            observe=observe_draw.ravel() < share,
            genomes=Genomes(np.repeat(noise_index, 2), np.tile(np.array([sigma, -sigma], np.float32), count)),
        )

    def tell(self, state: ESState, batch: Batch, weighted_sum: WeightedSum) -> tuple[ESState, dict[str, float]]:
        """Ascend g = 1/(2n) * sum_i (u_i+ - u_i-) eps_i (equation 1 with mirrored sampling, no 1/sigma)."""
        fitness = batch.returns - self._settings.alive_bonus * batch.lengths
        utilities = SHAPINGS[self._settings.shaping](fitness, batch.sign_returns)
        weights = (utilities[:, 0] - utilities[:, 1]).astype(np.float32)
        gradient = weighted_sum(batch.genomes.noise_index, weights) / np.float32(utilities.size)
        settings = self._optimizer
        stepsize = exponential(settings.stepsize, settings.stepsize_decay, settings.stepsize_min, state.generation)
        step, optimizer = optimizers.step(settings, state.optimizer, state.theta, gradient, stepsize)
        theta_norm = float(np.linalg.norm(state.theta))
        figures = {
            "grad_norm": float(np.linalg.norm(gradient)),
            "theta_norm": theta_norm,
            "sigma": self.sigma(state.generation),
            "stepsize": stepsize,
        }
        if theta_norm > 0:
            figures["update_ratio"] = float(np.linalg.norm(step)) / theta_norm
        if not math.isinf(state.episode_cap):
            figures["episode_cap"] = state.episode_cap
        return self._advance(state, batch, state.theta + step, optimizer), figures

    def _advance(self, state: ESState, batch: Batch, theta: Float32, optimizer: OptimizerState) -> ESState:
        observations = state.observations
        if batch.moments is not None:
            observations = running_stats.merge(observations, batch.moments)
        mean_length = float(batch.lengths.mean())
        past = LENGTH_MEMORY if state.generation else 0.0
        running_length = past * state.running_length + (1 - past) * mean_length
        return ESState(
            generation=state.generation + 1,
            theta=theta,
            optimizer=optimizer,
            observations=observations,
            episode_cap=self._settings.episode_cap.following(state.episode_cap, running_length, batch.capped_share),
            running_length=running_length,
        )

    def _draw(
        self, generation: int, num_params: int, first: int, count: int
    ) -> tuple[np.ndarray[tuple[int], np.dtype[np.int64]], np.ndarray[tuple[int, int], np.dtype[np.float64]]]:
        """Noise indices (count,) and uniform numbers (count, 2) of pairs first, first + 1, ..."""
        indices, uniforms = [], []
        for chunk in range(first // DRAW_CHUNK, (first + count - 1) // DRAW_CHUNK + 1):
            rng = generator(self._seed, Purpose.NOISE_INDEX, generation, chunk)
            indices.append(rng.integers(0, self._table_size - num_params + 1, size=DRAW_CHUNK))
            uniforms.append(generator(self._seed, Purpose.OBSERVE, generation, chunk).random((DRAW_CHUNK, 2)))
        start = first % DRAW_CHUNK
        window = slice(start, start + count)
        return np.concatenate(indices)[window], np.concatenate(uniforms)[window]
