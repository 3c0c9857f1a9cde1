"""Where the points of a search of a function are evaluated: in this process, or by workers of Ray."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from typing import Any, Protocol

import numpy as np

from raes.api.notices import Notices
from raes.problems.exits import exits_are_faults
from raes.problems.function import NOT_FINITE, FunctionSettings, FunctionSpec
from raes.rng import Purpose, global_generators_kept
from raes.runtime.executor import Executor
from raes.runtime.rounds import RoundRunner
from raes.runtime.scheduling import Size
from raes.runtime.worker import WorkerSpec
from raes.tasks import Genomes, Round, Snapshot, Tasks
from raes.text import KEPT, described
from raes.types import Float64, UserError, check_fault
from raes.validation import number, plain


class Evaluator(Protocol):
    """Evaluates points.

    Attributes:
        calls: points that were evaluated, so far.
        failures: those of them without a finite value.
        exceptions: those at which the function raised an exception, or returned no number.
        first_failure: why the first of them has none; None before.
    """

    calls: int
    failures: int
    exceptions: int
    first_failure: str | None

    def __call__(self, points: Float64, values: Float64) -> None:
        """Fill in the value of each point, in order; NaN stays where there is none.

        Args:
            points: float64 (n, d).
            values: float64 (n,), NaN; an interruption leaves those that are not known yet.
        """


class Failures:
    """Counts points without a value; the base of evaluators."""

    def __init__(self) -> None:
        self.calls = self.failures = self.exceptions = 0
        self.first_failure: str | None = None

    def note(self, reason: str, count: int = 1, raised: bool = True) -> None:
        """Count points that have no value."""
        self.failures += count
        self.exceptions += count * raised
        self.first_failure = self.first_failure or reason

    def look_at(self, values: Float64, good: float) -> None:
        """Count the values that are not finite, but for the best that there can be."""
        if np.isfinite(values).all():
            return
        for value in values[~np.isfinite(values) & (values != good)].tolist():
            self.note(f"{NOT_FINITE} {value}", raised=False)


class SerialEvaluator(Failures):
    """Calls the function in this process, one point after the other, or with all of them at once."""

    def __init__(self, function: Callable[..., Any], args: tuple[Any, ...], vectorized: bool, good: float) -> None:
        super().__init__()
        self._function, self._args, self._vectorized, self._good = function, args, vectorized, good

    def __call__(self, points: Float64, values: Float64) -> None:
        """See `Evaluator`."""
        if self._vectorized:
            self._at_once(points, values)
            return
        function, args = self._function, self._args
        for row in range(len(points)):
            try:
                value = function(points[row].copy(), *args)  # which the function may change
                values[row] = value if type(value) is float else number(value)
            except BaseException as error:
                check_fault(error)
                self.calls += 1
                self.note(described(error, KEPT))
                continue
            self.calls += 1
            if not math.isfinite(values[row]) and values[row] != self._good:
                self.note(f"{NOT_FINITE} {values[row]}", raised=False)

    def _at_once(self, points: Float64, values: Float64) -> None:
        try:
            answer = plain(self._function(points.copy(), *self._args)).astype(np.float64)
        except BaseException as error:
            check_fault(error)
            self.calls += len(points)
            self.note(described(error, KEPT), len(points))
            return
        self.calls += len(points)
        if answer.shape != values.shape:
            raise UserError(
                f"vectorized=True: the function must return {len(points)} values for x of shape {points.shape}, and it "
                f"returned an array of shape {answer.shape}"
            )
        values[:] = answer
        self.look_at(values, self._good)


class RayEvaluator(Failures):
    """Has workers of Ray call the function; each generation is a round of them.

    Attributes:
        pool: the workers.
    """

    def __init__(self, pool: Executor) -> None:
        super().__init__()
        self.pool = pool
        self._runner, self._generation = RoundRunner(pool, Notices(pool)), 0

    def __call__(self, points: Float64, values: Float64) -> None:
        """See `Evaluator`."""
        count, index = len(points), np.arange(len(points))
        genomes = Genomes(np.zeros(count, np.int64), np.ones(count, np.float32), vectors=points)
        tasks = Tasks(Purpose.TRAINING, self._generation, index, index, np.zeros(count, bool), genomes)
        snapshot = Snapshot(self._generation, np.zeros(points.shape[1]))
        self._runner.open(Round(snapshot, lambda first, number: tasks, min_groups=count))
        self._generation += 1
        finished = self._runner.collect()
        assert finished is not None
        self.calls += count
        if finished.batch is not None:
            values[finished.batch.index] = finished.batch.returns[:, 0]
        for reason in finished.reasons:
            self.note(reason, raised=not reason.startswith(NOT_FINITE))


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


@contextmanager
def evaluator(
    function: Callable[..., Any], args: tuple[Any, ...], vectorized: bool, smallest: bool, dim: int, workers: int | str
) -> Iterator[Evaluator]:
    """Where points are evaluated: this process, whose exits are failures, or Ray, ended afterwards unless the caller
    had it already.

    Args:
        function: see `minimize`.
        args: further arguments.
        vectorized: whether it takes all points at once; those of Ray's workers come one by one.
        smallest: whether small values are good.
        dim: numbers in x.
        workers: as of the command line; 1 is this process.
    """
    if workers == 1:
        with exits_are_faults(), global_generators_kept():
            yield SerialEvaluator(function, args, vectorized, -math.inf if smallest else math.inf)
        return
    from raes.runtime.ray_executor import RayExecutor
    from raes.runtime.session import attached

    called = _OneRow(function) if vectorized else function
    settings = FunctionSettings(call=f"{getattr(function, '__module__', '')}:{_name(function)}", dim=dim)
    spec = FunctionSpec(settings, _WithArguments(called, args) if args else called, describes=False)
    with (
        attached("auto", Size.of(workers).most, 0),
        closing(RayExecutor(WorkerSpec(spec, 0), 0, Size.of(workers), relays=False, deadline=None)) as pool,
    ):
        yield RayEvaluator(pool)


def _name(function: Callable[..., Any]) -> str:
    return str(getattr(function, "__name__", "function"))
