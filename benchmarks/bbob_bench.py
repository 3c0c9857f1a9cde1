"""`python -m benchmarks bbob [out=FILE.json] [dims=[5,20,40]] [budgets=[1000,500,500]] [instances=[1,2,3,4,5]]
[functions=[1,...,24]] [targets=[10,...,1e-8]] [solvers=[raes,pycma,cmaes,random]] [picture=FILE.png]`: the 24 noiseless
functions of BBOB.

A figure is the share of (function, instance, target) triples that are reached within the budget, which is `budgets`
times the dimension; targets are 10, 1, ..., 1e-8 above the optimum. Every solver starts at the same random point of
[-4, 4]^d. The functions come from `coco-experiment` (Hansen et al. 2021), in the extra `bbob`.
"""

from __future__ import annotations

import contextlib
import io
import time
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from threadpoolctl import threadpool_limits

from benchmarks.bbob_peers import START, Solver, Spent, solver, versions
from benchmarks.scale_picture import possible
from raes.bench.measurement import BenchArguments, BenchReport
from raes.console.tables import Column, Row, Section
from raes.types import Count, Float64, Positive, UserError

TARGETS = [10.0**power for power in range(1, -9, -1)]
GROUPS = {
    "separable": range(1, 6),
    "moderate": range(6, 10),
    "ill_conditioned": range(10, 15),
    "multimodal": range(15, 20),
    "weak_structure": range(20, 25),
}
"""BBOB's groups of functions."""
COLUMNS = (
    Column("dim", "d", "d"),
    Column("evaluations", "budget", ",d"),
    Column("solver", "solver"),
    Column("share", "solved", ".3f"),
    *(Column(name, name.replace("_", " "), ".3f") for name in GROUPS),
    Column("microseconds", "us/evaluation", ".0f"),
)


@dataclass(frozen=True)
class BBOBArguments(BenchArguments):
    """The keys.

    Attributes:
        dims: dimensions: 2, 3, 5, 10, 20 or 40.
        budgets: evaluations per dimension, one for each of `dims`.
        instances: of each function; those that a default was chosen on are for nothing else.
        functions: their numbers.
        targets: differences to the optimum, the largest first.
        solvers: `raes`, `raes_ALGORITHM`, or a peer.
        picture: a PNG file for the shares against evaluations.
    """

    dims: list[Count] = field(default_factory=lambda: [5, 20, 40])
    budgets: list[Count] = field(default_factory=lambda: [1000, 500, 500])
    instances: list[Count] = field(default_factory=lambda: [1, 2, 3, 4, 5])
    functions: list[Count] = field(default_factory=lambda: list(range(1, 25)))
    targets: list[Positive] = field(default_factory=lambda: list(TARGETS))
    solvers: list[str] = field(default_factory=lambda: ["raes", "pycma", "cmaes", "random"])
    picture: str | None = None

    def __post_init__(self) -> None:
        if len(self.budgets) != len(self.dims):
            raise ValueError(f"budgets={self.budgets}: must hold one number for each of dims={self.dims}")
        if not self.targets or sorted(self.targets, reverse=True) != self.targets:
            raise ValueError(f"targets={self.targets}: must be numbers, the largest first")
        if wrong := set(self.functions) - set(range(1, 25)):
            raise ValueError(f"functions={self.functions}: there are 1 to 24, and no {min(wrong)}")


class Watched:
    """A function that notes when its targets are reached, and ends its search.

    Attributes:
        evaluations: so far.
        reached: evaluations at which each target was reached, in their order.
    """

    def __init__(self, problem: Any, optimum: float, budget: int, targets: Sequence[float]) -> None:
        self._problem, self._optimum, self._budget, self._targets = problem, optimum, budget, targets
        self.evaluations = 0
        self.reached: list[int] = []

    def __call__(self, x: Float64) -> float:
        if self.evaluations >= self._budget:
            raise Spent
        self.evaluations += 1
        value = float(self._problem(x))
        while value - self._optimum <= self._targets[len(self.reached)] * (1 + 1e-9):
            self.reached.append(self.evaluations)
            if len(self.reached) == len(self._targets):
                raise Spent
        return value


def run(arguments: BBOBArguments) -> BenchReport:
    """Measure; draw where asked."""
    if arguments.picture is not None and not possible():
        raise UserError(f"picture={arguments.picture} needs matplotlib; pip install 'raes[plot]'")
    solvers = {name: solver(name) for name in arguments.solvers}
    rows: list[Row] = []
    for dim, factor in zip(arguments.dims, arguments.budgets, strict=True):
        for name, solve in solvers.items():
            rows.append(measure(name, solve, dim, factor * dim, arguments))
            print(f"d={dim} {name}: {rows[-1]['share']:.3f}", flush=True)
    shown = [{key: value for key, value in row.items() if key != "reached"} for row in rows]
    packages = [{"package": package, "version": version} for package, version in versions(arguments.solvers).items()]
    if arguments.picture is not None:
        from benchmarks.bbob_picture import draw

        draw(rows, arguments.picture)
    peers = Section("peers", "versions", (Column("package", "package"), Column("version", "version")), packages)
    return BenchReport("bbob", [Section("rows", "share of targets reached", COLUMNS, shown), peers])


def measure(name: str, solve: Solver, dim: int, budget: int, arguments: BBOBArguments) -> Row:
    """The row of a solver in one dimension; `reached` holds the evaluations at which targets were reached."""
    try:
        import cocoex
    except ImportError as error:
        raise UserError("bbob needs the package coco-experiment; pip install 'raes[bbob]'") from error

    shares: dict[int, list[float]] = {}
    reached: list[int] = []
    evaluations, begun = 0, time.perf_counter()
    for number in arguments.functions:
        for instance in arguments.instances:
            suite = cocoex.Suite("bbob", f"instances:{instance}", f"dimensions:{dim} function_indices:{number}")
            optimum = float(cocoex.BareProblem("bbob", number, dim, instance).best_value())
            noted = Watched(suite[0], optimum, budget, arguments.targets)
            x0 = np.random.default_rng([number, instance, dim]).uniform(-START, START, dim)
            _solve(solve, noted, x0, budget, optimum + arguments.targets[-1], instance)
            shares.setdefault(number, []).append(len(noted.reached) / len(arguments.targets))
            reached += noted.reached
            evaluations += noted.evaluations
    seconds = time.perf_counter() - begun
    means = {number: float(np.mean(found)) for number, found in shares.items()}
    groups = {
        group: float(np.mean([means[number] for number in numbers if number in means]))
        for group, numbers in GROUPS.items()
        if means.keys() & set(numbers)
    }
    return {
        "dim": dim,
        "evaluations": budget,
        "solver": name,
        "share": float(np.mean(list(means.values()))),
        **groups,
        "microseconds": 1e6 * seconds / max(1, evaluations),
        "functions": {str(number): mean for number, mean in means.items()},
        "triples": len(arguments.functions) * len(arguments.instances) * len(arguments.targets),
        "reached": reached,
    }


def _solve(solve: Solver, noted: Watched, x0: Float64, budget: int, target: float, seed: int) -> None:
    """One search, on one thread, without what solvers print and warn of."""
    quiet = contextlib.redirect_stdout(io.StringIO())
    with contextlib.suppress(Spent), warnings.catch_warnings(), threadpool_limits(1), quiet:
        warnings.simplefilter("ignore")
        solve(noted, x0, budget, target, seed)
