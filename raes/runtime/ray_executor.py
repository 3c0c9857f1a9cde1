"""The executor on Ray: a pool of workers, the noise tables of their nodes, and the reducers of the weighted sum."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import ray
from threadpoolctl import threadpool_limits

from raes.results import Results
from raes.runtime.executor import Counters
from raes.runtime.node_relay import RayRelay
from raes.runtime.nodes import ClusterWatch, check_gpus, free_cpus
from raes.runtime.noise_tables import NodeTables, Tables
from raes.runtime.packages import Origin
from raes.runtime.reduce import Reducers
from raes.runtime.relay_pool import RelayPool
from raes.runtime.rollout_actor import RayRollout, RolloutHandle
from raes.runtime.scheduling import Size
from raes.runtime.shared_weights import SharedWeights
from raes.runtime.sweep_resources import SharedTables, SweepResources
from raes.runtime.waiting import CpuWait
from raes.runtime.worker import WorkerSpec
from raes.runtime.worker_pool import ActorPool
from raes.search import low_rank
from raes.search.drawn_noise import DrawnNoise
from raes.tasks import Snapshot, Tasks
from raes.types import Float32, Floating, Int64


@dataclass(frozen=True)
class NodeRollouts:
    """Starts rollout actors on one node; it is sent to the node's relay.

    Attributes:
        spec: reference to the `WorkerSpec`.
        table: reference to the node's noise table.
        gpus: that each actor gets.
    """

    spec: Any
    table: Any
    gpus: float = 0.0

    def __call__(self, node_id: str) -> RolloutHandle:
        """A new rollout actor on the node."""
        return RayRollout(node_id, self.spec, self.table, self.gpus)


class RayExecutor:
    """An `Executor` whose episodes run on rollout actors; with relays, each node has a pool of its own."""

    def __init__(
        self,
        spec: WorkerSpec,
        table_size: int,
        size: Size,
        relays: bool,
        deadline: float | None,
        shared: SweepResources | None = None,
        gpus: float = 0.0,
        retries: int | None = None,
    ) -> None:
        """Start the workers.

        Args:
            spec: what each worker is made from.
            table_size: floats of the noise table; 0: noise is drawn, see `DrawnNoise`.
            size: how many workers are wanted.
            relays: whether each node has a relay, which is for clusters of several nodes.
            deadline: seconds that an episode may take; None for automatic.
            shared: what the jobs of a sweep share; None for a run of its own.
            gpus: that each worker gets.
            retries: of an episode whose workers are lost, without relays; see `PendingTable`.

        Raises:
            UserError: no node has so many.
        """
        if gpus:
            check_gpus(gpus)
        threadpool_limits(1)
        self._tables: Tables = NodeTables(table_size) if shared is None else SharedTables(shared, table_size)
        self.table_fingerprint = self._tables.fingerprint
        self._drawn = None if table_size else DrawnNoise(spec.seed)
        self._spec = ray.put(replace(spec, origin=Origin.here()))
        self._size, self._held, self._announced = size, True, False
        self._waiting: list[Tasks] = []
        self._weights = SharedWeights(ray.put)
        self._newest: Snapshot | None = None
        self._gpus = gpus
        self._watch = ClusterWatch(size, None if shared is None else shared.share, gpus)
        self._pool: RelayPool | ActorPool
        if relays:
            self._pool = RelayPool(lambda node: RayRelay(node, self._rollouts(node), deadline), self._watch)
        else:
            self._pool = ActorPool(lambda node: self._rollouts(node)(node), self._watch, deadline, retries=retries)
        self._reducers = Reducers(self._tables)
        self._start_watch = CpuWait(free_cpus)

    @property
    def counters(self) -> Counters:
        """The counters of the pool."""
        return self._pool.counters

    @property
    def digests(self) -> tuple[str, ...]:
        """One digest of each kind of arithmetic among the workers that have started."""
        return self._pool.digests.seen

    @property
    def notices(self) -> list[str]:
        """Messages for the user from pool, nodes and reducers; the reader empties the list."""
        for part in (self._watch, self._reducers):
            self._pool.notices.extend(part.notices)
            part.notices.clear()
        return self._pool.notices

    @property
    def workers(self) -> int:
        """Workers at this moment."""
        return self._pool.workers

    @property
    def starting(self) -> int:
        """Workers that have not begun to work yet."""
        return self._pool.starting

    @property
    def queued(self) -> int:
        """Episodes that wait for a worker."""
        return self._pool.queued + sum(map(len, self._waiting))

    def publish(self, snapshot: Snapshot, oldest: int) -> None:
        """Take what the tasks submitted from now on share; abandon generations before `oldest`."""
        snapshot = self._weights.with_parts(snapshot)
        self._newest = snapshot
        self._waiting = [tasks for tasks in self._waiting if tasks.generation >= oldest]
        self._pool.publish(snapshot, oldest)

    def submit(self, tasks: Tasks) -> None:
        """Queue the episodes; they are held back until the least number of workers is there."""
        if self._held:
            self._waiting.append(tasks)
            self._release_when_enough()
        else:
            self._pool.submit(tasks)

    def collect(self, timeout: float) -> list[Results]:
        """Finished episodes, waiting up to `timeout` seconds for the first; releases held-back ones when it can."""
        if self._held:
            self._release_when_enough()
        self._tables.keep(self._watch().keys())
        if (waiting := self._start_watch(self.workers, self.starting)) is not None:
            self.notices.append(waiting)
        return self._pool.collect(timeout)

    def share_weights(self, first: int, parts: Sequence[Any]) -> None:
        """See `Executor`; the references belong to this process."""
        self._weights.share(first, parts)

    def weighted_noise_sum(self, noise_index: Int64, weights: Float32, squared: bool = False) -> Floating:
        """sum_i weights[i] * noise slice i, (d,), or of its squares, as `noise.weighted_sum`."""
        assert self._newest is not None
        if self._drawn is not None:
            return self._drawn.weighted_sum(noise_index, weights, self._newest.theta.size, squared)
        if self._newest.low_rank is not None:  # thin: not worth the reducers
            return low_rank.weighted_sum(self._newest.low_rank, self._tables.local, noise_index, weights)
        # The driver computes a share on its own node, where it takes the place of one worker.
        allowed = {node: count - (node == self._tables.node) for node, count in self._watch().items()}
        self._reducers.resize(allowed)
        return self._reducers.sum(noise_index, weights, self._newest.theta.size, squared)

    def close(self) -> None:
        """Stop the workers and withdraw what was requested from the autoscaler."""
        self._pool.close()
        self._reducers.close()
        self._watch.close()

    def _rollouts(self, node: str) -> NodeRollouts:
        return NodeRollouts(self._spec, self._tables.on(node), self._gpus)

    def _release_when_enough(self) -> None:
        if self._pool.workers < self._size.least:
            if not self._announced and self._size.least > 1:
                self._announced = True
                size = self._size
                self.notices.append(f"waiting until {size.least} workers are there (workers={size.least}..{size.most})")
            return
        self._held = False
        for tasks in self._waiting:
            self._pool.submit(tasks)
        self._waiting.clear()
