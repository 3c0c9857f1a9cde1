"""Virtual nodes and virtual workers: real Ray actors that wait instead of simulating, many of them in one process.

Each worker is called separately, as a real one is; pools and relays are those of a training.
"""

from __future__ import annotations

import asyncio
import logging
import os
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any

import numpy as np
import psutil

from benchmarks.recorded_lengths import SECONDS_PER_STEP, Lengths
from raes.results import RESULT_DTYPE, Results
from raes.runtime.clock import Clock
from raes.runtime.executor import Pool
from raes.runtime.messages import pack_results, pack_tasks, unpack_tasks
from raes.runtime.node_relay import RayRelay, ReportTriggers, WorkItem
from raes.runtime.relay_pool import RelayPool
from raes.runtime.worker_pool import ActorPool
from raes.tasks import Tasks

STORE_BYTES = 80_000_000
"""Object store of a virtual node; Ray takes no less than about this."""
PATIENT = {
    "health_check_initial_delay_ms": 60_000,
    "health_check_period_ms": 10_000,
    "health_check_timeout_ms": 60_000,
    "health_check_failure_threshold": 10,
}
"""A machine that stands in for many nodes may be slow to answer Ray's health checks."""
WARM_UP = 0
"""The generation whose episodes take no time."""


class VirtualHost:
    """One process with many workers. Each runs its blocks one after the other, as a process of its own would."""

    def __init__(self, lengths: Lengths, clock: Clock) -> None:
        self._lengths, self._clock = lengths, clock
        self._turns: dict[int, asyncio.Lock] = {}
        self._running: dict[int, tuple[float, float]] = {}
        self._useful = 0.0

    async def ready(self) -> tuple[str, str]:
        """Digest and failure, as of `RolloutActor.ready`."""
        return "virtual", ""

    async def run(self, worker: int, message: bytes, snapshot: Any) -> bytes:
        """Wait for as long as the block's episodes take."""
        tasks = unpack_tasks(message)
        lengths = self._lengths.of(tasks.generation, tasks.index)
        records = np.zeros(len(tasks), dtype=RESULT_DTYPE)
        records["index"], records["return"], records["length"] = tasks.index, lengths, lengths
        records["seconds"] = SECONDS_PER_STEP * lengths
        seconds = SECONDS_PER_STEP * float(lengths.sum()) if tasks.generation != WARM_UP else 0.0
        async with self._turns.setdefault(worker, asyncio.Lock()):
            self._running[worker] = self._clock.now(), seconds
            await asyncio.sleep(self._clock.real_seconds(seconds))
            del self._running[worker]
            self._useful += seconds
        return pack_results(Results(tasks.purpose, tasks.generation, records))

    async def useful(self) -> float:
        """Seconds of episodes so far, of all workers together; an episode counts for no more than it takes."""
        now = self._clock.now()
        return self._useful + sum(min(now - begun, seconds) for begun, seconds in self._running.values())


class VirtualRollout:
    """One worker of a host, as a `RolloutHandle`."""

    def __init__(self, host: Any, number: int) -> None:
        self._host, self._number = host, number

    def ready(self) -> Any:
        """Call `VirtualHost.ready`; a reference to the answer."""
        return self._host.ready.remote()

    def run(self, tasks: Tasks, snapshot: Any) -> Any:
        """Call `VirtualHost.run`; a reference to the answer."""
        return self._host.run.remote(self._number, pack_tasks(tasks), snapshot)

    def kill(self) -> None:
        """Nothing: the host serves others too."""

    def ending(self) -> None:
        """Nothing is known of it."""

    def is_stopped(self) -> bool:
        """It never is."""
        return False


class VirtualRollouts:
    """Starts workers in the hosts of their nodes; it is sent to relays."""

    def __init__(self, hosts: Mapping[str, Any]) -> None:
        self._hosts, self._started = dict(hosts), Counter[str]()

    def __call__(self, node_id: str) -> VirtualRollout:
        """A new worker there."""
        self._started[node_id] += 1
        return VirtualRollout(self._hosts[node_id], self._started[node_id])


class CountingRelay(RayRelay):
    """A relay that counts its calls.

    Attributes:
        calls: of all relays of a pool, by name.
    """

    calls: Counter[str]

    def give(self, items: Sequence[WorkItem], triggers: ReportTriggers) -> None:
        """Count the call and hand over episodes."""
        self.calls["give"] += 1
        super().give(items, triggers)

    def take(self, workers: int, pause: float, items: Sequence[WorkItem], triggers: ReportTriggers) -> Any:
        """Count the call and let the relay work until its report."""
        self.calls["take"] += 1
        return super().take(workers, pause, items, triggers)


@dataclass(frozen=True)
class Fleet:
    """A pool of virtual workers.

    Attributes:
        pool: as trainings have it.
        calls: `give` and `take` calls to relays so far; none where there are no relays.
        hosts: the actors in which the workers run.
    """

    pool: Pool
    calls: Counter[str]
    hosts: Sequence[Any]

    def useful(self) -> float:
        """Seconds of episodes that have passed so far in all workers; copies of one count once, at the mean length."""
        import ray

        passed = float(sum(ray.get([host.useful.remote() for host in self.hosts])))
        return passed - self.pool.counters.results_discarded * self.pool.counters.mean_seconds


class VirtualCluster:
    """A Ray cluster of a head without CPUs and virtual nodes; this process is connected to it as a driver."""

    def __init__(self, nodes: int) -> None:
        """Start the cluster.

        Args:
            nodes: besides the head.
        """
        import ray
        from ray.cluster_utils import Cluster

        os.environ.setdefault("RAY_worker_niceness", "0")  # as the driver's, since both share this machine
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
        options = {
            "num_cpus": 0,
            "object_store_memory": STORE_BYTES,
            "include_dashboard": False,
            "_system_config": PATIENT,
        }
        self._cluster = Cluster(initialize_head=True, head_node_args=options)
        try:
            ray.init(address=self._cluster.address, log_to_driver=False, logging_level=logging.ERROR)
            added = [self._cluster.add_node(num_cpus=1, object_store_memory=STORE_BYTES) for _ in range(nodes)]
        except BaseException:
            self.close()
            raise
        self.nodes = [str(node.node_id) for node in added]
        self._raylets = [_raylet(node) for node in (self._cluster.head_node, *added)]

    @contextmanager
    def fleet(self, workers: int, nodes: int, relays: bool, lengths: Lengths, clock: Clock) -> Iterator[Fleet]:
        """A pool of `workers` workers, spread over the first `nodes` nodes; ended with the context."""
        import ray

        chosen = self.nodes[:nodes]
        placement = {node: len(range(first, workers, nodes)) for first, node in enumerate(chosen)}
        hosts = {node: self._host(node, 4 * count + 8, lengths, clock) for node, count in placement.items()}
        calls: Counter[str] = Counter()

        def relay(node: str) -> RayRelay:
            started = CountingRelay(node, VirtualRollouts({node: hosts[node]}), None, clock)
            started.calls = calls
            return started

        pool: Pool
        if relays:
            pool = RelayPool(relay, lambda: placement, clock)
        else:
            pool = ActorPool(VirtualRollouts(hosts), lambda: placement, None, clock)
        try:
            yield Fleet(pool, calls, list(hosts.values()))
        finally:
            pool.close()
            for host in hosts.values():
                ray.kill(host)

    def cpu_seconds(self) -> dict[str, float]:
        """CPU seconds of the cluster's processes so far: `relays`, `hosts`, and `ray` for Ray's own."""
        seconds = {"relays": 0.0, "hosts": 0.0, "ray": 0.0}
        for raylet in self._raylets:
            seconds["ray"] += _cpu_seconds(raylet)
            for child in raylet.children():
                with suppress(psutil.Error):  # it may end meanwhile
                    title = " ".join(child.cmdline())
                    kind = "relays" if "RelayActor" in title else "hosts" if "VirtualHost" in title else "ray"
                    seconds[kind] += _cpu_seconds(child)
        return seconds

    def close(self) -> None:
        """Shut down the cluster."""
        import ray

        ray.shutdown()
        self._cluster.shutdown()  # type: ignore[no-untyped-call]

    @staticmethod
    def _host(node: str, concurrency: int, lengths: Lengths, clock: Clock) -> Any:
        import ray
        from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

        actor_class: Any = ray.remote(num_cpus=0, max_restarts=0, max_task_retries=0)(VirtualHost)
        there = NodeAffinitySchedulingStrategy(node, soft=False)
        return actor_class.options(scheduling_strategy=there, max_concurrency=concurrency).remote(lengths, clock)


def _raylet(node: Any) -> psutil.Process:
    return psutil.Process(node.all_processes["raylet"][0].process.pid)


def _cpu_seconds(process: psutil.Process) -> float:
    times = process.cpu_times()
    return float(times.user + times.system)
