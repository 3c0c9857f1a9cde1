"""The machines of the cluster, as Ray sees them, and how many workers each should have."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any

import ray
from ray._private.state import state as ray_state
from ray.autoscaler.sdk import request_resources

from raes.runtime.scheduling import Node, Share, Size, place_workers

WATCH_SECONDS = 1.0
"""How often the cluster is asked who is there."""


class ClusterWatch:
    """A placement that follows the cluster: nodes join, leave, or are about to be taken away.

    Attributes:
        notices: what the user should know; the reader empties the list.
    """

    def __init__(self, size: Size, share: Callable[[], Share] | None = None) -> None:
        """Look at the cluster.

        Args:
            size: how many workers are wanted.
            share: which part of the CPUs is this job's, where it shares the cluster with other jobs of a sweep, which
                then asks for machines itself; it may change.
        """
        self._size, self._share, self._asks = size, share or Share, share is None and size.most is not None
        self._order: dict[str, None] = {}
        self._draining: frozenset[str] = frozenset()
        self._placed: dict[str, int] = {}
        self._looked = -WATCH_SECONDS
        self._told = False
        self.notices: list[str] = []
        if self._asks:
            request(size.most or 0)

    def __call__(self) -> Mapping[str, int]:
        """Workers by node id; the same object for as long as nothing changes."""
        now = time.monotonic()
        if now - self._looked >= WATCH_SECONDS:
            self._looked = now
            placed = place_workers(self._nodes(), self._size.most, self._share())
            if placed != self._placed or not self._told:
                self._tell(sum(placed.values()))
                self._placed = placed
        return self._placed

    def close(self) -> None:
        """Take the request for machines back."""
        if self._asks:
            release()

    def _tell(self, workers: int) -> None:
        """Say where there is room for fewer workers than are wanted."""
        self._told = True
        if not workers:
            self.notices.append("no node has a CPU for a worker; waiting until one joins")
        elif self._size.most is not None and workers < self._size.most:
            self.notices.append(
                f"the nodes have CPUs for {workers} of {self._size.most} workers; more start as they come"
            )

    def _nodes(self) -> list[Node]:
        alive = {node["NodeID"]: int(node["Resources"].get("CPU", 0)) for node in _all_nodes() if node["Alive"]}
        draining = frozenset(ray_state.get_draining_nodes()) & alive.keys()
        for node in draining - self._draining:
            self.notices.append(f"node {node[:8]} will be taken away; its workers end what they have and get no more")
        self._draining = draining
        self._order |= dict.fromkeys(alive)
        return [Node(node, alive[node], node in draining) for node in self._order if node in alive]


def request(cpus: int) -> None:
    """Ask the autoscaler for machines with so many CPUs in all, in the place of what was asked before."""
    request_resources(num_cpus=cpus)


def release() -> None:
    """Take back whatever was asked of the autoscaler; it stays asked for otherwise."""
    request(0)


def free_cpus() -> float:
    """CPUs of all nodes that nothing has taken at this moment."""
    return float(ray.available_resources().get("CPU", 0.0))


def _all_nodes() -> list[dict[str, Any]]:
    nodes: list[dict[str, Any]] = ray.nodes()
    return nodes
