"""The serial executor: everything in this process, no Ray. For tests, small machines and debuggers."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from typing import Any

from threadpoolctl import threadpool_limits

from raes.problems.exits import exits_are_faults
from raes.problems.lockstep import LANES
from raes.problems.problem import EpisodeStopped
from raes.results import Results
from raes.rng import global_generators_kept
from raes.runtime.executor import Counters
from raes.runtime.model_worker import make_worker
from raes.runtime.pending import PendingTable
from raes.runtime.shared_weights import SharedWeights
from raes.runtime.worker import WorkerSpec
from raes.search import low_rank, noise
from raes.search.drawn_noise import DrawnNoise
from raes.tasks import Snapshot, Tasks
from raes.types import Float32, Floating, Int64

POLL_SECONDS = 0.25
LONG_EPISODE = 100_000
"""Timesteps of an episode after which a notice is due: no task here has a hundredth of that."""


class SerialExecutor:
    """An `Executor` in this process; each `collect` runs one episode or one lockstep, after which a run can stop."""

    workers = 1
    starting = 0

    def __init__(self, spec: WorkerSpec, table_size: int, poll: Callable[[], bool] = lambda: False) -> None:
        """Build the worker.

        Args:
            spec: what it is made from.
            table_size: floats of the noise table; 0: noise is drawn, see `DrawnNoise`.
            poll: called now and then within an episode, as whoever waits would do between two; true ends the episode.
        """
        threadpool_limits(1)
        self._poll, self._next_poll, self._said_long = poll, 0.0, False
        self._table = noise.make_table(table_size)
        self.table_fingerprint = noise.fingerprint(self._table)
        self._drawn = None if table_size else DrawnNoise(spec.seed)
        self._worker = make_worker(spec, self._table)
        self._worker.watch(self._watch)
        self._pending = PendingTable()
        self._weights = SharedWeights(lambda part: part)
        self._snapshots: dict[int, Snapshot] = {}
        self._newest: Snapshot | None = None
        self._started = time.monotonic()
        self._counters = Counters()
        self._digest: str | None = None
        self.notices: list[str] = []
        self._kept = ExitStack()
        self._kept.enter_context(exits_are_faults())
        self._kept.enter_context(global_generators_kept())  # last: nothing can fail any more

    @property
    def counters(self) -> Counters:
        """The counts so far."""
        self._counters.worker_seconds = time.monotonic() - self._started
        return self._counters

    @property
    def digests(self) -> tuple[str, ...]:
        """The digest of this process's arithmetic; computed once, so ask before the first episode."""
        if self._digest is None:
            self._worker.watch(None)
            with global_generators_kept():
                self._digest = self._worker.digest()
            self._worker.watch(self._watch)
        return (self._digest,)

    @property
    def queued(self) -> int:
        """Episodes that wait."""
        return self._pending.queued

    def publish(self, snapshot: Snapshot, oldest: int) -> None:
        """Keep the snapshot for its generation's tasks."""
        self._pending.retire(oldest)
        snapshot = self._weights.with_parts(snapshot)
        self._newest = snapshot
        self._snapshots = {key: kept for key, kept in self._snapshots.items() if key >= oldest}
        self._snapshots[snapshot.generation] = snapshot

    def submit(self, tasks: Tasks) -> None:
        """Queue the episodes."""
        self._pending.add(tasks)

    def collect(self, timeout: float) -> list[Results]:
        """Run the next episode, or those that run side by side."""
        tasks = self._pending.take(1 if self._newest is None or self._newest.low_rank is None else LANES)
        if tasks is None:
            return []
        try:
            answer = self._worker.run(tasks, self._snapshots[tasks.generation])
        except EpisodeStopped:
            self._pending.return_block(tasks)
            return []
        results, _ = self._pending.accept(answer)
        self._counters.add(results)
        return [results]

    def share_weights(self, first: int, parts: Sequence[Any]) -> None:
        """See `Executor`."""
        self._weights.share(first, parts)

    def weighted_noise_sum(self, noise_index: Int64, weights: Float32, squared: bool = False) -> Floating:
        """sum_i weights[i] * noise slice i, (d,), or of its squares, as `noise.weighted_sum`."""
        assert self._newest is not None
        if self._drawn is not None:
            return self._drawn.weighted_sum(noise_index, weights, self._newest.theta.size, squared)
        if self._newest.low_rank is not None:
            return low_rank.weighted_sum(self._newest.low_rank, self._table, noise_index, weights)
        return noise.weighted_sum(self._table, noise_index, weights, self._newest.theta.size, squared=squared)

    def close(self) -> None:
        """Close the environment."""
        self._worker.close()
        self._kept.close()

    def _watch(self, timesteps: int) -> None:
        """Within an episode: end it where nobody wants it any more, and say where it becomes very long."""
        if (now := time.monotonic()) < self._next_poll:
            return
        self._next_poll = now + POLL_SECONDS
        if timesteps >= LONG_EPISODE and not self._said_long:
            self._said_long = True
            self.notices.append(
                f"an episode has taken {timesteps:,} timesteps so far; env.kwargs.max_episode_steps=1000 would limit it"
            )
        if self._poll():
            raise EpisodeStopped
