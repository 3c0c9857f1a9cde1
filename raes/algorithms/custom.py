"""An algorithm of the user's own: `algorithm=custom algorithm.module=module:Class algorithm.kwargs={...}`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal

from raes.import_object import import_object
from raes.search.optimizers import OptimizerSettings
from raes.text import described
from raes.types import UserError, check_fault

from .population import PopulationSettings

METHODS = ("init", "next_round", "snapshot", "tell")
"""What a training loop calls."""


@dataclass(frozen=True)
class CustomSettings(PopulationSettings):
    """Configuration group `algorithm`, option `custom`; the keys of `PopulationSettings`, and:

    Attributes:
        module: `package.module:Class`, a class with the methods of `Algorithm`.
        kwargs: keyword arguments of its constructor, after the four that all algorithms have.
    """

    name: Literal["custom"] = "custom"
    module: str = ""
    kwargs: Mapping[str, Any] = field(default_factory=dict)

    uses_optimizer: ClassVar[bool] = True  # it gets one, and may read it

    def __post_init__(self) -> None:
        if self.module.count(":") != 1:
            raise ValueError(f"module must be package.module:Class, got {self.module!r}")


def custom(settings: CustomSettings, optimizer: OptimizerSettings, seed: int, table_size: int) -> Any:
    """The user's algorithm.

    Raises:
        UserError: it cannot be imported or made.
    """
    build = import_object("algorithm.module", settings.module)
    if isinstance(build, type):
        _check_methods(settings, build)
    try:
        made = build(settings, optimizer, seed, table_size, **settings.kwargs)
    except BaseException as error:
        check_fault(error)
        raise UserError(
            f"algorithm.module={settings.module} cannot be made with algorithm.kwargs={dict(settings.kwargs)}: "
            f"{described(error)}"
        ) from error
    _check_methods(settings, made)
    return made


def _check_methods(settings: CustomSettings, made: Any) -> None:
    missing = [name for name in METHODS if not callable(getattr(made, name, None))]
    if missing:
        raise UserError(
            f"algorithm.module={settings.module} is no algorithm: it has no method {' and no '.join(missing)}; derive "
            "it from raes.algorithms.population.PopulationSearch, or see raes.algorithms.protocol.Algorithm"
        )
