"""`python -m benchmarks functions [out=FILE.json] [workers=8] [mean=0.1] [budget=1600] [dim=5]
[parallel_runs=[1,2,4]] [populations=[16,32,64]] [budgets=[1000,4000]]`: what workers on Ray have to do where calls of a
function take unequal times, and what that costs.

First: each call waits for between 0.25 and 1.75 times the mean, by its x. A worker is busy while it evaluates a point
that counts; a point that two workers evaluate counts once. Then, without Ray: the share of BBOB's targets that a search
reaches with the same budget, see `python -m benchmarks bbob`; `budgets=[]` leaves it out.
"""

from __future__ import annotations

import hashlib
import os
import time
from dataclasses import dataclass, field
from typing import Any

import numpy as np

import raes
from benchmarks import bbob_bench
from benchmarks.bbob_bench import GROUPS, BBOBArguments
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
BAR, BARRED = 0.9, 2
"""The bar, which is for so many runs or more on 8 workers."""
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
SOLVED_COLUMNS = (
    Column("parallel_runs", "parallel runs", "d"),
    Column("population", "population", "d"),
    Column("evaluations", "budget", ",d"),
    Column("share", "targets solved", ".3f"),
    Column("multimodal", "multimodal", ".3f"),
    Column("weak_structure", "weak structure", ".3f"),
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
        populations: of one run, one row for each; the first one is that of several runs too.
        budgets: of the second table, evaluations per dimension; it needs the extra `bbob`.
        functions: of BBOB, by number.
        instances: of each of them.
    """

    workers: Count = 8
    mean: Positive = 0.1
    budget: Count = 1600
    dim: Count = 5
    parallel_runs: list[Count] = field(default_factory=lambda: [1, 2, 4])
    populations: list[Count] = field(default_factory=lambda: [16, 32, 64])
    budgets: list[Count] = field(default_factory=lambda: [1000, 4000])
    functions: list[Count] = field(default_factory=lambda: list(range(1, 25)))
    instances: list[Count] = field(default_factory=lambda: [1, 2, 3, 4, 5])


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
    cases = [(runs, arguments.populations[0]) for runs in arguments.parallel_runs]
    cases += [(1, population) for population in arguments.populations[1:]]
    solved = [solve(*case, factor, arguments) for factor in arguments.budgets for case in cases]
    with attached("local", arguments.workers, 0):
        rows = [measure(*case, arguments) for case in cases]
    title = "raes.minimize with calls of 0.25 to 1.75 times the mean"
    sections = [Section("rows", title, COLUMNS, rows)]
    if solved:
        sections.append(Section("solved", "share of BBOB's targets with the same budget", SOLVED_COLUMNS, solved))
    return BenchReport("functions", sections)


def solve(runs: int, population: int, factor: int, arguments: FunctionsArguments) -> Row:
    """The row of a number of parallel runs, or of a population, and a budget, in the second table."""

    def solver(function: Any, x0: Float64, budget: int, target: float, seed: int) -> None:
        given = {"budget": budget, "target": target, "seed": seed, "population": population, "parallel_runs": runs}
        raes.minimize(function, x0, **given)

    of_bbob = BBOBArguments(functions=arguments.functions, instances=arguments.instances)
    row = bbob_bench.measure(f"{runs}", solver, arguments.dim, factor * arguments.dim, of_bbob)
    print(f"parallel_runs={runs} population={population} budget={factor} d: {row['share']:.3f}", flush=True)
    kept = {key: value for key, value in row.items() if key in ("dim", "evaluations", "share", "functions", *GROUPS)}
    return {"parallel_runs": runs, "population": population, **kept}


def measure(runs: int, population: int, arguments: FunctionsArguments) -> Row:
    """The row of a number of parallel runs, or of a population, in the first table."""
    function = Waiting(arguments.mean)
    optimizers = side_by_side(None, np.ones(arguments.dim), 0, runs, {"population": population})
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
        "population": population,
        "evaluations": found.nfev,
        "busy": busy,
        **against_bar(busy, BAR if barred else None),
        "seconds": seconds,
        "copied": copied,
    }
