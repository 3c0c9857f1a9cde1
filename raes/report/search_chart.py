"""The picture of a search for settings: how the evaluations rose, and which values they had."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from raes.report.charts import COLUMNS, WIDTH, bare, new_figure, plain, png, without_tex
from raes.training.tuning import FinishedTrial

MARKERS = {"complete": ("o", "#0072b2"), "pruned": ("x", "#d55e00")}
"""State of a trial -> its marker and colour."""


def draw(trials: Sequence[FinishedTrial], keys: Sequence[str]) -> bytes:
    """One panel with the trials in their order and the best so far, and one per key.

    Raises:
        UserError: matplotlib is not installed.
    """
    shown = [one for one in trials if one.value is not None]
    with without_tex():
        rows, columns = -(-(1 + len(keys)) // COLUMNS), min(COLUMNS, 1 + len(keys))
        figure = new_figure(WIDTH, 3.2 * rows + 0.3)
        panels = [figure.add_subplot(rows, columns, number + 1) for number in range(1 + len(keys))]
        _best_so_far(panels[0], shown)
        for panel, key in zip(panels, [None, *keys], strict=True):
            _points(panel, shown, key)
        for panel in panels[::columns]:
            panel.set_ylabel("last evaluation")
        handles, labels = panels[0].get_legend_handles_labels()
        if handles:
            figure.legend(handles, labels, loc="outside upper left", ncols=3, fontsize=8, frameon=False)
        return png(figure)


def _best_so_far(panel: Any, trials: Sequence[FinishedTrial]) -> None:
    complete = [one for one in trials if one.state == "complete"]
    best = np.maximum.accumulate(np.array([float(one.value or 0.0) for one in complete]))
    panel.step([one.number for one in complete], best, where="post", color="#333333", label="best so far")


def _points(panel: Any, trials: Sequence[FinishedTrial], key: str | None) -> None:
    """The trials of each state against a key's values; their numbers where there is no key."""
    at = [one.number if key is None else one.values[key] for one in trials]
    numbers = all(isinstance(x, int | float) and not isinstance(x, bool) for x in at)
    at = at if numbers else [plain(str(x)) for x in at]
    for state, (marker, color) in MARKERS.items():
        here = [number for number, one in enumerate(trials) if one.state == state]
        if here:
            panel.plot([at[one] for one in here], [trials[one].value for one in here], marker, color=color, label=state)
    panel.set_xlabel(plain(key or "trial"))
    bare(panel)
    if key is not None and numbers and at and min(at) > 0 and max(at) > 10 * min(at):
        panel.set_xscale("log")
