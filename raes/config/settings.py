"""The small nodes of the configuration: where a run computes, when it evaluates, stops and keeps what."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

from annotated_types import Ge, Gt, Le, Lt

from raes.types import SETTINGS, Count, Natural, NotNegative, Positive


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
        gpus_per_worker: GPUs that Ray gives each worker, also parts of one; for `env=module`.
    """

    __pydantic_config__ = SETTINGS

    name: Literal["ray", "serial"] = "ray"
    pipeline: Literal[0, 1] = 0
    relays: bool | Literal["auto"] = "auto"
    deadline: Positive | Literal["auto"] = "auto"
    gpus_per_worker: NotNegative = 0.0


@dataclass(frozen=True)
class NoiseSettings:
    """`noise.size`: floats in the shared table, none for a function; None lets the number of parameters decide."""

    __pydantic_config__ = SETTINGS

    size: Natural | None = None


@dataclass(frozen=True)
class EvaluationSettings:
    """Noiseless episodes on fixed held-out seeds.

    Attributes:
        every: generations between evaluations; 0 leaves only the one at the end.
        episodes: of one evaluation; None is for functions alone: 1, or 20 where they are noisy.
    """

    __pydantic_config__ = SETTINGS

    every: Natural = 10
    episodes: Count | None = 10


@dataclass(frozen=True)
class GoalSettings:
    """Stop when the evaluation mean is at least `return_mean` in `consecutive` evaluations in a row."""

    __pydantic_config__ = SETTINGS

    return_mean: float | None = None
    consecutive: Count = 1


@dataclass(frozen=True)
class CheckpointSettings:
    """When checkpoints are written.

    Attributes:
        every: generations between checkpoints; `auto` writes whenever that costs less than 2 % of the time.
        keep: how many of the newest stay, besides the best.
    """

    __pydantic_config__ = SETTINGS

    every: Count | Literal["auto"] = "auto"
    keep: Count = 3


@dataclass(frozen=True)
class FaultSettings:
    """`faults.max_share`: the run stops when a larger share of the last 1,000 episodes (or of a generation) failed."""

    __pydantic_config__ = SETTINGS

    max_share: Annotated[float, Ge(0), Lt(1)] = 0.05


@dataclass(frozen=True)
class VideoSettings:
    """Videos of a run in training, made by another process.

    Attributes:
        every: generations between videos; one at the end too; 0 for none.
        episodes: of one video, the first ones of the evaluation.
        seconds: of one video, at most.
    """

    __pydantic_config__ = SETTINGS

    every: Natural | None = 0
    episodes: Count = 1
    seconds: Annotated[float, Gt(0), Le(3600)] = 20.0


@dataclass(frozen=True)
class TensorBoardSettings:
    """What TensorBoard shows besides the metrics.

    Attributes:
        histograms: generations between histograms of theta and of returns; 0 for none.
        by_timesteps: whether the returns have curves against timesteps too.
    """

    __pydantic_config__ = SETTINGS

    histograms: Natural = 10
    by_timesteps: bool = True
