"""The live nodes of the cluster, and how many workers each should have."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any

import ray
from ray._private.state import state as ray_state
from ray.autoscaler.sdk import request_resources

from raes.runtime.ray_life import RayLife, gcs_answers
from raes.runtime.scheduling import Node, Share, Size, place_workers
from raes.types import UserError

WATCH_SECONDS = 1.0
"""Seconds between two looks at the list of nodes."""


class ClusterWatch:
    """A `Placement` that follows the cluster while nodes join, leave, or are drained.

    Attributes:
        notices: messages for the user since they were last taken; the reader empties the list.
    """

    def __init__(self, size: Size, share: Callable[[], Share] | None = None, gpus: float = 0.0) -> None:
        """Start to follow the cluster.

        Args:
            size: how many workers are wanted.
            share: gives this job's part of the CPUs at each moment, where it shares the cluster with other jobs of a
                sweep; the sweep then requests the machines itself.
            gpus: that each worker needs.
        """
        self._gpus = gpus
        self._size, self._share, self._requests = size, share or Share, share is None and size.most is not None
        self._order: dict[str, None] = {}
        self._draining: frozenset[str] = frozenset()
        self._placed: dict[str, int] = {}
        self._looked = -WATCH_SECONDS
        self._life = RayLife()
        self._announced = False
        self.notices: list[str] = []
        if self._requests:
            request(size.most or 0)

    def __call__(self) -> Mapping[str, int]:
        """Workers by node id; the same object for as long as nothing changes.

        Raises:
            RunFailedError: Ray is dead.
        """
        now = time.monotonic()
        if now - self._looked >= WATCH_SECONDS and self._life.check():
            self._looked = now
            placed = place_workers(self._nodes(), self._size.most, self._share())
            if placed != self._placed or not self._announced:
                self._announce(sum(placed.values()))
                self._placed = placed
        return self._placed

    def close(self) -> None:
        """Withdraw the request for machines."""
        if self._requests:
            release()

    def _announce(self, workers: int) -> None:
        """Notify the user where there is room for fewer workers than are wanted."""
        self._announced = True
        if not workers:
            self.notices.append("no node has a CPU for a worker; waiting until one joins")
        elif self._size.most is not None and workers < self._size.most:
            self.notices.append(
                f"the nodes have CPUs for {workers} of {self._size.most} workers; more start as they come"
            )

    def _nodes(self) -> list[Node]:
        alive = {node["NodeID"]: room(node["Resources"], self._gpus) for node in _all_nodes() if node["Alive"]}
        draining = frozenset(ray_state.get_draining_nodes()) & alive.keys()
        for node in draining - self._draining:
            self.notices.append(f"node {node[:8]} will be taken away; its workers end what they have and get no more")
        self._draining = draining
        self._order |= dict.fromkeys(alive)
        return [Node(node, alive[node], node in draining) for node in self._order if node in alive]


def room(resources: Mapping[str, float], gpus: float) -> int:
    """Workers that a node has CPUs for, and GPUs where each needs some."""
    cpus = int(resources.get("CPU", 0))
    return cpus if not gpus else min(cpus, int(resources.get("GPU", 0.0) / gpus + 1e-9))


def check_gpus(gpus: float) -> None:
    """Refuse workers with GPUs where no node of the cluster has so many.

    Raises:
        UserError: with the most that a node has.
    """
    most = max((float(node["Resources"].get("GPU", 0.0)) for node in _all_nodes() if node["Alive"]), default=0.0)
    if most < gpus:
        found = "no node of this Ray has a GPU" if not most else f"the nodes of this Ray have at most {most:g} GPUs"
        raise UserError(
            f"runtime.gpus_per_worker={gpus:g}: {found}; set it to 0 for workers on CPUs, or connect to a cluster with "
            "GPUs by ray.address"
        )


def request(cpus: int) -> None:
    """Request machines with so many CPUs in all from the autoscaler; replaces the request before."""
    request_resources(num_cpus=cpus)


def release() -> None:
    """Withdraw whatever was requested from the autoscaler, which would keep the machines otherwise."""
    if gcs_answers():  # a dead one requests nothing, and is waited for
        request(0)


def free_cpus() -> float:
    """CPUs of all nodes that are free at this moment; where Ray does not answer, as if there were one."""
    return float(ray.available_resources().get("CPU", 0.0)) if gcs_answers() else 1.0


def _all_nodes() -> list[dict[str, Any]]:
    nodes: list[dict[str, Any]] = ray.nodes()
    return nodes
