"""One of the runs that a search of a function has side by side: what it asks for, and what it makes of the values."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from raes.api.evaluators import Request
from raes.api.optimizer import Optimizer
from raes.problems.constraints import Violation
from raes.types import Bool, Float64


@dataclass(frozen=True)
class RunProgress:
    """A run between two generations.

    Attributes:
        state: of its search.
        evaluations: its points so far, those included that violate constraints.
        generations: so far.
        worst: the least fitness of its points that keep the constraints.
        known: whether there is such a point.
    """

    state: Any
    evaluations: int = 0
    generations: int = 0
    worst: float = 0.0
    known: bool = False


@dataclass(frozen=True)
class Step:
    """What a generation of a run, or x0, adds to the search.

    Attributes:
        request: whose values it was made of.
        after: the run behind it.
        count: points, those included that violate constraints.
        x: float64 (d,), the best point, where it is better than all of this run before, else None.
        fitness: of it.
        center: float64 (d,), where a noisy search stood before it, if a restart follows, else None.
    """

    request: Request
    after: RunProgress
    count: int
    x: Float64 | None
    fitness: float
    center: Float64 | None = None


class ParallelRun:
    """One sequence of restarts with a share of the budget; it knows nothing of the other runs.

    Attributes:
        optimizer: of this run.
        progress: behind its newest step.
    """

    def __init__(
        self,
        number: int,
        optimizer: Optimizer,
        budget: int,
        sign: float,
        violation: Violation | None = None,
        noisy: bool = False,
    ) -> None:
        """Nothing is evaluated.

        Args:
            number: of the run, from 0 on; run 0 evaluates x0.
            optimizer: whose points are evaluated.
            budget: evaluations at most.
            sign: -1 where small values are good.
            violation: of the constraints, None for none.
            noisy: whether steps have the centres of ended runs.
        """
        self.optimizer, self.progress = optimizer, RunProgress(optimizer.state)
        self._number, self._budget, self._sign = number, budget, sign
        self._violation, self._noisy = violation, noisy
        self._x0 = optimizer.theta
        self._request: Request | None = None
        self._points: Float64 = np.zeros((0, 0))
        self._excess: Float64 = np.zeros(0)

    @property
    def waits(self) -> bool:
        """Whether it has asked for points whose values it does not have yet."""
        return self._request is not None

    def exhausted(self, progress: RunProgress) -> bool:
        """Whether the budget is used up."""
        return progress.evaluations >= self._budget

    def over(self, progress: RunProgress) -> bool:
        """Whether there is no further generation."""
        return self.exhausted(progress) or bool(progress.state.over)

    def go_on(self, progress: RunProgress, best_x: Float64 | None, best_fitness: float) -> None:
        """Go on from what a file holds."""
        self.progress, optimizer = progress, self.optimizer
        optimizer.state, optimizer.evaluations = progress.state, progress.evaluations
        optimizer.generations, optimizer.best_x, optimizer.best_fitness = progress.generations, best_x, best_fitness

    def ask(self) -> Request:
        """The next points to evaluate: x0 alone, then generation after generation, the last one cut to the budget."""
        before = self.progress.evaluations
        first = before == 0 and self._number == 0
        points = self._x0[None] if first else self.optimizer.asked()[: self._budget - before]
        self._points, kept = points, points
        if self._violation is not None:
            self._excess = self._violation(points)
            kept = points[self._excess <= 0]
        self._request = Request(self._number, before, kept, np.full(len(kept), np.nan))
        return self._request

    def answer(self, request: Request) -> Step:
        """Take in the values of what was asked for; the search's next state is that of the step."""
        assert request is self._request
        optimizer, points, self._request = self.optimizer, self._points, None
        fitness, valid, worst, known = self._fitness(request)
        best, run = optimizer.best_fitness, optimizer.state.run.number
        center = optimizer.theta if self._noisy else None
        if (request.before or self._number) and len(points) == len(optimizer.asked()):
            optimizer.tell(fitness, valid)
        else:  # x0, or too few for an update
            optimizer.note(points, np.where(valid, fitness, np.nan))
        self.progress = RunProgress(optimizer.state, optimizer.evaluations, optimizer.generations, worst, known)
        return Step(
            request,
            self.progress,
            len(points),
            optimizer.best_x if optimizer.best_fitness > best else None,
            optimizer.best_fitness,
            center if optimizer.state.run.number != run else None,
        )

    def interrupted(self) -> Step | None:
        """What of the points is known that it has asked for; None for nothing."""
        request = self._request
        if request is None or not request.calls:
            return None
        fitness = self._sign * request.values
        best = None if np.isnan(fitness).all() else int(np.nanargmax(fitness))
        after = replace(self.progress, evaluations=self.progress.evaluations + request.calls)
        if best is None:
            return Step(request, after, request.calls, None, -np.inf)
        return Step(request, after, request.calls, request.points[best].copy(), float(fitness[best]))

    def _fitness(self, request: Request) -> tuple[Float64, Bool, float, bool]:
        """The fitness of all points, float64 (n,), which of them keep the constraints, bool (n,), the worst fitness of
        such points so far, and whether there is one.

        Points that do not are worse than the worst that do, by how much they do not (Deb 2000, equation 4).
        """
        worst, known = self.progress.worst, self.progress.known
        if self._violation is None:
            return self._sign * request.values, np.ones(len(request.values), bool), worst, known
        valid = self._excess <= 0
        fitness = np.empty(len(valid))
        fitness[valid] = self._sign * request.values
        finite = fitness[valid][np.isfinite(fitness[valid])]
        if finite.size:
            worst = min(worst, float(finite.min())) if known else float(finite.min())
            known = True
        fitness[~valid] = worst - self._excess[~valid]
        return fitness, valid, worst, known
