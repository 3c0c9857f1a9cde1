"""Evolution Strategies (Salimans, Ho, Chen, Sidor, Sutskever 2017, arXiv 1703.03864, algorithms 1 and 2).

Symbols as in `gradient`, and u the shaped fitness. Deviations from the reference implementation: ties share their rank;
the episodes that feed the observation statistics are chosen by the task's own random number; an alive bonus can be left
out of the fitness, as in ARS.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from raes.search.optimizers import OptimizerSettings
from raes.search.shaping import SHAPINGS
from raes.types import Batch, Float32, Float64

from .algorithm import WeightedSum
from .gradient import GradientSearch, GradientSettings


@dataclass(frozen=True)
class ESSettings(GradientSettings):
    """Configuration group `algorithm`, option `es`; the keys of `GradientSettings`, and:

    Attributes:
        shaping: a name in `raes.search.shaping.SHAPINGS`.
    """

    name: Literal["es"] = "es"
    shaping: str = "centered_ranks"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.shaping not in SHAPINGS:
            raise ValueError(f"shaping must be one of {', '.join(SHAPINGS)}, got {self.shaping!r}")
        if self.alive_bonus and SHAPINGS[self.shaping].of_signs:
            raise ValueError(f"alive_bonus={self.alive_bonus}: shaping={self.shaping} reads only signs; set it to 0")


class ES(GradientSearch):
    """See the module's docstring."""

    def __init__(self, settings: ESSettings, optimizer: OptimizerSettings, seed: int, table_size: int) -> None:
        super().__init__(settings, optimizer, seed, table_size)
        self._shape = SHAPINGS[settings.shaping]

    def gradient(self, batch: Batch, fitness: Float64, weighted_sum: WeightedSum) -> Float32:
        """See `estimate`, with the shaped fitness."""
        return self.estimate(batch, self._shape(fitness, batch.sign_returns), weighted_sum)
