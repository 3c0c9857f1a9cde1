"""The picture of `python -m benchmarks bbob`: shares of targets against evaluations, where matplotlib is installed."""

from __future__ import annotations

import importlib
from typing import Any

import numpy as np

from raes.console.tables import Row


def draw(rows: list[Row], path: str) -> None:
    """Draw the distribution functions of the evaluations at which targets were reached, a panel for each d."""
    matplotlib = importlib.import_module("matplotlib")
    matplotlib.use("Agg")
    pyplot: Any = importlib.import_module("matplotlib.pyplot")
    dims = sorted({row["dim"] for row in rows})
    figure, axes = pyplot.subplots(1, len(dims), figsize=(4.2 * len(dims), 3.6), layout="constrained", squeeze=False)
    for axis, dim in zip(axes[0], dims, strict=True):
        for row in (row for row in rows if row["dim"] == dim):
            evaluations = np.sort(row["reached"]) / dim
            shares = np.arange(1, len(evaluations) + 1) / row["triples"]
            end = row["evaluations"] / dim
            width = 2.2 if row["solver"] == "raes" else 1.1
            axis.step([*evaluations, end], [*shares, shares[-1] if len(shares) else 0.0], where="post", lw=width,
                      label=row["solver"])  # fmt: skip
        axis.set(xscale="log", xlabel="evaluations / d", title=f"d = {dim}", ylim=(0, None))
        axis.grid(alpha=0.3)
    axes[0][0].set_ylabel("share of targets reached")
    axes[0][0].legend(fontsize="small")
    figure.savefig(path, dpi=110)
    pyplot.close(figure)
