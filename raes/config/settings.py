"""The small nodes of the configuration: where a run computes, when it evaluates, stops and keeps what."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from raes.types import SETTINGS


@dataclass(frozen=True)
class RaySettings:
    """`ray.address`: `auto`, `local`, or an address."""

    __pydantic_config__ = SETTINGS

    address: str = "auto"


@dataclass(frozen=True)
class RuntimeSettings:
    """Configuration group `runtime`: `ray` or `serial`.

    Attributes:
        pipeline: 1 starts each generation one update early, so that no worker waits; else 0.
        relays: whether each node gathers its workers' results; `auto`: on a cluster, not on an embedded Ray.
        deadline: seconds an episode may take before its worker counts as hung; `auto`: from those that ended.
    """

    __pydantic_config__ = SETTINGS

    name: Literal["ray", "serial"] = "ray"
    pipeline: int = 0
    relays: bool | Literal["auto"] = "auto"
    deadline: float | Literal["auto"] = "auto"

    def __post_init__(self) -> None:
        if self.pipeline not in (0, 1):
            raise ValueError(f"pipeline must be 0 or 1, got {self.pipeline}")
        if self.deadline != "auto" and self.deadline <= 0:
            raise ValueError(f"deadline must be positive, or auto, got {self.deadline}")


@dataclass(frozen=True)
class NoiseSettings:
    """`noise.size`: floats in the shared table; None lets the number of parameters decide."""

    __pydantic_config__ = SETTINGS

    size: int | None = None

    def __post_init__(self) -> None:
        if self.size is not None and self.size < 1:
            raise ValueError(f"size must be positive, got {self.size}; null lets the number of parameters decide")


@dataclass(frozen=True)
class EvaluationSettings:
    """Noiseless episodes on fixed held-out seeds.

    Attributes:
        every: generations between evaluations; 0 leaves only the one at the end.
        episodes: of one evaluation.
    """

    __pydantic_config__ = SETTINGS

    every: int = 10
    episodes: int = 10

    def __post_init__(self) -> None:
        if self.every < 0:
            raise ValueError(f"every must not be negative, got {self.every}")
        if self.episodes < 1:
            raise ValueError(f"episodes must be at least 1, got {self.episodes}")


@dataclass(frozen=True)
class GoalSettings:
    """Stop when the evaluation mean is at least `return_mean` in `consecutive` evaluations in a row."""

    __pydantic_config__ = SETTINGS

    return_mean: float | None = None
    consecutive: int = 1

    def __post_init__(self) -> None:
        if self.consecutive < 1:
            raise ValueError(f"consecutive must be at least 1, got {self.consecutive}")


@dataclass(frozen=True)
class CheckpointSettings:
    """When checkpoints are written.

    Attributes:
        every: generations between checkpoints; `auto` writes whenever that costs less than 2 % of the time.
        keep: how many of the newest stay, beside the best.
    """

    __pydantic_config__ = SETTINGS

    every: int | Literal["auto"] = "auto"
    keep: int = 3

    def __post_init__(self) -> None:
        if self.every != "auto" and self.every < 1:
            raise ValueError(f"every must be at least 1, or auto, got {self.every}")
        if self.keep < 1:
            raise ValueError(f"keep must be at least 1, got {self.keep}")


@dataclass(frozen=True)
class FaultSettings:
    """`faults.max_share`: the run stops when a larger share of the last 1,000 episodes (or of a generation) failed."""

    __pydantic_config__ = SETTINGS

    max_share: float = 0.05

    def __post_init__(self) -> None:
        if not 0 <= self.max_share < 1:
            raise ValueError(f"max_share must lie in [0, 1), got {self.max_share}")


@dataclass(frozen=True)
class VideoSettings:
    """Videos of a run in training, made beside it.

    Attributes:
        every: generations between videos; one at the end too; 0 for none.
        episodes: of one video, the first ones of the evaluation.
        seconds: of one video, at most.
    """

    __pydantic_config__ = SETTINGS

    every: int | None = 0
    episodes: int = 1
    seconds: float = 20.0

    def __post_init__(self) -> None:
        if self.every is not None and self.every < 0:
            raise ValueError(f"every must not be negative, got {self.every}; 0 makes no videos")
        if self.episodes < 1:
            raise ValueError(f"episodes must be at least 1, got {self.episodes}")
        if not 0 < self.seconds <= 3600:
            raise ValueError(f"seconds must lie in (0, 3600], got {self.seconds:g}")


@dataclass(frozen=True)
class TensorBoardSettings:
    """`tensorboard.histograms`: generations between histograms of theta and of returns; 0 for none."""

    __pydantic_config__ = SETTINGS

    histograms: int = 10

    def __post_init__(self) -> None:
        if self.histograms < 0:
            raise ValueError(f"histograms must not be negative, got {self.histograms}; 0 writes none")
