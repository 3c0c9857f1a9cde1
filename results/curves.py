"""Draws the evaluations' curves of measured runs, from what `measure.py` has kept.

    python results/curves.py OUT.png NAME [NAME ...] [--title WORDS]

NAME is that of results/NAME.json; names of one task share a panel, a line is a seed.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from matplotlib import pyplot

HERE = Path(__file__).parent


def draw(axes: Any, reports: Mapping[str, Any]) -> None:
    """One task: a colour for each way of training, a line for each seed."""
    for number, (name, report) in enumerate(reports.items()):
        for place, one in enumerate(report["seeds"]):
            points = one["curve_timesteps_seconds_eval_mean"]
            label = name if not place else None
            axes.plot([point[0] for point in points], [point[2] for point in points], color=f"C{number}", label=label)
    axes.set_xlabel("timesteps")
    axes.set_ylabel("evaluation return")
    axes.legend()


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out")
    parser.add_argument("names", nargs="+")
    parser.add_argument("--title", default="")
    given = parser.parse_args()
    tasks: dict[str, dict[str, Any]] = {}
    for name in given.names:
        report = json.loads((HERE / f"{name}.json").read_text())
        tasks.setdefault(report["task"], {})[name] = report
    figure, axes = pyplot.subplots(1, len(tasks), figsize=(5.5 * len(tasks), 4), layout="constrained", squeeze=False)
    for panel, (task, reports) in zip(axes[0], tasks.items(), strict=True):
        draw(panel, reports)
        panel.set_title(task)
    figure.suptitle(given.title)
    figure.savefig(given.out, dpi=90)


if __name__ == "__main__":
    main()
