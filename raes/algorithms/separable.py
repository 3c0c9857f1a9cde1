"""What the searches share whose distribution is a mean and one standard deviation for each parameter."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from raes.results import Batch
from raes.search.running_stats import RunningStats
from raes.tasks import Snapshot
from raes.types import Float64, Floating

from .population import PopulationSearch, PopulationSettings
from .protocol import Conditions, WeightedSum


@dataclass(frozen=True)
class SeparableSettings(PopulationSettings):
    """The keys that these methods have in common, which are those of `PopulationSettings`."""


@dataclass(frozen=True)
class SeparableState:
    """Everything that such a search needs to go on.

    Attributes:
        generation: updates so far.
        theta: (d,), the image of the mean.
        mean: float64 (d,).
        sigma: float64 (d,), standard deviations.
        conditions: of the episodes.
    """

    generation: int
    theta: Floating
    mean: Float64
    sigma: Float64
    conditions: Conditions

    def moved(self, mean: Float64, sigma: Float64, conditions: Conditions) -> SeparableState:
        """The next generation's state."""
        return SeparableState(self.generation + 1, mean.astype(self.theta.dtype), mean, sigma, conditions)


class SeparableSearch(PopulationSearch):
    """Members are mean + sigma * eps_i, sigma and eps_i of d numbers."""

    def init(self, theta: Floating, observations: RunningStats) -> SeparableState:
        """The state that starts at theta with these observation statistics."""
        mean = theta.astype(np.float64)
        return SeparableState(
            0, theta, mean, np.full(mean.size, self._settings.sigma), self.first_conditions(observations)
        )

    def step(self, state: Any, batch: Batch, weighted_sum: WeightedSum) -> tuple[Any, dict[str, float]]:
        """See `update`; afterwards with the least standard deviations."""
        following, metrics = super().step(state, batch, weighted_sum)
        if self.least_spread is not None:
            following = replace(following, sigma=np.maximum(following.sigma, self.least_spread))
        return following, metrics

    def spread(self, state: Any) -> Float64:
        """sigma."""
        return state.sigma  # type: ignore[no-any-return]

    def snapshot(self, state: Any) -> Snapshot:
        """theta, the standard deviations, and the conditions of this generation's episodes."""
        return replace(super().snapshot(state), spread=state.sigma.astype(state.theta.dtype))


def spread_metrics(sigma: Float64) -> dict[str, float]:
    """Figures of standard deviations, float64 (d,), for the log."""
    return {"sigma": float(sigma.mean()), "sigma_min": float(sigma.min()), "sigma_max": float(sigma.max())}
