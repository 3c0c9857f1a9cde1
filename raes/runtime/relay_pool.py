"""The pool of relays: how a driver uses a cluster of many nodes."""

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
from raes.runtime.blocked_nodes import BlockedNodes
from raes.runtime.calls import Blame, answers, cause_of_death, is_our_fault, wait
from raes.runtime.clock import REAL_TIME, Clock
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
    """Whether a snapshot is sent within the calls, which costs no more than a reference and saves fetching it."""
    buffers: list[pickle.PickleBuffer] = []
    head = pickle.dumps(snapshot, protocol=5, buffer_callback=buffers.append)
    return len(head) + sum(buffer.raw().nbytes for buffer in buffers) <= scheduling.SMALL_SNAPSHOT


@dataclass(frozen=True)
class _Delivery:
    """Episodes that a relay was given.

    Attributes:
        when: the time at which it got them.
        depth: how many episodes each of its workers had to run at that time, these included.
        tasks: the episodes.
    """

    when: float
    depth: int
    tasks: Tasks


@dataclass
class _Member:
    """One relay and what it has been given.

    Attributes:
        relay: the driver's handle.
        wanted: workers that its node should have; 0 where it is about to leave.
        workers: workers that it has, by its last report.
        starting: of those, how many have not begun to work yet.
        reported: whether there was a report.
        called_at: when the report that is under way was requested; None where none is.
        reported_at: when its last report came.
        given: its episodes of the generations that still run.
        unanswered: the indices of these episodes that it has not answered, by (generation, purpose).
        items: what is about to be sent to it.
    """

    relay: RayRelay
    wanted: int
    workers: int = 0
    starting: int = 0
    reported: bool = False
    called_at: float | None = None
    reported_at: float = 0.0
    given: list[_Delivery] = field(default_factory=list)
    unanswered: dict[Group, set[int]] = field(default_factory=dict)
    items: list[WorkItem] = field(default_factory=list)

    @property
    def outstanding(self) -> int:
        """Episodes that it has not answered."""
        return sum(map(len, self.unanswered.values()))

    @property
    def needs_no_call(self) -> bool:
        """Whether it has nothing to do and nothing to report, so that a call would be wasted."""
        complete = self.reported and not self.starting and self.workers == self.wanted
        return complete and not self.items and not self.outstanding


class RelayPool:
    """A `Pool` with one relay per node, each with a share of the episodes.

    A `PendingTable` ensures that an episode is answered once, whichever relay answers it.
    """

    def __init__(self, start: StartRelay, placement: Placement, clock: Clock = REAL_TIME) -> None:
        """Start the relays.

        Args:
            start: makes a relay on a node.
            placement: how many workers there should be on each node.
            clock: what reports and retries are measured with.
        """
        self._start, self._placement, self._clock = start, placement, clock
        self._members: dict[str, _Member] = {}
        self._blocked = BlockedNodes()
        self._calls: dict[Any, str] = {}
        self._pending = PendingTable()
        self._versions: dict[int, SnapshotVersion] = {}
        self._published = 0
        self._oldest = 0
        self._copied: dict[Group, set[int]] = {}
        self._short = False
        self.digests = Digests()
        self.counters = Counters()
        self.notices: list[str] = []
        self._resize()

    @property
    def workers(self) -> int:
        """Workers of all nodes, by their last reports."""
        return sum(member.workers for member in self._members.values())

    @property
    def starting(self) -> int:
        """How many of the workers have not begun to work yet."""
        return sum(member.starting for member in self._members.values())

    @property
    def queued(self) -> int:
        """Episodes that no worker has begun, as far as the driver can know."""
        return self._pending.queued + sum(max(0, one.outstanding - one.workers) for one in self._members.values())

    def publish(self, snapshot: Snapshot, oldest: int) -> None:
        """Take the snapshot; relays get it with their tasks, and publish it on their nodes."""
        self._pending.retire(oldest)
        self._oldest = oldest
        self._published += 1
        version = SnapshotVersion(self._published, snapshot if is_small(snapshot) else ray.put(snapshot))
        kept = {generation: one for generation, one in self._versions.items() if generation >= oldest}
        self._versions = kept | {snapshot.generation: version}
        self._copied = {group: copied for group, copied in self._copied.items() if group[0] >= oldest}
        for member in self._members.values():
            member.given = [delivery for delivery in member.given if delivery.tasks.generation >= oldest]
            member.unanswered = {group: owed for group, owed in member.unanswered.items() if group[0] >= oldest}

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
        gather = self._clock.real_seconds(scheduling.GATHER_SECONDS if self._short else 0.0)
        for reference, answer in answers(wait(self._calls, self._clock.real_seconds(timeout), gather)):
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

    # Starting and ending relays.

    def _resize(self) -> None:
        placed = self._placement()
        self._blocked.release(self._clock.now())
        for node, workers in placed.items():
            if node not in self._members and workers and node not in self._blocked:
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
        """Request the reports that are not under way, and send what there is, in the same call where possible."""
        tail = not self._pending.queued and len(self._pending) > 0 and not self._short
        pause = scheduling.report_seconds(len(self._members), tail)
        triggers = ReportTriggers(low=self._pending.queued > 0, idle=not self._short)
        for node, member in self._members.items():
            if member.called_at is None and not member.needs_no_call:
                workers = member.wanted or member.workers  # the workers of a leaving node finish what they have
                self._calls[member.relay.take(workers, pause, member.items, triggers)] = node
                member.called_at = self._clock.now()
            elif member.items:
                member.relay.give(member.items, triggers)
            member.items = []

    def _dispatch(self) -> None:
        """Give relays that have reported, or have idle workers, enough to stay busy; the emptiest one first."""
        if not self._pending.queued:
            return
        pause, mean = scheduling.report_seconds(len(self._members)), self.counters.mean_seconds
        everyone, queued = sum(member.wanted for member in self._members.values()), self._pending.queued
        for member in sorted(self._members.values(), key=lambda one: one.outstanding / max(1, one.wanted)):
            if member.called_at is not None and member.outstanding >= member.wanted:
                continue
            room = scheduling.relay_room(queued, member.outstanding, member.wanted, everyone, pause, mean, self._short)
            while room > 0 and (tasks := self._pending.take(room)) is not None:
                room -= len(tasks)
                self._give(member, tasks)

    def _give(self, member: _Member, tasks: Tasks) -> None:
        member.items.append(WorkItem(tasks, self._versions[tasks.generation], self._oldest))
        member.unanswered.setdefault((tasks.generation, tasks.purpose), set()).update(tasks.index.tolist())
        depth = 1 + member.outstanding // max(1, member.wanted)
        member.given.append(_Delivery(self._clock.now(), depth, tasks))

    def _copy_late(self) -> None:
        """At the end of the queue, copy to idle nodes what others have not begun, or take suspiciously long for."""
        if self._pending.queued:
            return
        idle = [one for one in self._members.values() if one.wanted and one.outstanding < min(one.wanted, one.workers)]
        if not idle:
            return
        now, mean = self._clock.now(), self.counters.mean_seconds
        for donor in sorted(self._members.values(), key=lambda one: -one.outstanding / max(1, one.workers)):
            spare = scheduling.spare(donor.outstanding, donor.workers, now - donor.reported_at, mean)
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
        """Up to `count` episodes of a block that the donor has not answered and that were not copied before.

        They are the last ones of the block, which the donor would begin last.
        """
        group = tasks.generation, tasks.purpose
        open_ones = donor.unanswered.get(group, set()) - self._copied.get(group, set())
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
            self._lose(node, (death := cause_of_death(answer))[0], alive=death[1] is not Blame.NODE)
            return []
        report: RelayReport = pickle.loads(answer)
        if report.failure:
            self._block_node(node, report.failure)
            return []
        member.called_at, member.reported = None, True
        member.workers, member.starting = report.workers, report.starting
        if report.results:
            self._blocked.forget_reason(node)
        member.reported_at = self._clock.now()
        self.counters.absorb(report.counters)
        self.notices += report.notices
        self.notices += [text for digest in report.digests if (text := self.digests.add(digest)) is not None]
        done: list[Results] = []
        for results in report.results:
            owed = member.unanswered.get((results.generation, results.purpose), set())
            owed.difference_update(results.records["index"].tolist())
            accepted, dropped = self._pending.accept(results)
            self.counters.results_discarded += dropped
            if len(accepted.records):
                done.append(accepted)
        return done

    def _lose(self, node: str, cause: str, alive: bool) -> None:
        """Handle the loss of a node or its relay: its episodes go out again, elsewhere."""
        member = self._remove(node)
        if not (alive and member.reported):  # the node has gone and is still listed, or nothing can start there
            self._blocked.block(node, self._clock.now() + scheduling.GONE_SECONDS)
        again = self._return(member)
        self.counters.actors_lost += member.workers
        self.notices.append(
            f"node {node[:8]} was lost with {member.workers} workers ({cause}); {again} episodes are issued again"
        )

    def _return(self, member: _Member) -> int:
        """Queue again what a lost relay did not answer; how many episodes."""
        again = sum(self._pending.return_block(delivery.tasks) for delivery in member.given)
        self.counters.tasks_reissued += again
        return again

    def _lose_hung(self) -> None:
        now = self._clock.now()
        for node, member in list(self._members.items()):
            age = 0.0 if member.called_at is None else now - member.called_at
            if scheduling.report_is_overdue(age, not member.reported):
                self._lose(node, f"its relay has not reported for {age:.0f} s", alive=True)

    def _block_node(self, node: str, reason: str) -> None:
        """Leave a node alone for a while, on which no actor can work.

        Raises:
            RunFailedError: there is no other node.
        """
        member = self._remove(node)
        self._blocked.block(node, self._clock.now() + scheduling.RETRY_SECONDS)
        self._return(member)
        if not self._members:
            raise RunFailedError(reason)
        if self._blocked.is_new_reason(node, reason):
            self.notices.append(
                f"node {node[:8]} is left alone, and tried again every {scheduling.RETRY_SECONDS:.0f} s: {reason}"
            )
