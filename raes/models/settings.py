"""The configuration of a model that is trained by seeds: configuration group `env`, option `module`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from raes.types import SETTINGS, Count, Natural, UserError


@dataclass(frozen=True)
class ModuleSettings:
    """Configuration group `env`, option `module`.

    Attributes:
        build: `module:callable`; it returns a `torch.nn.Module` with the same weights in every process.
        reward: `module:callable`; called with the module, or with the module and a task; returns a number.
        tasks: `module:name` of a sequence of tasks, or of a callable that returns one; empty for none.
        held_out: `module:name` of further tasks, for evaluations; empty: a share of `tasks`.
        held_out_share: of `tasks`, drawn by the run's seed and kept for evaluations.
        tasks_per_call: tasks of a training episode and of an evaluation episode.
        batched: whether the reward is called once with the list of tasks; else once per task, and the mean counts.
        same_tasks: whether all members of a generation see the same tasks; else each pair has its own.
        parameters: patterns of the names of the parameters that are trained, as `layers.*` or `*.bias`.
        device: `cpu`, `cuda`, or `auto`: `cuda` where `runtime.gpus_per_worker` gives workers one.
        engine: `module:callable` that makes another engine than ours; see `raes.models.engine`.
        kwargs: keyword arguments of `build`.
        snapshot_every: generations between snapshots of all weights.
    """

    __pydantic_config__ = SETTINGS

    name: Literal["module"] = "module"
    build: str = ""
    reward: str = ""
    tasks: str = ""
    held_out: str = ""
    held_out_share: float = 0.1
    tasks_per_call: Count = 1
    batched: bool = False
    same_tasks: bool = True
    parameters: tuple[str, ...] = ("*",)
    device: str = "auto"
    engine: str = ""
    kwargs: Mapping[str, Any] = field(default_factory=dict)
    snapshot_every: Natural = 50

    def __post_init__(self) -> None:
        for key, needed in (
            ("build", True),
            ("reward", True),
            ("tasks", False),
            ("held_out", False),
            ("engine", False),
        ):
            path = getattr(self, key)
            if (path or needed) and path.count(":") != 1:
                raise ValueError(f"{key} must be module:name, got {path!r}; e.g. env.{key}=my_model:{key}")
        if not 0 <= self.held_out_share < 1:
            raise ValueError(f"held_out_share={self.held_out_share}: must lie in [0, 1)")
        if self.held_out and not self.tasks:
            raise ValueError(f"held_out={self.held_out}: has no effect without env.tasks; give both")

    @property
    def id(self) -> str:
        """Its name in messages."""
        return self.build


def resolved_device(settings: ModuleSettings, gpus_per_worker: float) -> str:
    """The device that workers put the model on.

    Raises:
        UserError: the two keys contradict each other.
    """
    if settings.device == "auto":
        return "cuda" if gpus_per_worker else "cpu"
    if gpus_per_worker and settings.device == "cpu":
        raise UserError(
            f"runtime.gpus_per_worker={gpus_per_worker:g}: has no effect with env.device=cpu; set one of them"
        )
    return settings.device
