"""A real Ray cluster of several virtual nodes on this machine, which can be added and killed."""

from __future__ import annotations

import os
import shutil
import tempfile
from typing import Any

STORE_BYTES = 100 << 20
QUICK_DEATHS = {
    "health_check_initial_delay_ms": 1000,
    "health_check_period_ms": 500,
    "health_check_timeout_ms": 1000,
    "health_check_failure_threshold": 3,
}
"""By default Ray takes half a minute to notice a lost node; benchmarks and tests have less time."""


class Machines:
    """A head without CPUs, and nodes with some.

    Attributes:
        address: for `ray.address`.
        nodes: the live ones besides the head, in the order they were added.
    """

    def __init__(self) -> None:
        from ray.cluster_utils import Cluster

        # In a folder of its own, or `ray.address=auto` of other commands would find this cluster.
        self._folder, self._before = tempfile.mkdtemp(prefix="raes-", dir="/tmp"), os.environ.get("RAY_TMPDIR")
        os.environ["RAY_TMPDIR"] = self._folder
        self._cluster = Cluster(
            initialize_head=True,
            head_node_args={
                "_system_config": QUICK_DEATHS,
                "num_cpus": 0,
                "object_store_memory": STORE_BYTES,
                "include_dashboard": False,
            },
        )
        self.address = str(self._cluster.address)
        self.nodes: list[Any] = []

    def add(
        self, cpus: int = 1, wait: bool = True, store_bytes: int = STORE_BYTES, variables: dict[str, str] | None = None
    ) -> Any:
        """Add a node.

        Args:
            cpus: that it offers.
            wait: until it has joined; else only until its processes have started.
            store_bytes: of its object store.
            variables: environment variables of its processes.
        """
        node = self._cluster.add_node(
            num_cpus=cpus, object_store_memory=store_bytes, wait=wait, env_vars=variables or {}
        )
        self.nodes.append(node)
        return node

    def kill(self, node: Any) -> None:
        """Kill a node's raylet at once, with all that runs on the node."""
        self.nodes.remove(node)
        self._cluster.remove_node(node, allow_graceful=False)

    def close(self) -> None:
        """End all nodes."""
        self._cluster.shutdown()
        del os.environ["RAY_TMPDIR"]
        if self._before is not None:
            os.environ["RAY_TMPDIR"] = self._before
        shutil.rmtree(self._folder, ignore_errors=True)
