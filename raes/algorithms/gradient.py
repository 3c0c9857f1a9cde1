"""What all searches share that estimate a gradient at one centre: the episodes they ask for, and how they step.

Symbols: theta in R^d the centre, sigma the noise scale, eps_i ~ N(0, I_d) a slice of the shared noise, n antithetic
pairs. The methods differ in the gradient that they make of the returns, and in how they normalise observations.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from raes.results import Batch
from raes.search import optimizers
from raes.search.optimizers import OptimizerSettings, OptimizerState
from raes.search.running_stats import RunningStats
from raes.search.schedules import exponential
from raes.tasks import Genomes, Tasks
from raes.types import Count, Float64, Floating, NotNegative, Positive, PositiveShare

from .base import Search, SearchSettings
from .protocol import Conditions, WeightedSum


@dataclass(frozen=True)
class GradientSettings(SearchSettings):
    """The keys that these methods have in common; those of `SearchSettings`, and:

    Attributes:
        pairs: the fewest antithetic pairs per generation; 2 episodes each.
        mirrored: false: 2 independent perturbations in the place of each pair.
        sigma: noise scale in the first generation.
        sigma_decay: factor on sigma each generation.
        sigma_min: where the decay ends.
        shared_reset: whether the two episodes of a pair share their reset seed.
    """

    pairs: Count = 100
    mirrored: bool = True
    sigma: Positive = 0.05
    sigma_decay: PositiveShare = 1.0
    sigma_min: NotNegative = 0.0
    shared_reset: bool = True

    size_key: ClassVar[str] = "pairs"
    uses_optimizer: ClassVar[bool] = True

    def __post_init__(self) -> None:
        if self.sigma_min > self.sigma:
            raise ValueError(f"sigma_min={self.sigma_min}: must be at most sigma={self.sigma}")

    @property
    def episodes(self) -> int:
        """Two for each pair, mirrored or not."""
        return 2 * self.pairs


@dataclass(frozen=True)
class GradientState:
    """Everything that such a search needs to go on.

    Attributes:
        generation: updates so far.
        theta: (d,).
        optimizer: its moments.
        conditions: of the episodes.
    """

    generation: int
    theta: Floating
    optimizer: OptimizerState
    conditions: Conditions


class GradientSearch(Search):
    """The methods are those of `Algorithm`; `step` is the algorithm's own, and ends in `stepped`."""

    pipelines = True

    def __init__(self, settings: GradientSettings, optimizer: OptimizerSettings, seed: int, table_size: int) -> None:
        self.group = 2 if settings.mirrored else 1
        super().__init__(settings, optimizer, seed, table_size)
        self._settings = settings

    def init(self, theta: Floating, observations: RunningStats) -> GradientState:
        """The state that starts at theta with these observation statistics."""
        optimizer = optimizers.init(self._optimizer, theta.size, theta.dtype)
        return GradientState(0, theta, optimizer, self.first_conditions(observations))

    def sigma(self, generation: int) -> float:
        """The noise scale of a generation."""
        return exponential(self._settings.sigma, self._settings.sigma_decay, self._settings.sigma_min, generation)

    def ask(self, state: GradientState, first: int, count: int) -> Tasks:
        """theta + sigma eps_i as task 2i and theta - sigma eps_i as task 2i + 1; without mirrors, i."""
        noise_index = self.noise_indices(state.generation, state.theta.size, first, count)
        sigma = self.sigma(state.generation)
        signs = np.array([sigma, -sigma], state.theta.dtype)[: self.group]
        genomes = Genomes(np.repeat(noise_index, self.group), np.tile(signs, count))
        return self.tasks(state.generation, first, genomes, self._settings.shared_reset)

    def estimate(self, batch: Batch, utilities: Float64, weighted_sum: WeightedSum) -> Floating:
        """g = 1/(2n) * sum_i (u_i+ - u_i-) eps_i (Salimans et al., equation 1 with mirrored sampling, no 1/sigma).

        Without mirroring g = 1/(2n) * sum_i u_i eps_i over the 2n perturbations.

        Args:
            batch: a generation.
            utilities: float64 (n, m), u.
            weighted_sum: of slices of noise.
        """
        weights = utilities[:, 0] - utilities[:, 1] if self.group == 2 else utilities[:, 0]
        return weighted_sum(batch.genomes.noise_index, weights.astype(np.float32)) / np.float32(utilities.size)

    def stepped(self, state: GradientState, batch: Batch, gradient: Floating) -> tuple[GradientState, dict[str, float]]:
        """The state after a step along a gradient, float32 (d,), and metrics for the log."""
        settings = self._optimizer
        stepsize = exponential(settings.stepsize, settings.stepsize_decay, settings.stepsize_min, state.generation)
        step, optimizer = optimizers.step(settings, state.optimizer, state.theta, gradient, stepsize)
        theta_norm = float(np.linalg.norm(state.theta))
        metrics = {
            "grad_norm": float(np.linalg.norm(gradient)),
            "theta_norm": theta_norm,
            "sigma": self.sigma(state.generation),
            "stepsize": stepsize,
        }
        if theta_norm > 0:
            metrics["update_ratio"] = float(np.linalg.norm(step)) / theta_norm
        if not math.isinf(state.conditions.episode_cap):
            metrics["episode_cap"] = state.conditions.episode_cap
        conditions = self.next_conditions(state.conditions, batch)
        return GradientState(state.generation + 1, state.theta + step, optimizer, conditions), metrics
