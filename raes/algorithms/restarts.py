"""Restarts of a search of a function: IPOP (Auger & Hansen 2005) and BIPOP (Hansen 2009), around any algorithm.

Each run of the inner algorithm ends by `raes.search.endings`; the next one begins elsewhere with another population.
IPOP doubles it. BIPOP alternates between that and runs of a small population and a small sigma, so that both kinds have
spent equally many evaluations. Deviation: a run whose values converge to worse ones than an earlier run's is cut short.
The population of a noisy function grows within a run, too, where noise hides the progress (Hellwig & Beyer 2016).

Fitness that is not finite, as where a function fails, counts as a little worse than the worst.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Literal, get_args

import numpy as np

from raes.results import Batch
from raes.rng import Purpose, generator
from raes.search.endings import RunRecord, Tolerances, ending, hindered
from raes.search.running_stats import RunningStats
from raes.search.shaping import comparable
from raes.tasks import Round, Snapshot
from raes.types import Float64, Floating, UserError
from raes.validation import no_such

from .base import SearchSettings
from .protocol import Conditions, WeightedSum

Kind = Literal["bipop", "ipop", "none"]
REACH = 2.0
"""Where there are no bounds, runs begin at most so many times the first sigma from x0 in each coordinate."""
SMALLEST_SIGMA = 2.0
"""Powers of ten by which the sigma of a small run may be smaller than the first one (Hansen 2009, equation 4)."""
BARREN_RUNS = 3
"""Runs without a finite value after which the search ends, if there was none before."""
MOST_DOUBLINGS = 3
"""Of the population with which one of several runs side by side begins."""
GROWTH = 1.5
"""Factor on the population of a noisy function where it shows no progress."""
ADAPTIVE = ("cma_es", "xnes", "snes", "gaussian_es", "cem", "pgpe")
"""The algorithms whose runs end by themselves, so that a restart makes sense."""


@dataclass(frozen=True)
class Run:
    """What a run begins with, besides its first point.

    Attributes:
        number: from 0 on.
        small: whether it is one of BIPOP's small ones.
        population: factor on the population.
        sigma: factor on sigma.
        limit: its evaluations at most; 0 for no limit.
    """

    number: int
    small: bool
    population: float
    sigma: float
    limit: int


FIRST = Run(0, False, 1.0, 1.0, 0)


@dataclass(frozen=True)
class RestartState:
    """Everything that the search needs to go on.

    Attributes:
        generation: updates so far, in all runs.
        theta: that of this run, (d,).
        inner: the state of this run.
        run: what it began with.
        record: what it has reached.
        used: its evaluations.
        large: evaluations of the large runs before it, the first one not included.
        small: those of the small ones.
        doublings: of the population so far.
        start: float64 (d,), x0.
        best: the best fitness of the runs before it.
        worst: the least finite fitness so far; infinite before the first.
        barren: runs so far, if none of them had a finite value, else 0.
        ended: why the last run ended; empty before the first end.
        over: whether there is no further run.
    """

    generation: int
    theta: Floating
    inner: Any
    run: Run
    record: RunRecord
    used: int
    large: int
    small: int
    doublings: int
    start: Float64
    best: float
    worst: float
    barren: int
    ended: str
    over: bool

    @property
    def conditions(self) -> Conditions:
        """Those of this run."""
        return self.inner.conditions  # type: ignore[no-any-return]


class Restarts:
    """An `Algorithm` that starts another one again whenever it has ended.

    Args:
        make: the inner algorithm, from its settings.
        settings: of its first run.
        kind: of restarts.
        tolerances: what ends a run.
        seed: of the search.
        box: float64 (2, d), in which runs begin; NaN, or None for all: near x0.
        noisy: whether the function is.
    """

    def __init__(
        self,
        make: Callable[[Any], Any],
        settings: SearchSettings,
        kind: Kind,
        tolerances: Tolerances,
        seed: int,
        box: Float64 | None = None,
        noisy: bool = False,
    ) -> None:
        self._grows = noisy and kind != "none"
        self._make, self._settings, self._kind = make, settings, kind
        self._tolerances, self._seed, self._box = tolerances, seed, box
        self._made = (FIRST, make(settings))
        self.needs_behavior = getattr(self._made[1], "needs_behavior", False)
        self.pipelines = kind == "none" and getattr(self._made[1], "pipelines", False)

    def memory(self, num_params: int) -> int:
        """That of the inner algorithm."""
        return int(self._made[1].memory(num_params))

    def init(
        self,
        theta: Floating,
        observations: RunningStats,
        correlation: Float64 | None = None,
        restart: int = 0,
    ) -> RestartState:
        """The state whose first run starts at theta.

        Args:
            theta: (d,).
            observations: their statistics.
            correlation: float64 (d, d), of the first run's first points; None for none.
            restart: where not 0, it begins elsewhere and with another population, as the restart of this number does.
        """
        start = theta.astype(np.float64)
        run, doublings = FIRST, 0
        if restart:
            rng = generator(self._seed, Purpose.RESTART, restart)
            theta = self._start(rng, start).astype(theta.dtype)
            run, doublings = self._early(restart, rng)
        inner = self.inner(run).init(theta, observations)
        if correlation is not None:
            inner = self.inner(run).correlated(inner, correlation)
        return RestartState(
            0, inner.theta, inner, run, RunRecord.empty(), 0, 0, 0, doublings, start, -math.inf, math.inf, 0, "", False
        )

    def _early(self, restart: int, rng: np.random.Generator) -> tuple[Run, int]:
        """What a search begins with whose first run is this restart, and its doublings, which begin at 0 again after
        `MOST_DOUBLINGS`, so that a run of a share of the budget has generations enough."""
        if self._kind == "none":
            return Run(restart, False, 1.0, 1.0, 0), 0
        doublings = (restart if self._kind == "ipop" else (restart + 1) // 2) % (MOST_DOUBLINGS + 1)
        if self._kind == "bipop" and restart % 2 == 0:
            return self._small(restart, doublings, 0, rng), doublings
        return Run(restart, False, 2.0**doublings, 1.0, 0), doublings

    def _small(self, number: int, doublings: int, limit: int, rng: np.random.Generator) -> Run:
        """A small run of BIPOP (Hansen 2009, equation 4)."""
        share = float(rng.random()) ** 2
        population = max(1.0, (0.5 * 2.0**doublings) ** share)
        return Run(number, True, population, 10 ** (-SMALLEST_SIGMA * float(rng.random())), limit)

    def inner(self, run: Run) -> Any:
        """The algorithm of a run."""
        if self._made[0] != run:
            self._made = (run, self._make(resized(self._settings, run.population, run.sigma)))
        return self._made[1]

    def snapshot(self, state: RestartState) -> Snapshot:
        """That of this run."""
        inner = replace(state.inner, generation=state.generation)
        return self.inner(state.run).snapshot(inner)  # type: ignore[no-any-return]

    def next_round(self, state: RestartState) -> Round:
        """That of this run; a point that fails stays in it, but for novelty search, which would need its behaviour."""
        upcoming: Round = self.inner(state.run).next_round(state.inner)
        return replace(upcoming, keep_failed=not self.needs_behavior)

    def tell(
        self, state: RestartState, round: Round, batch: Batch | None, weighted_sum: WeightedSum
    ) -> tuple[RestartState, dict[str, float]]:
        """The inner algorithm's next state, or the first one of the next run."""
        algorithm = self.inner(state.run)
        ranked, worst = batch, state.worst
        if batch is not None:
            worst = float(batch.returns.min(initial=worst, where=np.isfinite(batch.returns)))
            ranked = batch = _penalized(batch, worst)
            compared = comparable(
                batch.returns, worst if getattr(algorithm, "compares_generations", False) else math.inf
            )
            ranked = batch if compared is batch.returns else replace(batch, returns=compared)
        inner, metrics = algorithm.tell(state.inner, round, ranked, weighted_sum)
        if round.purpose is Purpose.PROBE or batch is None:
            return replace(state, inner=inner, theta=inner.theta, generation=inner.generation, worst=worst), metrics
        population = round.min_groups * round.group
        record = state.record.after(batch.returns[np.isfinite(batch.returns)])
        state = replace(
            state,
            inner=inner,
            theta=inner.theta,
            generation=inner.generation,
            record=record,
            worst=worst,
            used=state.used + population,
        )
        spread = algorithm.spread(inner) if hasattr(algorithm, "spread") else None
        reason = ending(
            record, population, inner.theta, spread, self._first_spread(state), state.best, self._tolerances
        )
        reason = reason or (algorithm.exhausted(inner) if hasattr(algorithm, "exhausted") else None)
        if reason is None and state.run.limit and state.used >= state.run.limit:
            reason = "the budget of a small run"
        if reason is not None:
            state = self._ended(state, reason)
        elif self._grows and hindered(record):
            run = replace(state.run, population=GROWTH * state.run.population)
            state = replace(state, run=run, record=RunRecord.empty())
        return state, metrics | {"run": float(state.run.number)}

    def _first_spread(self, state: RestartState) -> float:
        """The largest standard deviation at the start of this run."""
        key = "sigma" if hasattr(self._settings, "sigma") else "radius"
        first = float(getattr(self._settings, key, 1.0)) * state.run.sigma
        return first if key == "sigma" else first / math.sqrt(state.start.size)

    def _ended(self, state: RestartState, reason: str) -> RestartState:
        """The next run, or the end of the search."""
        best = max(state.best, float(state.record.best.max(initial=-math.inf)))
        barren = state.barren + 1 if best == -math.inf else 0
        if self._kind == "none" or barren == BARREN_RUNS:
            return replace(state, ended=reason, best=best, over=True)
        run, large, small = state.run, state.large, state.small
        if run.small:
            small += state.used
        elif run.number:
            large += state.used
        rng = generator(self._seed, Purpose.RESTART, run.number + 1)
        doublings = state.doublings
        if self._kind == "bipop" and small < large:
            following = self._small(run.number + 1, doublings, large // 2, rng)
        else:
            doublings += 1
            population = max(2.0**doublings, run.population if self._grows else 0.0)
            following = Run(run.number + 1, False, population, 1.0, 0)
        start = self._start(rng, state.start).astype(state.theta.dtype)
        inner = self.inner(following).init(start, state.conditions.observations)
        return replace(
            state,
            theta=inner.theta,
            inner=replace(inner, generation=state.generation),
            run=following,
            record=RunRecord.empty(),
            used=0,
            large=large,
            small=small,
            doublings=doublings,
            best=best,
            barren=barren,
            ended=reason,
        )

    def _start(self, rng: np.random.Generator, first: Float64) -> Float64:
        """Where a run begins, float64 (d,)."""
        sigma = float(getattr(self._settings, "sigma", getattr(self._settings, "radius", 1.0)))
        share = rng.uniform(-1.0, 1.0, first.size)
        near = first + REACH * sigma * share
        if self._box is None:
            return near
        low, high = self._box
        return np.where(np.isnan(low), near, low + (high - low) * (share + 1) / 2)


def _penalized(batch: Batch, worst: float) -> Batch:
    """Points that violate constraints are worse than the worst, by how much they do (Deb 2000, equation 4)."""
    if batch.violations is None:
        return batch
    base = worst if math.isfinite(worst) else 0.0
    return replace(
        batch, returns=np.where(batch.violations > 0, base - batch.violations, batch.returns), violations=None
    )


def kind_of(algorithm: str, restarts: str | None, noisy: bool = False) -> Kind:
    """Which restarts an algorithm has.

    Args:
        algorithm: its name.
        restarts: `auto`, or a kind; None is `none`.
        noisy: whether the function is; then `auto` is IPOP, whose populations grow.

    Raises:
        UserError: there are no such ones, or it never ends by itself.
    """
    if restarts == "auto":
        return ("ipop" if noisy else "bipop") if algorithm in ADAPTIVE else "none"
    kinds: tuple[str, ...] = get_args(Kind)
    kind: Any = "none" if restarts is None else restarts
    if kind not in kinds:
        raise UserError(f"restarts={restarts!r}: {no_such('kind', restarts, ('auto', *kinds))}")
    if kind != "none" and algorithm not in ADAPTIVE:
        raise UserError(
            f"restarts={restarts}: algorithm={algorithm} does not end by itself, so that there is nothing to restart; "
            f"give restarts=none, or choose an algorithm among {', '.join(ADAPTIVE)}"
        )
    return kind  # type: ignore[no-any-return]


def resized(settings: Any, population: float, sigma: float) -> Any:
    """The settings with so many times the population and the sigma."""
    size, spread = settings.size_key, "sigma" if hasattr(settings, "sigma") else "radius"
    return replace(
        settings,
        **{size: int(getattr(settings, size) * population), spread: getattr(settings, spread) * sigma},
    )
