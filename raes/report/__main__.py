"""`python -m raes.report RUNS... [out=report] [thresholds={Hopper:2000}] [unfinished=true]`: curves and tables of runs.

RUNS are run directories, folders of them at any depth (a sweep's), URLs of both, globs in quotes, results/NAME.json,
or, for Atari, results/actions_GAME.json with the score of random play. The folder `out` gets report.html, one
self-contained page, its pictures as PNG, report.json with all figures, and tensorboard/, a folder for
`tensorboard --logdir` in which the runs have the names of the report.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Annotated

from annotated_types import Ge

from raes.config.cli import command, display_path, parse
from raes.console.tables import Section
from raes.report import charts, page, report_tables
from raes.report.groups import RunGroup, group
from raes.report.links import link_runs
from raes.report.run_finder import AXES, RandomPlay, StoredRun, Unreadable, find, read
from raes.report.terminal import on_terminal
from raes.text import one_line
from raes.types import SETTINGS, UserError


@dataclass(frozen=True)
class ReportArguments:
    """The keys of the command.

    Attributes:
        out: the folder for the page, the pictures and the figures.
        title: the page's heading.
        thresholds: task -> return, for the table of times to a threshold; for other tasks published scores, goals, or
            shares of the best run.
        unfinished: whether runs that have not ended by themselves count too; curves end where the shortest run does.
        resamples: bootstrap samples.
    """

    __pydantic_config__ = SETTINGS

    out: str = "report"
    title: str = "RAES report"
    thresholds: dict[str, float] = field(default_factory=dict)
    unfinished: bool = False
    resamples: Annotated[int, Ge(100)] = 2000

    def __post_init__(self) -> None:
        if self.out.endswith((".html", ".png", ".json")):
            raise ValueError(f"out={self.out}: must be a folder, which gets report.html, pictures and report.json")


def split(words: Sequence[str]) -> tuple[list[str], list[str]]:
    """Split the arguments into runs and `key=value` options; the folders of a sweep have names with `=` too."""
    keys = tuple(f"{one.name}=" for one in fields(ReportArguments))
    ours = [word for word in words if word.startswith(keys) or word in ("-h", "--help")]
    return [word for word in words if word not in ours], ours


def report(words: Sequence[str], arguments: ReportArguments) -> list[Section]:
    """Read the runs and write the report; its tables.

    Raises:
        UserError: no run can be used.
    """
    charts.new_figure(1, 1)  # fails at once where matplotlib is missing
    found = [one for path in find(words) for one in read(path)]
    used = [run for run in found if isinstance(run, StoredRun) and _counts(run, arguments)]
    others = [run for run in found if not isinstance(run, RandomPlay) and run not in used]
    random_play = {one.game: one.score for one in found if isinstance(one, RandomPlay)}
    groups, repeated = group(used)
    others += repeated
    if not used:
        reasons = "\n".join(f"  {one_line(run.path)}: {one_line(run.reason)}" for run in others)
        cure = "" if arguments.unfinished else "\nunfinished=true counts runs that have not ended too"
        raise UserError(f"none of {len(others)} runs has ended by itself:\n{reasons}{cure}")
    sections = _tables(groups, others, random_play, arguments)
    pictures = _pictures(groups, arguments.resamples)
    out = Path(arguments.out)
    out.mkdir(parents=True, exist_ok=True)
    for name, image in pictures.items():
        (out / f"{name}.png").write_bytes(image)
    contents = {section.key: {"title": section.title, "rows": list(section.rows)} for section in sections}
    (out / "report.json").write_text(json.dumps(contents, indent=1) + "\n")
    link_runs(groups, out / "tensorboard")
    text = page.render(arguments.title, sections, pictures, page.how(arguments.resamples))
    (out / "report.html").write_text(text, encoding="utf-8")
    return sections


def _counts(run: StoredRun, arguments: ReportArguments) -> bool:
    return run.status == "finished" or (run.status == "unfinished" and arguments.unfinished)


def _tables(
    groups: Sequence[RunGroup],
    others: Sequence[StoredRun | Unreadable],
    random_play: Mapping[str, float],
    arguments: ReportArguments,
) -> list[Section]:
    found = [
        report_tables.final(groups, arguments.resamples),
        report_tables.across(groups, arguments.resamples),
        report_tables.atari(groups, random_play, arguments.resamples),
        report_tables.thresholds(groups, arguments.thresholds),
        report_tables.published_figures(groups),
        report_tables.speed(groups),
        report_tables.listed(groups),
        report_tables.left_out(others),
    ]
    return [section for section in found if section is not None]


def _pictures(groups: Sequence[RunGroup], resamples: int) -> dict[str, bytes]:
    with charts.without_tex():
        found = {f"curves_{axis}": charts.curves(groups, axis, resamples) for axis in AXES}
        found["final"] = charts.final(groups, resamples)
    return {name: image for name, image in found.items() if image is not None}


def main() -> None:
    """The command."""
    words, keys = split(sys.argv[1:])
    arguments = parse(ReportArguments, keys, "raes.report", __doc__)
    if not words:
        raise UserError("name runs: python -m raes.report runs/sweep [out=report]")
    sections = report(words, arguments)
    print(f"{on_terminal(sections)}\n")
    print(f"the page: {display_path(str(Path(arguments.out).absolute() / 'report.html'))}")


if __name__ == "__main__":
    command(main)
