"""`cluster/local.yaml`, unchanged but for its addresses: three machines as a cluster, and runs on it."""

from __future__ import annotations

import pytest

from .clusters import LocalCluster

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(900)]


def test_the_shortest_command_joins_the_cluster_and_trains(local_cluster: LocalCluster) -> None:
    """`python -m raes.train env=Humanoid` and no other key, on the head; it would go on until it is stopped."""
    line = "mkdir -p first && cd first && timeout --signal=INT 60 python -m raes.train env=Humanoid"
    out = local_cluster.exec(line, check=False)
    first = next(line for line in out.splitlines() if line.startswith(("Ray", "embedded")))
    assert first.startswith("Ray cluster at 10.77.0.10:6379: 3 nodes"), out
    assert "gen     0" in out, out
