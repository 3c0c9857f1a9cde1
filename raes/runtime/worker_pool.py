"""The pool of rollout actors: one `ray.wait` loop over a pending table of episodes.

A driver holds one for all nodes of a small cluster, a relay one for its own node.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import ray
from ray.exceptions import RayError

from raes.results import Results
from raes.runtime import scheduling
from raes.runtime.actor_slots import ActorSlots
from raes.runtime.blocked_nodes import BlockedNodes
from raes.runtime.calls import Blame, answers, explained, is_our_fault, wait
from raes.runtime.clock import REAL_TIME, Clock
from raes.runtime.digests import Digests
from raes.runtime.executor import Counters
from raes.runtime.messages import pack_tasks, snapshot_bytes, unpack_results
from raes.runtime.pending import PendingTable
from raes.runtime.rollout_actor import StartRollout
from raes.tasks import Snapshot, Tasks
from raes.types import RunFailedError

LOOK_SECONDS = 0.25
"""Seconds between two searches for hung and late workers."""

Placement = Callable[[], Mapping[str, int]]
"""Gives the number of workers that each node should have at this moment; cheap to call."""


class ActorPool:
    """Rollout actors that are given blocks of episodes; a `Pool`.

    The placement decides how many actors each node has. A dead or hung actor is replaced and its episodes are sent out
    again; which actor runs an episode changes no bit of its result.
    """

    def __init__(
        self,
        start: StartRollout,
        placement: Placement,
        deadline: float | None = None,
        clock: Clock = REAL_TIME,
        retries: int | None = None,
    ) -> None:
        """Start the actors.

        Args:
            start: makes a rollout on a node.
            placement: how many there should be on each node.
            deadline: seconds that an episode may take; None for automatic.
            clock: what deadlines are measured with.
            retries: see `PendingTable`.
        """
        self._start, self._placement, self._deadline, self._clock = start, placement, deadline, clock
        self._placed: Mapping[str, int] = {}
        self._pending = PendingTable(retries)
        self._snapshots: dict[int, Any] = {}
        self._slots = ActorSlots()
        self._copied: set[Any] = set()
        self._starts_lost: dict[str, int] = {}
        self._blocked = BlockedNodes()
        self._lost: list[str] = []
        self._longest = 0.0
        self._counts_bytes = False
        self._looked = self._counted = self._clock.now()
        self.digests = Digests()
        self.counters = Counters()
        self.notices: list[str] = []
        self._resize()

    @property
    def workers(self) -> int:
        """Actors that have not died."""
        return len(self._slots)

    @property
    def starting(self) -> int:
        """Actors that have not reported yet that they can work."""
        return sum(not slot.ready for slot in self._slots.values())

    @property
    def queued(self) -> int:
        """Episodes that wait for an actor."""
        return self._pending.queued + self._pending.suspects

    @property
    def open_episodes(self) -> int:
        """Episodes without an answer."""
        return len(self._pending)

    @property
    def idle(self) -> int:
        """Actors that have nothing and could run something."""
        return len(self._slots.holding(0))

    def awaits(self, generation: int) -> bool:
        """Whether an episode of this generation has no answer."""
        return self._pending.awaits(generation)

    def publish(self, snapshot: Snapshot, oldest: int) -> None:
        """Put the snapshot into the object store, once for all workers; abandon what is older than `oldest`."""
        self._pending.retire(oldest)
        kept = {generation: reference for generation, reference in self._snapshots.items() if generation >= oldest}
        self._snapshots = kept | {snapshot.generation: ray.put(snapshot)}
        self._counts_bytes = snapshot.model is not None  # where theta travels, it is nearly all that does
        if self._counts_bytes:
            self.counters.ray_bytes += snapshot_bytes(snapshot)

    def submit(self, tasks: Tasks) -> None:
        """Queue the episodes and hand out blocks."""
        self._pending.add(tasks)
        self._dispatch()

    def collect(self, timeout: float) -> list[Results]:
        """Wait for a block, take all that are finished, hand out the next ones."""
        self._resize()
        self._dispatch()
        done = self._take_finished(min(timeout, LOOK_SECONDS))
        now = self._clock.now()
        self.counters.worker_seconds += (now - self._counted) * len(self._slots)
        self._counted = now
        if now - self._looked > LOOK_SECONDS:
            self._looked = now
            self._retry_nodes(now)
            done += self._end_hung(now)
            self._copy_late(now)
        if self._lost:
            self._report_lost()
        self._resize()
        self._dispatch()
        self._copy_waiting()
        return done

    def close(self) -> None:
        """Kill the actors."""
        self._slots.close()

    # Starting and ending actors.

    def _resize(self) -> None:
        """Start and dismiss actors until each node has what it should."""
        placed = self._placement()
        if placed is self._placed:
            return
        self._placed = placed
        staying: dict[str, list[int]] = {node: [] for node in placed}
        for number, slot in self._slots.items():
            if not slot.leaving:
                staying.setdefault(slot.node, []).append(number)
        for node, numbers in staying.items():
            missing = placed.get(node, 0) - len(numbers)
            if node not in self._blocked:
                for _ in range(missing):
                    self._slots.add(self._start(node), node, self._clock.now())
            for number in sorted(numbers, key=lambda one: len(self._slots[one].blocks))[: max(0, -missing)]:
                self._slots[number].leaving = True
                self._slots.refile(number)
                self._dismiss_if_done(number)

    def _dismiss_if_done(self, number: int) -> None:
        slot = self._slots[number]
        if slot.leaving and not slot.blocks:
            self._slots.remove(number)

    # Handing out.

    def _dispatch(self) -> None:
        """Give suspects to idle actors, one each; then blocks, to the actors with the fewest first."""
        idle = self._slots.holding(0)
        while idle and (suspect := self._pending.take_suspect()) is not None:
            number = next(iter(idle))
            self._slots[number].alone = True
            self._send(number, suspect)
        # Where suspects wait, a quarter of the actors get nothing new, so that they become idle.
        spare = min(self._pending.suspects, -(-len(self._slots) // 4))
        for level in range(scheduling.blocks_to_hold(self._pending.queued, len(self._slots))):
            loaded = self._slots.holding(level)
            while len(loaded) > (spare if level else 0):
                size = scheduling.block_size(self._pending.queued, len(self._slots), self.counters.mean_seconds)
                if (tasks := self._pending.take(size)) is None:
                    return
                self._send(next(iter(loaded)), tasks)

    def _send(self, number: int, tasks: Tasks) -> Any:
        if self._counts_bytes:
            self.counters.ray_bytes += len(pack_tasks(tasks))
        return self._slots.give(number, tasks, self._snapshots[tasks.generation], self._clock.now())

    def _copy_waiting(self) -> None:
        """Let idle actors try what waits behind another block; the first answer counts."""
        if self._slots.holding(0) and not self.queued:
            for number in list(self._slots.holding(scheduling.IN_FLIGHT)):
                _, *waiting = self._slots[number].blocks.items()
                for reference, tasks in waiting:
                    self._copy(reference, tasks)

    def _copy_late(self, now: float) -> None:
        """Let idle actors try what takes suspiciously long."""
        if not self._slots.holding(0) or self.queued:
            return
        mean = self.counters.mean_seconds
        for slot in sorted(self._slots.values(), key=lambda one: one.since):
            for reference, tasks in list(slot.blocks.items())[:1]:
                if scheduling.is_late(now - slot.since, len(tasks), mean):
                    self._copy(reference, tasks)

    def _copy(self, reference: Any, tasks: Tasks) -> None:
        """Give a block to an idle actor too, if there is one, once."""
        idle = self._slots.holding(0)
        if idle and reference not in self._copied and len(tasks := self._pending.unanswered(tasks)):
            self.counters.tasks_copied += len(tasks)
            self._copied |= {reference, self._send(next(iter(idle)), tasks)}

    # Taking in.

    def _take_finished(self, timeout: float) -> list[Results]:
        done: list[Results] = []
        queued, mean = self.queued, self.counters.mean_seconds
        awaited = scheduling.results_together(queued, self.workers, mean)
        gather = 0.0 if queued else self._clock.real_seconds(scheduling.END_SECONDS)
        finished = wait(self._slots.expected, self._clock.real_seconds(timeout), gather, awaited)
        for reference, answer in answers(finished):
            done.extend(self._finish(reference, answer))
        return done

    def _finish(self, reference: Any, answer: Any) -> list[Results]:
        number = self._slots.calls.pop(reference, None)
        self._copied.discard(reference)
        if number is None:  # its actor was found dead with an earlier reference of the same round
            return []
        slot = self._slots[number]
        if is_our_fault(answer):  # neither the machine's nor the environment's
            raise RunFailedError(f"a rollout actor failed: {answer}") from answer
        if isinstance(answer, RayError):
            return self._on_actor_lost(number, *explained(answer, slot.rollout.ending()))
        if reference not in slot.blocks:
            self._on_actor_ready(number, *answer)
            return []
        del slot.blocks[reference]
        slot.alone, slot.since = False, self._clock.now()
        self._slots.refile(number)
        self._dismiss_if_done(number)
        results = unpack_results(answer)
        self.counters.add(results)
        if self._counts_bytes:
            self.counters.ray_bytes += len(answer) - sum(part.nbytes for _, part in results.parts)
        self._longest = max(self._longest, float(results.records["seconds"].max(initial=0.0)))
        accepted, dropped = self._pending.accept(results)
        self.counters.results_discarded += dropped
        return [accepted] if len(accepted.records) else []

    def _on_actor_ready(self, number: int, digest: str, failure: str) -> None:
        """An actor has started: it may work if it can."""
        slot = self._slots[number]
        if failure:
            self._start_lost(self._slots.remove(number).node, failure, certain=True)
            return
        slot.ready = True
        self._starts_lost.pop(slot.node, None)
        self._blocked.forget_reason(slot.node)
        self._slots.refile(number)
        if (warning := self.digests.add(digest)) is not None:
            self.notices.append(warning)

    # Faults.

    def _on_actor_lost(self, number: int, cause: str, blame: Blame) -> list[Results]:
        """An actor is lost: what it held goes out again, alone where the actor may have died of it."""
        slot = self._slots.remove(number)
        self.counters.actors_lost += 1
        if blame is Blame.NODE:  # which has gone, which is no fault of the set-up; the placement soon leaves it out
            self._blocked.block(slot.node, self._clock.now() + scheduling.GONE_SECONDS)
        if not slot.ready:
            if blame is not Blame.NODE:
                self._start_lost(slot.node, cause)
            return []
        self._lost.append(cause)
        self._placed = {}  # the next `_resize` replaces it
        quarantined: list[Results] = []
        for reference, tasks in slot.blocks.items():
            self._copied.discard(reference)
            if blame is Blame.NODE:
                self.counters.tasks_reissued += self._pending.return_block(tasks)
                continue
            lone, killed = len(slot.blocks) == 1, blame is Blame.OUTSIDE
            again, culprits, losses = self._pending.strike(tasks, lone, killed)
            self.counters.tasks_reissued += again
            if len(culprits):
                often = "once" if losses == 1 else f"{losses} times"
                reason = f"its worker was lost {often} while it ran nothing else; the last: {cause}"
                left_out = Results.failed(culprits, reason, quarantined=True, certain=blame is Blame.EPISODE)
                quarantined.append(self._pending.accept(left_out)[0])
        return quarantined

    def _start_lost(self, node: str, cause: str, certain: bool = False) -> None:
        """An actor ended before it was ready.

        Args:
            node: its node.
            cause: why, in words.
            certain: whether another one would fail for the same reason.

        Raises:
            RunFailedError: the node's actors never start, and there is no other node.
        """
        self._placed = {}
        self._starts_lost[node] = lost = self._starts_lost.get(node, 0) + 1
        if not (certain or scheduling.start_is_hopeless(lost)):
            self.notices.append(f"a rollout actor could not start ({cause}); it is tried again")
            return
        if not self._slots:
            tries = "" if certain else f"; {lost} in a row were lost, the last"
            raise RunFailedError(f"no rollout actor can start{tries}: {cause}")
        self._blocked.block(node, self._clock.now() + scheduling.RETRY_SECONDS)
        if self._blocked.is_new_reason(node, cause):
            self.notices.append(
                f"no rollout actor can start on node {node[:8]}; it is left alone, and tried again every "
                f"{scheduling.RETRY_SECONDS:.0f} s: {cause}"
            )

    def _retry_nodes(self, now: float) -> None:
        """Try nodes again on which no actor could start a while ago."""
        if self._blocked.release(now):
            self._placed = {}

    def _end_hung(self, now: float) -> list[Results]:
        """Kill the actors that missed their deadline."""
        limit = scheduling.deadline(self._deadline, self._longest)
        quarantined: list[Results] = []
        for number, slot in list(self._slots.items()):
            if not slot.blocks:
                continue
            first = next(iter(slot.blocks.values()))
            allowed = limit + scheduling.LATE_FACTOR * (len(first) - 1) * self.counters.mean_seconds
            if now - slot.since > allowed:
                cause, blame = f"it missed its deadline of {allowed:.3g} s (runtime.deadline)", Blame.UNCLEAR
                if slot.rollout.is_stopped():
                    cause, blame = f"{cause}: its process was stopped from outside", Blame.OUTSIDE
                quarantined += self._on_actor_lost(number, cause, blame)
        return quarantined

    def _report_lost(self) -> None:
        count, cause = len(self._lost), self._lost[-1]
        self._lost.clear()
        which = "a rollout actor was lost" if count == 1 else f"{count} rollout actors were lost; the last"
        self.notices.append(f"{which} ({cause}); replaced where there is room, and the episodes are issued again")
