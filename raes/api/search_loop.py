"""The loop of a search of a function: evaluate, update, until there is a reason to end.

Several runs may go on side by side, each with its own seed and its share of the budget. Whatever order their values
arrive in, they count in one order: the run with the fewest evaluations comes next, of several the first one. So the
result does not depend on the workers. A run that is ahead of this order keeps its steps until their turn comes.
"""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from raes.api.conditions import Limits
from raes.api.evaluators import Evaluator, Request
from raes.api.keyword_arguments import warn_caller
from raes.api.optimizer import Optimizer
from raes.api.optimum import Optimum, Status
from raes.api.outcome import outcome
from raes.api.parallel_run import ParallelRun, Step
from raes.api.progress import Progress
from raes.api.reevaluation import LEAST, chosen, reserved
from raes.api.search_file import SearchFile
from raes.problems.constraints import Violation
from raes.search.spread import SpreadWatch
from raes.text import described, one_line
from raes.types import Float64, UserError

Callback = Callable[[Optimum], Any]
MOST_AHEAD = 8
"""Steps that a run may be ahead of its turn: each holds a state of the search."""
BY_THE_CLOCK = (Status.INTERRUPTED, Status.TIME, Status.ERROR)
"""Ends that depend on the clock anyway, so that all values that have arrived count."""


class FunctionSearch:
    """One search of a function, from x0 to its `Optimum`."""

    def __init__(
        self,
        optimizers: Sequence[Optimizer],
        evaluate: Evaluator,
        limits: Limits,
        smallest: bool,
        callback: Callback | None = None,
        constraints: Callable[[Float64], ArrayLike] | None = None,
        noisy: bool = False,
    ) -> None:
        """Nothing is evaluated.

        Args:
            optimizers: one for each run.
            evaluate: where points are evaluated; nothing else is.
            limits: of all runs together.
            smallest: whether small values are good.
            callback: see `minimize`.
            constraints: see `minimize`.
            noisy: see `minimize`.
        """
        self._evaluate, self._limits, self._callback, self._noisy = evaluate, limits, callback, noisy
        self._sign = -1.0 if smallest else 1.0
        violation = None if constraints is None else Violation(constraints)
        budget = limits.budget - reserved(limits.budget) if noisy else limits.budget
        count = len(optimizers)
        self._runs = [
            ParallelRun(number, one, budget // count + (number < budget % count), self._sign, violation, noisy)
            for number, one in enumerate(optimizers)
        ]
        self._optimizers = optimizers
        self._ahead: list[deque[Step]] = [deque() for _ in optimizers]
        self._reached = (budget + 1, 0)
        self._x0 = optimizers[0].theta
        self._progress = Progress.begin([one.state for one in optimizers], self._x0.size)
        self._started = time.monotonic()
        self._shown = False
        self._file: SearchFile | None = None

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
        if self._file is not None:
            self._file.save_last()
        surplus = self._left_over(status)
        if status is not Status.INTERRUPTED:
            self._check_calls()
        result = replace(self._result(status, detail), surplus=surplus)
        return self._reevaluated(result) if self._noisy and status is not Status.INTERRUPTED else result

    def keep(self, file: SearchFile) -> None:
        """Write progress to this file, and go on with what it holds.

        Raises:
            UserError: it holds another search.
        """
        self._file = file
        found = file.load(self._progress)
        if found is None:
            return
        self._progress, self._shown = found, found.failures > 0
        for run, progress in zip(self._runs, found.runs, strict=True):
            run.go_on(progress, found.found, found.best_fitness)
            run.optimizer.spread = SpreadWatch(run.optimizer.settings, "", begun=True)

    def _searched(self) -> Status:
        """Take step after step."""
        while (reason := self._reason_to_end()) is None:
            step = self._next_step()
            generations = self._progress.generations
            self._take(step)
            if self._progress.generations == generations:  # x0, or too few for an update
                continue
            if self._file is not None:
                self._file.save_if_due(self._progress)
            if self._progress.generations == 1:
                self._check_calls()
            if self._callback is not None and self._stopped_by_callback(self._callback):
                reason = self._reason_to_end()
                return Status.CALLBACK if reason is None else reason
        return reason

    def _next_step(self) -> Step:
        """That of the run with the fewest evaluations, as soon as its values are there."""
        self._ask()
        active = [
            (progress.evaluations, number)
            for number, progress in enumerate(self._progress.runs)
            if not self._runs[number].over(progress)
        ]
        ahead = self._ahead[min(active)[1]]
        while not ahead:
            self._answer(self._evaluate.collect())
            self._ask()
        return ahead.popleft()

    def _ask(self) -> None:
        """Have all runs ask for points that wait for none, but for those behind a step that ends the search."""
        for number, run in enumerate(self._runs):
            while not (run.waits or run.over(run.progress)) and len(self._ahead[number]) < MOST_AHEAD:
                if (run.progress.evaluations, number) > self._reached:
                    break
                request = run.ask()
                if len(request.points):
                    self._evaluate.submit(request)
                else:  # none keeps the constraints
                    self._answer(request)

    def _answer(self, request: Request) -> None:
        step = self._runs[request.run].answer(request)
        self._ahead[request.run].append(step)
        if step.fitness >= self._limits.goal or step.fitness == math.inf:
            self._reached = min(self._reached, request.place)

    def _take(self, step: Step) -> None:
        """Count a step whose turn has come."""
        self._progress = self._progress.after(step)
        self._show_failure()

    def _left_over(self, status: Status) -> int:
        """Count what is known of steps whose turn has not come, after an end by the clock; else how many evaluations
        that is."""
        surplus = 0
        steps = [step for ahead in self._ahead for step in ahead]
        steps += [step for run in self._runs if (step := run.interrupted()) is not None]
        for step in sorted(steps, key=lambda one: one.request.place):
            if status in BY_THE_CLOCK:
                self._take(step)
            else:
                surplus += step.request.calls
        self._evaluate.abandon()
        return surplus

    def _reevaluated(self, result: Optimum) -> Optimum:
        """The candidate with the best mean of further evaluations."""
        budget = self._limits.budget - self._progress.evaluations
        if self._progress.found is None or budget < LEAST:
            return result

        def fitness(points: Float64) -> Float64:
            request = Request(
                0, self._progress.evaluations + self._progress.calls, points, np.full(len(points), np.nan)
            )
            self._evaluate.submit(request)
            self._progress = self._progress.after_calls(self._evaluate.collect())
            self._show_failure()
            return self._sign * request.values

        stands = [one.center(run.state) for one, run in zip(self._optimizers, self._progress.runs, strict=True)]
        x, mean, spread = chosen([*stands, *self._progress.centers, result.x], fitness, budget)
        return replace(result, x=x, fun=self._sign * mean, error=spread, nfev=self._progress.calls)

    def _show_failure(self) -> None:
        """Warn of the first one."""
        if self._progress.failures and not self._shown:
            self._shown = True
            warn_caller(
                f"the function has no finite value at a point, which counts as the worst: "
                f"{one_line(self._progress.first_failure)}"
            )

    def _reason_to_end(self) -> Status | None:
        progress, limits = self._progress, self._limits
        if progress.best_fitness == math.inf:
            return Status.UNBOUNDED
        if progress.best_fitness >= limits.goal:
            return Status.TARGET
        over = all(run.over(one) for run, one in zip(self._runs, progress.runs, strict=True))
        if over and any(run.exhausted(one) for run, one in zip(self._runs, progress.runs, strict=True)):
            return Status.BUDGET
        if time.monotonic() - self._started >= limits.seconds:
            return Status.TIME
        if over:
            return Status.CONVERGED if progress.found is not None else Status.NOT_FINITE
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
        progress = self._progress
        if progress.exceptions >= progress.calls > 0:
            also = "" if progress.calls == 1 else f" and at all {progress.calls - 1} points after it"
            reason = one_line(progress.first_failure)
            raise UserError(f"the function fails at x0{also}: {reason}; fix the function")

    def _result(self, status: Status, detail: str = "") -> Optimum:
        aimed = self._limits.goal != math.inf
        return outcome(self._progress, self._optimizers, self._sign, aimed, self._x0, status, detail)
