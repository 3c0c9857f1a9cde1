"""Timesteps to 25, 50, 75 and 100 % of TRPO's score: ours beside those of Salimans et al. 2017, table 3.

    python results/milestones.py [NAME ...]

Ours are the first evaluations in results/NAME.json that reach the score, the median of the seeds; the environments have
another version than the paper's (-v5), so that scores are not quite the same thing.
"""

from __future__ import annotations

import csv
import json
import sys
from math import inf
from pathlib import Path
from statistics import median
from typing import Any

HERE = Path(__file__).parent


def reached(report: Any, score: float) -> list[float]:
    """Timesteps of each seed that got there."""
    first = []
    for one in report["seeds"]:
        there = [point[0] for point in one["curve_timesteps_seconds_eval_mean"] if point[2] >= score]
        first += there[:1]
    return first


def main() -> None:
    """The table."""
    rows = list(csv.DictReader((HERE / "es_paper_mujoco.csv").open()))
    print("| task | score (share of TRPO's) | paper's ES | ours, median | seeds that got there | figures |")
    print("| --- | --- | --- | --- | --- | --- |")
    for row in rows:
        task, score = row["environment"], float(row["TRPO_score"])
        paths = [HERE / f"{name}.json" for name in sys.argv[1:]] or sorted(HERE.glob(f"{task}*.json"))
        for path in paths:
            report = json.loads(path.read_text())
            if report.get("task") != task:
                continue
            steps = reached(report, score)
            middle = median(steps + [inf] * (len(report["seeds"]) - len(steps)))
            ours = "-" if middle == inf else f"{middle:.2e}"
            share = f"{score:,.0f} ({row['pct_of_TRPO_final_score']} %)"
            count = f"{len(steps)} of {len(report['seeds'])}"
            print(f"| {task} | {share} | {float(row['ES_timesteps']):.2e} | {ours} | {count} | {path.stem} |")


if __name__ == "__main__":
    main()
