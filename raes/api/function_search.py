"""The search behind `raes.minimize` and `raes.maximize`: evaluate, update, until there is a reason to end."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from raes.api.conditions import Limits, checked_workers
from raes.api.evaluators import Evaluator, evaluator
from raes.api.keyword_arguments import warn_caller
from raes.api.optimizer import LOOK, Optimizer
from raes.api.optimum import MESSAGES, Optimum, Status
from raes.api.reevaluation import CANDIDATES, LEAST, chosen, reserved
from raes.api.search_file import Progress, SearchFile
from raes.problems.constraints import Violation
from raes.search.endings import Tolerances
from raes.search.optimizers import OptimizerSettings
from raes.search.spread import SpreadWatch
from raes.text import described, one_line
from raes.types import Bool, Float64, UserError

Function = Callable[..., Any]
Callback = Callable[[Optimum], Any]


def search(
    function: Function,
    x0: ArrayLike | None,
    smallest: bool,
    *,
    algorithm: str | None = None,
    budget: int = 10_000,
    target: float | None = None,
    max_seconds: float | None = None,
    restarts: str | None = "auto",
    tolerances: Tolerances | None = None,
    bounds: Any = None,
    cov: ArrayLike | None = None,
    warm_start: Optimum | None = None,
    constraints: Callable[[Float64], ArrayLike] | None = None,
    noisy: bool = False,
    workers: int | str = 1,
    vectorized: bool = False,
    args: tuple[Any, ...] = (),
    callback: Callback | None = None,
    run_dir: str | Path | None = None,
    resume: str = "never",
    seed: int = 0,
    optimizer: OptimizerSettings | None = None,
    **settings: Any,
) -> Optimum:
    """Search for the x with the smallest, or the largest, value.

    Args:
        function: takes float64 (d,), returns a number. A value that is NaN or infinite, and an exception, count as the
            worst value. With `workers` > 1 it is sent to other processes.
        x0: (d,), where the search starts; None: in the middle of the bounds.
        smallest: whether small values are good.
        algorithm: a name in `raes.algorithms.ALGORITHMS`; None: CMA-ES, with a diagonal covariance where there are many
            parameters.
        budget: evaluations at most, that of x0 included.
        target: end once a value is at most this.
        max_seconds: end after the generation in which these are over.
        restarts: `bipop`, `ipop`, or None: end where the search has converged. `auto`: BIPOP for the methods that adapt
            their standard deviations.
        tolerances: what ends a run.
        bounds: (low, high) of each coordinate, None for an infinite end; or `raes.Interval(low, high, log, integer)`,
            or `raes.Category(count)`; a single (low, high) is for all. `sigma` is a share of each range then.
        cov: (d, d) or its diagonal (d,): the first points have the covariance sigma^2 cov, sigma 1 by default.
        warm_start: an earlier result: its centre, where there is no x0, and the shape of its last points, of which
            `sigma` is the largest standard deviation.
        constraints: takes x and returns numbers, all of which must be at most 0. Where one is not, the function is not
            called; the point counts in the budget and ranks behind those that keep all, by the sum of what is above 0.
        noisy: whether the function gives another value each time. Then the population grows where there is no
            progress, and with each restart, a tenth of the budget evaluates the centres of the runs and the best point
            again, and the one with the best mean is the result, `fun` this mean and `error` its standard error.
        workers: processes on Ray, `auto` for all of its CPUs, or `2..8`; 1: this process, without Ray. The result is
            the same to the bit.
        vectorized: whether the function takes all points of a generation at once, (n, d), and returns (n,).
        args: further arguments of the function.
        callback: called after each generation with an `Optimum`; if it returns true, or raises StopIteration, the
            search ends.
        run_dir: a folder for the search's file, from which it can go on after a stop or a kill; None for none.
        resume: `auto`: go on with what the folder holds, with the same bits as without a stop; `never`: refuse it.
        seed: the same one gives the same points.
        optimizer: of the methods that follow a gradient.
        settings: keys of the algorithm's configuration, e.g. `sigma`, one for all or one for each coordinate,
            `population`, `pairs`.

    Raises:
        UserError: an argument is wrong, or the function raises an exception wherever it is called.
    """
    limits = Limits.of(budget, target, max_seconds, smallest)
    if noisy and target is not None:
        raise UserError(f"target={target}: one value of a noisy function means little; remove it, or noisy=True")
    workers = checked_workers(workers)
    if not callable(function):
        raise UserError(f"the function must be callable, got {function!r}")
    if not isinstance(args, tuple):
        raise UserError(f"args must be a tuple of further arguments, got {args!r}; for one write args=(value,)")
    if constraints is not None and not callable(constraints):
        raise UserError(f"constraints must be callable, got {constraints!r}; e.g. constraints=lambda x: [x.sum() - 1]")
    if callback is not None and not callable(callback):
        raise UserError(f"callback must be callable, got {callback!r}")
    optimizing = Optimizer(
        algorithm,
        x0,
        seed=seed,
        optimizer=optimizer,
        restarts=restarts,
        tolerances=tolerances,
        bounds=bounds,
        cov=cov,
        warm_start=warm_start,
        noisy=bool(noisy),
        **settings,
    )
    if isinstance(workers, int) and workers > (points := optimizing.settings.episodes):
        warn_caller(
            f"a generation has {points} points, so that {workers - points} of {workers} workers are idle; give "
            f"{optimizing.settings.size_key} a larger number, which takes more evaluations and less time"
        )
    optimizing.spread = SpreadWatch(optimizing.settings, LOOK, sign=-1.0 if smallest else 1.0)
    with evaluator(function, args, bool(vectorized), smallest, optimizing.theta.size, workers) as evaluate:
        searching = FunctionSearch(optimizing, evaluate, limits, smallest, callback, constraints, noisy)
        if run_dir is not None:
            name = f"{getattr(function, '__module__', '')}:{getattr(function, '__qualname__', function)}"
            facts = optimizing.facts() | {"function": name, "smallest": smallest}
            searching.keep(SearchFile(run_dir, resume, facts))
        return searching.run()


class FunctionSearch:
    """One search of a function, from x0 to its `Optimum`."""

    def __init__(
        self,
        optimizer: Optimizer,
        evaluate: Evaluator,
        limits: Limits,
        smallest: bool,
        callback: Callback | None,
        constraints: Callable[[Float64], ArrayLike] | None = None,
        noisy: bool = False,
    ) -> None:
        self._optimizer, self._evaluate, self._limits, self._callback = optimizer, evaluate, limits, callback
        self._sign = -1.0 if smallest else 1.0
        self._violation = None if constraints is None else Violation(constraints)
        self._worst, self._known, self._skipped = 0.0, False, 0
        self._started = time.monotonic()
        self._pending: tuple[Float64, Float64] | None = None
        self._improvements: list[tuple[int, float]] = []
        self._shown = False
        self._budget = limits.budget - reserved(limits.budget) if noisy else limits.budget
        self._noisy, self._centers = noisy, list[Float64]()
        self._file: SearchFile | None = None
        self._x0 = optimizer.theta

    def run(self) -> Optimum:
        """Search until there is a reason to end; whatever it is, the best point so far is the result.

        Raises:
            UserError: the function raises an exception wherever it is called.
        """
        detail = ""
        self._progress: Progress | None = None
        try:
            status = self._searched()
        except KeyboardInterrupt:
            status = Status.INTERRUPTED
        except UserError:
            raise
        except Exception as error:
            status, detail = Status.ERROR, described(error)
            warn_caller(f"the search ends early, with the best point so far: {detail}")
        if self._file is not None and self._progress is not None:
            self._file.save(self._progress)
        self._keep_pending()
        if status is not Status.INTERRUPTED:
            self._check_calls()
        result = self._result(status, detail)
        if not self._noisy or status is Status.INTERRUPTED or self._optimizer.best_x is None:
            return result
        budget = self._limits.budget - self._optimizer.evaluations
        if budget < LEAST:
            return result
        x, mean, spread = chosen([self._optimizer.theta, *self._centers, result.x], self._values, budget)
        return replace(result, x=x, fun=self._sign * mean, error=spread, nfev=self._evaluate.calls)

    def _searched(self) -> Status:
        """Evaluate x0, then generation after generation."""
        if not self._optimizer.evaluations:
            fitness, valid = self._fitness(self._x0[None])
            self._optimizer.note(self._x0[None], np.where(valid, fitness, np.nan))
            self._pending = None
            self._note_improvement()
        while self._reason_to_end() is None:
            points = self._optimizer.asked()
            room = self._budget - self._optimizer.evaluations
            fitness, valid = self._fitness(points[:room])
            self._pending = None
            if len(fitness) < len(points):  # too few for an update
                self._optimizer.note(points[:room], np.where(valid, fitness, np.nan))
                self._note_improvement()
                break
            run, center = self._optimizer.state.run.number, self._optimizer.theta if self._noisy else None
            self._optimizer.tell(fitness, valid)
            if center is not None and self._optimizer.state.run.number != run:
                self._centers = [*self._centers, center][-CANDIDATES:]
            self._note_improvement()
            self._save()
            if self._optimizer.generations == 1:
                self._check_calls()
            if self._callback is not None and self._stopped_by_callback(self._callback):
                reason = self._reason_to_end()
                return Status.CALLBACK if reason is None else reason
        reason = self._reason_to_end()
        return Status.BUDGET if reason is None else reason

    def keep(self, file: SearchFile) -> None:
        """Write progress to this file, and go on with what it holds.

        Raises:
            UserError: it holds another search.
        """
        self._file = file
        found = file.load(self._now())
        if found is None:
            return
        optimizer, evaluate = self._optimizer, self._evaluate
        optimizer.state, optimizer.evaluations, optimizer.generations = (
            found.state, found.evaluations, found.generations,
        )  # fmt: skip
        optimizer.best_x = found.best_x if found.best_x.size else None
        optimizer.best_fitness = found.best_fitness
        optimizer.spread = SpreadWatch(optimizer.settings, LOOK, begun=True)
        evaluate.calls, evaluate.failures, evaluate.exceptions = found.calls, found.failures, found.exceptions
        evaluate.first_failure, self._shown = found.first_failure or None, found.failures > 0
        self._worst, self._known, self._skipped = found.worst, found.known, found.skipped
        self._improvements = list(zip(found.improved_at.tolist(), found.improved_to.tolist(), strict=True))

    def _save(self) -> None:
        """Remember how far the search is, and write it where it is time."""
        if self._file is not None:
            self._progress = self._now()
            if self._file.due:
                self._file.save(self._progress)

    def _now(self) -> Progress:
        optimizer, evaluate = self._optimizer, self._evaluate
        at, to = zip(*self._improvements, strict=True) if self._improvements else ((), ())
        return Progress(
            state=optimizer.state,
            evaluations=optimizer.evaluations,
            generations=optimizer.generations,
            best_x=np.zeros(0) if optimizer.best_x is None else optimizer.best_x,
            best_fitness=float(optimizer.best_fitness),
            calls=evaluate.calls,
            failures=evaluate.failures,
            exceptions=evaluate.exceptions,
            first_failure=evaluate.first_failure or "",
            worst=self._worst,
            known=self._known,
            skipped=self._skipped,
            improved_at=np.array(at, np.int64),
            improved_to=np.array(to, np.float64),
        )

    def _fitness(self, points: Float64) -> tuple[Float64, Bool]:
        """The fitness of these points, float64 (n,), and which of them keep the constraints, bool (n,).

        Points that do not are worse than the worst that do, by how much they do not (Deb 2000, equation 4).
        """
        if self._violation is None:
            return self._values(points), np.ones(len(points), bool)
        violation = self._violation(points)
        valid = violation <= 0
        fitness = np.empty(len(points))
        if valid.any():
            fitness[valid] = self._values(points[valid])
            finite = fitness[valid][np.isfinite(fitness[valid])]
            if finite.size:
                self._worst = min(self._worst, float(finite.min())) if self._known else float(finite.min())
                self._known = True
        self._pending = None
        self._skipped += int((~valid).sum())
        fitness[~valid] = self._worst - violation[~valid]
        return fitness, valid

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
        done = self._evaluate.calls + self._skipped - self._optimizer.evaluations
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
        if optimizer.evaluations >= self._budget:
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
        calls = self._evaluate.calls
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
            nfev=self._evaluate.calls,
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
