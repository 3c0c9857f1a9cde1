"""What tests of elastic runs do to a cluster of virtual nodes, besides adding and killing nodes."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import ray

from benchmarks import machines


class Machines(machines.Machines):
    """A head without CPUs, and nodes with some."""

    def drain(self, node: Any, seconds: int) -> None:
        """Say that the node will be taken away, as a spot notice does."""
        words = ["--node-id", node.node_id, "--reason", "DRAIN_NODE_REASON_PREEMPTION", "--reason-message", "spot"]
        subprocess.run(
            [sys.executable, "-m", "ray.scripts.scripts", "drain-node", "--address", self.address, *words,
             "--deadline-remaining-seconds", str(seconds)],
            check=True, capture_output=True,
        )  # fmt: skip

    def asked_for(self) -> list[dict[str, float]]:
        """What was requested from the autoscaler and not taken back."""
        import json

        import ray.experimental.internal_kv as kv
        from ray.autoscaler._private.constants import AUTOSCALER_RESOURCE_REQUEST_CHANNEL

        with self.connected():
            stored = kv._internal_kv_get(AUTOSCALER_RESOURCE_REQUEST_CHANNEL)
        return list(json.loads(stored)) if stored else []

    @contextmanager
    def connected(self) -> Iterator[None]:
        """This process as a driver of the cluster."""
        ray.init(address=self.address, log_to_driver=False, logging_level="ERROR")
        try:
            yield
        finally:
            ray.shutdown()
