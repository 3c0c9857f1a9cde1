"""The pictures of a report. Methods differ in line style and marker as well as in colour, for grey prints."""

from __future__ import annotations

import io
from collections.abc import Collection, Sequence
from contextlib import AbstractContextManager
from typing import Any

import numpy as np

from raes.report import published
from raes.report.groups import RunGroup
from raes.report.interquartile import interval, intervals, on_grid
from raes.report.report_tables import last_scores
from raes.report.run_finder import AXES
from raes.text import one_line
from raes.types import UserError

POINTS = 101
"""Points of a curve's common grid."""
COLUMNS = 3
"""Panels in a row at most."""
STYLES = (
    ("#0072b2", "-", "o"), ("#d55e00", "--", "s"), ("#009e73", "-.", "^"), ("#000000", ":", "D"), ("#cc79a7", "-", "v"),
    ("#56b4e9", "--", "P"), ("#e69f00", "-.", "X"), ("#666666", ":", "<"),
)  # fmt: skip
"""Colour (Okabe and Ito 2008, for the colour-blind), line style and marker of the methods, used in rotation."""
DPI = 110
WIDTH = 10.9
"""Inches of a figure: that of the page."""
LETTER = 0.068
"""Inches of a letter of the legend, about."""
AT_GOAL = "a seed met its goal; its last value counts from there on"
TRPO = f"TRPO's final return, on {published.TRPO_VERSION} of the task"
NAME = 40
"""Characters of a name at most."""


def new_figure(width: float, height: float) -> Any:
    """An empty matplotlib figure; width and height in inches.

    Raises:
        UserError: matplotlib is not installed.
    """
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise UserError(
            f"raes.report draws with matplotlib, which cannot be imported ({one_line(error)}); pip install 'raes[plot]'"
        ) from error
    return Figure(figsize=(width, height), dpi=DPI, layout="constrained")


def without_tex() -> AbstractContextManager[None]:
    """Names are no TeX while this context lasts, whatever the user's matplotlibrc has."""
    from matplotlib import rc_context

    return rc_context({"text.usetex": False})


def png(figure: Any) -> bytes:
    """The figure as PNG; equal figures give equal bytes."""
    file = io.BytesIO()
    figure.savefig(file, format="png", metadata={"Software": None})
    return file.getvalue()


def curves(groups: Sequence[RunGroup], axis: str, resamples: int) -> bytes | None:
    """Learning curves against one of `AXES`, one panel per task: interquartile mean, interval, a thin line per seed."""
    groups = [group for group in groups if all(axis in run.axes for run in group.runs)]
    tasks = list(dict.fromkeys(group.task for group in groups))
    if not tasks:
        return None
    figure, panels = _panels(len(tasks), _names(groups))
    styles = _styles(groups)
    for panel, task in zip(panels, tasks, strict=True):
        here = [one for one in groups if one.task == task]
        for group in here:
            _curve(panel, group, axis, styles[group.method], resamples)
        score = published.trpo_score(task)
        if score is not None and published.comparable(score, [run.returns.max() for one in here for run in one.runs]):
            panel.axhline(score, color="#888888", linewidth=0.8, linestyle=(0, (1, 3)), label=TRPO)
        panel.set_title(plain(task), fontsize=10)
        panel.set_xlabel(AXES[axis])
        bare(panel)
    for panel in panels[::COLUMNS]:
        panel.set_ylabel("evaluation return")
    _legend(figure, panels)
    return png(figure)


def _curve(panel: Any, group: RunGroup, axis: str, style: tuple[str, str, str], resamples: int) -> None:
    color, line, marker = style
    own = [(run.axes[axis], run.returns) for run in group.runs]
    carried = [run.met_goal for run in group.runs]
    for x, y in own:
        panel.plot(x, y, color=color, linewidth=0.5, alpha=0.45, linestyle=line)
    grid, scores = on_grid(own, POINTS, carried)
    label = _name(group)
    if not grid.size:
        panel.plot([], [], color=color, linestyle=line, marker=marker, label=f"{label}, no common range")
        return
    middle, low, high = intervals([scores], resamples)
    step = max(1, grid.size // 8)
    panel.plot(grid, middle, color=color, linestyle=line, linewidth=2, marker=marker, markersize=5, markevery=step,
               label=label)  # fmt: skip
    if np.isfinite(low).all():
        panel.fill_between(grid, low, high, color=color, alpha=0.14, linewidth=0)
    for (x, y), at_goal in zip(own, carried, strict=True):
        if at_goal:
            panel.plot(
                [x[-1], max(x[-1], grid[-1])], [y[-1]] * 2, color=color, linewidth=0.5, alpha=0.45, linestyle=":"
            )
            panel.plot([x[-1]], [y[-1]], "*", color=color, markersize=9, markeredgecolor="white", zorder=3)
    if any(carried):
        panel.plot([], [], "*", color="#555555", markersize=9, linestyle=":", label=AT_GOAL)


def final(groups: Sequence[RunGroup], resamples: int) -> bytes:
    """The last evaluations: a mark for the interquartile mean, a bar for its interval, a dot for each seed."""
    tasks = list(dict.fromkeys(group.task for group in groups))
    styles = _styles(groups)
    most = max(sum(group.task == task for group in groups) for task in tasks)
    figure, panels = _panels(len(tasks), height=0.9 + 0.34 * most)
    for panel, task in zip(panels, tasks, strict=True):
        here = [group for group in groups if group.task == task]
        for row, group in enumerate(here):
            color, _, marker = styles[group.method]
            scores = last_scores(group)
            found = interval([scores], resamples)
            if np.isfinite(found.low):
                panel.plot(
                    [found.low, found.high], [row, row], color=color, linewidth=7, alpha=0.3, solid_capstyle="butt"
                )
            panel.plot(scores, np.full(scores.size, row), ".", color=color, markersize=4, alpha=0.8)
            panel.plot([found.iqm], [row], marker, color=color, markersize=8, markeredgecolor="white")
        panel.set_yticks(range(len(here)), [plain(group.method) for group in here])
        panel.set_ylim(len(here) - 0.5, -0.5)
        panel.set_title(plain(task), fontsize=10)
        panel.set_xlabel("last evaluation's return")
        bare(panel)
    return png(figure)


def _name(group: RunGroup) -> str:
    """A group in the legend."""
    return plain(group.method) + (f" ({len(group.runs)} seeds)" if len(group.runs) > 1 else "")


def _names(groups: Sequence[RunGroup]) -> list[str]:
    """What the legend of these groups may hold."""
    return [*dict.fromkeys(map(_name, groups)), AT_GOAL, TRPO]


def _legend(figure: Any, panels: Sequence[Any]) -> None:
    """One legend for all panels, above them, where it covers nothing."""
    handles = {
        label: handle for panel in panels for handle, label in zip(*panel.get_legend_handles_labels(), strict=True)
    }
    columns = _legend_columns(handles)
    figure.legend(handles.values(), handles.keys(), loc="outside upper left", ncols=columns, fontsize=8, frameon=False)


def _legend_columns(names: Collection[str]) -> int:
    """As many as fit into the width."""
    longest = max(map(len, names)) + 9  # the sample of the line
    return max(1, min(len(names), int(WIDTH / (longest * LETTER))))


def plain(text: str) -> str:
    """A name as matplotlib shows it as it stands: no formula, one line, and not hidden from the legend by a `_`."""
    shown = one_line(text, NAME).replace("$", r"\$")
    return f" {shown}" if shown.startswith("_") else shown


def _panels(count: int, legend: Collection[str] = (), height: float = 3.2) -> tuple[Any, list[Any]]:
    """A figure as wide as the page with `count` panels, and room for a legend above them."""
    rows, columns = -(-count // COLUMNS), min(count, COLUMNS)
    above = 0.2 * -(-len(legend) // _legend_columns(legend)) + 0.1 if legend else 0.0
    figure = new_figure(WIDTH, height * rows + above)
    panels = [figure.add_subplot(rows, columns, number + 1) for number in range(count)]
    return figure, panels


def _styles(groups: Sequence[RunGroup]) -> dict[str, tuple[str, str, str]]:
    """A style for each method, the same in all panels."""
    methods = dict.fromkeys(group.method for group in groups)
    found = {}
    for number, method in enumerate(methods):
        again, color = divmod(number, len(STYLES))  # where a colour comes again, its line and marker are others
        found[method] = (STYLES[color][0], *STYLES[(color + again) % len(STYLES)][1:])
    return found


def bare(panel: Any) -> None:
    """A panel with a light grid and without a box."""
    panel.spines[["top", "right"]].set_visible(False)
    panel.grid(color="#e5e5e5", linewidth=0.6)
    panel.set_axisbelow(True)
    panel.tick_params(labelsize=8)
    panel.ticklabel_format(axis="x", style="sci", scilimits=(-3, 5), useMathText=True)
