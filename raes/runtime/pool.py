"""The Ray pool: one `ray.wait` loop over a pending table of episodes."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import ray
from ray.exceptions import RayError, RayTaskError
from threadpoolctl import threadpool_limits

from raes.runtime import decisions
from raes.runtime.actor import actor_class
from raes.runtime.executor import Counters
from raes.runtime.pending import MAX_LONE_DEATHS, PendingTable
from raes.runtime.reduce import Reducers
from raes.runtime.tables import NodeTables
from raes.runtime.worker import WorkerSpec
from raes.types import RESULT_DTYPE, Fault, Float32, Int64, Results, RunFailedError, Snapshot, Tasks

GET_SECONDS = 60.0
"""How long a finished result may take to be read; then its actor counts as lost."""


@dataclass
class _Slot:
    """One actor and what it has been given, by result reference; `alone` while that is one suspect."""

    actor: Any
    ready: bool = False
    alone: bool = False
    blocks: dict[Any, Tasks] = field(default_factory=dict)


class RayPool:
    """Rollout actors that pull blocks of episodes; see `Executor`.

    A dead actor is replaced and its episodes are sent out again; which actor runs an episode changes no bit of it.
    """

    def __init__(self, spec: WorkerSpec, table_size: int, workers: int) -> None:
        threadpool_limits(1)
        self._tables = NodeTables(table_size)
        self.table_fingerprint = self._tables.fingerprint
        self._reducers = Reducers(self._tables)
        self._reducers.resize({self._tables.node: min(workers, os.cpu_count() or 1) - 1})
        self._spec = ray.put(spec)
        self._actor_class = actor_class()
        self._pending = PendingTable()
        self._slots: dict[int, _Slot] = {}
        self._owner: dict[Any, int] = {}
        self._next_slot, self._starts_lost = 0, 0
        self._digests: set[str] = set()
        self._snapshot: Snapshot | None = None
        self._snapshot_ref: Any = None
        self.counters = Counters()
        self.notices = self._reducers.notices
        for _ in range(workers):
            self._start_actor()

    @property
    def workers(self) -> int:
        """Actors that have not died."""
        return len(self._slots)

    def publish(self, snapshot: Snapshot) -> None:
        """Put the snapshot into the object store, once for all actors."""
        self._pending.clear()
        self._snapshot = snapshot
        self._snapshot_ref = ray.put(snapshot)

    def submit(self, tasks: Tasks) -> None:
        """Queue the episodes and hand out blocks."""
        self._pending.add(tasks)
        self._dispatch()

    def collect(self, timeout: float) -> list[Results]:
        """Wait for a block, take all that are finished, hand out the next ones."""
        done: list[Results] = []
        if self._owner:
            finished, _ = ray.wait(list(self._owner), num_returns=1, timeout=timeout)
            if finished:
                finished, _ = ray.wait(list(self._owner), num_returns=len(self._owner), timeout=0)
            for reference in finished:
                done.extend(self._finish(reference))
        else:
            time.sleep(min(timeout, 0.01))
        self._dispatch()
        return done

    def weighted_noise_sum(self, noise_index: Int64, weights: Float32) -> Float32:
        """sum_i weights[i] * noise slice i, float32 (d,)."""
        assert self._snapshot is not None
        return self._reducers.sum(noise_index, weights, self._snapshot.theta.size)

    def close(self) -> None:
        """Kill the actors."""
        self._reducers.close()
        for slot in self._slots.values():
            ray.kill(slot.actor)
        self._slots.clear()
        self._owner.clear()

    def _start_actor(self) -> None:
        actor = self._actor_class.remote(self._spec, self._tables.on(self._tables.node))
        number = self._next_slot
        self._next_slot += 1
        self._slots[number] = _Slot(actor)
        self._owner[actor.ready.remote()] = number

    def _dispatch(self) -> None:
        """Give suspects to idle actors, one each; then blocks to ready actors, those with the fewest first."""
        if self._snapshot is None:
            return
        for number, slot in self._slots.items():
            if slot.ready and not slot.blocks and (suspect := self._pending.take_suspect()) is not None:
                self._send(number, slot, suspect)
                slot.alone = True
        for level in range(decisions.blocks_to_hold(self._pending.queued, len(self._slots))):
            for number, slot in self._slots.items():
                if slot.ready and not slot.alone and len(slot.blocks) <= level:
                    mean = self.counters.busy_seconds / max(1, self.counters.episodes)
                    size = decisions.block_size(self._pending.queued, len(self._slots), mean)
                    if (tasks := self._pending.take(size)) is None:
                        return
                    self._send(number, slot, tasks)

    def _send(self, number: int, slot: _Slot, tasks: Tasks) -> None:
        reference = slot.actor.run.remote(tasks, self._snapshot_ref)
        slot.blocks[reference] = tasks
        self._owner[reference] = number

    def _finish(self, reference: Any) -> list[Results]:
        number = self._owner.pop(reference, None)
        if number is None:  # its actor was found dead with an earlier reference of the same round
            return []
        slot = self._slots[number]
        tasks = slot.blocks.get(reference)
        try:
            answer = ray.get(reference, timeout=GET_SECONDS)
        except RayTaskError as error:  # not the machine's fault, nor the environment's: those come as results
            raise RunFailedError(f"a rollout actor failed: {error}") from error
        except RayError as error:
            return self._bury(number, slot, error)
        if tasks is None:
            self._greet(slot, *answer)
            return []
        del slot.blocks[reference]
        slot.alone = False
        return self._accept(tasks, answer)

    def _accept(self, tasks: Tasks, results: Results) -> list[Results]:
        self.counters.add(results)
        if self._snapshot is None or tasks.generation != self._snapshot.generation:
            self.counters.results_discarded += len(tasks)
            return []
        accepted, dropped = self._pending.accept(results)
        self.counters.results_discarded += dropped
        return [accepted] if len(accepted.records) else []

    def _greet(self, slot: _Slot, digest: str, failure: str) -> None:
        """An actor has started: check that it computes what the others do."""
        if failure:
            raise RunFailedError(f"a rollout actor cannot start: {failure}")
        slot.ready = True
        self._starts_lost = 0
        if self._digests and digest.split()[0] not in {other.split()[0] for other in self._digests}:
            self.notices.append(
                "warning: the workers compute different bits, so the result depends on which worker runs an episode: "
                f"{digest} against {', '.join(sorted(self._digests))}; use nodes of one CPU type with the same packages"
            )
        self._digests.add(digest)

    def _bury(self, number: int, slot: _Slot, error: Exception) -> list[Results]:
        """An actor died: replace it, and queue again what it held."""
        del self._slots[number]
        for reference in [ref for ref, owner in self._owner.items() if owner == number]:
            del self._owner[reference]
        ray.kill(slot.actor)
        self.counters.actors_lost += 1
        cause = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        if not slot.ready:
            self._starts_lost += 1
            ready = sum(other.ready for other in self._slots.values())
            if decisions.give_up_starting(self._starts_lost, ready):
                raise RunFailedError(
                    f"{self._starts_lost} rollout actors in a row died before they were ready; the last: {cause}"
                ) from error
        self.notices.append(f"a rollout actor was lost ({cause}); it is replaced and its episodes are issued again")
        condemned: list[Results] = []
        for tasks in slot.blocks.values():
            if self._snapshot is not None and tasks.generation == self._snapshot.generation:
                again, culprits = self._pending.lost(tasks, lone=len(slot.blocks) == 1)
                self.counters.tasks_reissued += again
                condemned.extend(self._condemn(tasks, culprits))
        self._start_actor()
        return condemned

    def _condemn(self, tasks: Tasks, culprits: list[int]) -> list[Results]:
        """Faults for the episodes that kill every worker they are given to."""
        if not culprits:
            return []
        records = np.zeros(len(culprits), dtype=RESULT_DTYPE)
        records["index"], records["return"], records["fault"] = culprits, np.nan, True
        reason = f"its worker died {MAX_LONE_DEATHS} times while it ran nothing else"
        faults = tuple(Fault(index, reason) for index in culprits)
        accepted, _ = self._pending.accept(Results(tasks.purpose, tasks.generation, records, None, faults))
        return [accepted]
