"""What a search of a function has to keep: its limits."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from raes.api.evaluators import Calls
from raes.runtime.scheduling import Size
from raes.types import UserError
from raes.validation import real, whole


@dataclass(frozen=True)
class Limits:
    """When a search ends, besides by itself.

    Attributes:
        budget: evaluations at most.
        goal: the fitness that is enough; infinite for none.
        seconds: infinite for no limit.
    """

    budget: int
    goal: float
    seconds: float

    @staticmethod
    def of(budget: int, target: float | None, max_seconds: float | None, smallest: bool) -> Limits:
        """From the arguments.

        Raises:
            UserError: one is wrong.
        """
        goal = math.inf if target is None else real("target", target) * (-1.0 if smallest else 1.0)
        seconds = math.inf if max_seconds is None else real("max_seconds", max_seconds, positive=True)
        return Limits(whole("budget", budget, 1), goal, seconds)


def checked_calls(
    workers: Any, deadline: float | None, retries: int | None, vectorized: bool, args: tuple[Any, ...]
) -> Calls:
    """How the function is called; `workers` is a number, `auto`, or LEAST..MOST.

    Raises:
        UserError: an argument is wrong, or has no effect.
    """
    try:
        Size.of(workers)
    except ValueError as error:
        raise UserError(str(error)) from error
    workers = workers if isinstance(workers, str) and not workers.isdigit() else whole("workers", int(workers), 1)
    for name, value in (("deadline", deadline), ("retries", retries)):
        if value is not None and workers == 1:
            raise UserError(
                f"{name}={value}: has no effect with workers=1, since a call in this process cannot be ended; give "
                "workers=2 or more, or remove it"
            )
    deadline = None if deadline is None else real("deadline", deadline, positive=True)
    retries = None if retries is None else whole("retries", retries, 0)
    return Calls(workers, deadline, retries, bool(vectorized), args)


def checked_runs(parallel_runs: int, budget: int) -> int:
    """The number of parallel runs.

    Raises:
        UserError: it is none, or there are more than evaluations.
    """
    runs = whole("parallel_runs", parallel_runs, 1)
    if runs > budget:
        raise UserError(f"parallel_runs={runs}: budget={budget} is less than one evaluation for each; give fewer runs")
    return runs


def check_callables(function: Any, args: Any, constraints: Any, callback: Any) -> None:
    """Refuse what cannot be called.

    Raises:
        UserError: one of them cannot be, or `args` is no tuple.
    """
    if not callable(function):
        raise UserError(f"the function must be callable, got {function!r}")
    if not isinstance(args, tuple):
        raise UserError(f"args must be a tuple of further arguments, got {args!r}; for one write args=(value,)")
    if constraints is not None and not callable(constraints):
        raise UserError(f"constraints must be callable, got {constraints!r}; e.g. constraints=lambda x: [x.sum() - 1]")
    if callback is not None and not callable(callback):
        raise UserError(f"callback must be callable, got {callback!r}")
