"""The pool of relays: the driver's side of a cluster of many nodes."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import ray
from ray.exceptions import RayError

from raes.results import Results
from raes.runtime import scheduling
from raes.runtime.calls import answers, cause_of_death, is_our_fault, wait
from raes.runtime.clock import REAL, Pace
from raes.runtime.digests import Digests
from raes.runtime.executor import Counters
from raes.runtime.node_relay import RayRelay, RelayReport, ReportTriggers, SnapshotVersion, WorkItem
from raes.runtime.pending import Group, PendingTable
from raes.runtime.worker_pool import Placement
from raes.tasks import Snapshot, Tasks
from raes.types import RunFailedError

StartRelay = Callable[[str], RayRelay]
"""node id -> a new relay there."""


def is_small(snapshot: Snapshot) -> bool:
    """Whether the snapshot travels within the calls, as cheap as a reference to it and without what follows one."""
    buffers: list[pickle.PickleBuffer] = []
    head = pickle.dumps(snapshot, protocol=5, buffer_callback=buffers.append)
    return len(head) + sum(buffer.raw().nbytes for buffer in buffers) <= scheduling.SMALL_SNAPSHOT


@dataclass(frozen=True)
class _Delivery:
    """Episodes that a relay got.

    Attributes:
        when: that was.
        depth: how many episodes each of its workers had to run then, these included.
        tasks: the episodes.
    """

    when: float
    depth: int
    tasks: Tasks


@dataclass
class _Member:
    """One relay.

    Attributes:
        wanted: workers that its node should have; 0 where it is about to leave.
        workers: workers that it has, by its last report ...
        starting: ... and how many of them have not begun to work yet.
        reported: whether there was one.
        called: when it was asked for the report that is under way, if one is.
        heard: when its last report came.
        given: what it got in the generations that still run.
        owes: the indices of these episodes that it has not answered, by (generation, purpose).
        parcels: what is about to be sent to it.
    """

    relay: RayRelay
    wanted: int
    workers: int = 0
    starting: int = 0
    reported: bool = False
    called: float | None = None
    heard: float = 0.0
    given: list[_Delivery] = field(default_factory=list)
    owes: dict[Group, set[int]] = field(default_factory=dict)
    parcels: list[WorkItem] = field(default_factory=list)

    @property
    def outstanding(self) -> int:
        """Episodes that it has."""
        return sum(map(len, self.owes.values()))

    @property
    def settled(self) -> bool:
        """Whether there is nothing to send to it and nothing to hear of it, so that a call would be for nothing."""
        complete = self.reported and not self.starting and self.workers == self.wanted
        return complete and not self.parcels and not self.outstanding


class RelayPool:
    """One relay a node, each with a share of the episodes; see `Pool`.

    The books are the same as a node's: a `PendingTable`, in which an episode is answered once, whoever answers it.
    """

    def __init__(self, start: StartRelay, placement: Placement, pace: Pace = REAL) -> None:
        """Start the relays.

        Args:
            start: makes a relay on a node.
            placement: how many workers there should be on each node.
            pace: of the clock.
        """
        self._start, self._placement, self._pace = start, placement, pace
        self._members: dict[str, _Member] = {}
        self._barred: dict[str, float] = {}
        self._cannot_work: dict[str, str] = {}
        self._calls: dict[Any, str] = {}
        self._pending = PendingTable()
        self._editions: dict[int, SnapshotVersion] = {}
        self._published = 0
        self._oldest = 0
        self._copied: dict[Group, set[int]] = {}
        self._short = False
        self._digests = Digests()
        self.counters = Counters()
        self.notices: list[str] = []
        self._resize()

    @property
    def workers(self) -> int:
        """Workers of all nodes, by their last reports."""
        return sum(member.workers for member in self._members.values())

    @property
    def starting(self) -> int:
        """Of those, how many have not begun to work yet."""
        return sum(member.starting for member in self._members.values())

    @property
    def queued(self) -> int:
        """Episodes that no worker has begun, as far as the driver can know."""
        return self._pending.queued + sum(max(0, one.outstanding - one.workers) for one in self._members.values())

    def publish(self, snapshot: Snapshot, oldest: int) -> None:
        """Take the snapshot; relays get it with their tasks, and hand it on in their nodes."""
        self._pending.retire(oldest)
        self._oldest = oldest
        self._published += 1
        edition = SnapshotVersion(self._published, snapshot if is_small(snapshot) else ray.put(snapshot))
        kept = {generation: one for generation, one in self._editions.items() if generation >= oldest}
        self._editions = kept | {snapshot.generation: edition}
        self._copied = {group: copied for group, copied in self._copied.items() if group[0] >= oldest}
        for member in self._members.values():
            member.given = [delivery for delivery in member.given if delivery.tasks.generation >= oldest]
            member.owes = {group: owed for group, owed in member.owes.items() if group[0] >= oldest}

    def submit(self, tasks: Tasks) -> None:
        """Queue the episodes and give the relays their shares."""
        self._pending.add(tasks)
        everyone = sum(member.wanted for member in self._members.values())
        self._short = scheduling.is_short(
            self._pending.queued, everyone, len(self._members), self.counters.mean_seconds
        )
        self._dispatch()
        self._send()

    def collect(self, timeout: float) -> list[Results]:
        """Take the reports that have come, and give the relays more."""
        self._resize()
        self._send()
        done: list[Results] = []
        gather = self._pace.real(scheduling.GATHER_SECONDS if self._short else 0.0)
        for reference, answer in answers(wait(self._calls, self._pace.real(timeout), gather)):
            done += self._finish(self._calls.pop(reference), answer)
        self._lose_hung()
        self._dispatch()
        self._copy_late()
        self._send()
        return done

    def close(self) -> None:
        """End the relays and their actors."""
        for member in self._members.values():
            member.relay.kill()
        self._members.clear()
        self._calls.clear()

    # Who is there.

    def _resize(self) -> None:
        placed = self._placement()
        for node, workers in placed.items():
            if node not in self._members and workers and self._barred.get(node, 0.0) <= self._pace.now():
                self._members[node] = _Member(self._start(node), workers)
        for node, member in list(self._members.items()):
            member.wanted = placed.get(node, 0)
            if member.wanted or member.outstanding:
                continue
            if node in placed:
                self._remove(node)
            else:  # Ray knows of its end before a call has failed
                self._lose(node, "its node died", alive=False)

    def _remove(self, node: str) -> _Member:
        member = self._members.pop(node)
        self._calls = {reference: owner for reference, owner in self._calls.items() if owner != node}
        member.relay.kill()
        return member

    # Handing out.

    def _send(self) -> None:
        """Ask for the reports that are not under way, and send what there is, in the same call where possible."""
        tail = not self._pending.queued and len(self._pending) > 0 and not self._short
        pause = scheduling.report_seconds(len(self._members), tail)
        interest = ReportTriggers(low=self._pending.queued > 0, idle=not self._short)
        for node, member in self._members.items():
            if member.called is None and not member.settled:
                workers = member.wanted or member.workers  # those of a leaving node end what they have
                self._calls[member.relay.take(workers, pause, member.parcels, interest)] = node
                member.called = self._pace.now()
            elif member.parcels:
                member.relay.give(member.parcels, interest)
            member.parcels = []

    def _dispatch(self) -> None:
        """Give what keeps the workers busy, to the emptiest relay first: when it reports, or where workers are idle."""
        if not self._pending.queued:
            return
        pause, mean = scheduling.report_seconds(len(self._members)), self.counters.mean_seconds
        everyone, queued = sum(member.wanted for member in self._members.values()), self._pending.queued
        for member in sorted(self._members.values(), key=lambda one: one.outstanding / max(1, one.wanted)):
            if member.called is not None and member.outstanding >= member.wanted:
                continue
            room = scheduling.relay_room(queued, member.outstanding, member.wanted, everyone, pause, mean, self._short)
            while room > 0 and (tasks := self._pending.take(room)) is not None:
                room -= len(tasks)
                self._give(member, tasks)

    def _give(self, member: _Member, tasks: Tasks) -> None:
        member.parcels.append(WorkItem(tasks, self._editions[tasks.generation], self._oldest))
        member.owes.setdefault((tasks.generation, tasks.purpose), set()).update(tasks.index.tolist())
        depth = 1 + member.outstanding // max(1, member.wanted)
        member.given.append(_Delivery(self._pace.now(), depth, tasks))

    def _copy_late(self) -> None:
        """At the end of the queue, let idle nodes try what others have not begun or take suspiciously long over."""
        if self._pending.queued:
            return
        idle = [one for one in self._members.values() if one.wanted and one.outstanding < min(one.wanted, one.workers)]
        if not idle:
            return
        now, mean = self._pace.now(), self.counters.mean_seconds
        for donor in sorted(self._members.values(), key=lambda one: -one.outstanding / max(1, one.workers)):
            spare = scheduling.spare(donor.outstanding, donor.workers, now - donor.heard, mean)
            for delivery in reversed(donor.given):
                late = scheduling.is_late(now - delivery.when, delivery.depth, mean)
                if not late and spare <= 0:
                    continue
                for helper in idle:
                    room = min(helper.wanted, helper.workers) - helper.outstanding
                    count = room if late else min(room, spare)
                    if helper is donor or count <= 0:
                        continue
                    if (copies := self._uncopied(donor, delivery.tasks, count)) is None:
                        break
                    spare -= len(copies)
                    self.counters.tasks_copied += len(copies)
                    self._give(helper, copies)

    def _uncopied(self, donor: _Member, tasks: Tasks, count: int) -> Tasks | None:
        """Up to `count` episodes of a block that the donor owes and that were not copied before, the last first."""
        group = tasks.generation, tasks.purpose
        open_ones = donor.owes.get(group, set()) - self._copied.get(group, set())
        if not open_ones:
            return None
        rows = [row for row, index in enumerate(tasks.index.tolist()) if index in open_ones][-count:]
        chosen = self._pending.unanswered(tasks.take(np.array(rows, dtype=np.int64)))
        self._copied.setdefault(group, set()).update(chosen.index.tolist())
        return chosen if len(chosen) else None

    # Taking in.

    def _finish(self, node: str, answer: Any) -> list[Results]:
        member = self._members.get(node)
        if member is None:
            return []
        if is_our_fault(answer):
            raise RunFailedError(f"a relay failed: {answer}") from answer
        if isinstance(answer, RayError):
            self._lose(node, *cause_of_death(answer))
            return []
        report: RelayReport = pickle.loads(answer)
        if report.failure:
            self._block_node(node, report.failure)
            return []
        member.called, member.reported = None, True
        member.workers, member.starting = report.workers, report.starting
        if report.results:
            self._cannot_work.pop(node, None)
        member.heard = self._pace.now()
        self.counters.absorb(report.counters)
        self.notices += report.notices
        self.notices += [text for digest in report.digests if (text := self._digests.add(digest)) is not None]
        done: list[Results] = []
        for results in report.results:
            owed = member.owes.get((results.generation, results.purpose), set())
            owed.difference_update(results.records["index"].tolist())
            accepted, dropped = self._pending.accept(results)
            self.counters.results_discarded += dropped
            if len(accepted.records):
                done.append(accepted)
        return done

    def _lose(self, node: str, cause: str, alive: bool) -> None:
        """A node or its relay is gone: its episodes go out again, elsewhere."""
        member = self._remove(node)
        if not (alive and member.reported):  # the node has gone and is still listed, or nothing can start there
            self._barred[node] = self._pace.now() + scheduling.GONE_SECONDS
        again = self._return(member)
        self.counters.actors_lost += member.workers
        self.notices.append(
            f"node {node[:8]} was lost with {member.workers} workers ({cause}); {again} episodes are issued again"
        )

    def _return(self, member: _Member) -> int:
        """Queue again what a relay that has gone did not answer; how many episodes."""
        again = sum(self._pending.return_block(delivery.tasks) for delivery in member.given)
        self.counters.tasks_reissued += again
        return again

    def _lose_hung(self) -> None:
        now = self._pace.now()
        for node, member in list(self._members.items()):
            if member.called is not None and scheduling.report_is_overdue(now - member.called, not member.reported):
                self._lose(node, f"its relay has not reported for {now - member.called:.0f} s", alive=True)

    def _block_node(self, node: str, reason: str) -> None:
        """No actor of the node can work; it is left alone for a while.

        Raises:
            RunFailedError: and there is no other node.
        """
        member = self._remove(node)
        self._barred[node] = self._pace.now() + scheduling.RETRY_SECONDS
        self._return(member)
        if not self._members:
            raise RunFailedError(reason)
        if self._cannot_work.get(node) != reason:  # once, not each time it is tried again
            self._cannot_work[node] = reason
            self.notices.append(
                f"node {node[:8]} is left alone, and tried again every {scheduling.RETRY_SECONDS:.0f} s: {reason}"
            )
