"""Parameter-exploring policy gradients (Sehnke et al. 2010) with symmetric pairs, for ClipUp (Toklu, Liskowski,
Srivastava 2020, arXiv 2008.02387): `optimizer=clipup`.

Symbols: mu the mean, sigma in R^d the standard deviations, eps_i a slice of the shared noise, n pairs, u the shaped
fitness of mu + sigma eps_i and mu - sigma eps_i. sigma starts at radius / sqrt(d).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Annotated, ClassVar, Literal

import numpy as np
from annotated_types import Gt, Lt

from raes.results import Batch
from raes.search import optimizers
from raes.search.optimizers import OptimizerSettings, OptimizerState
from raes.search.running_stats import RunningStats
from raes.search.schedules import exponential
from raes.search.shaping import SHAPINGS, check_shaping
from raes.tasks import Genomes, Snapshot, Tasks
from raes.types import Count, Float64, Floating, NotNegative, Positive

from .base import Search, SearchSettings
from .protocol import Conditions, WeightedSum
from .separable import spread_metrics


@dataclass(frozen=True)
class PGPESettings(SearchSettings):
    """Configuration group `algorithm`, option `pgpe`; the keys of `SearchSettings`, and:

    Attributes:
        pairs: the fewest symmetric pairs per generation, 2 episodes each; `min_timesteps` may add to them.
        max_pairs: where it ends to grow; None for nowhere.
        radius: the norm of sigma at the start.
        sigma_rate: the learning rate of sigma.
        sigma_change: the largest change of a sigma in a generation, as a share of it.
        shaping: a name in `raes.search.shaping.SHAPINGS`.
        shared_reset: whether the two episodes of a pair share their reset seed.
    """

    name: Literal["pgpe"] = "pgpe"
    pairs: Count = 100
    max_pairs: Count | None = None
    radius: Positive = 0.27
    sigma_rate: NotNegative = 0.1
    sigma_change: Annotated[float, Gt(0), Lt(1)] = 0.2
    shaping: str = "centered_ranks"
    shared_reset: bool = True

    size_key: ClassVar[str] = "pairs"
    uses_optimizer: ClassVar[bool] = True

    def __post_init__(self) -> None:
        if self.max_pairs is not None and self.max_pairs < self.pairs:
            raise ValueError(f"max_pairs={self.max_pairs}: must be at least pairs={self.pairs}, or null")
        check_shaping(self.shaping, self.alive_bonus)

    @property
    def episodes(self) -> int:
        """Two for each pair."""
        return 2 * self.pairs


@dataclass(frozen=True)
class PGPEState:
    """Everything that the search needs to go on.

    Attributes:
        generation: updates so far.
        theta: (d,), the image of the mean.
        mean: float64 (d,).
        sigma: float64 (d,), standard deviations.
        optimizer: its moments.
        conditions: of the episodes.
    """

    generation: int
    theta: Floating
    mean: Float64
    sigma: Float64
    optimizer: OptimizerState
    conditions: Conditions


class PGPE(Search):
    """PGPE with symmetric pairs; with `optimizer=clipup` as Toklu et al. have it."""

    group = 2

    def __init__(self, settings: PGPESettings, optimizer: OptimizerSettings, seed: int, table_size: int) -> None:
        super().__init__(settings, optimizer, seed, table_size)
        self._settings, self._shape = settings, SHAPINGS[settings.shaping]
        self.max_groups = settings.max_pairs

    def init(self, theta: Floating, observations: RunningStats) -> PGPEState:
        """The state that starts at theta with these observation statistics."""
        dim = theta.size
        return PGPEState(
            generation=0,
            theta=theta,
            mean=theta.astype(np.float64),
            sigma=np.full(dim, self._settings.radius / np.sqrt(dim)),
            optimizer=optimizers.init(self._optimizer, dim, theta.dtype),
            conditions=self.first_conditions(observations),
        )

    def snapshot(self, state: PGPEState) -> Snapshot:
        """theta, the standard deviations, and the conditions of this generation's episodes."""
        return replace(super().snapshot(state), spread=state.sigma.astype(state.theta.dtype))

    def spread(self, state: PGPEState) -> Float64:
        """sigma."""
        return state.sigma

    def ask(self, state: PGPEState, first: int, count: int) -> Tasks:
        """mu + sigma eps_i as task 2i and mu - sigma eps_i as task 2i + 1."""
        noise_index = self.noise_indices(state.generation, state.theta.size, first, count)
        genomes = Genomes(np.repeat(noise_index, 2), np.tile(np.array([1, -1], state.theta.dtype), count))
        return self.tasks(state.generation, first, genomes, self._settings.shared_reset)

    def step(self, state: PGPEState, batch: Batch, weighted_sum: WeightedSum) -> tuple[PGPEState, dict[str, float]]:
        """Ascent along both gradients.

        grad_mu = mean((u+ - u-) / 2 * sigma eps); grad_sigma = mean(((u+ + u-) / 2 - mean u) * sigma (eps^2 - 1)).
        """
        utilities = self._shape(self.fitness(batch), batch.sign_returns)
        pairs, index = len(utilities), batch.genomes.noise_index
        halves = ((utilities[:, 0] - utilities[:, 1]) / (2 * pairs)).astype(np.float32)
        above = ((utilities.mean(axis=1) - utilities.mean()) / pairs).astype(np.float32)
        gradient = (state.sigma * weighted_sum(index, halves)).astype(state.theta.dtype)
        squares = weighted_sum(index, above, squared=True) - float(above.sum(dtype=np.float64))
        settings = self._optimizer
        stepsize = exponential(settings.stepsize, settings.stepsize_decay, settings.stepsize_min, state.generation)
        step, optimizer = optimizers.step(settings, state.optimizer, state.theta, gradient, stepsize)
        mean = state.mean + step
        most = self._settings.sigma_change * state.sigma
        sigma = state.sigma + np.clip(self._settings.sigma_rate * state.sigma * squares, -most, most)
        if self.least_spread is not None:
            sigma = np.maximum(sigma, self.least_spread)
        following = PGPEState(
            generation=state.generation + 1,
            theta=mean.astype(state.theta.dtype),
            mean=mean,
            sigma=sigma,
            optimizer=optimizer,
            conditions=self.next_conditions(state.conditions, batch),
        )
        norms = {
            "grad_norm": float(np.linalg.norm(gradient)),
            "theta_norm": float(np.linalg.norm(state.theta)),
            "step_norm": float(np.linalg.norm(step)),
        }
        return following, norms | spread_metrics(sigma)
