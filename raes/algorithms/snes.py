"""Separable natural evolution strategies (Wierstra, Schaul, Glasmachers, Sun, Peters, Schmidhuber 2014, JMLR 15,
algorithm 6 with its table 1: default population, learning rates and utilities).

Symbols: mu the mean, sigma in R^d the standard deviations, s_i = eps_i the noise, u_i the utilities.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np

from raes.results import Batch
from raes.search.shaping import nes_utilities
from raes.types import Float64, Positive

from .protocol import Conditions, WeightedSum
from .separable import SeparableSearch, SeparableSettings, SeparableState, spread_metrics


@dataclass(frozen=True)
class SNESSettings(SeparableSettings):
    """Configuration group `algorithm`, option `snes`; the keys of `SeparableSettings`, and:

    Attributes:
        mean_rate: the learning rate of mu.
        sigma_rate: that of sigma; None: (3 + ln d) / (5 sqrt(d)).
    """

    name: Literal["snes"] = "snes"
    mean_rate: Positive = 1.0
    sigma_rate: Positive | None = None


class SNES(SeparableSearch):
    """Separable natural evolution strategies."""

    def update(
        self,
        state: SeparableState,
        batch: Batch,
        fitness: Float64,
        conditions: Conditions,
        weighted_sum: WeightedSum,
    ) -> tuple[SeparableState, dict[str, float]]:
        """mu += rate * sigma * sum u_i s_i; sigma *= exp(rate / 2 * sum u_i (s_i^2 - 1)); the u_i sum to 0."""
        utilities = nes_utilities(fitness).astype(np.float32)
        index, dim = batch.genomes.noise_index, state.mean.size
        rate = self._settings.sigma_rate or (3 + math.log(dim)) / (5 * math.sqrt(dim))
        mean = state.mean + self._settings.mean_rate * state.sigma * weighted_sum(index, utilities)
        squares = weighted_sum(index, utilities, squared=True) - float(utilities.sum(dtype=np.float64))
        sigma = state.sigma * np.exp(rate / 2 * squares)
        return state.moved(mean, sigma, conditions), spread_metrics(sigma)
