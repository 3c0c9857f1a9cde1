"""The register of measured presets, and the command that measures what is missing."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from raes.config.compose import compose
from results import measure

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
    monkeypatch.setattr(measure, "HERE", tmp_path)
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
    monkeypatch.setattr(measure, "HERE", tmp_path)
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
    program = (
        f"import sys; from pathlib import Path; from results import measure; measure.HERE = Path({str(tmp_path)!r})"
    )
    command = [sys.executable, "-c", f"{program}; sys.exit(measure.main())", "all", f"folder={tmp_path / 'runs'}"]
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
