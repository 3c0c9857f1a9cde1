"""The relay: a small pool for the actors of one node, behind Ray's door.

It gathers what its node's workers answer and reports it whole, so that the driver's work grows with nodes and not
with workers (as the aggregation tree of Moritz et al. 2018, arXiv 1712.05889, section 5.3.1).
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
from raes.runtime.clock import REAL, Pace
from raes.runtime.executor import Counters
from raes.runtime.rollout_actor import StartRollout
from raes.runtime.worker_pool import ActorPool
from raes.tasks import Tasks
from raes.types import RunFailedError

IDLE_SECONDS = 0.5
"""A relay with nothing to tell reports after this time."""
COLLECT_SECONDS = 0.02
"""How long new tasks may wait for the relay to look into its inbox."""


@dataclass(frozen=True)
class SnapshotVersion:
    """A snapshot that was published.

    Attributes:
        number: how many there had been then, itself included. A generation may have several, one after the other, as
            where a search first asks for its agents' behaviours.
        snapshot: at the relay itself; at the driver perhaps a reference to it.
    """

    number: int
    snapshot: Any


@dataclass(frozen=True)
class WorkItem:
    """Work for a relay.

    Attributes:
        tasks: of one generation.
        edition: what they share.
        oldest: generations before it are given up.
    """

    tasks: Tasks
    edition: SnapshotVersion
    oldest: int


@dataclass(frozen=True)
class ReportTriggers:
    """What the driver wants to hear at once, beside that a generation has all its answers.

    Attributes:
        low: that the queue runs low, since the driver has more.
        idle: that workers are idle, since there may be time to share what others have not begun.
    """

    low: bool
    idle: bool


@dataclass(frozen=True)
class RelayReport:
    """What a relay says of itself.

    Attributes:
        results: since its last report, merged.
        counters: counts since its last report.
        workers: actors on its node.
        starting: of those, how many have not begun to work yet.
        notices: for the user.
        digests: of all kinds that its workers had.
        failure: why no actor of the node can work; empty where they can.
    """

    results: list[Results]
    counters: Counters
    workers: int
    starting: int
    notices: tuple[str, ...]
    digests: tuple[str, ...]
    failure: str = ""


def pack(parcels: Sequence[WorkItem], interest: ReportTriggers) -> tuple[Any, ...]:
    """What `unpack` makes them of again after an actor call: a message, and the references to the snapshots.

    Ray takes several times as long to pickle the same, above all for references that are not arguments themselves.
    """
    snapshots = {parcel.edition.number: parcel.edition.snapshot for parcel in parcels}
    contents = [(parcel.tasks, parcel.edition.number, parcel.oldest) for parcel in parcels]
    return pickle.dumps((contents, tuple(snapshots), interest), pickle.HIGHEST_PROTOCOL), *snapshots.values()


def unpack(message: bytes, snapshots: Sequence[Any]) -> tuple[list[WorkItem], ReportTriggers]:
    """The parcels, with the snapshots that Ray has fetched in the place of the references, and the interest."""
    contents, numbers, interest = pickle.loads(message)
    editions = {number: SnapshotVersion(number, snapshot) for number, snapshot in zip(numbers, snapshots, strict=True)}
    return [WorkItem(tasks, editions[number], oldest) for tasks, number, oldest in contents], interest


class RelayActor:
    """One a node, no CPU of its own. `give` may come while `take` waits."""

    def __init__(self, node_id: str, start: StartRollout, deadline: float | None, pace: Pace) -> None:
        self._node_id, self._start, self._deadline, self._pace = node_id, start, deadline, pace
        self._pool: ActorPool | None = None
        self._placed: Mapping[str, int] = {}
        self._inbox: queue.SimpleQueue[WorkItem] = queue.SimpleQueue()
        self._editions: dict[int, int] = {}
        self._oldest = 0
        self._interest = ReportTriggers(low=False, idle=False)
        self._low_is_news = self._hunger_is_news = False
        self._reported = Counters()

    def give(self, message: bytes, *snapshots: Any) -> None:
        """Take over episodes: see `RayRelay.give`, `pack`."""
        parcels, self._interest = unpack(message, snapshots)
        for parcel in parcels:
            self._inbox.put(parcel)

    def take(self, workers: int, pause: float, message: bytes, *snapshots: Any) -> bytes:
        """Take over episodes and work on, as `RayRelay.take` says; the report, pickled."""
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
            self._pool = ActorPool(self._start, lambda: self._placed, self._deadline, self._pace)
        pool, done, began = self._pool, [], self._pace.now()
        while True:
            self._open_inbox(pool)
            done += pool.collect(COLLECT_SECONDS if pool.open_episodes else 0.0)
            waited = self._pace.now() - began
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

        The latter two are said once after each delivery, and only where they are of interest.
        """
        interest, mean = self._interest, pool.counters.mean_seconds
        low = interest.low and self._low_is_news and scheduling.is_low(pool.queued, pool.workers, mean)
        hungry = interest.idle and self._hunger_is_news and scheduling.is_hungry(pool.idle, pool.workers)
        self._low_is_news = self._low_is_news and not low
        self._hunger_is_news = self._hunger_is_news and not hungry
        return low or hungry or any(not pool.awaits(results.generation) for results in done)

    def _open_inbox(self, pool: ActorPool) -> None:
        """Take over what has come; where there is no work, wait for some."""
        while True:
            try:
                wait = 0.0 if pool.open_episodes else self._pace.real(COLLECT_SECONDS)
                parcel = self._inbox.get(timeout=wait)
            except queue.Empty:
                return
            self._oldest = max(self._oldest, parcel.oldest)
            if parcel.tasks.generation >= self._oldest and self._publish(pool, parcel):
                pool.submit(parcel.tasks)
                self._low_is_news = self._hunger_is_news = True

    def _publish(self, pool: ActorPool, parcel: WorkItem) -> bool:
        """Give the node its own copy of a snapshot that is new here; False where a newer one has taken its place."""
        generation, edition = parcel.tasks.generation, parcel.edition
        known = self._editions.get(generation, 0)
        if edition.number > known:
            pool.publish(edition.snapshot, self._oldest)
            kept = {one: number for one, number in self._editions.items() if one >= self._oldest}
            self._editions = kept | {generation: edition.number}
        return edition.number >= known


class RayRelay:
    """A `RelayActor` on a node, as the driver holds it."""

    def __init__(self, node_id: str, start: StartRollout, deadline: float | None, pace: Pace = REAL) -> None:
        from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

        actor_class: Any = ray.remote(num_cpus=0, max_restarts=0, max_task_retries=0)(RelayActor)
        there = NodeAffinitySchedulingStrategy(node_id, soft=False)
        options = {"max_concurrency": 2, "scheduling_strategy": there}
        self._handle = actor_class.options(**options).remote(node_id, start, deadline, pace)

    def give(self, parcels: Sequence[WorkItem], interest: ReportTriggers) -> None:
        """Hand over episodes; nothing is waited for.

        Args:
            parcels: the episodes.
            interest: what to report at once from now on.
        """
        self._handle.give.remote(*pack(parcels, interest))

    def take(self, workers: int, pause: float, parcels: Sequence[WorkItem], interest: ReportTriggers) -> Any:
        """Let the relay work on for `pause` seconds, or until there is something to tell at once.

        Args:
            workers: how many actors the node should have from now on.
            pause: how long results are gathered.
            parcels: as to `give`, to save a call.
            interest: likewise.

        Returns:
            A reference to the pickled `RelayReport`.
        """
        return self._handle.take.remote(workers, pause, *pack(parcels, interest))

    def kill(self) -> None:
        """End it with all its actors."""
        ray.kill(self._handle)
