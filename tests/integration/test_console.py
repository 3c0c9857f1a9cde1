"""The console as a user sees it: on a real terminal that changes its width, after Ctrl-C, and in a pipe."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import shutil
import struct
import subprocess
import sys
import termios
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pyte
import pytest

from .helpers import SERIAL, Commands, wait_for

SLOW = (*SERIAL, "env.id=trial_worlds:Line-v0", "algorithm.pairs=40", "algorithm.normalize_observations=false",
        "max_minutes=20", "evaluation.every=1")  # fmt: skip
"""80 episodes of half a second a generation: nothing moves for 40 seconds but the status."""
STATUS = re.compile(r"\d+ %  ")


class OnTerminal:
    """A command whose terminal is ours.

    Attributes:
        written: all that it has written.
    """

    def __init__(self, commands: Commands, columns: int, *words: str) -> None:
        self._master, slave = pty.openpty()
        self.resize(columns)
        self.written = b""
        environment = {key: value for key, value in os.environ.items() if key not in ("COLUMNS", "TERM")}
        self.process = subprocess.Popen(
            [sys.executable, "-m", "raes.train", *words],
            cwd=commands.cwd,
            env=environment | {"STEP_SECONDS": "0.05", "TERM": "xterm-256color", "PYTHONIOENCODING": "utf-8"},
            stdin=slave, stdout=slave, stderr=slave, start_new_session=True,
            preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),
        )  # fmt: skip
        os.close(slave)
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        while True:
            try:
                self.written += os.read(self._master, 65536)
            except OSError:  # the other end is closed
                return

    def resize(self, columns: int) -> None:
        """Another width, as a window manager sets it."""
        fcntl.ioctl(self._master, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))

    def last(self) -> str:
        """The last of what it has written, for messages."""
        return self.written[-400:].decode(errors="replace")

    def press(self, key: bytes) -> None:
        os.write(self._master, key)

    def screen(self, columns: int, start: int = 0) -> pyte.Screen:
        """A terminal of this width, fed with what was written from a place on."""
        screen = pyte.Screen(columns, 24)
        pyte.ByteStream(screen).feed(self.written[start:])
        return screen

    def statuses(self, start: int) -> list[str]:
        """What was written over the last line, from a place on."""
        written = self.written[start:].decode(errors="replace")
        return [text for text in re.split(r"\r(?:\x1b\[\d+A)?\x1b\[J", written)[1:] if STATUS.search(text)]


@pytest.fixture
def terminal(commands: Commands) -> Iterator[OnTerminal]:
    """A slow run on a terminal of 200 columns."""
    started = OnTerminal(commands, 200, *SLOW, "run_dir=run")
    try:
        yield started
    finally:
        started.process.kill()
        started.process.wait(30)


def rows(screen: pyte.Screen) -> list[str]:
    return [row.rstrip() for row in screen.display if row.strip()]


def test_the_status_moves_within_a_generation_and_follows_the_width_and_ctrl_c_leaves_nothing(
    terminal: OnTerminal,
) -> None:
    def answered() -> int:
        found = re.findall(rb"gen 0 (\d+)/82", terminal.written)
        return int(found[-1]) if found else -1

    wait_for(lambda: answered() >= 2, 120, terminal.last)
    assert len([row for row in rows(terminal.screen(200)) if STATUS.search(row)]) == 1
    assert "left" in rows(terminal.screen(200))[-1]
    assert "Ctrl-C stops and keeps everything" in rows(terminal.screen(200))[-1]
    assert not re.search(rb"gen     0", terminal.written)  # no generation has ended
    for columns in (80, 60, 30):
        terminal.resize(columns)
        before = len(terminal.written)
        wait_for(lambda before=before: len(terminal.statuses(before)) > 3, 60, terminal.last)
        last = terminal.statuses(0)[-2]  # the last one may not be whole
        assert len(last) <= columns - 3, last
        assert STATUS.search(last)
    terminal.resize(80)
    before = len(terminal.written)
    wait_for(lambda: len(terminal.statuses(before)) > 2, 60, terminal.last)
    terminal.press(b"\x03")
    assert terminal.process.wait(60) == 130
    time.sleep(0.2)
    screen = terminal.screen(80, before)
    assert not any(STATUS.search(row) for row in rows(screen))
    assert not any("^C" in row for row in rows(screen))
    assert screen.cursor.x == 0
    assert not screen.cursor.hidden
    shown = rows(screen)
    assert shown[0] == "stopped after 0 generations"
    joined = "".join(shown).replace(" ", "")  # a row breaks where raes has a long path
    assert "playruncheckpoint=latest" in joined, shown
    assert any(row.startswith("  resume it") for row in shown), shown
    assert (screen.buffer[0][0].fg, screen.buffer[0][0].bold) == ("brown", False)


def test_a_terminal_that_breaks_long_lines_anew_shows_one_status(commands: Commands) -> None:
    """tmux does so when it becomes narrower, like most terminals; pyte does not."""
    if (tmux := shutil.which("tmux")) is None:
        pytest.skip("tmux is not installed")

    def call(*words: str) -> str:
        server = [tmux, "-S", str(commands.cwd / "socket"), "-f", "/dev/null"]
        return subprocess.run([*server, *words], capture_output=True, text=True, check=True).stdout

    train = f"cd {commands.cwd} && env STEP_SECONDS=0.05 {sys.executable} -m raes.train {' '.join(SLOW)} run_dir=run"
    call("new-session", "-d", "-x", "200", "-y", "24", f"{train}; sleep 60")

    def shown() -> str:
        return call("capture-pane", "-p")

    try:
        wait_for(lambda: STATUS.search(shown()), 120, shown)
        for columns in (60, 150, 80):
            call("resize-window", "-x", str(columns), "-y", "24")
            time.sleep(1.5)
            assert len(STATUS.findall(shown())) == 1, shown()
            assert shown().count("░" * 8) >= 1
        call("send-keys", "C-c")
        wait_for(lambda: "stopped after" in shown(), 60, shown)
        assert not STATUS.search(shown()), shown()
    finally:
        call("kill-server")


def test_a_pipe_gets_whole_plain_lines_in_any_encoding(commands: Commands) -> None:
    run = commands.run(*SERIAL, "generations=2", "run_dir='läufe'", PYTHONIOENCODING="cp1252", COLUMNS="40")
    written = Path(run._out_path).read_bytes()
    assert b"\x1b" not in written
    assert b"\r" not in written
    lines = written.decode("cp1252").splitlines()
    assert any(line.endswith("saved to läufe") for line in lines)
    ours = [line for line in lines if line.startswith("gen ")]
    assert len(ours) == 3
    assert all("steps" in line for line in ours)


def test_each_new_best_is_named_also_after_a_resume_and_no_other(commands: Commands) -> None:
    words = (*SERIAL, "evaluation.every=1", "evaluation.episodes=2", "run_dir=run")
    out = commands.run(*words, "generations=4").out + commands.run(*words, "generations=8", "resume=auto").out
    assert "resuming from" in out
    assert "finished: generation limit (8) reached" in out
    lines = [line for line in out.splitlines() if line.startswith("gen ") and "eval" in line]
    values = [float(re.findall(r"eval +(-?[\d.]+)", line)[0]) for line in lines]
    best = [number > 0 and value > max(values[:number]) for number, value in enumerate(values)]
    assert [line.endswith("new best") for line in lines] == best
    assert any(best)
