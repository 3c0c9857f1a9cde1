"""A run directory that goes while the run writes to it: the run ends within a generation, with one message, code 1, and
a checkpoint from which the command that it prints goes on, to the bits of a run that nothing disturbed."""

from __future__ import annotations

import re
import shlex
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from integration.helpers import WORLDS, Command, Commands, latest_generation, theta_of

pytestmark = pytest.mark.attack

LINE = (
    "env=gymnasium", f"env.id={WORLDS}:Line-v0", "policy=linear", "algorithm.pairs=3", "noise.size=50000",
    "evaluation.every=0", "evaluation.episodes=2", "checkpoint.every=1", "ray.address=local",
)  # fmt: skip
SLOW = {"STEP_SECONDS": "0.005"}
FURTHER = 3
"""Generations after the one that was saved, in the comparison."""


def remove(run: Path) -> None:
    shutil.rmtree(run, ignore_errors=True)
    shutil.rmtree(run, ignore_errors=True)  # what was written meanwhile


def move(run: Path) -> None:
    run.rename(run.with_name("moved"))


def replace(run: Path) -> None:
    run.rename(run.with_name("moved"))
    shutil.copytree(run.with_name("moved"), run)
    (run / ".lock").write_text("another")


def remove_with_parent(run: Path) -> None:
    remove(run.parent)


def stopped(command: Command) -> str:
    """The run directory that the command names at its end, with code 1 and one message."""
    command.wait(1, timeout=60)
    assert "Traceback" not in command.err, str(command)
    assert len(re.findall("^failed: ", command.out, re.MULTILINE)) == 1, str(command)
    assert "evaluate it" not in command.out
    (line,) = re.findall(r"resume it +(.+)", command.out)
    return next(word.removeprefix("run_dir=") for word in shlex.split(line) if word.startswith("run_dir="))


@pytest.mark.parametrize(
    ("runtime", "happens", "text", "where"),
    [
        ("runtime=serial", remove, "was removed while the run wrote to it", r"runs/run-saved-\S+"),
        ("runtime=serial", remove_with_parent, "was removed while the run wrote to it", r"runs/run-saved-\S+"),
        ("runtime=serial", move, r"was moved to \S+/moved while the run wrote to it", "runs/moved"),
        ("runtime=serial", replace, r"was moved to \S+/moved while the run wrote to it", "runs/moved"),
        ("workers=1", remove, "was removed while the run wrote to it", r"runs/run-saved-\S+"),
        ("workers=1", move, r"was moved to \S+/moved while the run wrote to it", "runs/moved"),
    ],
)
def test_a_run_directory_that_goes_ends_the_run_and_what_it_has_is_saved(
    runtime: str, happens: Callable[[Path], None], text: str, where: str, commands: Commands
) -> None:
    run = commands.cwd / "runs" / "run"
    command = commands.start(*LINE, runtime, "run_dir=runs/run", "generations=2000", **SLOW)
    command.wait_for(lambda: latest_generation(run) >= 2)
    happens(run)
    saved = stopped(command)
    assert re.search(text, command.out), str(command)
    assert re.fullmatch(where, saved), str(command)
    last = latest_generation(commands.cwd / saved)
    assert last >= 2
    assert happens is replace or not run.exists()
    generations = f"generations={last + FURTHER}"
    commands.run(*LINE, "runtime=serial", f"run_dir={saved}", generations, "resume=auto")
    commands.run(*LINE, "runtime=serial", "run_dir=whole", generations)
    assert np.array_equal(theta_of(commands.cwd / saved), theta_of(commands.cwd / "whole"))


@pytest.mark.parametrize("what", ["removed", "replaced"])
def test_metrics_that_go_end_the_run(what: str, commands: Commands) -> None:
    run = commands.cwd / "run"
    command = commands.start(*LINE, "runtime=serial", "run_dir=run", "generations=2000", **SLOW)
    command.wait_for(lambda: latest_generation(run) >= 2)
    (run / "metrics.jsonl").unlink()
    if what == "replaced":
        (run / "metrics.jsonl").write_text("")
    assert stopped(command) == "run"
    assert "metrics.jsonl" in command.out
    assert latest_generation(run) >= 2
    generations = f"generations={latest_generation(run) + FURTHER}"
    commands.run(*LINE, "runtime=serial", "run_dir=run", generations, "resume=auto")
    commands.run(*LINE, "runtime=serial", "run_dir=whole", generations)
    assert np.array_equal(theta_of(run), theta_of(commands.cwd / "whole"))


def test_checkpoints_that_go_are_written_anew(commands: Commands) -> None:
    run = commands.cwd / "run"
    command = commands.start(*LINE, "runtime=serial", "run_dir=run", "generations=12", **SLOW)
    command.wait_for(lambda: latest_generation(run) >= 2)
    (run / "checkpoints").rename(run / "gone")
    command.wait(0)
    assert latest_generation(run) == 12
    commands.run("run_dir=run", "episodes=2", "runtime=serial", module="raes.evaluate")
