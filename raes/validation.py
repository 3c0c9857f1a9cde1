"""Checks of what is given from Python: one message with the argument's name, its value and what it must be.

Not by pydantic's `validate_call`: it cannot read annotations of a PyTorch module, which is imported for type checkers
only, nor numpy's `ArrayLike`; and as an integer it takes either True and '5', or nothing of numpy's.
"""

from __future__ import annotations

import difflib
import math
import operator
from collections.abc import Iterable
from typing import Any

import numpy as np

from raes.types import Float64, UserError


def number(value: Any) -> float:
    """The number that a user's own code gave; an array or a tensor of a single element counts as one.

    Raises:
        TypeError, ValueError: it is none.
    """
    if hasattr(value, "detach"):  # a tensor that needs gradients
        value = value.detach()
    try:
        return float(value)
    except TypeError:
        array = np.asarray(value)
        if array.ndim and array.size != 1:
            raise TypeError(f"a single number is needed, and this is an array of shape {array.shape}") from None
        return float(array.item())


def plain(value: Any) -> np.ndarray[Any, Any]:
    """An array of what may be an array already, a list, or a tensor that needs gradients or lies on a GPU."""
    if hasattr(value, "detach"):
        value = value.detach().cpu()
    elif isinstance(value, list | tuple) and any(hasattr(one, "detach") for one in value):
        value = [plain(one) for one in value]
    return np.asarray(value)


def whole(name: str, value: Any, least: int) -> int:
    """An integer from `least` on; numpy's and 1e6 count as such, truth values do not.

    Raises:
        UserError: it is none.
    """
    try:
        number = int(value) if isinstance(value, float) and value.is_integer() else operator.index(value)
    except TypeError:
        number = None
    if number is None or isinstance(value, bool) or not least <= number < 2**63:
        raise UserError(f"{name} must be a whole number of at least {least}, got {value!r}")
    return number


def real(name: str, value: Any, positive: bool = False) -> float:
    """A finite number.

    Raises:
        UserError: it is none.
    """
    try:
        number = float(value)
    except (TypeError, ValueError):
        number = math.nan
    if not math.isfinite(number) or isinstance(value, str) or (positive and number <= 0):
        raise UserError(f"{name} must be a {'positive' if positive else 'finite'} number, got {value!r}")
    return number


def vector(name: str, value: Any) -> Float64:
    """Finite numbers, float64 (d,); a single one counts as d = 1.

    Raises:
        UserError: they are none.
    """
    try:
        numbers = np.atleast_1d(plain(value))
        found = numbers.astype(np.float64) if numbers.dtype.kind in "biuf" else np.zeros(0)
    except (TypeError, ValueError):
        found = np.zeros(0)
    if found.ndim != 1 or not found.size or not np.isfinite(found).all():
        raise UserError(f"{name} must be a vector of finite numbers, got {value!r}")
    return found


def no_such(kind: str, name: Any, options: Iterable[str]) -> str:
    """What is wrong with a name that is none of the options, with those that are close first."""
    there = list(options)
    close = difflib.get_close_matches(str(name), there, n=3, cutoff=0.5)
    meant = f"; did you mean {' or '.join(close)}?" if close else ""
    return f"there is no such {kind}{meant}; there are {', '.join(there)}"
