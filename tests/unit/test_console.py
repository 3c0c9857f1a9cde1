"""The console on a terminal and in a pipe, and what launch says of a pool that is too large."""

from __future__ import annotations

import io

import pytest

from raes.config import Config, from_tree
from raes.console import Console, describe, duration
from raes.launch import advise


class Terminal(io.StringIO):
    """A stream that says it is a terminal."""

    def isatty(self) -> bool:
        return True


@pytest.fixture
def config() -> Config:
    return from_tree(
        {
            "env": {"name": "CartPole", "id": "CartPole-v1"},
            "policy": {},
            "algorithm": {"name": "es", "pairs": 20},
            "optimizer": {},
            "generations": 10,
        }
    )


def record(generation: int, evaluation: float | None = None) -> dict[str, float]:
    figures = {
        "progress/generation": generation,
        "progress/timesteps": 1234567,
        "progress/seconds": 30.0 * (generation + 1),
        "returns/mean": 12.345,
        "returns/std": 1.5,
        "episode/length_mean": 20.0,
        "speed/timesteps_per_second": 4000.0,
        "pool/actors": 2,
        "faults/episodes_quarantined": 0,
    }
    if evaluation is not None:
        figures |= {"eval/return_mean": evaluation, "eval/return_ci_high": evaluation + 3}
    return figures


def test_a_pipe_gets_one_plain_line_a_generation(config: Config) -> None:
    stream = io.StringIO()
    console = Console(config, stream)
    for generation in range(3):
        console(("record", record(generation)))
    console.close()
    lines = stream.getvalue().splitlines()
    assert len(lines) == 3
    assert "\x1b" not in stream.getvalue()
    assert "\r" not in stream.getvalue()
    assert lines[2].split()[:2] == ["gen", "2"]


def test_a_terminal_gets_the_share_done_the_time_left_and_the_best(config: Config) -> None:
    stream = Terminal()
    console = Console(config, stream)
    console(("record", record(3, evaluation=50.0)))
    console(("record", record(4, evaluation=40.0)))
    status = stream.getvalue().rsplit("\n", 1)[1]
    assert "50 %" in status
    assert "2m30s left" in status  # 5 of 10 generations took 150 s
    assert "best 50.0" in status


@pytest.mark.parametrize("columns", [40, 60, 80, 200])
def test_the_status_line_never_wraps(config: Config, columns: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", str(columns))
    stream = Terminal()
    Console(config, stream)(("record", record(3, evaluation=50.0)))
    assert len(stream.getvalue().rsplit("\n", 1)[1]) < columns


def test_a_terminal_is_left_clean(config: Config) -> None:
    stream = Terminal()
    console = Console(config, stream)
    console(("record", record(3)))
    console.close()
    assert stream.getvalue().endswith("\r\x1b[2K")


def test_quiet_shows_notices_only(config: Config) -> None:
    from dataclasses import replace

    stream = io.StringIO()
    console = Console(replace(config, console="quiet"), stream)
    console(("record", record(0)))
    console(("notice", "a rollout actor was lost"))
    assert stream.getvalue() == "a rollout actor was lost\n"


def test_a_line_says_how_many_episodes_were_left_out() -> None:
    assert "left out" not in describe(record(0))
    assert "left out 2" in describe(record(0) | {"faults/episodes_quarantined": 2})


@pytest.mark.parametrize(
    ("seconds", "text"), [(0, "0m00s"), (61.4, "1m01s"), (3600, "1h00m00s"), (86399.6, "24h00m00s")]
)
def test_durations_read_well(seconds: float, text: str) -> None:
    assert duration(seconds) == text


def test_a_pool_larger_than_a_quarter_of_the_generation_is_said(config: Config) -> None:
    assert advise(config, workers=10) is None
    advice = advise(config, workers=11)
    assert advice is not None
    assert "11 workers" in advice
    assert "40 episodes" in advice
    assert "experiment=large" in advice
