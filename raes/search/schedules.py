"""Schedules: pure functions of the generation, never of a limit or a clock."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Annotated, Literal

from annotated_types import Gt

from raes.types import SETTINGS, Count, PositiveShare


def exponential(start: float, decay: float, minimum: float, generation: int) -> float:
    """start * decay**generation, not below `minimum`."""
    return max(minimum, start * decay**generation)


@dataclass(frozen=True)
class EpisodeCap:
    """Configuration node `algorithm.episode_cap`: the longest training episode.

    Attributes:
        kind: `none`; `fixed`: `steps`; `mean`: `factor` times the running mean length (the paper's section 2.1, no
            cap in the first generation); `adaptive`: starts at `steps`, times `factor` after a generation in which
            at least `share` of the episodes reached it.
        steps: timesteps, for `fixed` and `adaptive`.
        factor: see `kind`.
        share: see `kind`.
    """

    __pydantic_config__ = SETTINGS

    kind: Literal["none", "fixed", "mean", "adaptive"] = "none"
    steps: Count = 1000
    factor: Annotated[float, Gt(1)] = 2.0
    share: PositiveShare = 0.5

    def first(self) -> float:
        """The cap of generation 0, in timesteps; infinite for none."""
        return float(self.steps) if self.kind in ("fixed", "adaptive") else math.inf

    def following(self, cap: float, running_length: float, capped_share: float) -> float:
        """The next generation's cap, from this one's, the running mean length and the share that reached the cap."""
        if self.kind == "mean":
            return float(math.ceil(self.factor * running_length))
        if self.kind == "adaptive" and capped_share >= self.share:
            return float(math.ceil(cap * self.factor))
        return cap
