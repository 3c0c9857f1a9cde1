"""The register of measured presets, and the command that measures what is missing."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

import raes
from raes.config.compose import compose
from results import keep, measure

from .helpers import wait_for

ENTRIES = measure.measurements()
TINY = """
CartPole:
  bar: 1
  keys: env=CartPole runtime=serial max_timesteps=3000 evaluation.episodes=2
  seeds: [{seeds}]
  chosen_on: [0]
"""


@pytest.mark.parametrize("name", ENTRIES)
def test_no_preset_is_measured_on_a_seed_that_chose_it_and_all_have_three(name: str) -> None:
    entry = ENTRIES[name]
    assert not set(entry.seeds) & set(entry.chosen_on)
    assert len(set(entry.seeds)) >= 3
    config = compose(entry.keys.split())
    assert config.env.name == entry.task
    assert config.max_timesteps is not None, "a run that misses its goal ends too"


def test_only_what_is_missing_is_measured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(measure, "FOLDER", tmp_path)
    monkeypatch.setattr(measure, "REGISTER", tmp_path / "measurements.yaml")
    monkeypatch.setattr(measure, "EPISODES", 2)
    monkeypatch.setattr(sys, "argv", ["measure.py", "all", f"folder={tmp_path / 'runs'}"])
    register = tmp_path / "measurements.yaml"
    register.write_text(TINY.format(seeds="3"))
    assert measure.main() == 0
    (first,) = json.loads((tmp_path / "CartPole.json").read_text())["seeds"]
    register.write_text(TINY.format(seeds="3, 4"))
    assert measure.main() == 0
    seeds = json.loads((tmp_path / "CartPole.json").read_text())["seeds"]
    assert seeds[0] == first
    assert [one["seed"] for one in seeds] == [3, 4]
    assert all(one["evaluation"]["episodes"] == 2 and one["cpu_minutes"] > 0 for one in seeds)
    spent = tmp_path / "runs" / "CartPole" / "seed4" / "cpu_seconds.json"
    assert json.loads(spent.read_text())["cpu"] > 0.1


def test_a_run_that_fails_is_named_and_the_others_are_measured(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(measure, "FOLDER", tmp_path)
    monkeypatch.setattr(measure, "REGISTER", tmp_path / "measurements.yaml")
    monkeypatch.setattr(measure, "EPISODES", 2)
    broken = TINY.format(seeds="3").replace("CartPole:", "Broken:").replace("max_timesteps=3000", "max_timestep=3000")
    (tmp_path / "measurements.yaml").write_text(broken + TINY.format(seeds="3"))
    monkeypatch.setattr(sys, "argv", ["measure.py", "all"])
    assert measure.main() == 1
    assert (tmp_path / "CartPole.json").exists()
    assert not (tmp_path / "Broken.json").exists()
    assert "Broken seed 3: " in capfd.readouterr().err


@pytest.mark.parametrize("words", [[], ["Hoper"], ["Hopper", "job=2"]])
def test_wrong_words_are_named(
    words: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["measure.py", *words])
    assert measure.main() == 2
    assert ", ".join(ENTRIES) in capsys.readouterr().err


def test_a_measurement_that_is_interrupted_goes_on(tmp_path: Path) -> None:
    (tmp_path / "measurements.yaml").write_text(TINY.format(seeds="3").replace("3000", "400000"))
    program = f"""import pathlib, sys
from results import measure
measure.FOLDER = pathlib.Path({str(tmp_path)!r})
measure.REGISTER = measure.FOLDER / "measurements.yaml"
sys.exit(measure.main())"""
    command = [sys.executable, "-c", program, "all", f"folder={tmp_path / 'runs'}"]
    process = subprocess.Popen(command, start_new_session=True)
    checkpoints = tmp_path / "runs" / "CartPole" / "seed3" / "checkpoints" / "latest"
    wait_for(checkpoints.exists, 120, lambda: f"no checkpoint in {checkpoints.parent}")
    os.killpg(process.pid, signal.SIGINT)
    assert process.wait(60) == 130
    assert not (tmp_path / "CartPole.json").exists()
    before = checkpoints.read_text()
    assert subprocess.run(command, check=False).returncode == 0
    (seed,) = json.loads((tmp_path / "CartPole.json").read_text())["seeds"]
    assert seed["timesteps"] >= 400_000
    assert checkpoints.read_text() > before


def test_a_run_that_is_kept_goes_on_elsewhere_to_the_same_bits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keep, "FOLDER", tmp_path / "kept")
    words = ["-m", "raes.train", "env=CartPole", "runtime=serial", "evaluation.every=2", "evaluation.episodes=2"]
    whole, part = tmp_path / "whole", tmp_path / "part"
    subprocess.run([sys.executable, *words, "generations=6", f"run_dir={whole}"], check=True)
    subprocess.run([sys.executable, *words, "generations=3", f"run_dir={part}"], check=True)
    kept = keep.keep(part, "CartPole/seed0")
    assert str(tmp_path) not in "".join(
        path.read_text() for path in kept.rglob("*") if path.suffix in (".json", ".yaml")
    )
    elsewhere = tmp_path / "elsewhere"
    shutil.copytree(kept, elsewhere)
    subprocess.run([sys.executable, *words, "generations=6", f"run_dir={elsewhere}", "resume=auto"], check=True)
    assert (raes.load(elsewhere, "latest").theta == raes.load(whole, "latest").theta).all()
