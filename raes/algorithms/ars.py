"""Augmented Random Search (Mania, Guy, Recht 2018, arXiv 1803.07055, algorithm 2: V1, V2, and V1-t, V2-t).

Symbols as in `gradient`; their nu is sigma, their delta eps, their alpha the stepsize of plain SGD (`optimizer=plain`).
V2 is `normalize_observations=true`, V1 without; `-t` is `best` < `pairs`. A linear policy without bias that starts at
zero (`policy=linear_zero`) is theirs; others work too. Deviation: all episodes of a generation see the statistics of
the generations before, and both episodes of a pair share their reset seed unless `shared_reset=false`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np

from raes.results import Batch
from raes.search.optimizers import OptimizerSettings
from raes.search.running_stats import RunningStats
from raes.search.shaping import LEAST_SPREAD
from raes.types import Count, Float64

from .gradient import GradientSearch, GradientSettings, GradientState
from .protocol import WeightedSum

LEAST_STD = 1e-7
"""Inputs that vary less become 0."""


@dataclass(frozen=True)
class ARSSettings(GradientSettings):
    """Configuration group `algorithm`, option `ars`; the keys of `GradientSettings`, and:

    Attributes:
        best: how many of the pairs count, those with the highest returns; None for all.
    """

    name: Literal["ars"] = "ars"
    best: Count | None = None

    def __post_init__(self) -> None:
        if not self.mirrored:
            raise ValueError("mirrored must be true for ARS, which compares the two episodes of a direction")
        if self.best is not None and self.best > self.pairs:
            raise ValueError(f"best={self.best}: must be at most pairs={self.pairs}")


class ARS(GradientSearch):
    """Augmented random search: V1 or V2 by `normalize_observations`, V1-t or V2-t by `best`."""

    def __init__(self, settings: ARSSettings, optimizer: OptimizerSettings, seed: int, table_size: int) -> None:
        super().__init__(settings, optimizer, seed, table_size)
        self._best = settings.best

    def step(
        self, state: GradientState, batch: Batch, weighted_sum: WeightedSum
    ) -> tuple[GradientState, dict[str, float]]:
        """A step along 1/(b s) * sum_kept (F_i+ - F_i-) eps_i; along 0 where s is 0.

        Kept are the b pairs with the largest max(F_i+, F_i-), the earlier of equal ones; s is the standard deviation
        of their 2b returns.
        """
        fitness = self.fitness(batch)
        order = np.argsort(-fitness.max(axis=1), kind="stable")[: self._best]
        kept = fitness[np.sort(order)]
        spread = float(kept.std())
        differ = spread > LEAST_SPREAD * np.abs(batch.returns).max()
        weights = (kept[:, 0] - kept[:, 1]) / (len(kept) * spread) if differ else np.zeros(len(kept))
        gradient = weighted_sum(batch.genomes.noise_index[np.sort(order)], weights.astype(np.float32))
        return self.stepped(state, batch, gradient)

    def normalizer(self, observations: RunningStats) -> tuple[Float64, Float64, float]:
        """(observation - mean) / std of the observations alone, as in the authors' code; not clipped; 0 for what has
        not varied yet."""
        seen = observations.without_prior()
        std = np.sqrt(seen.m2 / seen.count)
        scale = np.divide(1.0, std, out=np.zeros_like(std), where=std >= LEAST_STD)
        return seen.mean, scale, math.inf
