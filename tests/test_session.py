"""Which Ray a command uses, where that can be told without starting one, and the lock of a run directory."""

from __future__ import annotations

import socket
import subprocess
import sys
from pathlib import Path

import pytest

from raes.runtime import session
from raes.runtime.memory import check_memory
from raes.storage.lock import RunLock
from raes.types import UserError


def test_a_table_larger_than_memory_is_refused_with_both_sizes() -> None:
    with pytest.raises(UserError, match=r"needs 4096\.0 GiB .*noise\.size=.* free memory; choose a smaller policy"):
        check_memory(2**42, shared=False)


def test_a_table_larger_than_shared_memory_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shutil.disk_usage", lambda _: type("Usage", (), {"free": 2**26})())
    with pytest.raises(UserError, match=r"/dev/shm has 0\.1 GiB free"):
        check_memory(2**26, shared=True)


def test_a_stale_address_file_is_no_cluster(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        port = closed.getsockname()[1]
    monkeypatch.setattr(session, "read_ray_address", lambda: f"127.0.0.1:{port}")
    assert session._live_cluster() is None


def test_an_address_file_of_a_live_server_names_the_cluster(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen()
        address = f"127.0.0.1:{server.getsockname()[1]}"
        monkeypatch.setattr(session, "read_ray_address", lambda: address)
        assert session._live_cluster() == address


def test_an_address_where_nothing_answers_is_named() -> None:
    with pytest.raises(UserError, match=r"ray\.address=127\.0\.0\.1:9: nothing answers there"):
        session.connect("127.0.0.1:9", None, 4)


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
