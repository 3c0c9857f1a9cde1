"""The rollout actor: a worker behind Ray's door."""

from __future__ import annotations

from typing import Any

from threadpoolctl import threadpool_limits

from raes.runtime.worker import Worker, WorkerSpec
from raes.types import Float32, Results, Snapshot, Tasks, UserError


class RolloutActor:
    """One process, one CPU, one worker; theta and the noise are read from the object store without a copy."""

    def __init__(self, spec: WorkerSpec, table: Float32) -> None:
        threadpool_limits(1)
        self._failure = ""
        try:
            self._worker = Worker(spec, table)
        except UserError as error:
            self._failure = str(error)

    def ready(self) -> tuple[str, str]:
        """The digest of this worker's arithmetic, and why it cannot work (empty where it can)."""
        return ("" if self._failure else self._worker.digest()), self._failure

    def run(self, tasks: Tasks, snapshot: Snapshot) -> Results:
        """Evaluate a block; Ray hands over the snapshot that the reference names."""
        return self._worker.run(tasks, snapshot)


def actor_class() -> Any:
    """The Ray actor class: one CPU to be placed and to run, never restarted by Ray, since the pool replaces it."""
    import ray

    return ray.remote(num_cpus=1, max_restarts=0, max_task_retries=0)(RolloutActor)
