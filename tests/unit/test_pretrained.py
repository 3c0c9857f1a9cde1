"""The policies that come along: they are read like runs, evaluated as they were, and never written to."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import raes
from raes.config.cli import parse
from raes.config.compose import compose
from raes.evaluate import EvaluateArguments
from raes.play import PlayArguments
from raes.storage.pretrained import FOLDER, names, pretrained
from raes.training.prepare import resolve_config
from raes.types import UserError

BYTES = 64_000
"""Of one policy, with all that belongs to it."""


@pytest.mark.parametrize("name", names())
def test_a_policy_is_as_good_as_its_file_tells(name: str) -> None:
    """By the first five of its hundred episodes; on another processor their returns differ a little."""
    run = raes.load(f"pretrained:{name}")
    known = json.loads((FOLDER / name / "evaluation.json").read_text())
    assert run.evaluate(5)["return_mean"] == pytest.approx(known["return_mean"], rel=0.2)
    assert f"env={name}" in known["command"]
    assert run.best == pytest.approx(known["return_mean"], rel=0.1)
    assert sum(path.stat().st_size for path in (FOLDER / name).rglob("*")) < BYTES
    text = "".join(path.read_text() for path in (FOLDER / name).rglob("*") if path.suffix in (".json", ".yaml"))
    assert f'"run_dir": "runs/{name}"' in text
    assert "/home" not in text


def test_there_are_some() -> None:
    assert {"HalfCheetah", "Hopper", "Swimmer"} <= set(names())


def test_it_is_named_in_several_ways() -> None:
    for word in ("pretrained=Hopper", "pretrained:Hopper", "run_dir=pretrained:Hopper"):
        for arguments in (PlayArguments, EvaluateArguments):
            assert parse(arguments, [word], "", None).run_dir == "pretrained:Hopper"  # type: ignore[attr-defined]
    assert pretrained("runs/x") is None
    with pytest.raises(UserError, match=r"pretrained:Hoper: there is no such policy; did you mean Hopper\?"):
        raes.load("pretrained:Hoper")


def test_a_search_starts_from_it(tmp_path: Path) -> None:
    words = ["env=Hopper", "algorithm=ars", "runtime=serial", f"run_dir={tmp_path / 'run'}"]
    prepared = resolve_config(compose([*words, "start_from=pretrained:Hopper"]))
    assert prepared.theta.tobytes() == raes.load("pretrained:Hopper").theta.tobytes()
    assert prepared.config.start_from == "pretrained:Hopper"


@pytest.mark.parametrize("word", ["run_dir=pretrained:Hopper", "resume=pretrained:Hopper"])
def test_nothing_is_written_to_it(word: str) -> None:
    with pytest.raises(UserError, match="a policy that comes along is no run of yours"):
        compose(["env=Hopper", word])
