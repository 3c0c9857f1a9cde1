"""What a command is busy with, on a terminal and in a pipe."""

from __future__ import annotations

import io
import time

import pytest

from raes.console.busy import SILENT_SECONDS, Busy

from .test_console import Terminal


def test_a_pipe_is_never_silent_for_more_than_two_seconds() -> None:
    stream = io.StringIO()
    with Busy(stream) as busy:
        busy.line("begun")
        busy.show([(0, "trying what can draw Hopper")])
        time.sleep(2 * SILENT_SECONDS + 0.5)
    lines = stream.getvalue().splitlines()
    assert lines[0] == "begun"
    assert [line.split("  ")[0] for line in lines[1:]] == ["trying what can draw Hopper"] * 2
    assert "\x1b" not in stream.getvalue()


def test_a_terminal_gets_a_bar_that_is_gone_afterwards(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "100")
    stream = Terminal()
    with Busy(stream) as busy:
        busy.show([(0, "filmed 15.0 s, at most 60 s")], 0.25)
        time.sleep(0.6)
        (status,) = stream.rows(100)
        busy.line("episode 0: return 3.00")
    assert "filmed 15.0 s, at most 60 s" in status
    assert status.count("█") == 8
    assert status.count("░") == 22
    assert stream.rows(100) == ["episode 0: return 3.00"]
