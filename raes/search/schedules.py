"""Schedules: pure functions of the generation, never of a limit or a clock."""

from __future__ import annotations

import math
from dataclasses import dataclass

from raes.types import SETTINGS


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

    kind: str = "none"
    steps: int = 1000
    factor: float = 2.0
    share: float = 0.5

    def __post_init__(self) -> None:
        if self.kind not in ("none", "fixed", "mean", "adaptive"):
            raise ValueError(f"kind must be one of none, fixed, mean, adaptive, got {self.kind!r}")
        if self.steps < 1:
            raise ValueError(f"steps must be at least 1, got {self.steps}")
        if self.factor <= 1:
            raise ValueError(f"factor must be greater than 1, got {self.factor}")
        if not 0 < self.share <= 1:
            raise ValueError(f"share must lie in (0, 1], got {self.share}")

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
