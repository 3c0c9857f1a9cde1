"""What a search of a function has found: the fields of SciPy's `OptimizeResult`, and more."""

from __future__ import annotations

from dataclasses import dataclass, fields
from enum import IntEnum
from typing import Any

import numpy as np

from raes.types import Float64, Int64


class Status(IntEnum):
    """Why a search has ended; the numbers never change."""

    TARGET = 0
    CONVERGED = 1
    BUDGET = 2
    TIME = 3
    CALLBACK = 4
    INTERRUPTED = 5
    NOT_FINITE = 6
    UNBOUNDED = 7
    ERROR = 8


MESSAGES = {
    Status.TARGET: "the target is reached",
    Status.CONVERGED: "the search has converged",
    Status.BUDGET: "the budget is used up",
    Status.TIME: "the time is over",
    Status.CALLBACK: "the callback ended it",
    Status.INTERRUPTED: "it was interrupted",
    Status.NOT_FINITE: "the function has no finite value where the search looked",
    Status.UNBOUNDED: "the function is infinite in the good direction",
    Status.ERROR: "the search failed",
}


@dataclass(frozen=True)
class Optimum:
    """What a search found. `result.x` and `result["x"]` are the same.

    Attributes:
        x: float64 (d,), the best point that was evaluated, x0 among them.
        fun: the function's value there; NaN where no value was finite.
        nfev: evaluations of the function, the one of x0 included.
        nit: generations, of all parallel runs.
        success: whether the target was reached; without a target, whether the search ended as it was meant to.
        status: a number, see `Status`.
        message: why it ended, in words.
        center: float64 (d,), where the search stands; for a noisy function more to be trusted than `x`.
        std: float64 (d,), the standard deviations of the last points, or None where the method has none that adapt.
        covariance: float64 (d, d) or the diagonal (d,), of the last points, or None.
        error: the standard error of `fun` where the function is noisy, else None.
        restarts: further runs that were begun.
        ended: why the last complete run ended, in words; empty where none did.
        failures: evaluations without a finite value.
        first_failure: why the first of them has none, or None.
        algorithm: its name.
        surplus: further evaluations, of parallel runs that were ahead of the end: 0 with one worker, else by chance.
        history: improvements: evaluations int64 (k,) and the best value so far float64 (k,).
    """

    x: Float64
    fun: float
    nfev: int
    nit: int
    success: bool
    status: int
    message: str
    center: Float64
    std: Float64 | None = None
    covariance: Float64 | None = None
    error: float | None = None
    restarts: int = 0
    ended: str = ""
    failures: int = 0
    first_failure: str | None = None
    algorithm: str = ""
    surplus: int = 0
    history: tuple[Int64, Float64] = (np.zeros(0, np.int64), np.zeros(0))

    @property
    def value(self) -> float:
        """`fun`."""
        return self.fun

    @property
    def evaluations(self) -> int:
        """`nfev`."""
        return self.nfev

    @property
    def reason(self) -> str:
        """`message`."""
        return self.message

    def keys(self) -> list[str]:
        """The names of the fields, for `dict(result)`."""
        return [field.name for field in fields(self)]

    def __getitem__(self, key: str) -> Any:
        if key not in self.keys():
            raise KeyError(key)
        return getattr(self, key)
