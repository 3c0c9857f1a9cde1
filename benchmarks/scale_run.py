"""Generations on a pool of virtual workers, and what they cost. A part of `raes.bench scale`."""

from __future__ import annotations

import time
from collections import Counter, deque
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from benchmarks.virtual_workers import WARM_UP, Fleet
from raes.algorithms import ES, ESSettings
from raes.runtime.collector import Collector
from raes.search import noise, running_stats
from raes.search.optimizers import OptimizerSettings
from raes.types import Float32, Int64, RunFailedError

TABLE_SIZE = 1 << 16
COLLECT_SECONDS = 0.5
"""As the driver of a training waits."""


class ScaleSearch:
    """ES with two parameters: all that the driver of a training does in a generation but what grows with theta, and
    but evaluation, log and checkpoint."""

    def __init__(self, episodes: int) -> None:
        settings = ESSettings(pairs=episodes // 2, normalize_observations=False)
        self._algorithm = ES(settings, OptimizerSettings(), 0, TABLE_SIZE)
        self._state = self._algorithm.init(np.zeros(2, dtype=np.float32), running_stats.init(0))
        self._table = noise.make_table(TABLE_SIZE)

    def start(self, fleet: Fleet, number: int, oldest: int, pairs: int) -> Collector:
        """Send out a generation; those before `oldest` are over."""
        around = replace(self._state, generation=number)
        collector = Collector(lambda first, count: self._algorithm.ask(around, first, count), 2, pairs, 0, 0.0, None)
        tasks = collector.start()
        fleet.pool.publish(self._algorithm.snapshot(around), oldest)
        for block in tasks:
            fleet.pool.submit(block)
        return collector

    def finish(self, collector: Collector) -> None:
        """The update."""
        batch = collector.batch()
        assert batch is not None
        self._state, _ = self._algorithm.tell(self._state, batch, self._weighted_sum)

    def _weighted_sum(self, noise_index: Int64, weights: Float32, squared: bool = False) -> Float32:
        return noise.weighted_sum(self._table, noise_index, weights, 2, squared=squared)


@dataclass(frozen=True)
class Cost:
    """What has been spent so far.

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
    """What some generations took.

    Attributes:
        numbers: which ones.
        cost: from the end of the update before the first to the end of the update after the last.
        useful: seconds of episodes that have passed in that time, in all workers; not stretched.
        idle: what the same processes take while all of them wait.
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
        seconds: run at least for so long.
        idle_seconds: how long the same processes are watched doing nothing.
        others: reads the CPU seconds of other processes.
    """
    search, running = ScaleSearch(episodes), deque[Collector]()
    running.append(search.start(fleet, WARM_UP, WARM_UP, min(episodes // 2, workers)))
    _collect(fleet, running, WARM_UP)
    running.clear()
    done = WARM_UP
    resting = Cost.now(fleet, others)
    time.sleep(idle_seconds)
    idle = Cost.now(fleet, others).since(resting)
    begun: Cost | None = None
    while True:
        if done == WARM_UP + pipeline:
            before, asked = fleet.useful(), time.perf_counter()
            begun = Cost.now(fleet, others)
        while len(running) <= pipeline:
            running.append(search.start(fleet, done + 1 + len(running), done + 1, episodes // 2))
        _collect(fleet, running, done + 1)
        search.finish(running.popleft())
        done += 1
        if begun is not None and time.perf_counter() - begun.wall >= seconds and done > WARM_UP + pipeline:
            cost = Cost.now(fleet, others).since(begun)
            # The workers are asked a moment before and a moment after: their rate is what counts.
            rate = (fleet.useful() - before) / (time.perf_counter() - asked)
            return Measured(range(WARM_UP + pipeline + 1, done + 1), cost, rate * cost.wall, idle)


def _collect(fleet: Fleet, running: deque[Collector], first: int) -> None:
    """Gather results until the first generation that is out has all, as the driver of a training does.

    Raises:
        RunFailedError: a node or a worker was lost, so that figures would mean nothing.
    """
    while not running[0].complete:
        for results in fleet.pool.collect(COLLECT_SECONDS):
            if 0 <= results.generation - first < len(running):
                running[results.generation - first].add(results)
        if fleet.pool.notices:
            raise RunFailedError(f"the cluster did not hold; is the machine busy? {'; '.join(fleet.pool.notices)}")
        for collector in running:
            assert collector.more() is None
