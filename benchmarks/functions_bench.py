"""`python -m benchmarks functions [out=FILE.json] [workers=8] [mean=0.1] [budget=1600] [dim=5]
[parallel_runs=[1,2,4]]`: how busy workers on Ray are where evaluations of a function take unequal times.

Each call of the function waits for between 0.25 and 1.75 times the mean, by its x, so that every row is the same on
every machine that is not too slow for its Ray. A worker is busy while it evaluates a point that counts; points that two
workers evaluate count once.
"""

from __future__ import annotations

import hashlib
import os
import time
from dataclasses import dataclass, field

import numpy as np

from raes.api.conditions import Limits
from raes.api.evaluators import Calls, Evaluator, Request, evaluator
from raes.api.function_search import side_by_side
from raes.api.ray_evaluator import RayEvaluator
from raes.api.search_loop import FunctionSearch
from raes.bench.measurement import BAR_COLUMNS, BenchArguments, BenchReport, against_bar
from raes.console.tables import Column, Row, Section
from raes.runtime.session import attached
from raes.types import Count, Float64, Positive

SHORTEST, LONGEST = 0.25, 1.75
"""Times the mean."""
BAR = 0.9
"""For the default and at least `BARRED` runs on 8 workers."""
BARRED = 4
WARM = 2
"""Calls for each worker before the clock starts."""
COLUMNS = (
    Column("parallel_runs", "parallel runs", "d"),
    Column("workers", "workers", "d"),
    Column("population", "population", "d"),
    Column("evaluations", "evaluations", ",d"),
    Column("busy", "workers busy", ".3f"),
    *BAR_COLUMNS,
    Column("seconds", "seconds", ".1f"),
    Column("copied", "evaluated twice", "d"),
)


@dataclass(frozen=True)
class FunctionsArguments(BenchArguments):
    """The keys.

    Attributes:
        workers: processes on Ray; they wait, so that there may be more than the machine has cores.
        mean: seconds of a call.
        budget: evaluations of a row.
        dim: numbers in x.
        parallel_runs: one row for each.
    """

    workers: Count = 8
    mean: Positive = 0.1
    budget: Count = 1600
    dim: Count = 5
    parallel_runs: list[Count] = field(default_factory=lambda: [1, 2, 4])


class Waiting:
    """A function whose calls take their time."""

    def __init__(self, mean: float) -> None:
        self._mean = mean

    def __call__(self, x: Float64) -> float:
        time.sleep(self.seconds(x))
        return float(np.square(x - 0.5).sum() + 3 * np.cos(5 * x).sum())

    def seconds(self, x: Float64) -> float:
        """How long the call takes: uniform between the shortest and the longest, by a hash of x."""
        share = int.from_bytes(hashlib.blake2b(x.tobytes(), digest_size=8).digest(), "little") / 2**64
        return self._mean * (SHORTEST + (LONGEST - SHORTEST) * share)


class Timed:
    """An evaluator that adds up what the points of its answers take."""

    def __init__(self, evaluate: Evaluator, function: Waiting) -> None:
        self._evaluate, self._function = evaluate, function
        self.seconds = 0.0

    @property
    def workers(self) -> int:
        """See `Evaluator`."""
        return self._evaluate.workers

    def submit(self, request: Request) -> None:
        """See `Evaluator`."""
        self._evaluate.submit(request)

    def collect(self) -> Request:
        """See `Evaluator`."""
        request = self._evaluate.collect()
        self.seconds += sum(map(self._function.seconds, request.points))
        return request

    def abandon(self) -> None:
        """See `Evaluator`."""
        self._evaluate.abandon()


def run(arguments: FunctionsArguments) -> BenchReport:
    """Measure on an embedded Ray with as many CPUs as workers."""
    os.environ.setdefault("RAY_worker_niceness", "0")
    with attached("local", arguments.workers, 0):
        rows = [measure(runs, arguments) for runs in arguments.parallel_runs]
    return BenchReport(
        "functions", [Section("rows", "raes.minimize with calls of 0.25 to 1.75 times the mean", COLUMNS, rows)]
    )


def measure(runs: int, arguments: FunctionsArguments) -> Row:
    """The row of a number of parallel runs."""
    function = Waiting(arguments.mean)
    optimizers = side_by_side(None, np.ones(arguments.dim), 0, runs, {})
    with evaluator(function, True, arguments.dim, Calls(arguments.workers)) as evaluate:
        assert isinstance(evaluate, RayEvaluator)
        while evaluate.pool.starting:
            evaluate.pool.collect(0.1)
        timed = Timed(evaluate, function)
        begun = time.perf_counter()
        found = FunctionSearch(optimizers, timed, Limits(arguments.budget, np.inf, np.inf), smallest=True).run()
        seconds = time.perf_counter() - begun
        copied = evaluate.pool.counters.tasks_copied
    busy = timed.seconds / (seconds * arguments.workers)
    barred = runs >= BARRED and arguments.workers == 8
    return {
        "parallel_runs": runs,
        "workers": arguments.workers,
        "population": optimizers[0].settings.episodes,
        "evaluations": found.nfev,
        "busy": busy,
        **against_bar(busy, BAR if barred else None),
        "seconds": seconds,
        "copied": copied,
    }
