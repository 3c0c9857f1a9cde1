"""Black-box functions from Python: `minimize` and `maximize` in one call, and `Optimizer` for a loop of one's own.

    result = raes.minimize(f, x0=[0.0, 0.0], budget=2000)

    search = raes.Optimizer("snes", x0=[0.0, 0.0], sigma=0.5)
    while search.evaluations < 2000:
        points = search.ask()                      # float64 (n, d)
        search.tell([-f(x) for x in points])       # fitness: maximised

All methods of `raes.algorithms`, by name; keyword arguments are the keys of their configuration.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

from numpy.typing import ArrayLike

from raes.api.function_search import search
from raes.api.optimizer import Optimizer
from raes.api.optimum import Optimum, Status

__all__ = ["Optimizer", "Optimum", "Status", "maximize", "minimize"]


def minimize(function: Callable[..., Any], x0: ArrayLike | None = None, **arguments: Any) -> Optimum:
    """Search for the x with the smallest value, x of float64 (d,); the arguments are those of `search`."""
    return search(function, x0, True, **arguments)


def maximize(function: Callable[..., Any], x0: ArrayLike | None = None, **arguments: Any) -> Optimum:
    """Search for the x with the largest value; see `minimize`. `target` ends once a value is at least this."""
    return search(function, x0, False, **arguments)


def _shown(function: Any) -> None:
    """Give a function the signature and the arguments' documentation of `search`."""
    whole = inspect.signature(search)
    kept = [one for name, one in whole.parameters.items() if name != "smallest"]
    function.__signature__ = whole.replace(parameters=kept)
    function.__doc__ += (search.__doc__ or "").partition("\n")[2]


_shown(minimize)
_shown(maximize)
