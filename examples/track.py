"""Callbacks that log a run to MLflow or to Weights & Biases.

    cd examples
    python -m raes.train env=HalfCheetah max_minutes=5 'callbacks=[track:MLflow]'

or from Python: `raes.fit(env="HalfCheetah", max_minutes=5, callbacks=[track.WandB(project="cheetahs")])`. The
packages' own variables set where they write: MLFLOW_TRACKING_URI, WANDB_PROJECT, WANDB_MODE=offline and others.

It shows what a callback is: an object whose `on_start`, `on_generation` and `on_end` RAES calls. The training prints
its usual lines, and the tracker has a run with all keys and, per generation, all metrics.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import raes


class MLflow(raes.Callback):
    """Logs one MLflow run per run: keys as parameters, metrics as metrics, the configuration as an artifact."""

    def on_start(self, config: Mapping[str, Any]) -> None:
        import mlflow

        self._mlflow = mlflow
        self._config_file = Path(config["run_dir"]) / "config.yaml"
        mlflow.set_experiment(config["env"]["name"])
        mlflow.start_run(run_name=self._config_file.parent.name)
        mlflow.log_params(dict(flat(config)))

    def on_generation(self, record: Mapping[str, float]) -> None:
        self._mlflow.log_metrics(dict(record), step=int(record["progress/generation"]))

    def on_end(self, reason: str) -> None:
        self._mlflow.set_tag("ended", reason)
        if self._config_file.exists():
            self._mlflow.log_artifact(str(self._config_file))
        self._mlflow.end_run()


class WandB(raes.Callback):
    """Logs one run of Weights & Biases per run."""

    def __init__(self, **options: Any) -> None:
        """Options of `wandb.init`, such as project."""
        self._options = options

    def on_start(self, config: Mapping[str, Any]) -> None:
        import wandb

        name = Path(config["run_dir"]).name
        self._run = wandb.init(**{"project": "raes", "name": name, "config": dict(config), **self._options})

    def on_generation(self, record: Mapping[str, float]) -> None:
        self._run.log(dict(record), step=int(record["progress/generation"]))

    def on_end(self, reason: str) -> None:
        self._run.summary["ended"] = reason
        self._run.finish()


def flat(config: Mapping[str, Any], prefix: str = "") -> Any:
    """Dotted keys and their values."""
    for key, value in config.items():
        if isinstance(value, Mapping) and value:
            yield from flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value
