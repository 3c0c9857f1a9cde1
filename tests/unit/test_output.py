"""An output that fails ends no command: a closed pipe, a full disk, no output at all, letters that it cannot hold."""

from __future__ import annotations

import io
import os
import pty
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from raes.console.output import LenientOutput, show
from raes.console.screen import Plain, screen

PROGRAM = """
import os, sys
from raes.config.cli import command
def work():
    print("\\xe4" if "letter" in sys.argv else "line", flush=True)
    for number in range(2000):
        print("line", number)
    print("warned", file=sys.stderr)
    print("before the end", file=sys.stderr, flush=True)
    with open("opened", "w") as file:
        file.write(str(file.fileno()))
command(work)
"""


def run(shell: str, cwd: Path, *words: str, **environment: str) -> tuple[int, str, str]:
    """Exit code, stdout and stderr of the program, as a shell redirects it."""
    done = subprocess.run(
        ["bash", "-c", f'set -o pipefail; "$0" -c "$1" {" ".join(words)} {shell}', sys.executable, PROGRAM],
        cwd=cwd, capture_output=True, text=True, timeout=60, check=False,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), **environment},
    )  # fmt: skip
    return done.returncode, done.stdout, done.stderr


@pytest.mark.parametrize(
    ("shell", "code", "out", "err"),
    [
        ("| head -1", 0, "line\n", "warned\nbefore the end\n"),
        (">&-", 0, "", "warned\nbefore the end\n"),
        (">&- 2>&- <&-", 0, "", ""),
        ("2>&- | tail -1", 0, "line 1999\n", ""),
        ("2>/dev/full | tail -1", 0, "line 1999\n", ""),
        (">/dev/full", 1, "", "warned\nbefore the end\nraes: the output cannot be written (No space left on device); "
         "make room, or send it elsewhere\n"),
        (">/dev/full 2>&1", 1, "", ""),
    ],
)  # fmt: skip
def test_an_output_that_fails_ends_nothing(shell: str, code: int, out: str, err: str, tmp_path: Path) -> None:
    unbuffered = "1" if "head" in shell or "2>&1" in shell else ""
    assert run(shell, tmp_path, PYTHONUNBUFFERED=unbuffered) == (code, out, err)
    assert int((tmp_path / "opened").read_text()) > 2  # no file of the command is taken for an output


def test_an_encoding_without_a_letter_ends_nothing(tmp_path: Path) -> None:
    code, out, _ = run("| head -1", tmp_path, "letter", PYTHONIOENCODING="ascii")
    assert (code, out) == (0, "?\n")


def test_a_pipe_that_does_not_block_gets_everything(tmp_path: Path) -> None:
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    with subprocess.Popen([sys.executable, "-c", PROGRAM], cwd=tmp_path, stdout=writer, stderr=subprocess.DEVNULL):
        os.close(writer)
        with os.fdopen(reader) as lines:
            assert lines.read().splitlines()[-1] == "line 1999"


def test_a_program_that_has_lost_its_output_trains_on(monkeypatch: pytest.MonkeyPatch) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    plain = Plain(os.fdopen(writer, "w"))
    plain.line("nobody reads this")
    plain.close()
    monkeypatch.setattr(sys, "stdout", None)
    screen(None, plain=False).line("nor this")


def test_an_output_without_a_buffer_stays_without(tmp_path: Path) -> None:
    program = "from raes.config.cli import command\nimport os\ncommand(lambda: (print('line'), os._exit(0)))"
    environment = {**os.environ, "PYTHONUNBUFFERED": "1", "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=tmp_path, env=environment, capture_output=True, check=True
    )
    assert done.stdout == b"line\n"


@pytest.fixture(params=["pipe", "terminal after Ctrl-S", "terminal that nobody reads"])
def stuck(request: pytest.FixtureRequest) -> Iterator[tuple[int, int]]:
    """Both ends of something that takes nothing for the moment, or soon takes nothing."""
    reader, writer = os.pipe() if request.param == "pipe" else pty.openpty()
    if request.param == "terminal after Ctrl-S":
        os.write(reader, b"\x13")
    yield reader, writer
    os.close(reader)
    os.close(writer)


def test_a_training_does_not_wait_for_an_output_that_takes_nothing(stuck: tuple[int, int]) -> None:
    reader, writer = stuck
    output = LenientOutput(io.FileIO(writer, "w", closefd=False), patience=0.3)
    begun = time.monotonic()
    for _ in range(2000):
        assert output.write(b"x" * 100) == 100
    assert 0.3 <= time.monotonic() - begun < 5
    if os.isatty(writer):
        os.write(reader, b"\x11")  # Ctrl-Q
    os.set_blocking(reader, False)
    taken = b""
    end = time.monotonic() + 10
    while b"again" not in taken and time.monotonic() < end:
        output.write(b"again")
        try:
            taken = taken[-10:] + os.read(reader, 1 << 16)
        except BlockingIOError:
            time.sleep(0.01)
    assert b"again" in taken


def test_a_stream_that_a_users_code_has_closed_ends_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    stream = io.StringIO()
    stream.close()
    monkeypatch.setattr(sys, "stdout", stream)
    show("lost")
    screen(None, plain=True).line("lost too")
