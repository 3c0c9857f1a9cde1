"""The search behind `raes.minimize` and `raes.maximize`: evaluate, update, until there is a reason to end."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from numpy.typing import ArrayLike

from raes.api.conditions import Limits, check_callables, checked_workers
from raes.api.evaluators import evaluator
from raes.api.keyword_arguments import warn_caller
from raes.api.optimizer import LOOK, Optimizer
from raes.api.optimum import Optimum
from raes.api.reevaluation import NOISY
from raes.api.search_file import SearchFile
from raes.api.search_loop import Callback, FunctionSearch
from raes.search.endings import Tolerances
from raes.search.optimizers import OptimizerSettings
from raes.search.spread import SpreadWatch
from raes.types import Float64, UserError

Function = Callable[..., Any]


def search(
    function: Function,
    x0: ArrayLike | None,
    smallest: bool,
    *,
    algorithm: str | None = None,
    budget: int = 10_000,
    target: float | None = None,
    max_seconds: float | None = None,
    restarts: str | None = "auto",
    tolerances: Tolerances | None = None,
    bounds: Any = None,
    constraints: Callable[[Float64], ArrayLike] | None = None,
    noisy: bool = False,
    workers: int | str = 1,
    vectorized: bool = False,
    args: tuple[Any, ...] = (),
    callback: Callback | None = None,
    run_dir: str | Path | None = None,
    resume: str = "never",
    seed: int = 0,
    optimizer: OptimizerSettings | None = None,
    **settings: Any,
) -> Optimum:
    """Search for the x with the smallest, or the largest, value.

    Args:
        function: takes float64 (d,), returns a number. A value that is NaN or infinite, and an exception, count as the
            worst value. With `workers` > 1 it is sent to other processes.
        x0: (d,), where the search starts; None: in the middle of the bounds.
        smallest: whether small values are good.
        algorithm: a name in `raes.algorithms.ALGORITHMS`; None: CMA-ES, with a diagonal covariance where there are many
            parameters.
        budget: evaluations at most, that of x0 included.
        target: end once a value is at most this.
        max_seconds: end after the generation in which these are over.
        restarts: `bipop`, `ipop`, or None: end where the search has converged. `auto`: BIPOP for the methods that adapt
            their standard deviations.
        tolerances: what ends a run.
        bounds: (low, high) of each coordinate, None for an infinite end; or `raes.Interval(low, high, log, integer)`,
            or `raes.Category(count)`; a single (low, high) is for all. `sigma` is a share of each range then.
        constraints: takes x and returns numbers, all of which must be at most 0. Where one is not, the function is not
            called; the point counts in the budget and ranks behind those that keep all, by the sum of what is above 0.
        noisy: whether the function gives another value each time. Then the population grows with each restart, a tenth
            of the budget evaluates the centres of the runs and the best point again, and the one with the best mean is
            the result, `fun` this mean and `error` its standard error.
        workers: processes on Ray, `auto` for all of its CPUs, or `2..8`; 1: this process, without Ray. The result is
            the same to the bit.
        vectorized: whether the function takes all points of a generation at once, (n, d), and returns (n,).
        args: further arguments of the function.
        callback: called after each generation with an `Optimum`; if it returns true, or raises StopIteration, the
            search ends.
        run_dir: a folder for the search's file, from which it can go on after a stop or a kill; None for none.
        resume: `auto`: go on with what the folder holds, with the same bits as without a stop; `never`: refuse it.
        seed: the same one gives the same points.
        optimizer: of the methods that follow a gradient.
        settings: keys of the algorithm's configuration, e.g. `sigma`, `population`, `pairs`.

    Raises:
        UserError: an argument is wrong, or the function raises an exception wherever it is called.
    """
    limits = Limits.of(budget, target, max_seconds, smallest)
    if noisy:
        if target is not None:
            raise UserError(f"target={target}: one value of a noisy function means little; remove it, or noisy=True")
        restarts, tolerances = "ipop" if restarts == "auto" else restarts, tolerances or NOISY
    workers = checked_workers(workers)
    check_callables(function, args, constraints, callback)
    optimizing = Optimizer(
        algorithm,
        x0,
        seed=seed,
        optimizer=optimizer,
        restarts=restarts,
        tolerances=tolerances,
        bounds=bounds,
        **settings,
    )
    _warn_of_idle(workers, optimizing)
    optimizing.spread = SpreadWatch(optimizing.settings, LOOK, sign=-1.0 if smallest else 1.0)
    with evaluator(function, args, bool(vectorized), smallest, optimizing.theta.size, workers) as evaluate:
        searching = FunctionSearch(optimizing, evaluate, limits, smallest, callback, constraints, noisy)
        if run_dir is not None:
            name = f"{getattr(function, '__module__', '')}:{getattr(function, '__qualname__', function)}"
            facts = optimizing.facts() | {"function": name, "smallest": smallest}
            searching.keep(SearchFile(run_dir, resume, facts))
        return searching.run()


def _warn_of_idle(workers: int | str, optimizing: Optimizer) -> None:
    """Say where a generation has fewer points than there are workers."""
    if isinstance(workers, int) and workers > (points := optimizing.settings.episodes):
        warn_caller(
            f"a generation has {points} points, so that {workers - points} of {workers} workers are idle; give "
            f"{optimizing.settings.size_key} a larger number, which takes more evaluations and less time"
        )
