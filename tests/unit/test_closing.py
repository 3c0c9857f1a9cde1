"""The last lines of a training: each command in them can be pasted and suits what the run is."""

from __future__ import annotations

import re
import shlex
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from raes.config.compose import compose
from raes.config.schema import Config
from raes.console.closing import next_commands, program, raes_command, resume_command, show_end
from raes.training.limits import STOPPED, RunOutcome

INSTALLED = Path(sys.executable).with_name("raes")


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Config:
    """A run of this folder whose program is found by its name."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PATH", str(INSTALLED.parent))
    return replace(compose(["env=CartPole"]), run_dir=str(tmp_path / "run"))


def with_best(folder: Path) -> None:
    """As after an evaluation."""
    (folder / "checkpoints" / "gen_000003").mkdir(parents=True)
    (folder / "checkpoints" / "best").write_text("gen_000003")


def test_a_run_that_is_done_is_evaluated_and_watched(
    config: Config, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with_best(tmp_path / "run")
    show_end(config, RunOutcome(0, "time limit (0.5 min) reached"))
    assert capsys.readouterr().out.splitlines() == [
        "finished: time limit (0.5 min) reached",
        "  saved to          run",
        "  evaluate it       raes evaluate run",
        "  watch it          raes play run",
        "  see the curves    tensorboard --logdir run/tensorboard",
    ]


def test_a_run_that_was_stopped_is_resumed_too(
    config: Config, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    with_best(tmp_path / "run")
    monkeypatch.setattr(sys, "argv", ["train.py", "env=CartPole", "resume=auto", "run_dir=/elsewhere"])
    show_end(config, RunOutcome(STOPPED, "stopped after 3 generations", remark="once"))
    first, _, resume, *others = capsys.readouterr().out.splitlines()
    assert first == "stopped after 3 generations"
    assert resume == "  resume it         raes train env=CartPole run_dir=run resume=auto"
    assert [line[2:18].strip() for line in others] == ["evaluate it", "watch it", "see the curves", "bits may differ"]


def test_before_the_first_evaluation_the_newest_policy_is_named(config: Config) -> None:
    commands = dict(next_commands(config, RunOutcome(STOPPED, "stopped after 0 generations"), "run"))
    assert commands["watch it"] == "raes play run checkpoint=latest"
    assert commands["evaluate it"] == "raes evaluate run checkpoint=latest"


def test_an_untrained_best_is_not_offered_after_a_stop(config: Config, tmp_path: Path) -> None:
    for name, pointer in (("gen_000000", "best"), ("gen_000007", "latest")):
        (tmp_path / "run" / "checkpoints" / name).mkdir(parents=True)
        (tmp_path / "run" / "checkpoints" / pointer).write_text(name)
    commands = dict(next_commands(config, RunOutcome(STOPPED, "stopped after 7 generations"), "run"))
    assert commands["watch it"] == "raes play run checkpoint=latest"


def test_of_a_run_that_failed_nothing_is_shown_off(config: Config) -> None:
    labels = [label for label, _ in next_commands(config, RunOutcome(1, "no"), "run")]
    assert labels == ["resume it", "see the curves"]


def test_a_function_has_nothing_to_watch(tmp_path: Path) -> None:
    config = compose(["env=function", "env.call=math:fsum", "env.dim=3"])
    labels = [label for label, _ in next_commands(replace(config, run_dir="run"), RunOutcome(0, ""), "run")]
    assert labels == ["evaluate it", "see the curves"]


@pytest.mark.parametrize(
    ("name", "words"),
    [("a b", ["a b"]), ("seed=0", ["run_dir=seed=0"]), ("s3://bucket/run", ["s3://bucket/run"])],
)
def test_a_run_directory_of_any_name_is_one_word(config: Config, tmp_path: Path, name: str, words: list[str]) -> None:
    with_best(tmp_path / "there")
    outcome = RunOutcome(0, "", run_dir=str(tmp_path / "there"))
    commands = dict(next_commands(config, outcome, name))
    assert shlex.split(commands["watch it"]) == ["raes", "play", *words]
    assert shlex.split(resume_command(name))[-2:] == [f"run_dir={name}", "resume=auto"]


def test_the_program_is_named_so_that_this_shell_finds_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)  # a path below the working directory would be a relative one
    monkeypatch.setenv("PATH", f"{INSTALLED.parent}:/usr/bin")
    assert raes_command() == "raes "
    monkeypatch.setenv("PATH", "/usr/bin")
    assert raes_command() == f"{INSTALLED} "
    assert program("tensorboard") == str(INSTALLED.with_name("tensorboard"))
    other = tmp_path / "raes"  # of another environment
    other.write_text("#!/bin/sh\n")
    other.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{INSTALLED.parent}")
    assert raes_command() == f"{INSTALLED} "
    monkeypatch.setattr(sys, "executable", str(tmp_path / "bin" / "python"))
    assert raes_command() == "python -m raes."
    assert re.match(r"python -m raes\.train ", resume_command("run"))
