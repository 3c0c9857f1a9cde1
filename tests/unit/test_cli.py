"""Commands of `key=value` words."""

from __future__ import annotations

from pathlib import Path

import pytest

from raes.config.cli import complain, parse
from raes.evaluate import EvaluateArguments
from raes.types import UserError


def parsed(*words: str) -> EvaluateArguments:
    return parse(EvaluateArguments, list(words), "raes.evaluate", "How to call it.")


def test_words_become_typed_arguments() -> None:
    arguments = parsed("run_dir=runs/a=b", "checkpoint=12", "episodes=5", "seed=0", "workers=2", "runtime=ray")
    assert arguments == EvaluateArguments("runs/a=b", 12, 5, 0, 2, "ray")
    assert parsed("run_dir=x", "workers=auto").workers == "auto"


@pytest.mark.parametrize("text", ["123", "a: b", "seed=0,algorithm.sigma=0.1", "über", "[x", "${x}", "1e3", "true"])
def test_a_text_is_taken_as_it_stands(text: str) -> None:
    arguments = parsed(f"run_dir={text}", f"ray.address={text}", f"out={text}")
    assert (arguments.run_dir, arguments.ray.address, arguments.out) == (text, text, text)


def test_quotes_null_and_the_home_folder_mean_what_they_mean_to_train() -> None:
    assert parsed("run_dir='läufe'", "out=null").run_dir == "läufe"
    assert parsed("run_dir=x", "out=null").out is None
    assert parsed("run_dir=x", "out=~/x.json").out == str(Path.home() / "x.json")


@pytest.mark.parametrize(
    ("words", "parts"),
    [
        ([], ["run_dir is missing", "run_dir=..."]),
        (["run_dir=x", "episods=5"], ["episods", "no such key", "close: episodes"]),
        (["run_dir=x", "episodes=0"], ["episodes", "at least 1", "0"]),
        (["run_dir=x", "episodes=many"], ["episodes=many", "integer"]),
        (["run_dir=x", "seed=-1"], ["seed", "-1"]),
        (["run_dir=x", "runtime=slurm"], ["runtime=slurm", "'serial'"]),
        (["run_dir"], ["run_dir", "key=value", "episodes"]),
        (["run_dir=x", "workers=[1"], ["workers"]),
    ],
    ids=lambda value: " ".join(value),
)
def test_a_wrong_word_is_said_with_key_value_and_cure(words: list[str], parts: list[str]) -> None:
    with pytest.raises(UserError) as caught:
        parsed(*words)
    for part in parts:
        assert part in str(caught.value)


def test_help_shows_the_usage_and_the_keys(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        parsed("--help")
    assert caught.value.code == 0
    shown = capsys.readouterr().out
    assert "How to call it." in shown
    assert "run_dir, checkpoint, episodes" in shown


def test_a_complaint_is_one_message_on_stderr_and_exit_code_two(capsys: pytest.CaptureFixture[str]) -> None:
    assert complain("no such run") == 2
    captured = capsys.readouterr()
    assert (captured.out, captured.err) == ("", "raes: no such run\n")
