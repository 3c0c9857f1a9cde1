"""The serial executor: everything in this process, no Ray. For tests, small machines and debuggers."""

from __future__ import annotations

import time

from threadpoolctl import threadpool_limits

from raes.runtime.executor import Counters
from raes.runtime.pending import PendingTable
from raes.runtime.worker import Worker, WorkerSpec
from raes.search import noise
from raes.types import Float32, Int64, Results, Snapshot, Tasks


class SerialExecutor:
    """See `Executor`; one episode a `collect`, so that a stop is heard between episodes."""

    workers = 1

    def __init__(self, spec: WorkerSpec, table_size: int) -> None:
        threadpool_limits(1)
        self._table = noise.make_table(table_size)
        self.table_fingerprint = noise.fingerprint(self._table)
        self._worker = Worker(spec, self._table)
        self._pending = PendingTable()
        self._snapshots: dict[int, Snapshot] = {}
        self._num_params = 0
        self._started = time.monotonic()
        self._counters = Counters()
        self.notices: list[str] = []

    @property
    def counters(self) -> Counters:
        """See `Counters`."""
        self._counters.worker_seconds = time.monotonic() - self._started
        return self._counters

    @property
    def queued(self) -> int:
        """Episodes that wait."""
        return self._pending.queued

    def publish(self, snapshot: Snapshot, oldest: int) -> None:
        """Keep the snapshot for its generation's tasks."""
        self._pending.retire(oldest)
        self._num_params = snapshot.theta.size
        self._snapshots = {key: kept for key, kept in self._snapshots.items() if key >= oldest}
        self._snapshots[snapshot.generation] = snapshot

    def submit(self, tasks: Tasks) -> None:
        """Queue the episodes."""
        self._pending.add(tasks)

    def collect(self, timeout: float) -> list[Results]:
        """Run the next episode."""
        tasks = self._pending.take(1)
        if tasks is None:
            return []
        results, _ = self._pending.accept(self._worker.run(tasks, self._snapshots[tasks.generation]))
        self._counters.add(results)
        return [results]

    def weighted_noise_sum(self, noise_index: Int64, weights: Float32, squared: bool = False) -> Float32:
        """sum_i weights[i] * noise slice i, float32 (d,), or of its squares; see `noise.weighted_sum`."""
        return noise.weighted_sum(self._table, noise_index, weights, self._num_params, squared=squared)

    def close(self) -> None:
        """Close the environment."""
        self._worker.close()
