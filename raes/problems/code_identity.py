"""Tells classes and functions of a user's own apart: a digest of what decides what they make.

Two functions of the same name, a cell of a notebook that was changed, a class that a function makes with other numbers:
each has another digest. The same code in another process has the same one, as long as Python's version is the same.
"""

from __future__ import annotations

import functools
import hashlib
import sys
import sysconfig
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from types import CodeType, FunctionType, MethodType, ModuleType
from typing import Any

import numpy as np
from gymnasium import spaces

INSTALLED = tuple(sysconfig.get_paths()[key] for key in ("stdlib", "platstdlib", "purelib", "platlib"))
"""Folders whose code is known by its name alone."""
PLAIN = (type(None), bool, int, float, complex, str, bytes)
KNOWN = (
    *PLAIN, functools.partial, MethodType, FunctionType, type, np.ndarray, np.generic, spaces.Space, ModuleType,
    Mapping, set, frozenset, tuple, list,
)  # fmt: skip
"""What counts where a function reads it from the module around it."""
NOT_CODE = {"__annotations__", "__dict__", "__doc__", "__firstlineno__", "__module__", "__weakref__"}
"""Entries of a class that decide nothing of what it does."""


def code_identity(made_by: Any) -> str:
    """Eight hexadecimal digits that stand for the code and the arguments of a class, a function or a partial."""
    digest = hashlib.blake2b(digest_size=4)
    with suppress(RecursionError):  # objects in objects in objects: what is outside tells enough
        for part in _parts(made_by, {}):
            digest.update(part.encode("utf-8", "surrogatepass") + b"\0")
    return digest.hexdigest()


def _parts(value: Any, seen: dict[int, Any]) -> Iterator[str]:
    """Texts of which at least one differs where two values differ."""
    if isinstance(value, PLAIN):
        yield repr(value)
        return
    yield type(value).__qualname__
    if id(value) in seen:
        return
    seen[id(value)] = value  # which keeps it, so that nothing else gets its id
    if isinstance(value, functools.partial):
        yield from _each((value.func, value.args, value.keywords), seen)
    elif isinstance(value, MethodType):
        yield from _each((value.__func__, value.__self__), seen)
    elif isinstance(value, FunctionType):
        yield from _function(value, seen)
    elif isinstance(value, CodeType):
        yield value.co_code.hex()
        yield from _each((value.co_names, value.co_consts), seen)
    elif isinstance(value, type):
        yield from _class(value, seen)
    elif isinstance(value, np.ndarray):
        yield f"{value.dtype} {value.shape}"
        content = np.ascontiguousarray(value).ravel()
        yield from _parts(content.tolist(), seen) if value.dtype.hasobject else [_digest(content.view(np.uint8))]
    elif isinstance(value, spaces.Space | np.generic):  # a space's generator is no part of what it is
        yield repr(value)
    elif isinstance(value, ModuleType):
        yield value.__name__
    elif isinstance(value, Mapping):
        yield from _each(sorted(value.items(), key=lambda item: repr(item[0])), seen)
    elif isinstance(value, set | frozenset):
        yield from _each(sorted(value, key=repr), seen)
    elif isinstance(value, tuple | list):
        yield from _each(value, seen)
    elif isinstance(value, staticmethod | classmethod):
        yield from _parts(value.__func__, seen)
    elif isinstance(value, property):
        yield from _each((value.fget, value.fset), seen)
    else:
        yield from _each((type(value), getattr(value, "__dict__", {})), seen)


def _digest(content: np.ndarray[Any, Any]) -> str:
    return hashlib.blake2b(content.data).hexdigest()


def _each(values: Any, seen: dict[int, Any]) -> Iterator[str]:
    for value in values:
        yield from _parts(value, seen)


def _function(function: FunctionType, seen: dict[int, Any]) -> Iterator[str]:
    """Its code, and what the code refers to outside itself."""
    yield f"{function.__module__}:{function.__qualname__}"
    if _installed(function.__module__):
        return
    yield from _parts(function.__code__, seen)
    yield from _each((function.__defaults__, function.__kwdefaults__), seen)
    for cell in function.__closure__ or ():
        try:
            yield from _parts(cell.cell_contents, seen)
        except ValueError:  # a cell that is still empty
            yield "empty"
    for name in sorted(_names(function.__code__) & function.__globals__.keys()):
        value = function.__globals__[name]
        yield name
        # Of other objects that a program keeps at hand, a counter or a log, the state may change while it runs.
        yield from _parts(value if isinstance(value, KNOWN) else type(value).__qualname__, seen)


def _names(code: CodeType) -> set[str]:
    """Names that the code and the functions inside it look up."""
    return set(code.co_names).union(*(_names(inner) for inner in code.co_consts if isinstance(inner, CodeType)))


def _class(made: type, seen: dict[int, Any]) -> Iterator[str]:
    """Its name, and what it defines, with the classes that it is derived from."""
    yield f"{made.__module__}:{made.__qualname__}"
    if _installed(made.__module__):
        return
    yield from _each(made.__bases__, seen)
    for name in sorted(vars(made).keys() - NOT_CODE):
        yield name
        yield from _parts(vars(made)[name], seen)


def _installed(module: str | None) -> bool:
    """Whether a module lies among the installed packages, where its name is enough."""
    file = getattr(sys.modules.get(str(module)), "__file__", None)
    if file is None:  # a built-in module, or a script's or a notebook's own
        return module in sys.builtin_module_names
    return str(Path(file)).startswith(INSTALLED)
