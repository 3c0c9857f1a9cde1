"""raes.doctor's judgement: made-up facts in, findings out."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest

from raes.doctor import show
from raes.doctor.findings import Finding, Plan, exit_code, findings
from raes.doctor.trial import Disk, Trial
from raes.runtime.host_probe import HostInfo
from raes.runtime.host_survey import NodeFacts
from raes.runtime.scheduling import Size

GIB = 1 << 30
PACKAGES = {"python": "3.11.7", "ray": "2.60.0", "raes": "0.1.0 (sources ab)", "numpy": "2.4.6", "mujoco": "4.0.0",
            "gymnasium": "1.4.0", "ale-py": "0.12.1"}  # fmt: skip
INFO = HostInfo("one", PACKAGES, 8 * GIB, 8 * GIB, 65_536)
TRIAL = Trial(
    num_params=10_000, table_size=1 << 24, state_bytes=10**6, digest="aa on one (x86_64, numpy 2.4.6)",
    lengths=(20, 30), step_seconds=1e-3, cores=1.0, memory_free=16 * GIB,
    used=("raes", "numpy", "gymnasium", "mujoco"), fault="", undrawn="",
)  # fmt: skip
HEAD = NodeFacts("a", "10.0.0.1", 0, 4 * GIB, here=True, info=INFO, answer=TRIAL)
WORKER = replace(HEAD, node_id="b", address="10.0.0.2", cpus=8, here=False, info=replace(INFO, host="two"))
PLAN = Plan(Size(), 80, embedded=False, on_ray=True, disk=Disk("runs", 100 * GIB, True))


def judged(*nodes: NodeFacts, plan: Plan = PLAN) -> list[Finding]:
    """The findings on a head and these nodes, but for the note on where run_dir lies."""
    return [one for one in findings(plan, [HEAD, *nodes]) if "lost with it" not in one.text]


def only(*nodes: NodeFacts, plan: Plan = PLAN) -> Finding:
    """The one finding there is, which must say what to do."""
    (one,) = judged(*nodes, plan=plan)
    assert one.cure
    return one


def changed(**fields: object) -> NodeFacts:
    """The worker with other values in what its host reports."""
    assert WORKER.info is not None
    return replace(WORKER, info=replace(WORKER.info, **fields))


def tried(**fields: object) -> NodeFacts:
    """The worker with another trial."""
    return replace(WORKER, answer=replace(TRIAL, **fields))


def test_a_healthy_cluster_has_nothing_to_find() -> None:
    assert judged(WORKER) == []
    assert show.report([]) == "healthy"
    assert exit_code([]) == 0
    assert exit_code([Finding("note", "one", "x"), Finding("warning", "one", "x")]) == 0
    assert exit_code([Finding("fault", "one", "x")]) == 1


@pytest.mark.parametrize(
    ("package", "level"),
    [("mujoco", "fault"), ("gymnasium", "fault"), ("raes", "fault"), ("ray", "fault"), ("python", "fault"),
     ("numpy", "warning"), ("ale-py", "note")],
)  # fmt: skip
def test_another_version_is_a_fault_where_it_decides_what_an_episode_is(package: str, level: str) -> None:
    found = only(changed(packages=PACKAGES | {package: "0.9"}))
    assert (found.level, found.host) == (level, "two")
    assert f"{package} 0.9" in found.text
    assert PACKAGES[package] in found.text
    assert "same versions on every node" in found.cure


def test_a_package_that_is_missing_is_told() -> None:
    found = only(changed(packages={key: value for key, value in PACKAGES.items() if key != "mujoco"}))
    assert "mujoco none" in found.text


def test_an_environment_that_cannot_be_made_on_one_host() -> None:
    rom = "env.game=pong: ale-py ships no such ROM; there are breakout"
    found = only(replace(WORKER, answer=rom))
    assert (found.level, found.host, found.text) == ("fault", "two", rom)
    assert found.cure.startswith("it works on one; ")
    own = "env.id=mine:World-v0: No module named 'mine'; with the module on the Python path"
    assert "--working-dir ." in only(replace(WORKER, answer=own)).cure


def test_a_host_that_does_not_answer_or_has_no_raes() -> None:
    found = only(replace(WORKER, info=None, answer=None, failure="no answer within 60 s"))
    assert (found.level, found.host) == ("fault", "10.0.0.2")
    found = only(replace(WORKER, answer=None, failure="No module named 'raes.doctor'"))
    assert (found.level, found.host) == ("fault", "two")


def test_a_small_object_store_and_a_small_shared_memory() -> None:
    small = replace(changed(shm_total=64 << 20, shm_free=64 << 20), store_bytes=60 << 20)
    found = only(small)
    assert (found.level, found.host) == ("fault", "two")
    assert "/dev/shm there has 0.06 GiB" in found.text
    assert "remount,size=" in found.cure
    assert "--object-store-memory=" in found.cure
    found = only(replace(WORKER, store_bytes=60 << 20))
    assert "/dev/shm" not in found.text
    assert only(changed(shm_total=1 << 30)).level == "warning"  # the store lies on a disk then


def test_an_embedded_ray_needs_the_shared_memory_itself() -> None:
    plan = replace(PLAN, embedded=True)
    here = replace(HEAD, cpus=2, info=replace(INFO, shm_free=100 << 20))
    (found,) = findings(plan, [here])
    assert found.level == "fault"
    assert "/dev/shm has 0.10 GiB free" in found.text
    (found,) = findings(replace(plan, size=Size(1440, 1440)), [replace(HEAD, cpus=2)])
    assert "1440 workers need about" in found.text


def test_memory_for_the_table() -> None:
    (found,) = [one for one in judged(tried(memory_free=100 << 20, lengths=())) if "twice" in one.text]
    assert found.level == "warning"
    (found,) = findings(replace(PLAN, on_ray=False), [replace(HEAD, answer=replace(TRIAL, memory_free=70 << 20))])
    assert (found.level, "0.06 GiB" in found.text, "twice" in found.text) == ("fault", True, False)


def test_open_files_are_counted_by_workers() -> None:
    assert judged(changed(open_files=256)) == []
    assert only(replace(changed(open_files=256), cpus=64)).level == "fault"
    (found,) = findings(replace(PLAN, size=Size(1, 4096)), [replace(HEAD, info=replace(INFO, open_files=1024))])[:1]
    assert "1024 files" in found.text
    assert "ulimit -n" in found.cure


@pytest.mark.parametrize(("clock", "error", "warns"), [(1.0, 0.0, False), (-30.0, 0.1, True), (30.0, 60.0, False)])
def test_clocks(clock: float, error: float, warns: bool) -> None:
    found = judged(replace(WORKER, clock=clock, clock_error=error))
    assert [one.level for one in found] == ["warning"] * warns
    assert all("30.0 s behind" in one.text for one in found)


def test_other_bits_slow_hosts_many_threads_failing_episodes_and_no_renderer() -> None:
    assert "other bits" in only(tried(digest="bb on two (aarch64)")).text
    assert "250 steps per second, 25 %" in only(tried(step_seconds=4e-3)).text
    assert "8.0 cores" in only(tried(cores=8.0)).text
    assert only(tried(fault="the joint is broken")).level == "fault"
    found = only(tried(undrawn="env.id=X: nothing here can draw MuJoCo (egl: none); apt-get install libegl1"))
    assert (found.level, found.cure) == ("note", "apt-get install libegl1")


def test_the_cluster_as_a_whole() -> None:
    (found,) = [one for one in judged() if one.host == "all"]
    assert "no CPUs" in found.text
    assert only(WORKER, plan=replace(PLAN, size=Size(2, 100))).level == "note"
    assert only(WORKER, plan=replace(PLAN, size=Size(100, 100))).level == "warning"
    assert "RAY_AUTH_MODE=token" in only(WORKER, plan=replace(PLAN, token=False)).cure
    found = only(WORKER, plan=replace(PLAN, absent=("10.0.0.3",)))
    assert found.host == "10.0.0.3"
    assert "Version mismatch" in found.text


def test_the_run_directory() -> None:
    assert only(WORKER, plan=replace(PLAN, disk=Disk("/", 100 * GIB, False))).level == "fault"
    assert "0.01 GiB free" in only(WORKER, plan=replace(PLAN, disk=Disk("/", 10 << 20, True))).text
    assert judged(WORKER, plan=replace(PLAN, disk=None)) == []
    assert [one.level for one in findings(PLAN, [HEAD, WORKER])] == ["note"]  # on several machines it may be lost


def test_the_worst_comes_first_and_the_last_line_counts() -> None:
    found = judged(replace(WORKER, answer="env.id=X cannot be made; fix it"), replace(tried(undrawn="x; y"), cpus=1))
    assert [one.level for one in found] == ["fault", "note"]
    lines = show.report(found).splitlines()
    assert lines[0].startswith("FAULT    two: env.id=X")
    assert lines[-1] == "not healthy, a run would fail: 1 fault, 1 note"
    assert max(map(len, lines)) <= show.WIDTH


def test_the_tables_have_a_line_a_host() -> None:
    hosts, packages = show.sections([HEAD, WORKER], [])
    assert [row["host"] for row in hosts.rows] == [row["host"] for row in packages.rows] == ["one", "two"]
    assert packages.rows[0]["raes"] == "0.1.0"
    many = show.sections([HEAD, *([WORKER] * 99)], [])
    assert re.search(r"80 more", many[0].title)
