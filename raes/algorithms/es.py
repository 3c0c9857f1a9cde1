"""Evolution Strategies (Salimans, Ho, Chen, Sidor, Sutskever 2017, arXiv 1703.03864, algorithms 1 and 2).

Symbols as in `gradient`, and u the shaped fitness. Deviations from the reference implementation: ties share their rank;
the episodes that feed the observation statistics are chosen by the task's own random number; an alive bonus can be left
out of the fitness, as in ARS.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal, Self

from raes.results import Batch
from raes.search.optimizers import OptimizerSettings
from raes.search.shaping import SHAPINGS, check_shaping
from raes.tasks import Layers, LowRank, Snapshot
from raes.types import Count, UserError

from .gradient import GradientSearch, GradientSettings, GradientState
from .protocol import WeightedSum


@dataclass(frozen=True)
class ESSettings(GradientSettings):
    """Configuration group `algorithm`, option `es`; the keys of `GradientSettings`, and:

    Attributes:
        shaping: a name in `raes.search.shaping.SHAPINGS`.
        perturbation: `full`, or `low_rank`: the noise of each layer is a product of two thin matrices.
        rank: their width.
    """

    name: Literal["es"] = "es"
    shaping: str = "centered_ranks"
    perturbation: Literal["full", "low_rank"] = "full"
    rank: Count = 1

    def __post_init__(self) -> None:
        super().__post_init__()
        check_shaping(self.shaping, self.alive_bonus)

    def sized(self, num_params: int, layers: Layers) -> Self:
        """The same, where low-rank perturbations fit these layers."""
        if self.perturbation == "full":
            return self
        thin = LowRank(self.rank, layers).noise_size
        if not layers or thin > num_params:
            which = f"takes {thin} numbers for its {num_params} parameters" if layers else "has no layers of ours"
            raise UserError(
                f"algorithm.perturbation=low_rank with algorithm.rank={self.rank}: this policy {which}; set "
                "algorithm.perturbation=full, or choose a larger policy=mlp"
            )
        return self


class ES(GradientSearch):
    """Evolution Strategies (Salimans et al., algorithm 2), with full-rank or low-rank perturbations.

    Args:
        layers: what theta is made of, see `LowRank`; the snapshots of `perturbation=low_rank` need them.
    """

    def __init__(
        self, settings: ESSettings, optimizer: OptimizerSettings, seed: int, table_size: int, layers: Layers = ()
    ) -> None:
        super().__init__(settings, optimizer, seed, table_size)
        self._shape = SHAPINGS[settings.shaping]
        self._low_rank = LowRank(settings.rank, layers) if settings.perturbation == "low_rank" else None

    def snapshot(self, state: GradientState) -> Snapshot:
        """With the form of the noise."""
        assert self._low_rank is None or self._low_rank.layers, "low-rank noise needs the layers of the policy"
        return replace(super().snapshot(state), low_rank=self._low_rank)

    def step(
        self, state: GradientState, batch: Batch, weighted_sum: WeightedSum
    ) -> tuple[GradientState, dict[str, float]]:
        """A step along the `estimate` from the shaped fitness."""
        utilities = self._shape(self.fitness(batch), batch.sign_returns)
        return self.stepped(state, batch, self.estimate(batch, utilities, weighted_sum))
