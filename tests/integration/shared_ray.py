"""One Ray that the tests of a process share, where Ray's start and end are not what they are about.

    python shared_ray.py CPUS BYTES

It starts a node with so many CPUs and so large an object store, prints its address, and ends it when its input ends.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from contextlib import suppress
from pathlib import Path

import psutil

CPUS = 3
STORE_BYTES = 512 << 20
OWN = ("ray::IDLE", "ray::DashboardAgent", "ray::RuntimeEnvAgent")
"""Titles of processes that belong to Ray itself."""


class SharedRay:
    """A node of its own, as `ray start --head` makes one.

    Attributes:
        address: for `ray.address`.
    """

    def __init__(self, folder: Path) -> None:
        """Start it.

        Args:
            folder: for its session; not the one where `ray.address=auto` looks for a cluster.
        """
        kept = {key: value for key, value in os.environ.items() if not key.startswith(("RAY_", "HYDRA_"))}
        self._process = subprocess.Popen(
            [sys.executable, __file__, str(CPUS), str(STORE_BYTES)], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL, text=True, start_new_session=True, env=kept | {
                "RAY_TMPDIR": tempfile.mkdtemp(dir=folder), "RAY_worker_niceness": "0", "RAY_USAGE_STATS_ENABLED": "0",
            },
        )  # fmt: skip
        assert self._process.stdout is not None
        self.address = self._process.stdout.readline().strip()
        assert self.address, "Ray has not started"

    def words(self) -> tuple[str, ...]:
        """What a command needs to run there as it would on a Ray of its own."""
        return f"ray.address={self.address}", "runtime.relays=false"

    def actors(self, name: str = "") -> list[psutil.Process]:
        """The processes of actors and tasks, of those of a class where it is named."""
        found = []
        for process in psutil.Process(self._process.pid).children(recursive=True):
            with suppress(psutil.Error):
                title = " ".join(process.cmdline())
                if title.startswith(f"ray::{name}") and not title.startswith(OWN):
                    found.append(process)
        return found

    def close(self) -> None:
        """End it."""
        self._process.communicate(timeout=60)


def main(cpus: int, store_bytes: int) -> None:
    """The process that owns the node."""
    from ray.cluster_utils import Cluster

    node = {"num_cpus": cpus, "num_gpus": 0, "object_store_memory": store_bytes, "include_dashboard": False}
    cluster = Cluster(initialize_head=True, head_node_args=node)
    print(cluster.address, flush=True)
    sys.stdin.read()
    cluster.shutdown()


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]))
