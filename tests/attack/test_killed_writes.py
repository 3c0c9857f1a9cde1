"""A run is killed, or its disk fails, in the middle of a system call: the same command with resume=auto reaches the
bits of a run that was never disturbed, and reads nothing that is half written."""

from __future__ import annotations

import errno
import os
import re
import shutil
import signal
import subprocess
from collections import defaultdict
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import psutil
import pytest
from integration.forked import ForkedProcess, ForkServer
from integration.helpers import SERIAL, deterministic, theta_of, wait_for

from .tracing import needs_strace

pytestmark = pytest.mark.attack

WORDS = (*SERIAL, "generations=3", "evaluation.every=1", "checkpoint.every=1", "checkpoint.keep=1", "run_dir=run",
         "tensorboard.histograms=1")  # fmt: skip
STOPPED = """
import os, signal
os.kill(os.getpid(), signal.SIGSTOP)
from raes.train import main
main()
"""
"""A command that waits, with all modules imported, until a tracer is attached."""
CALLS = {"openat": 5, "write": 8, "fsync": 6, "rename": 7, "mkdir": 4, "rmdir": 3, "unlinkat": 4}
"""System call -> at how many of its calls in the run directory the run is killed."""
RESUMED = {"openat": 3, "write": 3, "rename": 4, "unlinkat": 2}
"""The same for a run that was killed before and goes on."""
FAILING = {"openat": 3, "write": 4, "fsync": 3, "rename": 3, "mkdir": 2}
"""System call -> at how many of its calls it fails."""


@dataclass(frozen=True)
class Training:
    """Trainings in one folder."""

    server: ForkServer
    folder: Path

    @property
    def run_dir(self) -> Path:
        return self.folder / "run"

    def start(self, *words: str, module: str = "raes.train") -> ForkedProcess:
        out, err = self.folder / "out", self.folder / "err"
        out.write_text("")
        err.write_text("")
        return self.server.fork({
            "module": module, "words": [*WORDS, *words], "cwd": str(self.folder), "environment": dict(os.environ),
            "out": str(out), "err": str(err),
        })  # fmt: skip

    def trace(self, *options: str, words: Sequence[str] = ()) -> int:
        """Run under strace with these options; the exit code."""
        (self.folder / "stopped_train.py").write_text(STOPPED)
        process = self.start(*words, module="stopped_train")
        wait_for(lambda: psutil.Process(process.pid).status() == psutil.STATUS_STOPPED, 60, self.text)
        tracer = subprocess.Popen(
            ["strace", "-f", "-y", "-o", str(self.folder / "trace"), "-p", str(process.pid), *options],
            stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
        assert tracer.stderr is not None
        try:
            line = tracer.stderr.readline()
            assert "attached" in line, line
            os.kill(process.pid, signal.SIGCONT)
            code = process.wait(120)
        finally:
            with suppress(ProcessLookupError):
                os.kill(process.pid, signal.SIGKILL)
            tracer.wait(30)
        return code

    def text(self) -> str:
        return (self.folder / "out").read_text() + (self.folder / "err").read_text()

    def goes_on_to(self, whole: Path) -> None:
        """A resume reaches the same bits, and leaves nothing behind."""
        assert self.start("resume=auto").wait(120) == 0, self.text()
        assert np.array_equal(theta_of(self.run_dir), theta_of(whole))
        assert np.array_equal(theta_of(self.run_dir, "best"), theta_of(whole, "best"))
        assert deterministic(self.run_dir) == deterministic(whole)
        left = [path.name for path in self.run_dir.rglob(".*ing*")]
        assert not left


@pytest.fixture
def training(fork_server: ForkServer, tmp_path: Path) -> Training:
    return Training(fork_server, tmp_path)


@pytest.fixture(scope="module")
def whole(fork_server: ForkServer, tmp_path_factory: pytest.TempPathFactory) -> Training:
    """A run that nothing disturbed, traced: `trace` holds its system calls."""
    first = Training(fork_server, tmp_path_factory.mktemp("first"))
    assert first.start().wait(120) == 0, first.text()  # it makes what all runs share, such as the user's key
    training = Training(fork_server, tmp_path_factory.mktemp("whole"))
    assert training.trace("-e", f"trace={','.join(CALLS)}") == 0
    return training


@pytest.fixture(scope="module")
def resumed(fork_server: ForkServer, tmp_path_factory: pytest.TempPathFactory, whole: Training) -> Training:
    """A run that was killed (`killed` is a copy of it) and went on, traced."""
    training = Training(fork_server, tmp_path_factory.mktemp("resumed"))
    renames = numbers(whole)["rename"]
    middle = renames[2 * len(renames) // 3]
    assert training.trace("-e", "trace=rename", "-e", f"inject=rename:signal=KILL:when={middle}") == -9
    shutil.copytree(training.run_dir, training.folder / "killed")
    assert training.trace("-e", f"trace={','.join(CALLS)}", words=["resume=auto"]) == 0
    return training


def numbers(whole: Training) -> dict[str, list[int]]:
    """System call -> the numbers, as strace counts them, of its calls that concern the run directory."""
    counts, found = defaultdict[str, int](int), defaultdict[str, list[int]](list)
    for line in (whole.folder / "trace").read_text().splitlines():
        if (call := re.match(r"\d+ +(\w+)\((.*)", line)) is not None:
            counts[call[1]] += 1
            if str(whole.run_dir) in call[2]:
                found[call[1]].append(counts[call[1]])
    return dict(found)


def spread(calls: list[int], count: int) -> list[int]:
    """So many of the calls, evenly spread, the first and the last among them."""
    return [calls[round(place)] for place in np.unique(np.linspace(0, len(calls) - 1, count).round())]


@needs_strace
@pytest.mark.parametrize("call", CALLS)
def test_a_run_that_is_killed_in_a_system_call_goes_on(
    call: str, whole: Training, fork_server: ForkServer, tmp_path: Path
) -> None:
    calls = numbers(whole)[call]
    for number in spread(calls, CALLS[call]):
        (folder := tmp_path / f"{number}").mkdir()
        training = Training(fork_server, folder)
        code = training.trace("-e", f"trace={call}", "-e", f"inject={call}:signal=KILL:when={number}")
        assert code == -9, f"{call} {number}: {training.text()}"
        training.goes_on_to(whole.run_dir)


@needs_strace
@pytest.mark.parametrize("call", RESUMED)
def test_a_resume_that_is_killed_goes_on(
    call: str, whole: Training, resumed: Training, fork_server: ForkServer, tmp_path: Path
) -> None:
    for number in spread(numbers(resumed)[call], RESUMED[call]):
        (folder := tmp_path / f"{number}").mkdir()
        training = Training(fork_server, folder)
        shutil.copytree(resumed.folder / "killed", training.run_dir)
        inject = f"inject={call}:signal=KILL:when={number}"
        assert training.trace("-e", f"trace={call}", "-e", inject, words=["resume=auto"]) == -9
        training.goes_on_to(whole.run_dir)


@needs_strace
@pytest.mark.parametrize(
    ("call", "error"),
    [*((call, error) for call in FAILING for error in ("EIO", "ENOSPC")), ("mkdir", "EROFS"), ("rename", "EROFS")],
)
def test_a_disk_that_fails_ends_a_run_with_one_message(
    call: str, error: str, whole: Training, fork_server: ForkServer, tmp_path: Path
) -> None:
    calls = numbers(whole)[call]
    for number in spread(calls, FAILING[call]):
        (folder := tmp_path / f"{number}").mkdir()
        training = Training(fork_server, folder)
        still = "" if call == "write" else "+"  # with `write` also the message would be lost
        code = training.trace("-e", f"trace={call}", "-e", f"inject={call}:error={error}:when={number}{still}")
        text = training.text()
        assert code in (1, 2), f"{call} {number}: {text}"
        assert "Traceback" not in text, f"{call} {number}: {text}"
        assert os.strerror(getattr(errno, error)) in text, f"{call} {number}: {text}"
        training.goes_on_to(whole.run_dir)
