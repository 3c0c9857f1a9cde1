"""Learning curves of measured runs, as `raes.report` draws them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from raes.report import charts
from raes.report.groups import RunGroup, group
from raes.report.run_finder import StoredRun, find, read

RESULTS = Path(__file__).resolve().parents[2] / "results"
RESAMPLES = 1000


def files(name: str) -> list[Path]:
    """results/NAME.json, or all of the folder results/NAME."""
    folder = RESULTS / name
    return sorted(folder.glob("*.json")) if folder.is_dir() else [RESULTS / f"{name}.json"]


def curves(*names: str) -> bytes:
    """A PNG of evaluation return against timesteps of the runs: interquartile mean, interval, each seed."""
    picture = charts.curves(measured(*names), "timesteps", RESAMPLES)
    assert picture is not None
    return picture


def measured(*names: str) -> list[RunGroup]:
    """The runs of the files of each name, as `raes.report` groups them."""
    found = [one for path in find([str(file) for name in names for file in files(name)]) for one in read(path)]
    groups, _ = group([one for one in found if isinstance(one, StoredRun)])
    return groups


def runs_of(name: str) -> dict[str, dict[str, Any]]:
    """The rows of a sweep, results/NAME.json, by the names of their runs."""
    return {row["run"]: row for row in json.loads((RESULTS / f"{name}.json").read_text())["rows"]}


def trials(name: str, *chosen: str) -> bytes:
    """A PNG of the chosen runs of a sweep, results/NAME.json, one curve each."""
    rows = runs_of(name)
    picture = charts.curves([_trial(name.partition("_")[0], rows[run]) for run in chosen], "timesteps", RESAMPLES)
    assert picture is not None
    return picture


def _trial(task: str, row: dict[str, Any]) -> RunGroup:
    timesteps, returns = np.array(row["curve_timesteps_eval_mean"], dtype=np.float64).T
    run = StoredRun(row["run"], "finished", "", {"seed": row["seed"]}, {"timesteps": timesteps}, returns)
    return RunGroup(task, row["run"].replace("_", " "), [run])
