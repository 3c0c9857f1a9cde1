"""`python -m raes.doctor` on a cluster of three hosts, one of which has little shared memory."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from .clusters import WORKERS, LocalCluster
from .lab import Lab

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(900)]
ONE, OTHER = WORKERS
WORLD = """
import gymnasium
from gymnasium.envs.classic_control import CartPoleEnv
gymnasium.register("World-v0", entry_point=CartPoleEnv, max_episode_steps=20)
"""


@pytest.fixture(scope="module")
def cluster(lab: Lab) -> Iterator[LocalCluster]:
    """The third host's /dev/shm holds 200 MiB, which is enough for small noise tables alone."""
    with LocalCluster(lab, hosts={OTHER: {"shm": "200m"}}) as launched:
        yield launched


def examine(cluster: LocalCluster, *words: str, level: str = "fault") -> tuple[int, str, list[dict[str, Any]]]:
    """Exit code, what was printed, and the findings of this level."""
    line = f"cd ~ && python -m raes.doctor {' '.join(words)} out=doctor.json; echo code $?; cat doctor.json"
    printed, _, rest = cluster.head().run(line, timeout=300).partition("\ncode ")
    code, _, report = rest.partition("\n")
    return int(code), printed, [one for one in json.loads(report)["findings"] if one["level"] == level]


def test_a_healthy_cluster_is_said_to_be_healthy(cluster: LocalCluster) -> None:
    code, printed, faults = examine(cluster, "env=CartPole")
    assert (code, faults) == (0, []), printed
    assert "Ray cluster at 10.77.0.10:6379: 3 nodes" in printed
    assert all(address in printed for address in WORKERS)
    assert printed.splitlines()[-1].startswith("healthy")
    assert "requires no token" not in printed


def test_a_small_shared_memory_is_named(cluster: LocalCluster) -> None:
    code, printed, warnings = examine(cluster, "env=CartPole", level="warning")
    assert code == 0, printed
    assert [warning["host"] for warning in warnings] == [OTHER], printed
    assert "/dev/shm" in warnings[0]["text"]
    assert "mount -o remount,size=" in warnings[0]["cure"]


def test_an_environment_that_only_the_head_has_is_named(cluster: LocalCluster) -> None:
    cluster.head().run(f"cat >~/mine.py <<'END'{WORLD}END")
    code, printed, faults = examine(cluster, "env=gymnasium", "env.id=mine:World-v0", "policy=linear")
    assert code == 1, printed
    assert {fault["host"] for fault in faults} == set(WORKERS), printed
    assert all("mine" in fault["text"] and "--working-dir ." in fault["cure"] for fault in faults)


def test_another_version_of_a_package_is_named(cluster: LocalCluster) -> None:
    cluster.lab[ONE].pretend("mujoco", "3.3.0")
    code, printed, faults = examine(cluster, "env=InvertedPendulum")
    assert code == 1, printed
    assert [fault["host"] for fault in faults] == [ONE], printed
    assert faults[0]["text"].startswith("has mujoco 3.3.0;")
    assert "constraints.txt" in faults[0]["cure"]
