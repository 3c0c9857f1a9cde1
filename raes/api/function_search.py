"""The search behind `raes.minimize` and `raes.maximize`: evaluate, update, until there is a reason to end."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

from numpy.typing import ArrayLike

from raes.api.conditions import Limits, check_callables, checked_calls, checked_runs
from raes.api.evaluators import evaluator
from raes.api.keyword_arguments import warn_caller
from raes.api.optimizer import LOOK, Optimizer
from raes.api.optimum import Optimum
from raes.api.search_file import SearchFile
from raes.api.search_loop import MOST_AHEAD, Callback, FunctionSearch
from raes.rng import run_seed
from raes.runtime.memory import check_state
from raes.search.endings import Tolerances
from raes.search.optimizers import OptimizerSettings
from raes.search.spread import SpreadWatch
from raes.types import Float64, UserError

Function = Callable[..., Any]
FILLING = 3
"""Points for each worker, of several runs, with which workers are busy nine tenths of the time where calls take between
0.25 and 1.75 times their mean; `python -m benchmarks functions`."""


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
    cov: ArrayLike | None = None,
    warm_start: Optimum | None = None,
    constraints: Callable[[Float64], ArrayLike] | None = None,
    noisy: bool = False,
    workers: int | str = 1,
    parallel_runs: int = 1,
    deadline: float | None = None,
    retries: int | None = None,
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
        cov: (d, d) or its diagonal (d,): the first points have the covariance sigma^2 cov, sigma 1 by default.
        warm_start: an earlier result: its centre, where there is no x0, and the shape of its last points, of which
            `sigma` is the largest standard deviation.
        constraints: takes x and returns numbers, all of which must be at most 0. Where one is not, the function is not
            called; the point counts in the budget and ranks behind those that keep all, by the sum of what is above 0.
        noisy: whether the function gives another value each time. Then the population grows where there is no
            progress, and with each restart, a tenth of the budget evaluates the centres of the runs and the best point
            again, and the one with the best mean is the result, `fun` this mean and `error` its standard error.
        workers: processes on Ray, `auto` for all of its CPUs, or `2..8`; 1: this process, without Ray. The result is
            the same to the bit.
        parallel_runs: sequences of restarts side by side, each from another start, with an equal share of the budget,
            so that workers that wait for one of them evaluate points of another. The result depends on their number,
            and not on the workers.
        deadline: seconds that a call may take on Ray before its worker is ended and replaced; None: 20 times the
            longest call so far, and at least a minute.
        retries: how often a point is tried again whose worker was ended or died, before it counts as a failure; None:
            2 times, 9 where the worker was killed from outside.
        vectorized: whether the function takes all points of a generation at once, (n, d), and returns (n,).
        args: further arguments of the function.
        callback: called after each generation with an `Optimum`; if it returns true, or raises StopIteration, the
            search ends.
        run_dir: a folder for the search's file, from which it can go on after a stop or a kill; None for none.
        resume: `auto`: go on with what the folder holds, with the same bits as without a stop; `never`: refuse it.
        seed: the same one gives the same points.
        optimizer: of the methods that follow a gradient.
        settings: keys of the algorithm's configuration, e.g. `sigma`, one for all or one for each coordinate,
            `population`, `pairs`.

    Raises:
        UserError: an argument is wrong, or the function raises an exception wherever it is called.
    """
    limits = Limits.of(budget, target, max_seconds, smallest)
    if noisy and target is not None:
        raise UserError(f"target={target}: one value of a noisy function means little; remove it, or noisy=True")
    calls = checked_calls(workers, deadline, retries, vectorized, args)
    check_callables(function, args, constraints, callback)
    given = {"optimizer": optimizer, "restarts": restarts, "tolerances": tolerances, "bounds": bounds} | settings
    given |= {"cov": cov, "warm_start": warm_start, "noisy": bool(noisy)}
    parallel_runs = checked_runs(parallel_runs, limits.budget)
    optimizers = side_by_side(algorithm, x0, seed, parallel_runs, given, ahead=0 if calls.workers == 1 else MOST_AHEAD)
    first = optimizers[0]
    first.spread = SpreadWatch(first.settings, LOOK, sign=-1.0 if smallest else 1.0)
    with evaluator(function, smallest, first.theta.size, calls) as evaluate:
        _warn_of_idle(evaluate.workers, optimizers)
        searching = FunctionSearch(optimizers, evaluate, limits, smallest, callback, constraints, noisy)
        if run_dir is not None:
            name = f"{getattr(function, '__module__', '')}:{getattr(function, '__qualname__', function)}"
            facts = first.facts() | {"parallel_runs": len(optimizers), "function": name, "smallest": smallest}
            searching.keep(SearchFile(run_dir, resume, facts))
        return searching.run()


def side_by_side(
    algorithm: str | None, x0: ArrayLike | None, seed: int, runs: int, given: dict[str, Any], ahead: int = 0
) -> list[Optimizer]:
    """The optimizers of parallel runs: the first one is that of a search of one run, the others begin as its restarts
    would, each with a seed of its own.

    Args:
        algorithm: see `search`.
        x0: see `search`.
        seed: see `search`.
        runs: how many.
        given: further arguments of `Optimizer`.
        ahead: further states of each run that may be held in memory, where there are several runs.

    Raises:
        UserError: an argument is wrong, or they do not fit in memory.
    """
    first = Optimizer(algorithm, x0, seed=seed, **given)
    if runs > 1:
        check_state(f"{first.algorithm} parallel_runs={runs}", runs * (1 + ahead) * first.memory, first.theta.size)
    others = [Optimizer(algorithm, x0, seed=run_seed(seed, number), **given) for number in range(1, runs)]
    for number, one in enumerate(others, start=1):
        one.begin_with(number)
        one.spread = SpreadWatch(one.settings, LOOK, begun=True)
    return [first, *others]


def _warn_of_idle(workers: int, optimizers: list[Optimizer]) -> None:
    """Say where the generations of all runs together have fewer points than there are workers, and what helps."""
    settings, runs = optimizers[0].settings, len(optimizers)
    points = int(sum(one.state.run.population for one in optimizers) * settings.episodes)
    if workers > points:
        which = "a generation has" if runs == 1 else f"the generations of {runs} parallel runs have"
        enough = math.ceil(FILLING * workers * runs / points)
        warn_caller(
            f"{which} {points} points, so that {workers - points} of {workers} workers are idle; "
            f"parallel_runs={enough} keeps them busy, each run with a share of the budget, or give "
            f"{settings.size_key} a larger number, which takes more evaluations for each step"
        )
