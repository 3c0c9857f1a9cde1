"""The console on a terminal, in a pipe and in a notebook, and what launch prints of a pool that is too large."""

from __future__ import annotations

import io
import re
from dataclasses import replace
from itertools import groupby

import pyte
import pytest

from raes.config.schema import Config, from_tree
from raes.console.console import Console, describe, done, duration
from raes.training.events import Progress
from raes.training.launch import advise, headline


class Terminal(io.StringIO):
    """A stream that claims to be a terminal; `COLUMNS` sets its width."""

    encoding = "utf-8"

    def isatty(self) -> bool:
        return True

    def screen(self, columns: int) -> pyte.Screen:
        """A terminal of this width that was fed with what was written."""
        screen = pyte.Screen(columns, 24)
        pyte.Stream(screen).feed(self.getvalue().replace("\n", "\r\n"))
        return screen

    def rows(self, columns: int) -> list[str]:
        """What it shows, without the empty rows."""
        return [row.rstrip() for row in self.screen(columns).display if row.strip()]

    def styles(self, columns: int) -> dict[str, tuple[str, bool]]:
        """Colour and weight of each piece of text that it shows; pieces stand two spaces apart, or in other styles."""
        found: dict[str, tuple[str, bool]] = {}
        screen = self.screen(columns)
        for y in range(screen.cursor.y + 1):
            cells = [screen.buffer[y][x] for x in range(columns)]
            for style, group in groupby(cells, key=lambda cell: (cell.fg, cell.bold)):
                text = "".join(cell.data for cell in group)
                found |= {piece.strip(): style for piece in re.split("  +", text) if piece.strip()}
        return found


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


def progress(generation: int, answered: int = 0, **changes: object) -> Progress:
    """After 30 seconds and 120,000 timesteps, in a generation of 40 episodes."""
    part = generation + answered / 40
    start = Progress(generation, answered, 40, int(120_000 * part), 30.0 * part, 2, 0, 50.0, 0, 0, False)
    return replace(start, **changes)  # type: ignore[arg-type]


def test_a_pipe_gets_one_plain_line_a_generation(config: Config) -> None:
    stream = io.StringIO()
    console = Console(config, stream)
    for generation in range(3):
        console(("progress", progress(generation, 20)))
        console(("record", record(generation)))
    console.close()
    lines = stream.getvalue().splitlines()
    assert len(lines) == 3
    assert "\x1b" not in stream.getvalue()
    assert "\r" not in stream.getvalue()
    assert lines[2].split()[:2] == ["gen", "2"]


def test_a_terminal_gets_all_that_moves_within_a_generation(config: Config, monkeypatch: pytest.MonkeyPatch) -> None:
    stream, console = on_terminal(config, monkeypatch, 200)
    console(("progress", progress(3)))
    console(("record", record(3)))
    console(("progress", progress(4, 10)))
    console(("progress", progress(4, 20, actors_lost=1, quarantined=3)))
    line, status = stream.rows(200)
    assert line.startswith("gen     3")
    assert [piece.strip("█░ ") for piece in status.split("  ")][1:] == [
        "45 %", "2m45s left", "gen 4 20/40", "best 50.0", "4,000 steps/s", "2 workers", "lost 1", "left out 3",
        "Ctrl-C stops and keeps everything",
    ]  # fmt: skip
    assert status.startswith("█" * 14 + "░" * 16 + " ")


@pytest.mark.parametrize(
    ("limits", "now", "share"),
    [
        ({"generations": 10}, progress(4, 20), 0.45),
        ({"generations": 10}, progress(10, 20, evaluating=True), 1.0),
        ({"generations": None, "max_timesteps": 1_000_000}, progress(4, 20), 0.54),
        ({"max_minutes": 3.0}, progress(4, 20), 0.75),
        ({"generations": None}, progress(4, 20), None),
    ],
)
def test_the_share_is_that_of_the_limit_that_comes_first(
    config: Config, limits: dict[str, object], now: Progress, share: float | None
) -> None:
    assert done(replace(config, **limits), now) == (None if share is None else pytest.approx(share))  # type: ignore[arg-type]


def test_the_time_left_of_a_resumed_run_is_taken_at_the_pace_of_today(
    config: Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    stream, console = on_terminal(config, monkeypatch, 200)
    console(("progress", progress(5, seconds=1000.0)))  # 1,000 slow seconds for the first five generations
    console(("progress", progress(6, seconds=1010.0)))
    assert "40s left" in stream.rows(200)[-1]


@pytest.mark.parametrize("columns", [20, 40, 60, 80, 200])
def test_the_status_never_wraps_and_drops_whole_pieces(
    config: Config, columns: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", str(columns))
    stream = Terminal()
    console = Console(config, stream)
    for generation in range(3):
        console(("progress", progress(generation, 20)))
        console(("record", record(generation, evaluation=50.0)))
    console(("progress", progress(4, 20)))
    rows = stream.rows(columns)
    assert len(rows) == 4
    assert all(len(row) <= columns - 3 for row in rows)
    pieces = {"45 %", "2m45s left", "gen 4 20/40", "best 50.0", "4,000 steps/s", "2 workers"}
    shown = {piece.strip("█░ ") for piece in rows[-1].split("  ")} - {""}
    assert shown <= pieces | {"Ctrl-C stops and keeps everything"}
    assert {"45 %"} <= shown
    assert (pieces <= shown) == (columns >= 80)
    assert "2m45s left" in shown
    assert ("best 50.0" in shown) == (columns >= 40)


def on_terminal(config: Config, monkeypatch: pytest.MonkeyPatch, columns: int) -> tuple[Terminal, Console]:
    """A console on a terminal of this width."""
    monkeypatch.setenv("COLUMNS", str(columns))
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.delenv("NO_COLOR", raising=False)
    stream = Terminal()
    return stream, Console(config, stream)


def test_an_evaluation_is_bold_and_a_new_best_is_green_and_named(
    config: Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    stream, console = on_terminal(config, monkeypatch, 200)
    console(("record", record(0, evaluation=50.0)))
    console(("best", 70.0))
    console(("record", record(1)))  # with runtime.pipeline=1 another record may come first
    console(("record", record(2, evaluation=70.0)))
    console(("record", record(3, evaluation=60.0)))
    plain, bold, green = ("default", False), ("default", True), ("green", True)
    styles = stream.styles(200)
    assert [row.endswith("new best") for row in stream.rows(200)] == [False, False, True, False]
    assert (styles["50.00 +-"], styles["70.00 +-"], styles["60.00 +-"]) == (bold, green, bold)
    assert styles["new best"] == green
    assert styles["gen"] == styles["return"] == styles["steps"] == plain


@pytest.mark.parametrize("columns", [50, 80])
def test_a_narrow_terminal_drops_other_pieces_before_the_mark_of_a_best(
    config: Config, columns: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    stream, console = on_terminal(config, monkeypatch, columns)
    console(("best", 50.0))
    console(("record", record(0, evaluation=50.0)))
    (row,) = stream.rows(columns)
    assert len(row) <= columns - 3
    assert ("new best" in row) == (columns == 80)


def test_no_color_is_respected_and_the_status_still_moves(config: Config, monkeypatch: pytest.MonkeyPatch) -> None:
    stream, console = on_terminal(config, monkeypatch, 200)
    monkeypatch.setenv("NO_COLOR", "1")
    console(("best", 50.0))
    console(("record", record(0, evaluation=50.0)))
    console(("notice", "warning: something"))
    console(("progress", progress(3)))
    assert not re.search(r"\x1b\[[\d;]*m", stream.getvalue())
    assert "new best" in stream.rows(200)[0]
    assert "30 %" in stream.rows(200)[-1]


def test_no_text_from_outside_sets_a_colour_or_ends_ours(config: Config, monkeypatch: pytest.MonkeyPatch) -> None:
    stream, console = on_terminal(config, monkeypatch, 200)
    console(("notice", "\x1b[31mred\x1b[2J"))
    console(("notice", "warning: a\x1b[0m b\x1b[2J c"))
    assert stream.rows(200) == [r"red\x1b[2J", r"warning: a b\x1b[2J c"]
    assert stream.styles(200) == {r"red\x1b[2J": ("default", False), r"warning: a b\x1b[2J c": ("brown", False)}


def test_the_headline_has_the_environments_id_and_where_the_run_is_saved(config: Config) -> None:
    line = headline(replace(config, run_dir="/somewhere/run"))
    assert line == "CartPole (CartPole-v1): es, 40 episodes per generation, seed 0, saved to /somewhere/run"
    endless = replace(config, run_dir="/run", generations=None)
    assert headline(endless).endswith("saved to /run, until Ctrl-C")


def test_what_a_narrower_terminal_broke_into_rows_is_taken_away(
    config: Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    stream, console = on_terminal(config, monkeypatch, 200)
    console(("progress", progress(3)))
    monkeypatch.setenv("COLUMNS", "60")
    before = len(stream.getvalue())
    assert before > 100
    console(("progress", progress(4)))
    assert stream.getvalue()[before:].startswith(f"\r\x1b[{(before - 1) // 60}A\x1b[J")


@pytest.mark.parametrize("encoding", ["ascii", "cp1252", "utf-8"])
def test_any_encoding_will_do(config: Config, encoding: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    raw = io.BytesIO()
    stream = io.TextIOWrapper(raw, encoding)
    monkeypatch.setattr(stream, "isatty", lambda: True)
    console = Console(config, stream)
    console(("notice", "run_dir=läufe/走"))
    console(("progress", progress(5)))
    written = raw.getvalue().decode(encoding)
    assert "run_dir=l" in written
    assert ("█" in written) == (encoding == "utf-8")
    assert ("#" in written) == (encoding != "utf-8")


def test_a_terminal_is_left_clean(config: Config) -> None:
    stream = Terminal()
    console = Console(config, stream)
    console(("record", record(3)))
    console(("progress", progress(4)))
    console.close()
    assert len(stream.rows(80)) == 1
    assert "\x1b[?25l" not in stream.getvalue()  # the cursor is never hidden
    assert stream.getvalue().endswith("\r\x1b[J")


@pytest.mark.parametrize("kind", ["plain", "dumb"])
def test_plain_and_a_dumb_terminal_get_no_status(config: Config, kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    stream = Terminal()
    if kind == "dumb":
        monkeypatch.setenv("TERM", "dumb")
    else:
        config = replace(config, console="plain")
    console = Console(config, stream)
    console(("progress", progress(0, 3)))
    console(("record", record(0)))
    console(("progress", progress(1, 3)))
    console.close()
    assert stream.getvalue() == describe(record(0)) + "\n"


def test_quiet_shows_notices_only(config: Config) -> None:
    stream = Terminal()
    console = Console(replace(config, console="quiet"), stream)
    console(("progress", progress(0, 3)))
    console(("record", record(0)))
    console(("notice", "a rollout actor was lost"))
    assert stream.getvalue() == "a rollout actor was lost\n"


def test_the_wait_for_a_video_moves_and_names_the_key_that_ends_it(
    config: Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    stream, console = on_terminal(config, monkeypatch, 80)
    console(("progress", progress(10)))
    console(("progress", progress(10, filming=(10, 83.2))))
    assert stream.rows(80) == ["filming generation 10  1m23s  Ctrl-C skips the video"]


def test_a_deviation_and_half_an_interval_look_different() -> None:
    line = describe(record(0, evaluation=50.0))
    assert "return     12.35 std     1.50" in line
    assert "eval     50.00 +-   3.00" in line
    alone = record(0) | {"eval/return_mean": 50.0}  # evaluation.episodes=1: no interval
    assert "eval     50.00  steps" in describe(alone)


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
