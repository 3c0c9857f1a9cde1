"""The report as one self-contained HTML page: pictures inside, no script, no request."""

from __future__ import annotations

import base64
import time
from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from raes.console.tables import Column, Section, cell
from raes.report import published
from raes.report.interquartile import LEVEL, TRIMMED
from raes.storage.provenance import versions
from raes.text import one_line

PICTURES = {
    "curves_timesteps": "Learning curves against timesteps",
    "curves_episodes": "Learning curves against episodes",
    "curves_minutes": "Learning curves against wall-clock time",
    "final": "Last evaluations",
}
"""Name of the PNG -> heading."""

STYLE = """
:root { color-scheme: light; }
body { font: 15px/1.5 system-ui, sans-serif; color: #1b1b1b; background: #fff; margin: 2rem auto; max-width: 75rem;
       padding: 0 1.2rem; }
h1 { font-size: 1.6rem; margin: 0 0 .2rem; } h2 { font-size: 1.1rem; margin: 2.2rem 0 .6rem; }
p.sub { color: #555; margin: 0 0 1rem; } nav { font-size: .9rem; } nav a { margin-right: 1rem; color: #0072b2; }
img { width: 100%; height: auto; } div.wide { overflow-x: auto; }
table { border-collapse: collapse; font-size: .86rem; font-variant-numeric: tabular-nums; }
caption { text-align: left; color: #555; padding-bottom: .4rem; }
th, td { padding: .22rem .7rem .22rem 0; text-align: left; vertical-align: top; border-bottom: 1px solid #e5e5e5; }
th { font-weight: 600; border-bottom: 1.5px solid #1b1b1b; vertical-align: bottom; }
td { overflow-wrap: anywhere; }
.number { text-align: right; } td.number, td.short { white-space: nowrap; }
section.method { font-size: .9rem; color: #333; max-width: 54rem; }
@media print { body { margin: 0; max-width: none; } nav { display: none; } }
"""

SHORT = 36
"""Cells up to this many letters are not broken into lines."""

HEADINGS = {
    "final": "Final evaluation", "across_tasks": "Across tasks", "time_to_threshold": "Time to threshold",
    "published": "Published figures", "atari": "Atari",
    "speed": "Speed and faults", "runs": "Runs", "left_out": "Left out",
}  # fmt: skip


def render(title: str, sections: Sequence[Section], pictures: Mapping[str, bytes], notes: Sequence[str]) -> str:
    """The page as HTML.

    Args:
        title: its heading.
        sections: tables, in order.
        pictures: name in `PICTURES` -> PNG.
        notes: how the figures were made, a paragraph each.
    """
    links = [(f"picture-{name}", PICTURES[name]) for name in pictures]
    links += [(section.key, HEADINGS[section.key]) for section in sections] + [("how", "How it is computed")]
    packages = ", ".join(f"{name} {number}" for name, number in versions().items())
    parts = [
        "<!doctype html>",
        f'<html lang="en"><head><meta charset="utf-8"><title>{escape(one_line(title))}</title>',
        '<meta name="viewport" content="width=device-width, initial-scale=1"><link rel="icon" href="data:,">',
        f"<style>{STYLE}</style></head><body>",
        f"<h1>{escape(one_line(title))}</h1>",
        f'<p class="sub">python -m raes.report, {time.strftime("%Y-%m-%d %H:%M")}; {escape(packages)}</p>',
        "<nav>" + " ".join(f'<a href="#{anchor}">{escape(text)}</a>' for anchor, text in links) + "</nav>",
        *(_picture(name, image) for name, image in pictures.items()),
        *(_table(section) for section in sections),
        '<h2 id="how">How it is computed</h2><section class="method">',
        *(f"<p>{escape(note)}</p>" for note in notes),
        "</section></body></html>",
    ]
    return "\n".join(parts) + "\n"


def how(resamples: int) -> list[str]:
    """Paragraphs that explain how the figures of a report are computed."""
    return [
        f"IQM is the interquartile mean: the mean of the scores without the highest and the lowest {TRIMMED:.0%} "
        "(rounded down, so that of 3 seeds it is the mean), which a lucky or a broken run moves little. Low and high "
        f"are the ends of its {LEVEL:.0%} interval: percentiles of {resamples:,} bootstrap samples, in which the runs "
        "of each task are drawn with replacement, task by task (stratified). After Agarwal et al. 2021, arXiv "
        "2108.13264, whose library is rliable. With 3 seeds there are ten different samples: its interval is rough.",
        "Curves are of noiseless evaluation episodes during training (eval/return_mean). Between evaluations they are "
        "straight lines; the thick one and its band are taken at 101 points from where the last seed has its first "
        "evaluation to where the first seed has its last one, so that every point uses all seeds. A seed that met its "
        "goal ends no curve: from there on, at the star, its last value counts (the dotted line); nothing else is "
        "extrapolated. Thin lines are single seeds, to their ends. An evaluation counts at the timesteps, episodes "
        "and seconds of the generation during which it runs. Wall-clock time includes whatever else the machine had "
        "to do.",
        "A run's last evaluation is of its last policy. Held-out figures are of the policy that training chose as its "
        "best, on episodes that nothing was chosen on: python -m raes.evaluate run_dir=RUN out=RUN/evaluation.json.",
        "Time to a threshold is the first evaluation at or above it, the median over seeds; a seed that never gets "
        "there counts as infinite, and a dash means an infinite median.",
        "Runs are grouped by what differs in their configuration apart from seed, limits and where they ran. Names of "
        "groups have their numbers to three digits.",
        "Published figures are shown next to runs of the same method on the same task, of another version perhaps, "
        f"that trained for at least 1/{published.NEAR:g} of their timesteps, and as a line in a chart where a run came "
        f"to at least 1/{published.NEAR:g} of the score.",
    ]


def _picture(name: str, image: bytes) -> str:
    text, data = escape(PICTURES[name]), base64.b64encode(image).decode()
    return f'<h2 id="picture-{name}">{text}</h2>\n<img alt="{text}" src="data:image/png;base64,{data}">'


def _table(section: Section) -> str:
    heads = "".join(f"<th{_kind(column)}>{escape(column.heading)}</th>" for column in section.columns)
    rows = "\n".join(
        "<tr>" + "".join(_cell(row.get(column.key), column) for column in section.columns) + "</tr>"
        for row in section.rows
    )
    return (
        f'<h2 id="{section.key}">{escape(HEADINGS[section.key])}</h2>\n<div class="wide"><table>'
        f"<caption>{escape(section.title)}</caption>\n<thead><tr>{heads}</tr></thead>\n<tbody>\n{rows}\n</tbody></table></div>"
    )


def _cell(value: Any, column: Column) -> str:
    text = cell(value, column.form)
    kind = _kind(column) or (' class="short"' if len(text) <= SHORT else "")
    return f"<td{kind}>{escape(text)}</td>"


def _kind(column: Column) -> str:
    return ' class="number"' if column.form else ""
