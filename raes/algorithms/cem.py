"""The cross-entropy method with a diagonal covariance (Rubinstein & Kroese 2004; for policies: Szita & Lorincz 2006).

Symbols: the e best of n members are the elite; mu and sigma become their mean and standard deviation.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

import numpy as np
from annotated_types import Ge, Gt, Lt

from raes.results import Batch
from raes.search.shaping import shared_by_ties
from raes.types import Float32, Float64, Int64, NotNegative, PositiveShare

from .protocol import Conditions, WeightedSum
from .separable import SeparableSearch, SeparableSettings, SeparableState, spread_metrics

LEAST_POPULATION = 3
"""An elite of 2, whose spread is known, and a member that is not in it."""
Selected = Annotated[int, Ge(LEAST_POPULATION)]
"""The size of a population that has an elite."""
Elite = Annotated[float, Gt(0), Lt(1)]
"""The share of the members that are kept."""


@dataclass(frozen=True)
class CEMSettings(SeparableSettings):
    """Configuration group `algorithm`, option `cem`; the keys of `SeparableSettings`, and:

    Attributes:
        elite: share of the members that are kept.
        extra_sigma: added to the elite's variance as its square, so that the search does not freeze early.
        extra_decay: factor on it each generation.
    """

    name: Literal["cem"] = "cem"
    population: Selected | None = None
    elite: Elite = 0.2
    extra_sigma: NotNegative = 0.0
    extra_decay: PositiveShare = 0.99


class CEM(SeparableSearch):
    """The cross-entropy method with a diagonal covariance."""

    def update(
        self,
        state: SeparableState,
        batch: Batch,
        fitness: Float64,
        conditions: Conditions,
        weighted_sum: WeightedSum,
    ) -> tuple[SeparableState, dict[str, float]]:
        """mu' = mu + sigma * mean(eps), sigma'^2 = sigma^2 * var(eps) + extra^2 over the elite.

        Where there is nothing to select by (see `elite`) both stay.
        """
        index, weights = elite(fitness, batch, self._settings.elite)
        if not index.size:
            return state.moved(state.mean, state.sigma, conditions), spread_metrics(state.sigma)
        first = weighted_sum(index, weights).astype(np.float64)
        second = weighted_sum(index, weights, squared=True).astype(np.float64)
        mean = state.mean + state.sigma * first
        extra = self._settings.extra_sigma * self._settings.extra_decay**state.generation
        sigma = np.sqrt(np.square(state.sigma) * np.maximum(second - np.square(first), 0.0) + extra**2)
        return state.moved(mean, sigma, conditions), spread_metrics(sigma)


def elite(fitness: Float64, batch: Batch, share: float) -> tuple[Int64, Float32]:
    """Noise indices int64 (e,) and weights float32 (e,), which sum to 1, of the best members.

    At least 2 of them, and not all. Members as good as the last of them share its weight. Nobody where all are equally
    good, or fewer than 3 are left.
    """
    if len(fitness) < LEAST_POPULATION or fitness.min() == fitness.max():
        return np.zeros(0, np.int64), np.zeros(0, np.float32)
    count = min(len(fitness) - 1, max(2, round(share * len(fitness))))
    by_rank = np.zeros(len(fitness))
    by_rank[:count] = 1 / count
    weights = shared_by_ties(fitness, by_rank)
    best = np.flatnonzero(weights)
    return batch.genomes.noise_index[best], weights[best].astype(np.float32)
