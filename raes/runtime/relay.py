"""The relay: a small pool for the actors of one node, behind Ray's door.

It gathers what its node's workers answer and reports it whole, so that the driver's work grows with nodes and not
with workers (as the aggregation tree of Moritz et al. 2018, arXiv 1712.05889, section 5.3.1).
"""

from __future__ import annotations

import queue
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from raes.runtime.actor import StartRollout
from raes.runtime.executor import Counters
from raes.runtime.pool import ActorPool
from raes.types import Results, RunFailedError, Tasks

IDLE_SECONDS = 0.5
"""A relay with nothing to tell reports after this time."""
COLLECT_SECONDS = 0.02
"""How long new tasks may wait for the relay to look into its inbox."""


@dataclass(frozen=True)
class Report:
    """What a relay says of itself.

    Attributes:
        results: since its last report, merged.
        counters: counts since its last report.
        workers: actors on its node.
        notices: for the user.
        digests: of all kinds that its workers had.
        failure: why no actor of the node can work; empty where they can.
    """

    results: list[Results]
    counters: Counters
    workers: int
    notices: tuple[str, ...]
    digests: tuple[str, ...]
    failure: str = ""


class RelayActor:
    """One a node, no CPU of its own. `give` may come while `take` waits."""

    def __init__(self, node_id: str, start: StartRollout, deadline: float | None) -> None:
        self._node_id, self._start, self._deadline = node_id, start, deadline
        self._pool: ActorPool | None = None
        self._placed: Mapping[str, int] = {}
        self._inbox: queue.SimpleQueue[tuple[Tasks, Any, int]] = queue.SimpleQueue()
        self._oldest = 0
        self._reported = Counters()

    def give(self, tasks: Tasks, snapshot: list[Any], oldest: int) -> None:
        """Take over episodes.

        Args:
            tasks: of one generation.
            snapshot: the reference to its snapshot, in a list, so that Ray leaves it a reference.
            oldest: generations before this one are given up.
        """
        self._inbox.put((tasks, snapshot[0], oldest))

    def take(self, workers: int, pause: float) -> Report:
        """Work on for `pause` seconds, or until there is something to tell.

        Args:
            workers: how many actors the node should have from now on.
            pause: how long results are gathered.
        """
        try:
            return self._take(workers, pause)
        except RunFailedError as error:
            return Report([], Counters(), 0, (), (), str(error))

    def _take(self, workers: int, pause: float) -> Report:
        if self._placed.get(self._node_id) != workers:
            self._placed = {self._node_id: workers}
        if self._pool is None:
            self._pool = ActorPool(self._start, lambda: self._placed, self._deadline)
        pool, done, began = self._pool, [], time.monotonic()
        while True:
            self._open_inbox(pool)
            done += pool.collect(COLLECT_SECONDS)
            waited = time.monotonic() - began
            if waited >= pause and (done or waited >= IDLE_SECONDS):
                break
        counters, before = replace(pool.counters), self._reported
        self._reported = counters
        notices = tuple(pool.notices)
        pool.notices.clear()
        return Report(Results.merge(done), counters.since(before), pool.workers, notices, pool.digests.seen)

    def _open_inbox(self, pool: ActorPool) -> None:
        while True:
            try:
                tasks, snapshot, oldest = self._inbox.get_nowait()
            except queue.Empty:
                return
            self._oldest = max(self._oldest, oldest)
            if tasks.generation >= self._oldest:
                pool.publish(tasks.generation, snapshot, self._oldest)
                pool.submit(tasks)


class RayRelay:
    """A `RelayActor` on a node, as the driver holds it."""

    def __init__(self, node_id: str, start: StartRollout, deadline: float | None) -> None:
        import ray
        from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

        actor_class: Any = ray.remote(num_cpus=0, max_restarts=0, max_task_retries=0)(RelayActor)
        there = NodeAffinitySchedulingStrategy(node_id, soft=False)
        options = {"max_concurrency": 2, "scheduling_strategy": there}
        self._handle = actor_class.options(**options).remote(node_id, start, deadline)

    def give(self, tasks: Tasks, snapshot: Any, oldest: int) -> None:
        """See `RelayActor.give`; nothing is waited for."""
        self._handle.give.remote(tasks, [snapshot], oldest)

    def take(self, workers: int, pause: float) -> Any:
        """A reference to the next report."""
        return self._handle.take.remote(workers, pause)

    def kill(self) -> None:
        """End it with all its actors."""
        import ray

        ray.kill(self._handle)
