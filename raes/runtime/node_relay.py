"""The relay: a pool for the rollout actors of one node, itself a Ray actor.

It gathers the results of its node's workers and reports them together, so that the driver's work grows with nodes and
not with workers (as the aggregation tree of Moritz et al. 2018, arXiv 1712.05889, section 5.3.1).
"""

from __future__ import annotations

import pickle
import queue
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import ray

from raes.results import Results
from raes.runtime import scheduling
from raes.runtime.clock import REAL_TIME, Clock
from raes.runtime.executor import Counters
from raes.runtime.rollout_actor import StartRollout
from raes.runtime.worker_pool import ActorPool
from raes.tasks import Tasks
from raes.types import RunFailedError

IDLE_SECONDS = 0.5
"""A relay without results reports after this time."""
COLLECT_SECONDS = 0.02
"""How long new tasks may lie in a relay's inbox."""


@dataclass(frozen=True)
class SnapshotVersion:
    """A published snapshot with its number.

    Attributes:
        number: counts all snapshots published so far. A generation may have several, one after the other, as where a
            search first requests its agents' behaviours.
        snapshot: at the relay the snapshot; at the driver perhaps a reference to it.
    """

    number: int
    snapshot: Any


@dataclass(frozen=True)
class WorkItem:
    """Work for a relay.

    Attributes:
        tasks: of one generation.
        version: the snapshot that they share.
        oldest: generations before it are abandoned.
    """

    tasks: Tasks
    version: SnapshotVersion
    oldest: int


@dataclass(frozen=True)
class ReportTriggers:
    """When a relay reports at once, besides the moment at which a generation has all its answers.

    Attributes:
        low: when its queue runs low, since the driver has more.
        idle: when workers are idle, since they may take over what other nodes have not begun.
    """

    low: bool
    idle: bool


@dataclass(frozen=True)
class RelayReport:
    """The report of a relay.

    Attributes:
        results: since its last report, merged.
        counters: what it has counted since its last report.
        workers: actors on its node.
        starting: of those, how many have not begun to work yet.
        notices: for the user.
        digests: one of each kind among its workers.
        failure: why no actor of the node can work; empty where they can.
    """

    results: list[Results]
    counters: Counters
    workers: int
    starting: int
    notices: tuple[str, ...]
    digests: tuple[str, ...]
    failure: str = ""


def pack(items: Sequence[WorkItem], triggers: ReportTriggers) -> tuple[Any, ...]:
    """Items and triggers as arguments of an actor call, for `unpack`: a message, and references to the snapshots.

    Ray's own pickling of the same takes several times as long, above all for references inside other arguments.
    """
    snapshots = {item.version.number: item.version.snapshot for item in items}
    contents = [(item.tasks, item.version.number, item.oldest) for item in items]
    return pickle.dumps((contents, tuple(snapshots), triggers), pickle.HIGHEST_PROTOCOL), *snapshots.values()


def unpack(message: bytes, snapshots: Sequence[Any]) -> tuple[list[WorkItem], ReportTriggers]:
    """The items and the triggers that `pack` was given; Ray has replaced the references by the snapshots."""
    contents, numbers, triggers = pickle.loads(message)
    versions = {number: SnapshotVersion(number, snapshot) for number, snapshot in zip(numbers, snapshots, strict=True)}
    return [WorkItem(tasks, versions[number], oldest) for tasks, number, oldest in contents], triggers


class RelayActor:
    """One per node, without a CPU of its own. `give` may be called while `take` waits."""

    def __init__(self, node_id: str, start: StartRollout, deadline: float | None, clock: Clock) -> None:
        self._node_id, self._start, self._deadline, self._clock = node_id, start, deadline, clock
        self._pool: ActorPool | None = None
        self._placed: Mapping[str, int] = {}
        self._inbox: queue.SimpleQueue[WorkItem] = queue.SimpleQueue()
        self._versions: dict[int, int] = {}
        self._oldest = 0
        self._triggers = ReportTriggers(low=False, idle=False)
        self._may_report_low = self._may_report_idle = False
        self._reported = Counters()

    def give(self, message: bytes, *snapshots: Any) -> None:
        """Take over episodes that `pack` has packed."""
        items, self._triggers = unpack(message, snapshots)
        for item in items:
            self._inbox.put(item)

    def take(self, workers: int, pause: float, message: bytes, *snapshots: Any) -> bytes:
        """Take over episodes and work until a report is due; the report, pickled. See `RayRelay.take`."""
        self.give(message, *snapshots)
        try:
            report = self._take(workers, pause)
        except RunFailedError as error:
            report = RelayReport([], Counters(), 0, 0, (), (), str(error))
        return pickle.dumps(report, pickle.HIGHEST_PROTOCOL)

    def _take(self, workers: int, pause: float) -> RelayReport:
        if self._placed.get(self._node_id) != workers:
            self._placed = {self._node_id: workers}
        if self._pool is None:
            self._pool = ActorPool(self._start, lambda: self._placed, self._deadline, self._clock)
        pool, done, began = self._pool, [], self._clock.now()
        while True:
            self._open_inbox(pool)
            done += pool.collect(COLLECT_SECONDS if pool.open_episodes else 0.0)
            waited = self._clock.now() - began
            if self._is_urgent(pool, done) or (waited >= pause and (done or waited >= IDLE_SECONDS)):
                break
        counters, before = replace(pool.counters), self._reported
        self._reported = counters
        notices = tuple(pool.notices)
        pool.notices.clear()
        changes, seen = counters.since(before), pool.digests.seen
        return RelayReport(Results.merge(done), changes, pool.workers, pool.starting, notices, seen)

    def _is_urgent(self, pool: ActorPool, done: list[Results]) -> bool:
        """Whether a generation has all its answers, or the queue runs low, or workers are idle.

        The latter two are reported once after each delivery, and only where the driver has set their trigger.
        """
        triggers, mean = self._triggers, pool.counters.mean_seconds
        low = triggers.low and self._may_report_low and scheduling.is_low(pool.queued, pool.workers, mean)
        many_idle = triggers.idle and self._may_report_idle and scheduling.many_are_idle(pool.idle, pool.workers)
        self._may_report_low = self._may_report_low and not low
        self._may_report_idle = self._may_report_idle and not many_idle
        return low or many_idle or any(not pool.awaits(results.generation) for results in done)

    def _open_inbox(self, pool: ActorPool) -> None:
        """Submit what lies in the inbox; where there is no work, wait for some."""
        while True:
            try:
                wait = 0.0 if pool.open_episodes else self._clock.real_seconds(COLLECT_SECONDS)
                item = self._inbox.get(timeout=wait)
            except queue.Empty:
                return
            self._oldest = max(self._oldest, item.oldest)
            if item.tasks.generation >= self._oldest and self._publish(pool, item):
                pool.submit(item.tasks)
                self._may_report_low = self._may_report_idle = True

    def _publish(self, pool: ActorPool, item: WorkItem) -> bool:
        """Publish an item's snapshot on this node if it is new here; False where a newer one has replaced it."""
        generation, version = item.tasks.generation, item.version
        known = self._versions.get(generation, 0)
        if version.number > known:
            pool.publish(version.snapshot, self._oldest)
            kept = {one: number for one, number in self._versions.items() if one >= self._oldest}
            self._versions = kept | {generation: version.number}
        return version.number >= known


class RayRelay:
    """The driver's handle of a `RelayActor` on a node."""

    def __init__(self, node_id: str, start: StartRollout, deadline: float | None, clock: Clock = REAL_TIME) -> None:
        from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

        actor_class: Any = ray.remote(num_cpus=0, max_restarts=0, max_task_retries=0)(RelayActor)
        there = NodeAffinitySchedulingStrategy(node_id, soft=False)
        options = {"max_concurrency": 2, "scheduling_strategy": there}
        self._handle = actor_class.options(**options).remote(node_id, start, deadline, clock)

    def give(self, items: Sequence[WorkItem], triggers: ReportTriggers) -> None:
        """Hand over episodes, without waiting.

        Args:
            items: the episodes.
            triggers: when to report at once from now on.
        """
        self._handle.give.remote(*pack(items, triggers))

    def take(self, workers: int, pause: float, items: Sequence[WorkItem], triggers: ReportTriggers) -> Any:
        """Let the relay work for `pause` seconds, or until something must be reported at once.

        Args:
            workers: how many actors the node should have from now on.
            pause: how long results are gathered.
            items: as for `give`, to save a call.
            triggers: as for `give`.

        Returns:
            A reference to the pickled `RelayReport`.
        """
        return self._handle.take.remote(workers, pause, *pack(items, triggers))

    def kill(self) -> None:
        """End the relay with all its actors."""
        ray.kill(self._handle)
