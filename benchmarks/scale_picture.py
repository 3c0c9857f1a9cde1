"""The picture of `python -m benchmarks scale`, where matplotlib is installed (the extra `plot`)."""

from __future__ import annotations

import importlib
import importlib.util
from typing import Any

from raes.bench.measurement import BenchReport

PANELS = (("of_ideal", "speed, of the ideal schedule's"), ("driver_busy", "driver busy, share of the time"))


def possible() -> bool:
    """Whether matplotlib is installed."""
    return importlib.util.find_spec("matplotlib") is not None


def draw(report: BenchReport, path: str) -> None:
    """Draw predictions at full speed as lines, and measurements that stretching does not change as points."""
    matplotlib = importlib.import_module("matplotlib")
    matplotlib.use("Agg")
    pyplot: Any = importlib.import_module("matplotlib.pyplot")
    rows = {section.key: section.rows for section in report.sections}
    figure, axes = pyplot.subplots(1, len(PANELS), figsize=(11, 4), layout="constrained")
    for axis, (key, label) in zip(axes, PANELS, strict=True):
        for relays, style in ((True, "-"), (False, "--")):
            for policy, colour in (("falling", "tab:blue"), ("walking", "tab:orange")):
                name = f"{policy}, {'with' if relays else 'without'} relays"
                for kind, form in (("predicted", {"linestyle": style, "label": name}), ("rows", {"linestyle": ""})):
                    chosen = [row for row in rows[kind] if (row["policy"], row["relays"]) == (policy, relays)]
                    marker = "" if kind == "predicted" else ("o" if relays else "x")
                    points = [row["workers"] for row in chosen], [row[key] for row in chosen]
                    if chosen:
                        axis.plot(*points, color=colour, marker=marker, **form)
        axis.set(xscale="log", xlabel="workers", ylabel=label, yscale="linear" if key == "of_ideal" else "log")
        axis.grid(alpha=0.3)
    axes[0].legend(fontsize="small")
    figure.suptitle("Predicted at full speed (lines) and measured with stretched episodes (points)", fontsize="medium")
    figure.savefig(path, dpi=120)
    pyplot.close(figure)
