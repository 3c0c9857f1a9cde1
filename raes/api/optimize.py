"""Black-box functions from Python: `minimize` and `maximize` in one call, and `Optimizer` for a loop of one's own.

    result = raes.minimize(f, x0=[0.0, 0.0], algorithm="cma_es", budget=2000)

    search = raes.Optimizer("snes", x0=[0.0, 0.0], sigma=0.5)
    while search.evaluations < 2000:
        points = search.ask()                      # float64 (n, d)
        search.tell([-f(x) for x in points])       # fitness: maximised

All methods of `raes.algorithms`, by name; keyword arguments are the keys of their configuration.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from threadpoolctl import threadpool_limits

from raes.algorithms import WeightedSum
from raes.api.keyword_arguments import build, check_table, settings_of, warn_caller
from raes.problems.function import FunctionSettings, FunctionSpec
from raes.results import Batch
from raes.rng import Purpose
from raes.runtime.executor import Executor
from raes.runtime.memory import check_state
from raes.runtime.rounds import RoundRunner
from raes.runtime.scheduling import Size
from raes.runtime.serial import SerialExecutor
from raes.runtime.worker import WorkerSpec
from raes.search import noise, running_stats
from raes.search.optimizers import OptimizerSettings
from raes.search.perturbation import Decoder
from raes.search.spread import SpreadWatch
from raes.tasks import Round, Tasks
from raes.types import Float32, Float64, RunFailedError, UserError
from raes.validation import plain, real, vector, whole

LOOK = "check that the function uses its argument, or give a larger sigma (pgpe: radius)"
"""Where the user may find why values do not differ."""


class Optimizer:
    """A search with `ask` for points and `tell` for their fitness; it maximises.

    Attributes:
        state: of the search; its `theta`, float32 (d,), is the centre, or the best member where there is no centre.
        evaluations: points with a fitness so far.
        best_x: float64 (d,), the point with the highest fitness so far; None before the first.
        best_fitness: its fitness.
        spread: warns where no fitness differs from another.
    """

    def __init__(
        self,
        algorithm: str,
        x0: ArrayLike,
        *,
        seed: int = 0,
        optimizer: OptimizerSettings | None = None,
        **settings: Any,
    ) -> None:
        """Start at x0.

        Args:
            algorithm: a name in `raes.algorithms.ALGORITHMS`.
            x0: (d,).
            seed: the same one gives the same points.
            optimizer: of the methods that follow a gradient; by default as on the command line: for pgpe ClipUp, for
                ars plain SGD, for es, ns_es, nsr_es and nsra_es Adam with a stepsize of 0.01, none with weight decay.
            settings: keys of the algorithm's configuration, e.g. `sigma`, `population`, `pairs`.

        Raises:
            UserError: there is no such algorithm or key, a value is wrong, the algorithm has no use for the optimizer,
                or the memory does not hold the search.
        """
        seed = whole("seed", seed, 0)
        theta = vector("x0", x0)
        self.settings = settings_of(algorithm, settings, theta.size)
        size = noise.table_size(theta.size)
        check_table(size, copies=1)
        self._algorithm: Any = build(algorithm, self.settings, optimizer, seed, size)
        check_state(algorithm, self._algorithm.memory(theta.size), theta.size)
        self.state: Any = self._algorithm.init(theta, running_stats.init(0))
        self.table_size = size
        self._table: Float32 | None = None
        self._round: Round | None = None
        self.evaluations = 0
        self.best_x: Float64 | None = None
        self.best_fitness = -np.inf
        self.spread = SpreadWatch(self.settings, LOOK)

    @property
    def theta(self) -> Float64:
        """The centre, or the best member where there is no centre, float64 (d,)."""
        return np.asarray(self.state.theta, dtype=np.float64)

    def ask(self) -> Float64:
        """The next points to evaluate, float64 (n, d); the same ones until `tell`."""
        upcoming, tasks = self.next_round(), self._tasks()
        if self._table is None:
            self._table = noise.make_table(self.table_size)
        decode = Decoder(self._table, self.state.theta.size)
        points = np.empty((len(tasks), self.state.theta.size))
        for row in range(len(tasks)):
            points[row] = decode(upcoming.snapshot, tasks.genomes, row)
        return points

    def tell(self, fitness: ArrayLike) -> None:
        """Give the fitness of the points of `ask`, (n,); NaN for a point that has none.

        Raises:
            UserError: `ask` was not called before, the number does not fit, or no value is finite.
        """
        if self._round is None:
            raise UserError("tell comes after ask: there are no points whose fitness is awaited")
        try:
            values = plain(fitness).astype(np.float64)
        except (TypeError, ValueError) as error:
            raise UserError(f"fitness must be a vector of numbers, got {fitness!r}") from error
        tasks, group = self._tasks(), self._round.group
        if values.shape != (len(tasks),):
            raise UserError(f"fitness has shape {values.shape}, and {len(tasks)} points were asked for")
        points = self.ask()
        assert self._table is not None
        kept = np.flatnonzero(np.isfinite(values.reshape(-1, group)).all(axis=1))
        if not kept.size and self._round.purpose is not Purpose.PROBE:
            raise UserError("no fitness is finite, so that the search has nothing to go on")
        returns = values.reshape(-1, group)[kept]
        batch = Batch(
            index=kept,
            genomes=tasks.genomes.take(group * kept),
            returns=returns,
            sign_returns=np.sign(returns),
            lengths=np.ones(returns.shape, np.int64),
            capped_share=0.0,
            behaviors=points.reshape(-1, group, points.shape[1])[kept],
        )
        table, dim = self._table, points.shape[1]
        self.tell_batch(
            batch if kept.size else None,
            lambda index, weights, squared=False: noise.weighted_sum(table, index, weights, dim, squared=squared),
        )

    # The same in the engine's own terms, for `minimize`.

    def start_at(self, fitness: float) -> None:
        """Count x0, whose fitness is known, as the first point."""
        self.best_x, self.best_fitness, self.evaluations = self.theta, fitness, 1

    def next_round(self) -> Round:
        """The episodes that the search waits for; the same ones until `tell_batch`."""
        if self._round is None:
            upcoming = self._algorithm.next_round(self.state)
            assert upcoming.ask is not None
            tasks = upcoming.ask(0, upcoming.min_groups)
            self._round = replace(upcoming, ask=lambda first, count: tasks, min_timesteps=0)
        return self._round

    def tell_batch(self, batch: Batch | None, weighted_sum: WeightedSum) -> None:
        """Go on with the outcome of the round.

        Args:
            batch: its behaviours are the points themselves; None where all failed.
            weighted_sum: of slices of noise.
        """
        assert self._round is not None
        if batch is not None:
            self._note_best(batch)
            if self._round.purpose is not Purpose.PROBE and (warning := self.spread.after(batch)) is not None:
                warn_caller(warning)
        elif self._round.purpose is not Purpose.PROBE:
            raise RunFailedError("the function fails everywhere")
        evaluations = len(self._tasks())
        self.state, _ = self._algorithm.tell(self.state, self._round, batch, weighted_sum)
        self._round = None
        self.evaluations += evaluations

    def _tasks(self) -> Tasks:
        upcoming = self.next_round()
        assert upcoming.ask is not None
        return upcoming.ask(0, upcoming.min_groups)

    def _note_best(self, batch: Batch) -> None:
        assert batch.behaviors is not None
        best = np.unravel_index(int(batch.returns.argmax()), batch.returns.shape)
        if batch.returns[best] > self.best_fitness:
            self.best_x, self.best_fitness = batch.behaviors[best].copy(), float(batch.returns[best])


@dataclass(frozen=True)
class Optimum:
    """What a search found.

    Attributes:
        x: float64 (d,), the best point that was evaluated, x0 among them.
        value: the function's value there.
        center: float64 (d,), where the search stands; for a noisy function more to be trusted than `x`.
        evaluations: of the function, the one of x0 included.
        reason: why it ended.
    """

    x: Float64
    value: float
    center: Float64
    evaluations: int
    reason: str


def minimize(
    function: Callable[[Float64], float],
    x0: ArrayLike,
    *,
    algorithm: str = "cma_es",
    budget: int = 10_000,
    target: float | None = None,
    workers: int = 1,
    seed: int = 0,
    optimizer: OptimizerSettings | None = None,
    **settings: Any,
) -> Optimum:
    """Search for the x with the smallest value.

    Args:
        function: takes float64 (d,), returns a number. With `workers` > 1 it is sent to other processes.
        x0: (d,), where the search starts.
        algorithm: a name in `raes.algorithms.ALGORITHMS`; those with a full covariance are for few parameters.
        budget: evaluations, at most by one generation more.
        target: end once a value is at most this.
        workers: processes; 1: this one, without Ray. The result is the same to the bit.
        seed, optimizer, settings: as of `Optimizer`.

    Raises:
        UserError: an argument is wrong, or the function fails at x0.
        RunFailedError: the function fails everywhere in a generation.
    """
    found = _search(function, x0, True, algorithm, budget, target, workers, seed, optimizer, settings)
    return replace(found, value=-found.value)


def maximize(
    function: Callable[[Float64], float],
    x0: ArrayLike,
    *,
    algorithm: str = "cma_es",
    budget: int = 10_000,
    target: float | None = None,
    workers: int = 1,
    seed: int = 0,
    optimizer: OptimizerSettings | None = None,
    **settings: Any,
) -> Optimum:
    """Search for the x with the largest value; see `minimize`. `target` ends once a value is at least this."""
    return _search(function, x0, False, algorithm, budget, target, workers, seed, optimizer, settings)


def _search(
    function: Callable[[Float64], float],
    x0: ArrayLike,
    smallest: bool,
    algorithm: str,
    budget: int,
    target: float | None,
    workers: int,
    seed: int,
    optimizer: OptimizerSettings | None,
    settings: dict[str, Any],
) -> Optimum:
    budget, workers = whole("budget", budget, 1), whole("workers", workers, 1)
    if not callable(function):
        raise UserError(f"the function must be callable, got {function!r}")
    if target is not None:
        target = real("target", target)
    search = Optimizer(algorithm, x0, seed=seed, optimizer=optimizer, **settings)
    start = tuple(search.theta.tolist())
    call = f"{getattr(function, '__module__', '')}:{getattr(function, '__name__', 'function')}"
    spec = FunctionSpec(FunctionSettings(call=call, dim=len(start), x0=start, minimize=smallest), function)
    search.spread = SpreadWatch(search.settings, LOOK, sign=-1.0 if smallest else 1.0)
    search.start_at(spec.check().start)
    goal = np.inf if target is None else -target if smallest else target
    with executor(WorkerSpec(spec, seed), search.table_size, workers) as evaluator:
        runner = RoundRunner(evaluator)
        while search.evaluations < budget and search.best_fitness < goal:
            run_round(search, runner, evaluator.weighted_noise_sum)
    assert search.best_x is not None
    reason = "the target is reached" if search.best_fitness >= goal else "the budget is used up"
    return Optimum(search.best_x, search.best_fitness, search.theta, search.evaluations, reason)


def run_round(search: Optimizer, runner: RoundRunner, weighted_sum: WeightedSum) -> None:
    """Evaluate the points that the search waits for, and go on with the outcome."""
    runner.open(search.next_round())
    finished = runner.collect()
    assert finished is not None
    try:
        search.tell_batch(finished.batch, weighted_sum)
    except RunFailedError as error:
        raise RunFailedError(f"{error}; the first reason: {finished.first_reason}") from error


@contextmanager
def executor(spec: WorkerSpec, table_size: int, workers: int) -> Iterator[Executor]:
    """This process, with its BLAS afterwards as it was, or Ray, ended afterwards unless the caller had it already."""
    if workers == 1:
        with threadpool_limits(1), closing(SerialExecutor(spec, table_size)) as serial:
            yield serial
        return
    from raes.runtime.ray_executor import RayExecutor
    from raes.runtime.session import attached

    check_table(table_size, copies=2)
    with (
        attached("auto", workers, 4 * table_size),
        threadpool_limits(1),
        closing(RayExecutor(spec, table_size, Size.of(workers), relays=False, deadline=None)) as pool,
    ):
        yield pool
