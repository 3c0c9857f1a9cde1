"""The optimisers that `python -m benchmarks bbob` compares: RAES, and others where they are installed.

Each is called with the function, its start, the budget, the target and a seed. It may run on for ever: the function
raises `Spent` when the budget is used up or every target is reached.
"""

from __future__ import annotations

import importlib.util
import math
from collections.abc import Callable
from typing import Any

import numpy as np

import raes
from raes.types import Float64, NotAFault, UserError

Function = Callable[[Float64], float]
Solver = Callable[[Function, Float64, int, float, int], None]
SIGMA = 2.0
"""The first standard deviation of the peers: 0.2 of the width of BBOB's domain, as their papers have it."""
BOX = 5.0
"""The domain of BBOB's functions is [-5, 5]^d; starts lie in [-4, 4]^d."""
START = 4.0


class Spent(NotAFault):
    """The budget is used up, or every target is reached."""


def of_raes(algorithm: str | None) -> Solver:
    """`raes.minimize` with its defaults, which know nothing of the domain."""

    def solve(function: Function, x0: Float64, budget: int, target: float, seed: int) -> None:
        raes.minimize(function, x0, algorithm=algorithm, budget=budget, target=target, seed=seed)

    return solve


def pycma(function: Function, x0: Float64, budget: int, target: float, seed: int) -> None:
    """BIPOP-CMA-ES by its first author."""
    import cma

    options = {"seed": seed + 1, "verbose": -9, "maxfevals": budget, "verb_log": 0}
    cma.fmin2(function, x0, SIGMA, options, restarts=99, bipop=True)


def cmaes(function: Function, x0: Float64, budget: int, target: float, seed: int) -> None:
    """IPOP-CMA-ES as the documentation of the library `cmaes` has it."""
    from cmaes import CMA

    rng, dim = np.random.default_rng(seed), len(x0)
    population, start, run = 4 + int(3 * math.log(dim)), x0, 0
    while True:
        search = CMA(start, SIGMA, seed=seed + 1000 * run, population_size=population)
        while not search.should_stop():
            points = [search.ask() for _ in range(population)]
            search.tell([(point, function(point)) for point in points])
        population, start, run = 2 * population, rng.uniform(-START, START, dim), run + 1


def scipy_de(function: Function, x0: Float64, budget: int, target: float, seed: int) -> None:
    """SciPy's differential evolution in the domain."""
    from scipy.optimize import differential_evolution

    while True:
        differential_evolution(function, [(-BOX, BOX)] * len(x0), seed=seed, x0=x0, maxiter=budget, polish=False)
        seed += 1000


def evotorch_xnes(function: Function, x0: Float64, budget: int, target: float, seed: int) -> None:
    """EvoTorch's XNES with its default population."""
    import torch
    from evotorch import Problem
    from evotorch.algorithms import XNES

    problem = Problem(
        "min", lambda x: torch.as_tensor(function(x.numpy()), dtype=torch.float64), solution_length=len(x0),
        initial_bounds=(-START, START), dtype=torch.float64, eval_dtype=torch.float64, seed=seed + 1,
    )  # fmt: skip
    search = XNES(problem, stdev_init=SIGMA, center_init=torch.tensor(x0))
    while True:
        search.step()


def optuna_tpe(function: Function, x0: Float64, budget: int, target: float, seed: int) -> None:
    """Optuna's tree-structured Parzen estimator, its default, in the domain."""
    from optuna.samplers import TPESampler

    _by_optuna(TPESampler(seed=seed), function, x0)


def optuna_gp(function: Function, x0: Float64, budget: int, target: float, seed: int) -> None:
    """Optuna's Gaussian process with the logarithm of the expected improvement, in the domain; it needs PyTorch."""
    from optuna.samplers import GPSampler

    _by_optuna(GPSampler(seed=seed), function, x0)


def _by_optuna(sampler: Any, function: Function, x0: Float64) -> None:
    import optuna

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    study = optuna.create_study(sampler=sampler)
    names = [str(number) for number in range(len(x0))]
    study.enqueue_trial(dict(zip(names, x0.tolist(), strict=True)))
    study.optimize(lambda trial: function(np.array([trial.suggest_float(one, -BOX, BOX) for one in names])), None)


def random(function: Function, x0: Float64, budget: int, target: float, seed: int) -> None:
    """Uniform in the domain: what everything must beat."""
    rng = np.random.default_rng(seed)
    while True:
        function(rng.uniform(-BOX, BOX, len(x0)))


PEERS: dict[str, tuple[Solver, str]] = {
    "pycma": (pycma, "cma"),
    "cmaes": (cmaes, "cmaes"),
    "scipy_de": (scipy_de, "scipy"),
    "evotorch_xnes": (evotorch_xnes, "evotorch"),
    "optuna_tpe": (optuna_tpe, "optuna"),
    "optuna_gp": (optuna_gp, "optuna"),
    "random": (random, "numpy"),
}
"""Name -> (solver, the package that it needs)."""


def solver(name: str) -> Solver:
    """By name: one of `PEERS`, `raes`, or `raes_ALGORITHM`.

    Raises:
        UserError: there is none, or its package is missing.
    """
    if name == "raes":
        return of_raes(None)
    if name.startswith("raes_"):
        return of_raes(name.removeprefix("raes_"))
    if name not in PEERS:
        raise UserError(f"solvers={name}: there is no such solver; there are raes, raes_ALGORITHM, {', '.join(PEERS)}")
    found, package = PEERS[name]
    if importlib.util.find_spec(package) is None:
        raise UserError(f"solvers={name} needs the package {package}; pip install 'raes[bbob]', or leave it out")
    return found


def versions(names: list[str]) -> dict[str, Any]:
    """Versions of the peers' packages."""
    from importlib.metadata import version

    packages = {PEERS[name][1] for name in names if name in PEERS} | {"coco-experiment"}
    return {package: version(package) for package in sorted(packages)}
