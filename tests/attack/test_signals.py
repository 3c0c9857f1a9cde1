"""Signals at any moment: the exit code, a checkpoint, and a resume to the bits of a run that was never stopped."""

from __future__ import annotations

import os
import pty
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import psutil
import pytest
from integration.helpers import (
    WORLDS,
    Command,
    Commands,
    generations_of,
    latest_generation,
    theta_of,
    wait_for,
)

pytestmark = pytest.mark.attack

GENERATIONS = 5
"""Of a whole run."""
LINE = (
    "env=gymnasium", f"env.id={WORLDS}:Line-v0", "policy=linear", "algorithm.pairs=3", "noise.size=50000",
    "evaluation.every=0", "evaluation.episodes=12", "checkpoint.every=2", "ray.address=local",
    f"generations={GENERATIONS}",
)  # fmt: skip
SLOW = {"STEP_SECONDS": "0.006"}
"""With it a generation takes 0.4 s and the evaluation at the end 0.7 s, on one worker."""
RUNTIMES = {"serial": ("runtime=serial",), "ray": ("workers=1",)}
INT, TERM, HUP, QUIT, KILL = signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT, signal.SIGKILL


@dataclass(frozen=True)
class Row:
    """What is sent, when, to whom, and what must come of it.

    Attributes:
        runtime: a key of `RUNTIMES`.
        signals: sent one after the other.
        moment: `start`, `middle` or `evaluation`.
        code: the exit code.
        group: whether to all processes of the command's group, as a terminal and `timeout` do.
        saves: whether the run must have saved what it had.
    """

    runtime: str
    signals: tuple[signal.Signals, ...]
    moment: str
    code: int
    group: bool = False
    saves: bool = True

    def __str__(self) -> str:
        who = "group-" if self.group else ""
        return f"{self.runtime}-{self.moment}-{who}{'-'.join(one.name for one in self.signals)}"


ROWS = [
    Row("serial", (INT,), "middle", 130),
    Row("serial", (TERM,), "middle", 130),
    Row("serial", (HUP,), "middle", 130),
    Row("serial", (HUP,), "middle", 130, group=True),
    Row("serial", (TERM, TERM), "middle", 130, saves=False),
    Row("serial", (HUP, INT), "middle", 130, saves=False),
    Row("serial", (QUIT,), "middle", -QUIT, saves=False),
    Row("serial", (KILL,), "middle", -KILL, saves=False),
    Row("serial", (HUP,), "start", 130, saves=False),
    Row("serial", (TERM,), "start", 130, saves=False),
    Row("serial", (HUP,), "evaluation", 130),
    Row("serial", (INT,), "evaluation", 130),
    Row("ray", (HUP,), "middle", 130, group=True),
    Row("ray", (TERM,), "middle", 130, group=True),
    Row("ray", (TERM,), "start", 130, group=True, saves=False),
    Row("ray", (INT, INT), "middle", 130, saves=False),
    Row("ray", (KILL,), "middle", -KILL, saves=False),
]


@pytest.fixture(scope="module")
def whole(module_commands: Commands) -> Path:
    """A run that was never stopped."""
    module_commands.run(*LINE, "runtime=serial", "run_dir=whole")
    return module_commands.cwd / "whole"


def reached(moment: str, run: Path, command: Command) -> Callable[[], bool]:
    """Whether the moment has come."""
    if moment == "start":
        begun = time.monotonic()
        return lambda: time.monotonic() - begun > 0.4
    if moment == "middle":
        return lambda: latest_generation(run) >= 2
    return lambda: (run / "metrics.jsonl").exists() and generations_of(run)[-1:] == [GENERATIONS - 1]


@pytest.mark.parametrize("row", ROWS, ids=str)
def test_a_signal_ends_a_run_that_goes_on_to_the_same_bits(row: Row, whole: Path, commands: Commands) -> None:
    run = commands.cwd / "run"
    words = (*LINE, *RUNTIMES[row.runtime], "run_dir=run")
    command = commands.start(*words, **SLOW)
    command.wait_for(reached(row.moment, run, command))
    for number in row.signals:
        if row.group:
            os.killpg(command.process.pid, number)
        else:
            command.process.send_signal(number)
        time.sleep(0.02)
    command.wait(row.code)
    assert "Traceback" not in command.err, str(command)
    if row.saves:
        assert "stopped after" in command.out, str(command)
        assert latest_generation(run) >= max(generations_of(run)), str(command)
    commands.run(*words, "resume=auto", "runtime=serial")
    assert np.array_equal(theta_of(run), theta_of(whole))
    assert generations_of(run) == generations_of(whole)


@pytest.fixture
def terminals() -> Iterator[list[tuple[int, int]]]:
    """Process and master of each pseudo-terminal; closed and gone afterwards."""
    opened: list[tuple[int, int]] = []
    yield opened
    for pid, master in opened:
        with suppress(OSError):
            os.close(master)
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(pid, signal.SIGKILL)
        with suppress(ChildProcessError):
            os.waitpid(pid, 0)


def relatives(token: str) -> list[psutil.Process]:
    """All processes with this variable in their environment that still run."""
    found = []
    for process in psutil.process_iter():
        with suppress(psutil.Error):
            alive = process.status() != psutil.STATUS_ZOMBIE
            if alive and process.environ().get("RAES_TEST_TOKEN") == token:
                found.append(process)
    return found


@pytest.mark.parametrize(
    ("runtime", "shell"), [("serial", False), ("serial", True), ("ray", False), ("ray", True)],
    ids=["serial", "serial-shell", "ray", "ray-shell"],
)  # fmt: skip
def test_a_terminal_that_goes_stops_the_run_with_a_checkpoint(
    runtime: str, shell: bool, whole: Path, commands: Commands, terminals: list[tuple[int, int]], ray_folder: Path
) -> None:
    """The kernel sends SIGHUP to the leader of the terminal's session and to the group in its foreground; a shell sends
    it on to the groups of its jobs."""
    run, token = commands.cwd / "run", f"terminal-{commands.cwd}"
    words = [sys.executable, "-m", "raes.train", *LINE, *RUNTIMES[runtime], "run_dir=run"]
    pid, master = pty.fork()
    if pid == 0:
        os.chdir(commands.cwd)
        os.environ |= {"RAES_TEST_TOKEN": token, "RAY_TMPDIR": str(ray_folder), **SLOW}
        if shell:
            os.execvp("bash", ["bash", "--norc", "-i"])
        os.execv(sys.executable, words)
    terminals.append((pid, master))
    if shell:
        os.write(master, f"{' '.join(map(quoted, words))}\n".encode())
    os.set_blocking(master, False)
    shown = bytearray()

    def is_there() -> bool:
        with suppress(BlockingIOError, OSError):
            shown.extend(os.read(master, 1 << 16))
        return latest_generation(run) >= 2

    wait_for(is_there, 120, lambda: shown.decode(errors="replace"))
    os.close(master)
    if not shell:
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 130
    wait_for(lambda: not relatives(token), 60, lambda: f"left over: {relatives(token)}")
    assert latest_generation(run) >= max(generations_of(run))
    commands.run(*LINE, "runtime=serial", "run_dir=run", "resume=auto")
    assert np.array_equal(theta_of(run), theta_of(whole))


def quoted(word: str) -> str:
    """For a shell."""
    return "'" + word.replace("'", "'\\''") + "'"


def test_nohup_keeps_a_run_from_hearing_it(whole: Path, commands: Commands) -> None:
    program = (
        "import signal, sys, runpy; signal.signal(signal.SIGHUP, signal.SIG_IGN);"
        "runpy.run_module('raes.train', run_name='__main__', alter_sys=True)"
    )
    command = commands.script("-c", program, *LINE, "runtime=serial", "run_dir=run", **SLOW)
    command.wait_for(lambda: latest_generation(commands.cwd / "run") >= 2)
    command.process.send_signal(signal.SIGHUP)
    command.wait(0)
    assert np.array_equal(theta_of(commands.cwd / "run"), theta_of(whole))
