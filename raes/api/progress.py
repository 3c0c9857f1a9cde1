"""How far a search of a function is: what all of its runs have found, in an order that no worker decides."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from raes.api.evaluators import Request
from raes.api.parallel_run import RunProgress, Step
from raes.api.reevaluation import CANDIDATES
from raes.types import Float64, Int64


@dataclass(frozen=True)
class Progress:
    """A search between two steps.

    Attributes:
        runs: of each run.
        evaluations: points so far, those included that violate constraints.
        generations: so far, of all runs.
        best_x: float64 (d,), or empty.
        best_fitness: of it.
        best_run: the run that has found it.
        calls: of the function.
        failures: calls without a finite value.
        exceptions: calls that raised one.
        first_failure: why the first of these has none; empty for none.
        improved_at: int64 (k,), evaluations of the improvements.
        improved_to: float64 (k,), their fitness.
        centers: float64 (k, d), where a noisy search stood at the last restarts.
    """

    runs: tuple[RunProgress, ...]
    evaluations: int
    generations: int
    best_x: Float64
    best_fitness: float
    best_run: int
    calls: int
    failures: int
    exceptions: int
    first_failure: str
    improved_at: Int64
    improved_to: Float64
    centers: Float64

    @staticmethod
    def begin(states: list[Any], dim: int) -> Progress:
        """Nothing is evaluated."""
        runs = tuple(RunProgress(state) for state in states)
        none, number = np.zeros(0), np.zeros(0, np.int64)
        return Progress(runs, 0, 0, none, -np.inf, 0, 0, 0, 0, "", number, none, np.zeros((0, dim)))

    @property
    def found(self) -> Float64 | None:
        """The best point, float64 (d,); None where no value was finite."""
        return self.best_x if self.best_x.size else None

    def after(self, step: Step) -> Progress:
        """With one more step of a run."""
        run, request = step.request.run, step.request
        before = self.runs[run]
        changed = replace(
            self.after_calls(request),
            runs=(*self.runs[:run], step.after, *self.runs[run + 1 :]),
            evaluations=self.evaluations + step.count,
            generations=self.generations + step.after.generations - before.generations,
        )
        if step.center is not None:
            changed = replace(changed, centers=np.vstack([self.centers, step.center])[-CANDIDATES:])
        if step.x is None or step.fitness <= self.best_fitness:
            return changed
        return replace(
            changed,
            best_x=step.x,
            best_fitness=step.fitness,
            best_run=run,
            improved_at=np.append(self.improved_at, changed.evaluations),
            improved_to=np.append(self.improved_to, step.fitness),
        )

    def after_calls(self, request: Request) -> Progress:
        """With the function's calls for these points counted, and nothing else."""
        if not request.failures:
            return replace(self, calls=self.calls + request.calls)
        return replace(
            self,
            calls=self.calls + request.calls,
            failures=self.failures + sum(one.count for one in request.failures),
            exceptions=self.exceptions + sum(one.count * one.raised for one in request.failures),
            first_failure=self.first_failure or request.failures[0].reason,
        )
