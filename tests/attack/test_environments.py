"""Environments that do what no environment should: the exit code, a part of what the run prints, and no message that
is long, drives the terminal or looks like another one."""

from __future__ import annotations

import re
import shutil
from dataclasses import dataclass
from pathlib import Path

import pytest
from integration.helpers import Command, Commands, records_of

pytestmark = pytest.mark.attack

WORLDS = Path(__file__).with_name("hostile_worlds.py")
WORDS = ("env=gymnasium", "env.id=hostile_worlds:Hostile-v0", "policy=linear", "algorithm.pairs=3", "noise.size=50000",
         "evaluation.episodes=2", "generations=3", "run_dir=run", "ray.address=local")  # fmt: skip
LONGEST = 3_000
"""Characters of a line at most, the command to replay an episode included."""


@dataclass(frozen=True)
class Row:
    """What an environment does, and what must come of it.

    Attributes:
        bad: see `hostile_worlds.Hostile`, as `at` and `early`.
        code: the exit code.
        text: a pattern in what is printed.
        keys: further words.
    """

    bad: str
    code: int
    text: str
    at: str = "step"
    early: bool = False
    keys: tuple[str, ...] = ()

    def __str__(self) -> str:
        return f"{self.bad}-{self.at}{'-early' * self.early}"


ROWS = [
    # Exceptions, whatever their text.
    Row("raise", 1, "failed: no episode .* can be used; the first reason: RuntimeError: the joint came off"),
    Row("raise", 1, "RuntimeError: the joint came off", at="reset"),
    Row("raise", 2, r"cannot be made: RuntimeError: the joint came off; fix env.kwargs", at="constructor", early=True),
    Row("raise", 2, "cannot be reset: RuntimeError: the joint came off", at="reset", early=True),
    Row("raise", 0, r"generation limit \(3\) reached", at="close", early=True),
    Row("escape", 1, r"RuntimeError: \\x1b\]0;owned\\x07\\x1b\[2Jred\\x9b1m \\u202eevil"),
    Row("escape", 2, r"\\x1b\]0;owned", at="constructor", early=True),
    Row("forge", 1, "RuntimeError: bad 2026-01-01 00:00:00 generation 9: all is well raes: done x y; replay"),
    Row("huge", 1, r"ab ab \.\.\. \([\d,]+ characters in all\); replay: python"),
    Row("huge", 2, r"ab ab.*\([\d,]+ characters in all\); fix", at="reset", early=True),
    Row("surrogate", 1, r"RuntimeError: caf\\udce9 \\ud800"),
    Row("surrogate", 2, r"caf\\udce9 \\ud800; fix env.kwargs", at="constructor", early=True),
    Row("nul", 1, r"before\\x00after"),
    Row("unprintable", 1, "UnprintableError: its text cannot be had: RuntimeError"),
    Row("unprintable", 2, "UnprintableError: its text cannot be had", at="constructor", early=True),
    Row("exit", 1, "SystemExit: 0"),
    Row("exit_text", 1, r"SystemExit: bye\\x1b\[2J"),
    Row("generator_exit", 1, "GeneratorExit"),
    Row("panic", 1, "PanicError: a panic of another language"),
    Row("panic", 2, "cannot be made: PanicError", at="constructor", early=True),
    Row("stop_iteration", 1, "RuntimeError: generator raised StopIteration"),
    Row("memory", 1, "MemoryError"),
    Row("recursion", 1, "RecursionError"),
    # Values that are none.
    Row("observation:nan", 1, "an observation is not finite"),
    Row("observation:inf", 1, "an observation is not finite"),
    Row("observation:nan", 1, "an observation is not finite|the observation after timestep 0", at="reset"),
    Row("observation:shape", 1, r"an observation has shape \(3,\), and its space has shape \(2,\)"),
    Row("observation:text", 1, r"an observation is a str, not an array of \(2,\)"),
    Row("observation:none", 1, "an observation is a NoneType"),
    Row("observation:object", 1, "TypeError"),
    Row("observation:ragged", 1, "an observation is a list"),
    Row("reward:nan", 1, "the return is nan"),
    Row("reward:inf", 1, "the return is inf"),
    Row("reward:text", 1, "ValueError: could not convert string to float"),
    Row("reward:none", 1, "TypeError"),
    Row("reward:array", 1, "TypeError"),
    Row("reward:huge", 1, "OverflowError"),
    # What changes the process.
    Row("print", 0, r"generation limit \(3\) reached"),
    Row("close_stdout", 0, ""),
    Row("close_descriptors", 0, r"generation limit \(3\) reached"),
    Row("child", 0, r"generation limit \(3\) reached"),
    Row("folder", 0, r"generation limit \(3\) reached"),
    Row("no_folder", 0, r"generation limit \(3\) reached"),
    Row("signals", 0, r"generation limit \(3\) reached"),
    Row("numpy", 0, r"generation limit \(3\) reached"),
    Row("warn", 0, r"generation limit \(3\) reached"),
    Row("variables", 0, r"generation limit \(3\) reached"),
    Row("no_print", 0, r"generation limit \(3\) reached"),
]
RAY_ROWS = [
    Row("huge", 1, r"ab ab \.\.\. \([\d,]+ characters in all\); replay: python"),
    Row("surrogate", 1, r"RuntimeError: caf\\udce9 \\ud800"),
    Row("endless", 0, "it missed its deadline of 2 s", keys=("runtime.deadline=2",)),
]


def start(row: Row, commands: Commands, *words: str) -> Command:
    shutil.copy(WORLDS, commands.cwd)
    kwargs = f'env.kwargs={{bad:"{row.bad}",at:{row.at},early:{str(row.early).lower()}}}'
    return commands.start(*WORDS, kwargs, *row.keys, *words)


def check(row: Row, command: Command, run: Path) -> None:
    out, err = command.out, command.err
    assert re.search(row.text, out + err), str(command)[:5000]
    if row.bad not in ("print", "warn"):
        log = (run / "log.txt").read_text() if (run / "log.txt").exists() else ""
        for line in (out + err + log).splitlines():
            assert line.isprintable(), repr(line[:500])
            assert len(line) <= LONGEST, f"{len(line)} characters: {line[:200]}"
            assert not line.startswith(("raes: done", "2026-01-01")), line
        assert "Traceback" not in err, str(command)
    if row.code == 0:
        assert len(records_of(run)) == 4


@pytest.mark.parametrize("row", ROWS, ids=str)
def test_no_environment_ends_a_run_without_a_word_or_with_too_many(row: Row, commands: Commands) -> None:
    command = start(row, commands, "runtime=serial")
    command.process.wait(60)
    assert command.code == row.code, str(command)[:5000]
    check(row, command, commands.cwd / "run")


@pytest.mark.parametrize("row", RAY_ROWS, ids=str)
def test_on_ray_neither(row: Row, commands: Commands) -> None:
    command = start(row, commands, "workers=1")
    command.wait(row.code)
    check(row, command, commands.cwd / "run")
