"""What a search of a function has to keep: its limits."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

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


def checked_workers(workers: Any) -> int | str:
    """A number of workers, `auto`, or LEAST..MOST.

    Raises:
        UserError: it is none of these.
    """
    try:
        Size.of(workers)
    except ValueError as error:
        raise UserError(str(error)) from error
    return workers if isinstance(workers, str) and not workers.isdigit() else whole("workers", int(workers), 1)
