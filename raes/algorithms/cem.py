"""The cross-entropy method with a diagonal covariance (Rubinstein & Kroese 2004; for policies: Szita & Lorincz 2006).

Symbols: the e best of n members are the elite; mu and sigma become their mean and standard deviation.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from raes.types import Batch, Float64

from .algorithm import WeightedSum
from .search import Conditions
from .separable import SeparableSearch, SeparableSettings, SeparableState, spread_figures


@dataclass(frozen=True)
class CEMSettings(SeparableSettings):
    """Configuration group `algorithm`, option `cem`; the keys of `SeparableSettings`, and:

    Attributes:
        elite: share of the members that are kept.
        extra_sigma: added to the elite's variance as its square, so that the search does not freeze early.
        extra_decay: factor on it each generation.
    """

    name: Literal["cem"] = "cem"
    elite: float = 0.2
    extra_sigma: float = 0.0
    extra_decay: float = 0.99

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 < self.elite < 1:
            raise ValueError(f"elite must lie in (0, 1), got {self.elite}")
        if self.extra_sigma < 0 or not 0 < self.extra_decay <= 1:
            raise ValueError(
                f"extra_sigma must not be negative and extra_decay lie in (0, 1], got {self.extra_sigma} and "
                f"{self.extra_decay}"
            )


class CEM(SeparableSearch):
    """See the module's docstring."""

    def update(
        self,
        state: SeparableState,
        batch: Batch,
        fitness: Float64,
        conditions: Conditions,
        weighted_sum: WeightedSum,
    ) -> tuple[SeparableState, dict[str, float]]:
        """mu' = mu + sigma * mean(eps), sigma'^2 = sigma^2 * var(eps) + extra^2 over the elite; ties by index."""
        index, weights = elite(fitness, batch, self._settings.elite)
        first = weighted_sum(index, weights).astype(np.float64)
        second = weighted_sum(index, weights, squared=True).astype(np.float64)
        mean = state.mean + state.sigma * first
        extra = self._settings.extra_sigma * self._settings.extra_decay**state.generation
        sigma = np.sqrt(np.square(state.sigma) * np.maximum(second - np.square(first), 0.0) + extra**2)
        return state.moved(mean, sigma, conditions), spread_figures(sigma)


def elite(fitness: Float64, batch: Batch, share: float) -> tuple[np.ndarray, np.ndarray]:
    """Noise indices int64 (e,) and equal weights float32 (e,), which sum to 1, of the best members, at least 2."""
    count = min(len(fitness), max(2, round(share * len(fitness))))
    best = np.sort(np.argsort(-fitness, kind="stable")[:count])
    return batch.genomes.noise_index[best], np.full(count, 1 / count, np.float32)
