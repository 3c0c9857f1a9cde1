"""An algorithm from Python's keyword arguments, with messages that name these and not the keys of the command line."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import fields
from types import FrameType
from typing import Any

from pydantic import TypeAdapter, ValidationError

from raes.algorithms import ALGORITHMS
from raes.algorithms.function_defaults import FUNCTION_KEYS, FUNCTION_OPTIMIZERS, check_dimension
from raes.search.optimizers import OptimizerSettings
from raes.types import Float64, UserError
from raes.validation import no_such


def settings_of(algorithm: str, keys: dict[str, Any], size: int) -> Any:
    """The algorithm's settings, for a function of `size` numbers: it has no observations and no layers.

    Raises:
        UserError: there is no such algorithm or key, a value is wrong, or there are too many parameters for it.
    """
    if not isinstance(algorithm, str) or algorithm not in ALGORITHMS:
        raise UserError(f"algorithm={algorithm!r}: {no_such('algorithm', algorithm, ALGORITHMS)}")
    if keys.get("perturbation", "full") == "low_rank":
        raise UserError("perturbation='low_rank': needs the layers of a policy, and x has none; remove it")
    _, settings = ALGORITHMS[algorithm]
    given = {"normalize_observations": False} | FUNCTION_KEYS.get(algorithm, {}) | keys
    try:
        checked = TypeAdapter(settings).validate_python(given).sized(size, ())
        check_dimension(algorithm, checked, size)
        return checked
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


def maker(
    algorithm: str,
    settings: Any,
    optimizer: OptimizerSettings | None,
    seed: int,
    least_spread: Float64 | None = None,
) -> Callable[[Any], Any]:
    """What makes the algorithm from settings, with its optimizer, by default that of the command line for functions.

    Args:
        algorithm: its name.
        settings: of its first run.
        optimizer: see `minimize`.
        seed: of the search.
        least_spread: see `Search`.

    Raises:
        UserError: the optimizer is none, or has no effect; or a custom algorithm cannot be made.
    """
    chosen = optimizer or FUNCTION_OPTIMIZERS.get(algorithm, OptimizerSettings(weight_decay=0.0))
    if not isinstance(chosen, OptimizerSettings):
        raise UserError(f"optimizer must be a raes.OptimizerSettings(name=..., stepsize=...), got {chosen!r}")
    if optimizer is not None and not settings.uses_optimizer:
        from raes.config.effect import without_effect  # OmegaConf is not needed for anything else here

        raise UserError(without_effect({"algorithm.name": algorithm})[0].message("optimizer", chosen.name))
    make, _ = ALGORITHMS[algorithm]

    def made(settings: Any) -> Any:
        with _keyword_names():
            one = make(settings, chosen, seed, 0)
        if least_spread is not None:
            one.least_spread = least_spread
        return one

    return made


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
