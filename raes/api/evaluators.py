"""Where the points of a search of a function are evaluated: in this process, or by workers of Ray."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np

from raes.problems.exits import exits_are_faults
from raes.problems.function import NOT_FINITE, FunctionSettings, FunctionSpec
from raes.rng import global_generators_kept
from raes.runtime.scheduling import Size
from raes.runtime.worker import WorkerSpec
from raes.text import KEPT, described
from raes.types import Float64, UserError, check_fault
from raes.validation import number, plain


@dataclass(frozen=True)
class Failure:
    """Points without a finite value.

    Attributes:
        reason: why the first of them has none.
        raised: whether the function raised an exception, returned no number, or ended its process.
        count: of the points.
    """

    reason: str
    raised: bool
    count: int = 1


@dataclass
class Request:
    """Points of one run of a search, whose values are awaited.

    Attributes:
        run: the number of the run.
        before: its evaluations before these; with `run`, the place of these points in the order of the search.
        points: float64 (n, d), which nobody must change.
        values: float64 (n,), NaN where there is none, or none yet.
        calls: points that were evaluated, so far.
        failures: those of them without a finite value, in the order of the points.
    """

    run: int
    before: int
    points: Float64
    values: Float64
    calls: int = 0
    failures: list[Failure] = field(default_factory=list)

    @property
    def place(self) -> tuple[int, int]:
        """The run with the fewest evaluations comes next, of several the first one, whatever the workers do."""
        return self.before, self.run


class Evaluator(Protocol):
    """Evaluates points: requests in, answered requests out.

    Attributes:
        workers: how many evaluations run at a time.
    """

    @property
    def workers(self) -> int:
        """How many evaluations run at a time."""

    def submit(self, request: Request) -> None:
        """Queue points, at least one, by their place."""

    def collect(self) -> Request:
        """Wait until all points of a request have been evaluated; whichever it is. What is known of the others stands
        in them, also after an interruption."""

    def abandon(self) -> None:
        """Forget all requests that are not answered."""


class SerialEvaluator:
    """Calls the function in this process, one point after the other, or with all of a request at once."""

    workers = 1

    def __init__(self, function: Callable[..., Any], args: tuple[Any, ...], vectorized: bool, good: float) -> None:
        """Nothing is evaluated.

        Args:
            function: see `minimize`.
            args: further arguments.
            vectorized: whether it takes all points at once.
            good: the infinity that is the best value.
        """
        self._function, self._args, self._vectorized, self._good = function, args, vectorized, good
        self._waiting: list[Request] = []

    def submit(self, request: Request) -> None:
        """See `Evaluator`."""
        self._waiting.append(request)

    def collect(self) -> Request:
        """See `Evaluator`; in the order of the search, so that no run is ahead of another."""
        request = min(self._waiting, key=lambda one: one.place)
        if self._vectorized:
            self._at_once(request)
        else:
            self._one_by_one(request)
        self._waiting.remove(request)
        return request

    def abandon(self) -> None:
        """See `Evaluator`."""
        self._waiting.clear()

    def _one_by_one(self, request: Request) -> None:
        function, args, points, values = self._function, self._args, request.points, request.values
        for row in range(len(points)):
            try:
                value = function(points[row].copy(), *args)  # which the function may change
                values[row] = value if type(value) is float else number(value)
            except BaseException as error:
                check_fault(error)
                request.calls += 1
                request.failures.append(Failure(described(error, KEPT), raised=True))
                continue
            request.calls += 1
            if not math.isfinite(values[row]) and values[row] != self._good:
                request.failures.append(Failure(f"{NOT_FINITE} {values[row]}", raised=False))

    def _at_once(self, request: Request) -> None:
        points, values = request.points, request.values
        try:
            answer = plain(self._function(points.copy(), *self._args)).astype(np.float64)
        except BaseException as error:
            check_fault(error)
            request.calls += len(points)
            request.failures.append(Failure(described(error, KEPT), raised=True, count=len(points)))
            return
        request.calls += len(points)
        if answer.shape != values.shape:
            raise UserError(
                f"vectorized=True: the function must return {len(points)} values for x of shape {points.shape}, and it "
                f"returned an array of shape {answer.shape}"
            )
        values[:] = answer
        if not np.isfinite(values).all():
            wrong = values[~np.isfinite(values) & (values != self._good)].tolist()
            request.failures.extend(Failure(f"{NOT_FINITE} {value}", raised=False) for value in wrong)


class _OneRow:
    """A function of (n, d) as one of (d,)."""

    def __init__(self, function: Callable[..., Any]) -> None:
        self._function = function

    def __call__(self, x: Float64, *args: Any) -> Any:
        return self._function(x[None], *args)


class _WithArguments:
    """A function with further arguments, which travels to other processes."""

    def __init__(self, function: Callable[..., Any], args: tuple[Any, ...]) -> None:
        self._function, self._args = function, args

    def __call__(self, x: Float64) -> Any:
        return self._function(x, *self._args)


@dataclass(frozen=True)
class Calls:
    """How a function is called.

    Attributes:
        workers: processes on Ray as on the command line; 1 is this process.
        deadline: seconds that a call may take on Ray; None for automatic.
        retries: how often a point is tried again whose worker was lost; None for automatic.
        vectorized: whether it takes all points at once; those of Ray's workers come one by one.
        args: further arguments.
    """

    workers: int | str = 1
    deadline: float | None = None
    retries: int | None = None
    vectorized: bool = False
    args: tuple[Any, ...] = ()


@contextmanager
def evaluator(function: Callable[..., Any], smallest: bool, dim: int, calls: Calls) -> Iterator[Evaluator]:
    """Where points are evaluated: this process, whose exits are failures, or Ray, ended afterwards unless the caller
    had it already.

    Args:
        function: see `minimize`.
        smallest: whether small values are good.
        dim: numbers in x.
        calls: how it is called.
    """
    args = calls.args
    if calls.workers == 1:
        with exits_are_faults(), global_generators_kept():
            yield SerialEvaluator(function, args, calls.vectorized, -math.inf if smallest else math.inf)
        return
    from raes.api.notices import print_notice
    from raes.api.ray_evaluator import RayEvaluator
    from raes.runtime.ray_executor import RayExecutor
    from raes.runtime.session import attached

    called = _OneRow(function) if calls.vectorized else function
    settings = FunctionSettings(call=f"{getattr(function, '__module__', '')}:{_name(function)}", dim=dim)
    spec = FunctionSpec(settings, _WithArguments(called, args) if args else called, describes=False)
    size = Size.of(calls.workers)
    with (
        attached("auto", size.most, 0, print_notice),
        closing(RayExecutor(WorkerSpec(spec, 0), 0, size, False, calls.deadline, retries=calls.retries)) as pool,
    ):
        yield RayEvaluator(pool, calls.deadline)


def _name(function: Callable[..., Any]) -> str:
    return str(getattr(function, "__name__", "function"))
