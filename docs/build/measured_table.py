"""The table of measured presets, from results/measurements.yaml and what `results/measure.py` wrote."""

from __future__ import annotations

import json
import math
import statistics
import sys
from dataclasses import replace
from typing import Any

import numpy as np
from curves import RESULTS, measured

from raes.report import published
from raes.report.interquartile import first_reaching, interval
from raes.report.report_tables import held_out_scores

sys.path.insert(0, str(RESULTS.parent))
from results.measure import FOLDER, Measurement, measurements

RESAMPLES = 2000
HEAD = ("task", "algorithm", "return: IQM [95 % interval]", "bar", "seeds at the bar", "timesteps to the bar",
        "core-minutes", "paper's ES", "TRPO", "other published returns", "date")  # fmt: skip
Cells = tuple[str, ...]


def measured_rows() -> list[Cells]:
    """A row for each entry of the register that has results."""
    rows = []
    for name, entry in measurements().items():
        path = FOLDER / f"{name}.json"
        report = json.loads(path.read_text()) if path.exists() else {}
        seeds = {one["seed"]: one for one in report.get("seeds", []) if one["seed"] in entry.seeds}
        if report.get("command") == entry.command and seeds:
            rows.append(_row(name, entry, seeds, report["date"]))
    return rows


def _row(name: str, entry: Measurement, seeds: dict[int, Any], date: str) -> Cells:
    (group,) = measured(f"{FOLDER.name}/{name}")
    group = replace(group, runs=[run for run in group.runs if run.seed in seeds])
    scores = held_out_scores(group)
    assert scores is not None
    found = interval([scores], RESAMPLES)
    spread = f" [{number(found.low)}, {number(found.high)}]" if len(scores) > 1 and found.low != found.high else ""
    first = [first_reaching(run.axes["timesteps"], run.returns, entry.bar) for run in group.runs]
    shares = [at / run.totals["timesteps"] for at, run in zip(first, group.runs, strict=True)]
    minutes = [share * seeds[run.seed]["cpu_minutes"] for share, run in zip(shares, group.runs, strict=True)]
    paper = {one.score: one for one in published.milestones(group.task)}.get(entry.bar)
    algorithm = str(group.runs[0].config["algorithm.name"])
    others = [f"{one.method} on {one.environment}: {one.value}" for one in published.figures(group.task)
              if one.what.startswith("return") and one.algorithm == algorithm]  # fmt: skip
    return (
        entry.task, algorithm, f"**{number(found.iqm)}**{spread}", number(entry.bar),
        f"{sum(scores >= entry.bar)} of {len(scores)}", _median(first, ".1e"), _median(minutes, ",.1f"),
        f"{paper.es:.1e}" if paper else "", f"{paper.trpo:.1e}" if paper else "", "; ".join(others), date,
    )  # fmt: skip


def _median(values: list[float], form: str) -> str:
    """The median, with infinity for what was never reached."""
    middle = statistics.median(values)
    return format(middle, form) if math.isfinite(middle) else ""


def number(value: float) -> str:
    """A return with as many digits as matter."""
    return f"{value:,.0f}" if abs(value) >= 100 else f"{np.round(value, 1) + 0.0:,.1f}"
