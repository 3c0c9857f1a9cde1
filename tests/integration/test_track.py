"""examples/track.py: MLflow with its own file store; Weights & Biases where it is installed, else a stand-in for it."""

from __future__ import annotations

import importlib.util
import json
import shutil
from pathlib import Path

import pytest
import yaml

from .helpers import SERIAL, Commands, records_of

EXAMPLE = Path(__file__).parents[2] / "examples" / "track.py"
STAND_IN = """
import json
from pathlib import Path

class Run:
    summary = {}
    def __init__(self, **options):
        self.kept = {"options": options, "steps": []}
    def log(self, figures, step):
        self.kept["steps"].append([step, figures])
    def finish(self):
        Path("wandb.json").write_text(json.dumps(self.kept | {"summary": self.summary}))

def init(**options):
    return Run(**options)
"""


@pytest.fixture(autouse=True)
def example(commands: Commands) -> None:
    shutil.copy(EXAMPLE, commands.cwd)


def test_mlflow_holds_the_keys_the_figures_and_the_configuration(commands: Commands) -> None:
    store = commands.cwd / "store"
    commands.run(*SERIAL, "generations=3", "evaluation.every=1", "run_dir=run", "callbacks=[track:MLflow]",
                 MLFLOW_TRACKING_URI=f"file:{store}", MLFLOW_ALLOW_FILE_STORE="true")  # fmt: skip
    (tracked,) = [path.parent for path in store.rglob("params")]
    logged = [float(line.split()[1]) for line in (tracked / "metrics/eval/return_mean").read_text().splitlines()]
    assert logged == [record["eval/return_mean"] for record in records_of(commands.cwd / "run")]
    assert (tracked / "params/algorithm.pairs").read_text() == "3"
    assert yaml.safe_load((tracked / "artifacts/config.yaml").read_text())["env"]["id"] == "CartPole-v1"
    assert (tracked / "tags/ended").read_text() == "generation limit (3) reached"
    assert (tracked / "tags/mlflow.runName").read_text() == "run"
    assert yaml.safe_load((tracked / "meta.yaml").read_text())["status"] == 3  # finished


def test_weights_and_biases(commands: Commands) -> None:
    real = importlib.util.find_spec("wandb") is not None
    if not real:
        (commands.cwd / "wandb.py").write_text(STAND_IN)
    commands.run(*SERIAL, "generations=2", "run_dir=run", "callbacks=[track:WandB]", WANDB_MODE="offline")
    if real:
        assert list((commands.cwd / "wandb").glob("offline-run-*/run-*.wandb"))
        return
    kept = json.loads((commands.cwd / "wandb.json").read_text())
    assert kept["options"]["name"] == "run"
    assert kept["options"]["config"]["algorithm"]["pairs"] == 3
    assert kept["steps"] == [[record["progress/generation"], record] for record in records_of(commands.cwd / "run")]
    assert kept["summary"] == {"ended": "generation limit (2) reached"}


def test_a_tracker_without_its_package_refuses_the_run(commands: Commands) -> None:
    (commands.cwd / "mlflow.py").write_text("raise ImportError('No module named mlflow')")
    refused = commands.run(*SERIAL, "run_dir=run", "callbacks=[track:MLflow]", code=2).err
    assert "track:MLflow fails at the start: ImportError: No module named mlflow" in refused
