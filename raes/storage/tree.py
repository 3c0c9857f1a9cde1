"""Flattens nested frozen dataclasses (and tuples of them) into named arrays and scalars, and restores them.

One walk serves every algorithm's state, so that nothing can be forgotten in a checkpoint.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
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


def restore(
    template: Tree, arrays: Arrays, scalars: Scalars, prefix: str = "", sizes: Mapping[int, int] | None = None
) -> Tree:
    """A tree like the template, filled from what `flatten` gave.

    Args:
        template: whose fields are filled.
        arrays: by path.
        scalars: by path.
        prefix: of the paths.
        sizes: where the template's axes of a certain length must have another one in the tree: length -> length.

    Raises:
        KeyError: a field is missing.
        ValueError: a value is of another kind, or an array has another dtype or shape.
    """
    changes: dict[str, Any] = {}
    for field in fields(template):  # type: ignore[arg-type]
        old, path = getattr(template, field.name), prefix + field.name
        if is_dataclass(old):
            changes[field.name] = restore(old, arrays, scalars, path + "/", sizes)
        elif isinstance(old, tuple):
            changes[field.name] = tuple(
                restore(one, arrays, scalars, f"{path}/{number}/", sizes) for number, one in enumerate(old)
            )
        elif isinstance(old, np.ndarray):
            changes[field.name] = _array(path, old, arrays[path], sizes or {})
        else:
            changes[field.name] = _scalar(path, old, scalars[path])
    return replace(template, **changes)  # type: ignore[type-var]


def _array(
    path: str, old: np.ndarray[Any, Any], new: np.ndarray[Any, Any], sizes: Mapping[int, int]
) -> np.ndarray[Any, Any]:
    if new.dtype != old.dtype or new.ndim != old.ndim:
        raise ValueError(f"{path} is {new.dtype} with {new.ndim} dimensions, not {old.dtype} with {old.ndim}")
    for axis, (length, wanted) in enumerate(zip(new.shape, old.shape, strict=True)):
        if sizes.get(wanted, length) != length:
            raise ValueError(f"{path} has the shape {new.shape}, with {length} along axis {axis}, not {sizes[wanted]}")
    return new


def _scalar(path: str, old: Any, new: Any) -> Any:
    """A number that was infinite comes as a text; of a value that may be None the kind is not known."""
    if isinstance(old, float) and type(new) in (int, float, str):
        return float(new)
    kinds: dict[type, tuple[type, ...]] = {bool: (bool,), int: (int, float), float: (), str: (str,)}
    if new is not None and type(new) not in kinds.get(type(old), (bool, int, float, str)):
        raise ValueError(f"{path} is {new!r}, not of {type(old).__name__}")
    return new
