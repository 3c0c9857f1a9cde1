"""The simple Gaussian evolution strategy: one sigma for all parameters, mean and sigma from the best members.

The first method of Weng 2019, "Evolution Strategies": mu' is the elite's mean; sigma'^2 the elite's mean squared
distance from the old mean, over all parameters.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from raes.results import Batch
from raes.types import Float64, NotNegative

from .cem import Elite, Selected, elite
from .protocol import Conditions, WeightedSum
from .separable import SeparableSearch, SeparableSettings, SeparableState


@dataclass(frozen=True)
class GaussianESSettings(SeparableSettings):
    """Configuration group `algorithm`, option `gaussian_es`; the keys of `SeparableSettings`, and:

    Attributes:
        elite: share of the members that are kept.
        sigma_min: the least sigma.
    """

    name: Literal["gaussian_es"] = "gaussian_es"
    population: Selected | None = None
    elite: Elite = 0.2
    sigma_min: NotNegative = 0.0

    def __post_init__(self) -> None:
        if self.sigma_min > self.sigma:
            raise ValueError(f"sigma_min={self.sigma_min}: must be at most sigma={self.sigma}")


class GaussianES(SeparableSearch):
    """The simple Gaussian evolution strategy: one sigma for all parameters."""

    def update(
        self,
        state: SeparableState,
        batch: Batch,
        fitness: Float64,
        conditions: Conditions,
        weighted_sum: WeightedSum,
    ) -> tuple[SeparableState, dict[str, float]]:
        """mu' = mu + sigma * mean(eps), sigma'^2 = sigma^2 * mean(eps^2) over elite and parameters.

        Where there is nothing to select by (see `cem.elite`) both stay.
        """
        index, weights = elite(fitness, batch, self._settings.elite)
        if not index.size:
            return state.moved(state.mean, state.sigma, conditions), {"sigma": float(state.sigma[0])}
        mean = state.mean + state.sigma * weighted_sum(index, weights)
        square = float(weighted_sum(index, weights, squared=True).mean(dtype=np.float64))
        sigma = max(self._settings.sigma_min, float(state.sigma[0]) * square**0.5)
        return state.moved(mean, np.full(mean.size, sigma), conditions), {"sigma": sigma}
