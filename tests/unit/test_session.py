"""Which Ray a command uses, where that is known without starting one, and the lock of a run directory."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from raes.runtime import session
from raes.runtime.memory import (
    Room,
    check_memory,
    check_shared_memory,
    check_sizes,
    check_state,
    check_table,
    check_workers,
)
from raes.storage.lock import RunLock
from raes.types import UserError


def test_a_table_larger_than_memory_is_refused_with_both_sizes() -> None:
    with pytest.raises(UserError, match=r"needs 4,096\.00 GiB .*noise\.size=.* are free; choose a smaller policy"):
        check_memory(2**42, copies=1)


def test_a_table_larger_than_shared_memory_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shutil.disk_usage", lambda _: type("Usage", (), {"free": 2**26})())
    with pytest.raises(UserError, match=r"/dev/shm has 0\.06 GiB free.*remount,size=342m.*runtime=serial"):
        check_shared_memory(2**26)


def test_a_table_larger_than_the_store_of_a_node_is_refused_by_its_name() -> None:
    room = Room(store=2**26)
    check_table(2**25, room, "node 10.0.0.2")
    with pytest.raises(
        UserError, match=r"node 10\.0\.0\.2: .* holds 0\.06 GiB; start Ray there with --object-store-mem"
    ):
        check_table(2**26, room, "node 10.0.0.2")


def test_a_table_that_fits_once_but_not_twice_is_refused_where_it_is_copied(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("raes.runtime.memory.free_memory", lambda: 2**30)
    check_memory(2**29, copies=1)
    with pytest.raises(UserError, match="twice for a moment"):
        check_memory(2**29, copies=2)


@pytest.mark.parametrize(
    ("key", "number", "each"), [("algorithm.pairs", 10**12, 2), ("evaluation.episodes", 10**12, 1)]
)
def test_sizes_that_fit_no_machine_are_refused(key: str, number: int, each: int) -> None:
    check_sizes(key, 10, 20)
    with pytest.raises(UserError, match=f"{key}={number}: the results of {each * number} episodes"):
        check_sizes(key, number, each * number)


def test_a_covariance_that_fits_no_machine_is_refused_with_the_figure() -> None:
    check_state("xnes", 10**6, 100)
    with pytest.raises(UserError, match=r"algorithm=xnes needs 93,132\.3 GiB for 10000000 parameters.*snes"):
        check_state("xnes", 10**14, 10**7)


def test_more_actors_than_memory_are_refused() -> None:
    check_workers(2)
    with pytest.raises(UserError, match=r"workers=1000000 need about"):
        check_workers(10**6)


def test_a_ray_client_address_is_refused_with_the_cure() -> None:
    with pytest.raises(UserError, match=r"ray\.address=ray://head:10001: .* run the command on a node"):
        session.connect("ray://head:10001", None, 4)


@pytest.mark.parametrize(
    ("error", "parts"),
    [
        (OSError("validate_socket_filename failed: AF_UNIX path length cannot exceed 107 bytes: /x"),
         ["RAY_TMPDIR=/long", "set RAY_TMPDIR to a short folder", "runtime=serial"]),
        (PermissionError(13, "Permission denied"), ["/long", "Permission denied", "set RAY_TMPDIR"]),
        (Exception("The current node timed out during startup. This\nand that"),
         ["timed out during startup", "/long/ray/session_latest/logs", "runtime=serial"]),
        (Exception(), ["Ray cannot start on this machine (Exception)"]),
    ],
    ids=["long", "forbidden", "slow", "mute"],
)  # fmt: skip
def test_a_ray_that_cannot_start_is_one_message_with_the_cure(
    error: Exception, parts: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RAY_TMPDIR", "/long")
    message = session._why_not_started(error)
    assert "\n" not in message
    for part in parts:
        assert part in message


def test_a_second_writer_of_a_run_directory_is_refused(tmp_path: Path) -> None:
    first = RunLock(tmp_path)
    with pytest.raises(UserError, match="is in use by another process"):
        RunLock(tmp_path, wait_seconds=0.3)
    first.close()
    RunLock(tmp_path, wait_seconds=0).close()


def test_the_lock_of_a_killed_process_is_free(tmp_path: Path) -> None:
    code = (
        "import os, sys; from pathlib import Path; from raes.storage.lock import RunLock; "
        "lock = RunLock(Path(sys.argv[1])); os.kill(os.getpid(), 9)"
    )
    subprocess.run([sys.executable, "-c", code, str(tmp_path)], timeout=60, check=False)
    RunLock(tmp_path, wait_seconds=5).close()
