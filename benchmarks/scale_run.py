"""Generations on a pool of virtual workers, and their cost. A part of `python -m benchmarks scale`."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from benchmarks.virtual_workers import WARM_UP, Fleet
from raes.algorithms import ES, ESSettings
from raes.runtime.rounds import FinishedRound, RoundHooks, RoundRunner
from raes.search import noise, running_stats
from raes.search.optimizers import OptimizerSettings
from raes.tasks import Round
from raes.types import Float32, Int64, RunFailedError

TABLE_SIZE = 1 << 16


class ScaleSearch:
    """ES with two parameters: the driver's work in a generation of a training, without evaluation, log and checkpoint,
    and without what grows with theta."""

    def __init__(self, episodes: int) -> None:
        settings = ESSettings(pairs=episodes // 2, normalize_observations=False)
        self._algorithm = ES(settings, OptimizerSettings(), 0, TABLE_SIZE)
        self._state = self._algorithm.init(np.zeros(2, dtype=np.float32), running_stats.init(0))
        self._table = noise.make_table(TABLE_SIZE)

    def round(self, number: int, pairs: int) -> Round:
        """The round of a generation that perturbs the current parameters."""
        return replace(self._algorithm.next_round(replace(self._state, generation=number)), min_groups=pairs)

    def update(self, finished: FinishedRound) -> None:
        """Update the parameters after a generation."""
        self._state, _ = self._algorithm.tell(self._state, finished.round, finished.batch, self._weighted_sum)

    def _weighted_sum(self, noise_index: Int64, weights: Float32, squared: bool = False) -> Float32:
        return noise.weighted_sum(self._table, noise_index, weights, 2, squared=squared)


IDLE_PARTS = 3
"""Parts of the time in which processes idle."""


@dataclass(frozen=True)
class Cost:
    """Time, CPU seconds and calls so far.

    Attributes:
        wall: seconds.
        driver: CPU seconds of this process, all threads.
        others: CPU seconds of `relays`, `hosts` and `ray`.
        calls: `give` and `take` calls to relays.
    """

    wall: float
    driver: float
    others: dict[str, float]
    calls: Counter[str]

    @staticmethod
    def now(fleet: Fleet, others: Callable[[], dict[str, float]]) -> Cost:
        """As of this moment."""
        return Cost(time.perf_counter(), time.process_time(), others(), Counter(fleet.calls))

    def since(self, start: Cost) -> Cost:
        """The difference."""
        others = {name: seconds - start.others[name] for name, seconds in self.others.items()}
        return Cost(self.wall - start.wall, self.driver - start.driver, others, self.calls - start.calls)


@dataclass(frozen=True)
class Measured:
    """The cost of several generations.

    Attributes:
        numbers: which ones.
        cost: from the end of the update before the first to the end of the update after the last.
        useful: seconds of episodes that have passed in that time, in all workers; not stretched.
        idle: cost of the same processes while all of them wait.
    """

    numbers: range
    cost: Cost
    useful: float
    idle: Cost


def generations(
    fleet: Fleet,
    episodes: int,
    workers: int,
    pipeline: int,
    seconds: float,
    idle_seconds: float,
    others: Callable[[], dict[str, float]],
) -> Measured:
    """Run generations, one after the other or, with pipeline=1, two at a time.

    Args:
        fleet: the pool.
        episodes: of a generation.
        workers: of the pool.
        pipeline: as `runtime.pipeline`; then the first generation is not measured, since it runs alone at first.
        seconds: how long to run at least.
        idle_seconds: how long the same processes are measured while they idle.
        others: returns the CPU seconds of other processes.
    """
    search, runner = ScaleSearch(episodes), RoundRunner(fleet.pool, _Undisturbed(fleet))
    runner.open(search.round(WARM_UP, min(episodes // 2, workers)))
    runner.collect()
    done = WARM_UP
    idle = _idle(fleet, idle_seconds, others)
    begun: Cost | None = None
    while True:
        if done == WARM_UP + pipeline:
            before, asked = fleet.useful(), time.perf_counter()
            begun = Cost.now(fleet, others)
        while runner.open_rounds <= pipeline:
            runner.open(search.round(done + 1 + runner.open_rounds, episodes // 2), oldest=done + 1)
        finished = runner.collect()
        assert finished is not None
        search.update(finished)
        done += 1
        if begun is not None and time.perf_counter() - begun.wall >= seconds and done > WARM_UP + pipeline:
            cost = Cost.now(fleet, others).since(begun)
            # The workers' counts are read a moment before and a moment after: only their rate is used.
            rate = (fleet.useful() - before) / (time.perf_counter() - asked)
            return Measured(range(WARM_UP + pipeline + 1, done + 1), cost, rate * cost.wall, idle)


def _idle(fleet: Fleet, seconds: float, others: Callable[[], dict[str, float]]) -> Cost:
    """What waiting costs: in the quietest part of this time, since processes that have just started still have work."""
    parts = []
    for _ in range(IDLE_PARTS):
        resting = Cost.now(fleet, others)
        time.sleep(seconds / IDLE_PARTS)
        parts.append(Cost.now(fleet, others).since(resting))
    return min(parts, key=lambda part: (part.driver + sum(part.others.values())) / part.wall)


class _Undisturbed(RoundHooks):
    """Ends the measurement when a node or a worker is lost, which would spoil the figures."""

    def __init__(self, fleet: Fleet) -> None:
        self._fleet = fleet

    def poll(self) -> bool:
        if notices := self._fleet.pool.notices:
            raise RunFailedError(f"the cluster did not hold; is the machine busy? {'; '.join(notices)}")
        return False
