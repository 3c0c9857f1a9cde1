"""An algorithm from Python's keyword arguments, with messages that name these and not the keys of the command line."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import fields
from types import FrameType
from typing import Any

from pydantic import TypeAdapter, ValidationError

from raes.algorithms import ALGORITHMS
from raes.runtime.memory import GIB, Room, free_memory, misfits
from raes.search.optimizers import OptimizerSettings
from raes.types import UserError
from raes.validation import no_such

DEFAULT_OPTIMIZERS = {
    "ars": OptimizerSettings(name="sgd", stepsize=0.02, momentum=0.0, weight_decay=0.0),
    "pgpe": OptimizerSettings(name="clipup", stepsize=0.15, weight_decay=0.0),
}
"""Those of conf/algorithm that are not Adam."""


def settings_of(algorithm: str, keys: dict[str, Any], size: int) -> Any:
    """The algorithm's settings, for a function of `size` numbers: it has no observations and no layers.

    Raises:
        UserError: there is no such algorithm or key, or a value is wrong.
    """
    if not isinstance(algorithm, str) or algorithm not in ALGORITHMS:
        raise UserError(f"algorithm={algorithm!r}: {no_such('algorithm', algorithm, ALGORITHMS)}")
    if keys.get("perturbation", "full") == "low_rank":
        raise UserError("perturbation='low_rank': needs the layers of a policy, and x has none; remove it")
    _, settings = ALGORITHMS[algorithm]
    try:
        return TypeAdapter(settings).validate_python({"normalize_observations": False} | keys).sized(size, ())
    except ValidationError as error:
        from raes.config.schema import explain  # which imports Hydra and all environments

        known = sorted(field.name for field in fields(settings) if field.name != "name")
        first = error.errors()[0]
        if first["type"] in ("unexpected_keyword_argument", "extra_forbidden"):
            key = ".".join(map(str, first["loc"]))
            raise UserError(f"{key} of algorithm={algorithm}: {no_such('key', key, known)}") from error
        raise UserError(explain(first, dict.fromkeys(known))) from error
    except UserError:
        raise
    except ValueError as error:  # sizes that follow from the number of parameters do not fit those that were given
        raise UserError(str(error)) from error


def build(algorithm: str, settings: Any, optimizer: OptimizerSettings | None, seed: int, table_size: int) -> Any:
    """The algorithm with its optimizer, by default that of the command line without weight decay.

    Raises:
        UserError: the optimizer is none, or has no effect; or a custom algorithm cannot be made.
    """
    chosen = optimizer or DEFAULT_OPTIMIZERS.get(algorithm, OptimizerSettings(weight_decay=0.0))
    if not isinstance(chosen, OptimizerSettings):
        raise UserError(f"optimizer must be a raes.OptimizerSettings(name=..., stepsize=...), got {chosen!r}")
    if optimizer is not None and not settings.uses_optimizer:
        from raes.config.effect import without_effect  # OmegaConf is not needed for anything else here

        raise UserError(without_effect({"algorithm.name": algorithm})[0].message("optimizer", chosen.name))
    make, _ = ALGORITHMS[algorithm]
    with _keyword_names():
        return make(settings, chosen, seed, table_size)


def check_table(table_size: int, copies: int) -> None:
    """Refuse a noise table that the free memory cannot hold so many times.

    Raises:
        UserError: with the sizes.
    """
    free = free_memory()
    if misfits(4 * table_size, Room(free, copies)):
        twice = ", twice for a moment" if copies > 1 else ""
        raise UserError(
            f"so many parameters need a noise table of {4 * table_size / GIB:,.1f} GiB{twice}, and "
            f"{free / GIB:.1f} GiB of memory are free; search fewer parameters, or use a machine with more memory"
        )


def warn_caller(text: str) -> None:
    """A Python warning at the line of the user's code that called RAES."""
    level = 1
    frame: FrameType | None = sys._getframe(1)
    while frame is not None and frame.f_globals.get("__name__", "").startswith("raes."):
        level, frame = level + 1, frame.f_back
    warnings.warn(text, stacklevel=level + 1)


@contextmanager
def _keyword_names() -> Iterator[None]:
    """Errors name `module` and not `algorithm.module`."""
    try:
        yield
    except UserError as error:
        raise UserError(str(error).replace("algorithm.", "")) from error
