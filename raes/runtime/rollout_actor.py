"""The rollout actor: a worker as a Ray actor, and the handle by which a pool calls it."""

from __future__ import annotations

import signal
from collections.abc import Callable
from typing import Any, Protocol

from threadpoolctl import threadpool_limits

from raes.runtime.last_words import LastWords, leave_last_words
from raes.runtime.messages import pack_results, pack_tasks, unpack_tasks
from raes.runtime.model_worker import make_worker
from raes.runtime.worker import WorkerSpec
from raes.tasks import Snapshot, Tasks
from raes.types import Float32, UserError


class RolloutActor:
    """A worker in a process with one CPU; it reads theta and the noise from the object store without a copy."""

    def __init__(self, spec: WorkerSpec, table: Float32, last_words: str) -> None:
        signal.signal(signal.SIGINT, lambda number, frame: None)  # Ctrl-C is for the command
        leave_last_words(last_words)
        threadpool_limits(1)
        self._failure = self._refusal(spec) or self._build(spec, table) or self._refusal(spec)  # now more is loaded

    @staticmethod
    def _refusal(spec: WorkerSpec) -> str:
        return "" if spec.origin is None else spec.origin.refusal()

    def _build(self, spec: WorkerSpec, table: Float32) -> str:
        """Make the worker; why that failed, empty where it did not."""
        import ray

        try:
            self._worker = make_worker(spec, table, ray.get)
        except UserError as error:
            return str(error)
        return ""

    def ready(self) -> tuple[str, str]:
        """The digest of this worker's arithmetic, and why it cannot work (empty where it can)."""
        return ("" if self._failure else self._worker.digest()), self._failure

    def run(self, tasks: bytes, snapshot: Snapshot) -> bytes:
        """Evaluate a block, packed; its results, packed. Ray replaces the caller's reference by the snapshot."""
        return pack_results(self._worker.run(unpack_tasks(tasks), snapshot))


class RolloutHandle(Protocol):
    """A worker in another process, as a pool calls it; every call returns a reference to its answer."""

    def ready(self) -> Any:
        """Call `RolloutActor.ready`."""

    def run(self, tasks: Tasks, snapshot: Any) -> Any:
        """Call `RolloutActor.run`, with a reference to the snapshot; the answer is packed results."""

    def kill(self) -> None:
        """End the worker at once, whatever it does."""

    def ending(self) -> str | None:
        """How its process, which is gone, ended by itself; see `LastWords.read`."""

    def is_stopped(self) -> bool:
        """Whether somebody has stopped its process."""


class RayRollout:
    """The handle of a `RolloutActor` on a node, with one CPU and perhaps GPUs.

    Ray never restarts it, since the pool replaces it.
    """

    def __init__(self, node_id: str, spec: Any, table: Any, gpus: float = 0.0) -> None:
        import ray
        from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

        actor_class: Any = ray.remote(num_cpus=1, num_gpus=gpus, max_restarts=0, max_task_retries=0)(RolloutActor)
        there = NodeAffinitySchedulingStrategy(node_id, soft=False)
        self._last_words = LastWords()
        self._handle = actor_class.options(scheduling_strategy=there).remote(spec, table, self._last_words.path)

    def ready(self) -> Any:
        """Call `RolloutActor.ready`; a reference to the answer."""
        return self._handle.ready.remote()

    def run(self, tasks: Tasks, snapshot: Any) -> Any:
        """Call `RolloutActor.run`; a reference to the answer."""
        return self._handle.run.remote(pack_tasks(tasks), snapshot)

    def kill(self) -> None:
        """End the actor at once."""
        import ray

        ray.kill(self._handle)
        self._last_words.remove()

    def ending(self) -> str | None:
        """How its process, which is gone, ended by itself; see `LastWords.read`."""
        return self._last_words.read()

    def is_stopped(self) -> bool:
        """Whether somebody has stopped its process."""
        return self._last_words.is_stopped()


StartRollout = Callable[[str], RolloutHandle]
"""node id -> a new worker there."""
