"""The serial executor: everything in this process, no Ray. For tests, small machines and debuggers."""

from __future__ import annotations

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
        self._snapshot: Snapshot | None = None
        self.counters = Counters()
        self.notices: list[str] = []

    def publish(self, snapshot: Snapshot) -> None:
        """Use this snapshot from now on."""
        self.counters.results_discarded += self._pending.clear()
        self._snapshot = snapshot

    def submit(self, tasks: Tasks) -> None:
        """Queue the episodes."""
        self._pending.add(tasks)

    def collect(self, timeout: float) -> list[Results]:
        """Run the next episode."""
        tasks = self._pending.take(1)
        if tasks is None or self._snapshot is None:
            return []
        results, _ = self._pending.accept(self._worker.run(tasks, self._snapshot))
        self.counters.add(results)
        return [results]

    def weighted_noise_sum(self, noise_index: Int64, weights: Float32) -> Float32:
        """sum_i weights[i] * noise slice i, float32 (d,)."""
        assert self._snapshot is not None
        return noise.weighted_sum(self._table, noise_index, weights, self._snapshot.theta.size)

    def close(self) -> None:
        """Close the environment."""
        self._worker.close()
