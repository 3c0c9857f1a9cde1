"""Evaluations to f < 1e-8, compared with other implementations on the same functions: medians of 11 seeds.

    python results/rivals.py [out=FILE.json]

The functions have 10 dimensions; all searches start at 0.5 with sigma 0.5 and have their own default populations.
CMA-ES: `cma` of Hansen et al. (the one inside RAES is `cmaes`). SNES and xNES: EvoTorch where it is installed.
"""

from __future__ import annotations

import json
import sys
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from statistics import median

import numpy as np
from numpy.typing import NDArray

import raes
from raes.storage.provenance import machine

DIM, SIGMA, GOAL, BUDGET, SEEDS = 10, 0.5, 1e-8, 60_000, range(11)
Vector = NDArray[np.float64]


def sphere(x: Vector) -> float:
    """Sum of squares."""
    return float(np.square(x).sum())


def ellipsoid(x: Vector) -> float:
    """Condition number 1e6."""
    return float((10.0 ** (6 * np.arange(x.size) / (x.size - 1)) * np.square(x)).sum())


def rosenbrock(x: Vector) -> float:
    """Rosenbrock's valley; its minimum is at 1."""
    return float((100 * np.square(x[1:] - np.square(x[:-1])) + np.square(1 - x[:-1])).sum())


def ours(algorithm: str, function: Callable[[Vector], float], start: Vector, seed: int) -> int | None:
    """Evaluations of RAES; None if the budget was too small."""
    found = raes.minimize(function, start, algorithm=algorithm, seed=seed, sigma=SIGMA, budget=BUDGET, target=GOAL)
    return found.evaluations if found.value <= GOAL else None


def pycma(function: Callable[[Vector], float], start: Vector, seed: int) -> int | None:
    """Evaluations of `cma`."""
    import cma

    options = {"seed": seed + 1, "ftarget": GOAL, "verbose": -9, "maxfevals": BUDGET}
    found = cma.fmin2(function, start, SIGMA, options)[1]
    return int(found.result.evaluations) if found.result.fbest <= GOAL else None


def evotorch(name: str, function: Callable[[Vector], float], start: Vector, seed: int) -> int | None:
    """Evaluations of EvoTorch's SNES or XNES."""
    import torch
    from evotorch import Problem
    from evotorch import algorithms as known

    def evaluate(x: torch.Tensor) -> torch.Tensor:
        return torch.tensor(function(x.numpy().astype(np.float64)), dtype=torch.float64)

    problem = Problem(
        "min", evaluate, solution_length=start.size, initial_bounds=(-1, 1), dtype=torch.float64, seed=seed + 1
    )
    searcher = getattr(known, name)(problem, stdev_init=SIGMA, center_init=torch.from_numpy(start))
    evaluations = 0
    while evaluations < BUDGET:
        searcher.step()
        evaluations += len(searcher.population)
        if float(searcher.status["best_eval"]) <= GOAL:
            return evaluations
    return None


CASES = {
    "cma_es": (pycma, (sphere, ellipsoid, rosenbrock)),
    "snes": (lambda *rest: evotorch("SNES", *rest), (sphere, ellipsoid)),
    "xnes": (lambda *rest: evotorch("XNES", *rest), (sphere, ellipsoid, rosenbrock)),
}


def middle(counts: list[int | None]) -> float:
    """The median; infinite if most searches did not reach the goal."""
    return median(float("inf") if count is None else count for count in counts)


def main() -> None:
    """Print the table and store it."""
    out = sys.argv[1].partition("=")[2] if len(sys.argv) > 1 else None
    warnings.simplefilter("ignore")
    rows = []
    for algorithm, (rival, functions) in CASES.items():
        for function in functions:
            start = np.full(DIM, SIGMA)
            own = [ours(algorithm, function, start, seed) for seed in SEEDS]
            other = [rival(function, start, seed) for seed in SEEDS]
            row = {"algorithm": algorithm, "function": function.__name__, "ours": own, "other": other}
            row |= {"median": middle(own), "other_median": middle(other), "ratio": middle(own) / middle(other)}
            print(
                f"{algorithm:7s} {function.__name__:11s} {row['median']:8.0f} {row['other_median']:8.0f}",
                f"{row['ratio']:.2f}",
            )
            rows.append(row)
    if out:
        content = {"date": time.strftime("%Y-%m-%d"), "machine": machine(), "rows": rows}
        Path(out).write_text(json.dumps(content, indent=1) + "\n")


if __name__ == "__main__":
    main()
