"""What a process leaves where it crashes or exits, and that it leaves nothing where it is killed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from raes.runtime.last_words import LastWords, leave_last_words

PROGRAM = """
import ctypes, multiprocessing, os, signal, sys, time
from raes.runtime.last_words import leave_last_words

def end(how):
    if how == "fork":
        child = multiprocessing.get_context("fork").Process(target=os.abort)
        child.start(), child.join()
        os.kill(os.getpid(), signal.SIGKILL)
    if how.startswith("SIG"):
        os.kill(os.getpid(), getattr(signal, how))
    if how == "os._exit":
        os._exit(7)
    if how == "exit":
        ctypes.CDLL(None).exit(3)
    if how == "wait":
        time.sleep(100)

leave_last_words(sys.argv[1])
end(sys.argv[2])
"""


def start(words: LastWords, how: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, "-c", PROGRAM, words.path, how], stderr=subprocess.DEVNULL)


@pytest.mark.parametrize(
    ("how", "left"),
    [
        ("SIGKILL", ""),
        ("fork", ""),
        ("SIGSEGV", "it crashed: Segmentation fault, at <string>:"),
        ("SIGABRT", "it crashed: Aborted, at <string>:"),
        ("SIGFPE", "it crashed: Floating point exception, at <string>:"),
        ("os._exit", "it called os._exit(7)"),
        ("exit", "it exited"),
        ("return", "it exited"),
    ],
)
def test_how_a_process_ended(tmp_path: Path, how: str, left: str) -> None:
    words = LastWords(str(tmp_path))
    start(words, how).wait(60)
    found = words.read()
    assert found is not None
    assert found.startswith(left) if left else not found
    words.remove()
    assert not list(tmp_path.iterdir())


def test_a_process_on_another_node_leaves_nothing_and_nothing_is_concluded(tmp_path: Path) -> None:
    words = LastWords(str(tmp_path))
    assert words.read() is None
    assert not words.is_stopped()
    leave_last_words(str(tmp_path / "elsewhere"))


def test_a_process_that_was_stopped(tmp_path: Path) -> None:
    words = LastWords(str(tmp_path))
    process = start(words, "wait")
    try:
        end = time.monotonic() + 60
        while words.read() is None:
            assert time.monotonic() < end
            time.sleep(0.05)
        assert not words.is_stopped()
        os.kill(process.pid, signal.SIGSTOP)
        while not words.is_stopped():
            assert time.monotonic() < end
            time.sleep(0.05)
    finally:
        process.kill()
        process.wait()
