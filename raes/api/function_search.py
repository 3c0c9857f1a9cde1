"""The search behind `raes.minimize` and `raes.maximize`: evaluate, update, until there is a reason to end."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from raes.api.evaluators import Evaluator, evaluator
from raes.api.keyword_arguments import warn_caller
from raes.api.optimizer import LOOK, Optimizer
from raes.api.optimum import MESSAGES, Optimum, Status
from raes.search.endings import Tolerances
from raes.search.optimizers import OptimizerSettings
from raes.search.spread import SpreadWatch
from raes.text import described, one_line
from raes.types import Float64, UserError
from raes.validation import real, whole

Function = Callable[..., Any]
Callback = Callable[[Optimum], Any]


def search(
    function: Function,
    x0: ArrayLike,
    smallest: bool,
    *,
    algorithm: str | None = None,
    budget: int = 10_000,
    target: float | None = None,
    max_seconds: float | None = None,
    restarts: str | None = "auto",
    tolerances: Tolerances | None = None,
    workers: int = 1,
    vectorized: bool = False,
    args: tuple[Any, ...] = (),
    callback: Callback | None = None,
    seed: int = 0,
    optimizer: OptimizerSettings | None = None,
    **settings: Any,
) -> Optimum:
    """Search for the x with the smallest, or the largest, value.

    Args:
        function: takes float64 (d,), returns a number. A value that is NaN or infinite, and an exception, count as the
            worst value. With `workers` > 1 it is sent to other processes.
        x0: (d,), where the search starts.
        smallest: whether small values are good.
        algorithm: a name in `raes.algorithms.ALGORITHMS`; None: CMA-ES, with a diagonal covariance where there are many
            parameters.
        budget: evaluations at most, that of x0 included.
        target: end once a value is at most this.
        max_seconds: end after the generation in which these are over.
        restarts: `bipop`, `ipop`, or None: end where the search has converged. `auto`: BIPOP for the methods that adapt
            their standard deviations.
        tolerances: what ends a run.
        workers: processes; 1: this one, without Ray. The result is the same to the bit.
        vectorized: whether the function takes all points of a generation at once, (n, d), and returns (n,).
        args: further arguments of the function.
        callback: called after each generation with an `Optimum`; if it returns true, or raises StopIteration, the
            search ends.
        seed: the same one gives the same points.
        optimizer: of the methods that follow a gradient.
        settings: keys of the algorithm's configuration, e.g. `sigma`, `population`, `pairs`.

    Raises:
        UserError: an argument is wrong, or the function raises an exception wherever it is called.
    """
    limits = Limits.of(budget, target, max_seconds, smallest)
    workers = whole("workers", workers, 1)
    if not callable(function):
        raise UserError(f"the function must be callable, got {function!r}")
    if not isinstance(args, tuple):
        raise UserError(f"args must be a tuple of further arguments, got {args!r}; for one write args=(value,)")
    if callback is not None and not callable(callback):
        raise UserError(f"callback must be callable, got {callback!r}")
    optimizing = Optimizer(
        algorithm, x0, seed=seed, optimizer=optimizer, restarts=restarts, tolerances=tolerances, **settings
    )
    optimizing.spread = SpreadWatch(optimizing.settings, LOOK, sign=-1.0 if smallest else 1.0)
    with evaluator(function, args, bool(vectorized), smallest, optimizing.theta.size, workers) as evaluate:
        return FunctionSearch(optimizing, evaluate, limits, smallest, callback).run()


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


class FunctionSearch:
    """One search of a function, from x0 to its `Optimum`."""

    def __init__(
        self, optimizer: Optimizer, evaluate: Evaluator, limits: Limits, smallest: bool, callback: Callback | None
    ) -> None:
        self._optimizer, self._evaluate, self._limits, self._callback = optimizer, evaluate, limits, callback
        self._sign = -1.0 if smallest else 1.0
        self._started = time.monotonic()
        self._pending: tuple[Float64, Float64] | None = None
        self._improvements: list[tuple[int, float]] = []
        self._shown = False
        self._x0 = optimizer.theta

    def run(self) -> Optimum:
        """Search until there is a reason to end; whatever it is, the best point so far is the result.

        Raises:
            UserError: the function raises an exception wherever it is called.
        """
        detail = ""
        try:
            status = self._searched()
        except KeyboardInterrupt:
            status = Status.INTERRUPTED
        except UserError:
            raise
        except Exception as error:
            status, detail = Status.ERROR, described(error)
            warn_caller(f"the search ends early, with the best point so far: {detail}")
        self._keep_pending()
        if status is not Status.INTERRUPTED:
            self._check_calls()
        return self._result(status, detail)

    def _searched(self) -> Status:
        """Evaluate x0, then generation after generation."""
        self._optimizer.note(self._x0[None], self._values(self._x0[None]))
        self._pending = None
        self._note_improvement()
        while self._reason_to_end() is None:
            points = self._optimizer.asked()
            room = self._limits.budget - self._optimizer.evaluations
            fitness = self._values(points[:room])
            self._pending = None
            if len(fitness) < len(points):  # too few for an update
                self._optimizer.note(points[:room], fitness)
                self._note_improvement()
                break
            self._optimizer.tell(fitness)
            self._note_improvement()
            if self._optimizer.generations == 1:
                self._check_calls()
            if self._callback is not None and self._stopped_by_callback(self._callback):
                reason = self._reason_to_end()
                return Status.CALLBACK if reason is None else reason
        reason = self._reason_to_end()
        return Status.BUDGET if reason is None else reason

    def _values(self, points: Float64) -> Float64:
        """The fitness of these points, float64 (n,)."""
        values = np.full(len(points), np.nan)
        self._pending = points, values
        self._evaluate(points, values)
        if self._evaluate.failures and not self._shown:
            self._shown = True
            warn_caller(
                f"the function has no finite value at a point, which counts as the worst: "
                f"{one_line(self._evaluate.first_failure)}"
            )
        np.multiply(values, self._sign, out=values)
        return values

    def _keep_pending(self) -> None:
        """Count the points of a generation that was not completed."""
        if self._pending is None:
            return
        points, values = self._pending
        done = self._evaluate.calls - self._optimizer.evaluations
        self._optimizer.note(points[:done], self._sign * values[:done])
        self._pending = None
        self._note_improvement()

    def _note_improvement(self) -> None:
        best = self._optimizer.best_fitness
        if self._optimizer.best_x is not None and (not self._improvements or best > self._improvements[-1][1]):
            self._improvements.append((self._optimizer.evaluations, best))

    def _reason_to_end(self) -> Status | None:
        optimizer, limits = self._optimizer, self._limits
        if optimizer.best_fitness == math.inf:
            return Status.UNBOUNDED
        if optimizer.best_fitness >= limits.goal:
            return Status.TARGET
        if optimizer.evaluations >= limits.budget:
            return Status.BUDGET
        if time.monotonic() - self._started >= limits.seconds:
            return Status.TIME
        if optimizer.ended is not None:
            return Status.CONVERGED if optimizer.best_x is not None else Status.NOT_FINITE
        return None

    def _stopped_by_callback(self, callback: Callback) -> bool:
        try:
            return bool(callback(self._result(Status.CALLBACK)))
        except StopIteration:
            return True

    def _check_calls(self) -> None:
        """Refuse a function that has raised an exception at every point.

        Raises:
            UserError: with the first exception.
        """
        calls = self._optimizer.evaluations
        if self._evaluate.exceptions >= calls > 0:
            also = "" if calls == 1 else f" and at all {calls - 1} points after it"
            reason = one_line(self._evaluate.first_failure)
            raise UserError(f"the function fails at x0{also}: {reason}; fix the function")

    def _result(self, status: Status, detail: str = "") -> Optimum:
        optimizer = self._optimizer
        found = optimizer.best_x is not None
        if not found and status in (Status.BUDGET, Status.CONVERGED, Status.TIME):
            status = Status.NOT_FINITE
        as_meant = status in (Status.CONVERGED, Status.CALLBACK) or (
            status in (Status.BUDGET, Status.TIME) and self._limits.goal == math.inf
        )
        message = MESSAGES[status] + (f": {detail or optimizer.state.ended}" if status in DETAILED else "")
        evaluations, values = zip(*self._improvements, strict=True) if self._improvements else ((), ())
        return Optimum(
            x=self._x0.copy() if optimizer.best_x is None else optimizer.best_x.copy(),
            fun=self._sign * optimizer.best_fitness if found else math.nan,
            nfev=optimizer.evaluations,
            nit=optimizer.generations,
            success=bool(found and (status is Status.TARGET or as_meant)),
            status=int(status),
            message=message,
            center=optimizer.theta,
            std=optimizer.std,
            covariance=optimizer.covariance,
            restarts=optimizer.state.run.number,
            ended=optimizer.state.ended,
            failures=self._evaluate.failures,
            first_failure=self._evaluate.first_failure,
            algorithm=optimizer.algorithm,
            history=(np.array(evaluations, np.int64), self._sign * np.array(values, np.float64)),
        )


DETAILED = (Status.CONVERGED, Status.ERROR)
"""Those that have more to say than what they are."""
