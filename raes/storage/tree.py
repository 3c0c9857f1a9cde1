"""Flattens nested frozen dataclasses (and tuples of them) into named arrays and scalars, and restores them.

One walk serves every algorithm's state, so that nothing can be forgotten in a checkpoint.
"""

from __future__ import annotations

import math
from dataclasses import fields, is_dataclass, replace
from typing import Any, TypeVar

import numpy as np

Tree = TypeVar("Tree")
Arrays = dict[str, np.ndarray[Any, Any]]
Scalars = dict[str, Any]


def flatten(tree: Any, prefix: str = "") -> tuple[Arrays, Scalars]:
    """Every field by its path, e.g. `optimizer/first`; infinite numbers become strings, since JSON has none."""
    arrays: Arrays = {}
    scalars: Scalars = {}
    for field in fields(tree):
        value, path = getattr(tree, field.name), prefix + field.name
        inner = {f"{path}/{number}/": one for number, one in enumerate(value)} if isinstance(value, tuple) else {}
        inner |= {f"{path}/": value} if is_dataclass(value) else {}
        if inner:
            for inner_path, one in inner.items():
                inner_arrays, inner_scalars = flatten(one, inner_path)
                arrays |= inner_arrays
                scalars |= inner_scalars
        elif isinstance(value, np.ndarray):
            arrays[path] = value
        else:
            scalars[path] = str(value) if isinstance(value, float) and not math.isfinite(value) else value
    return arrays, scalars


def restore(template: Tree, arrays: Arrays, scalars: Scalars, prefix: str = "") -> Tree:
    """A tree like the template, filled from what `flatten` gave.

    Raises:
        KeyError: a field is missing.
        ValueError: an array has another dtype or number of dimensions.
    """
    changes: dict[str, Any] = {}
    for field in fields(template):  # type: ignore[arg-type]
        old, path = getattr(template, field.name), prefix + field.name
        if is_dataclass(old):
            changes[field.name] = restore(old, arrays, scalars, path + "/")
        elif isinstance(old, tuple):
            changes[field.name] = tuple(
                restore(one, arrays, scalars, f"{path}/{number}/") for number, one in enumerate(old)
            )
        elif isinstance(old, np.ndarray):
            new = arrays[path]
            if new.dtype != old.dtype or new.ndim != old.ndim:
                raise ValueError(f"{path} is {new.dtype} with {new.ndim} dimensions, not {old.dtype} with {old.ndim}")
            changes[field.name] = new
        else:
            value = scalars[path]
            changes[field.name] = float(value) if isinstance(old, float) and value is not None else value
    return replace(template, **changes)  # type: ignore[type-var]
