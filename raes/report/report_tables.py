"""The tables of a report, from its groups of runs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import inf, isfinite, isnan
from statistics import median

import numpy as np

from raes.console.tables import Column, Row, Section
from raes.report import published
from raes.report.groups import RunGroup
from raes.report.interquartile import Interval, first_reaching, interval
from raes.report.run_finder import AXES, FAULTS, StoredRun, Unreadable
from raes.types import Float64

FALLBACK_SHARES = (0.5, 0.9)
"""Thresholds of tasks without a known one: shares of the way from the worst first evaluation to the best last one."""


def last_scores(group: RunGroup) -> Float64:
    """The last evaluation of each run, float64 (runs,)."""
    return np.array([run.returns[-1] for run in group.runs])


def held_out_scores(group: RunGroup) -> Float64 | None:
    """Mean returns from `raes.evaluate` of each run's policy, float64 (runs,); None unless every run has one."""
    found = [run.held_out[0] for run in group.runs if run.held_out is not None]
    return np.array(found) if len(found) == len(group.runs) else None


def final(groups: Sequence[RunGroup], resamples: int) -> Section:
    """The last evaluation, and the held-out one of the best policy, per method and task."""
    rows = []
    for group in groups:
        held_out = held_out_scores(group)
        row = _names(group) | _interval("", interval([last_scores(group)], resamples))
        row |= {"seeds": len(group.runs), "timesteps": median(run.totals["timesteps"] for run in group.runs)}
        if held_out is not None:
            row |= _interval("held_out_", interval([held_out], resamples))
        rows.append(row)
    columns = [*_NAMES, Column("seeds", "seeds", "d"), Column("timesteps", "timesteps", ",.0f"), *_columns("", "")]
    if any("held_out_iqm" in row for row in rows):
        columns += _columns("held_out_", "held-out ")
    return Section(
        "final", "Return of the last evaluation: interquartile mean over seeds, 95 % interval", columns, rows
    )


def across(groups: Sequence[RunGroup], resamples: int) -> Section | None:
    """Scores as shares of TRPO's published ones, over all tasks that every method of the report has run."""
    methods = list(dict.fromkeys(group.method for group in groups))
    known = [group for group in groups if published.trpo_score(group.task) is not None]
    tasks = [
        task
        for task in dict.fromkeys(group.task for group in known)
        if {group.method for group in known if group.task == task} == set(methods)
    ]
    if len(tasks) < 2:
        return None
    rows = []
    for method in methods:
        mine = [group for group in known if group.method == method and group.task in tasks]
        scores = [last_scores(group) / _trpo(group.task) for group in mine]
        row = {"method": method, "tasks": len(mine), "runs": sum(map(len, scores))}
        rows.append(row | _interval("", interval(scores, resamples)))
    columns = [Column("method", "method"), Column("tasks", "tasks", "d"), Column("runs", "runs", "d"),
               *_columns("", "", ".3f")]  # fmt: skip
    title = (
        f"Across {', '.join(tasks)}: last evaluation as a share of TRPO's final score ({published.TRPO_SOURCE}, "
        f"{published.TRPO_VERSION} environments); interquartile mean over all runs, intervals stratified by task"
    )
    return Section("across_tasks", title, columns, rows)


def _trpo(task: str) -> float:
    score = published.trpo_score(task)
    assert score is not None
    return score


def thresholds(groups: Sequence[RunGroup], given: Mapping[str, float]) -> Section:
    """Time until an evaluation reaches a score: the median over seeds, infinite for those that never reach it."""
    rows = []
    for group in groups:
        for goal in _goals(group, [one for one in groups if one.task == group.task], given):
            row: Row = _names(group) | {"threshold": goal.score, "kind": goal.kind, "seeds": len(group.runs)}
            for axis in AXES:
                if all(axis in run.axes for run in group.runs):
                    reached = [first_reaching(run.axes[axis], run.returns, goal.score) for run in group.runs]
                    row |= {axis: _finite(median(reached)), "reached": sum(map(isfinite, reached))}
            if goal.paper is not None:
                row |= {"paper_es": goal.paper.es, "trpo": goal.paper.trpo}
                row["ratio"] = None if row["timesteps"] is None else row["timesteps"] / goal.paper.es
            rows.append(row)
    columns = [*_NAMES, Column("threshold", "return", ",.1f"), Column("kind", "which is"),
               Column("reached", "reached by", "d"), Column("seeds", "of", "d"),
               Column("timesteps", "timesteps", ",.0f"), Column("episodes", "episodes", ",.0f"),
               Column("minutes", "minutes", ",.2f")]  # fmt: skip
    title = "Time to a threshold: median over seeds of the first evaluation there"
    if any("trpo" in row for row in rows):
        columns += [Column("paper_es", "paper's ES", ",.0f"), Column("trpo", "TRPO", ",.0f"),
                    Column("ratio", "ours / paper's ES", ".2f")]  # fmt: skip
        title += f"; for comparison timesteps of {published.TRPO_SOURCE}, on other environment versions"
    return Section("time_to_threshold", title, columns, rows)


@dataclass(frozen=True)
class Goal:
    """A threshold, where it comes from, and the paper's timesteps to it on its own version of the task."""

    score: float
    kind: str
    paper: published.Milestone | None = None


def _goals(group: RunGroup, alike: Sequence[RunGroup], given: Mapping[str, float]) -> Iterator[Goal]:
    """The thresholds of a task: given ones, else published ones, else goals, else shares of the best run here."""
    name = published.base(group.task)
    if (own := given.get(group.task, given.get(name))) is not None:
        yield Goal(own, "given")
    elif milestones := published.milestones(group.task):
        for one in milestones:
            yield Goal(one.score, f"{one.share} % of TRPO's on {name}-{published.TRPO_VERSION}", one)
    elif goals := {run.config.get("goal.return_mean") for each in alike for run in each.runs} - {None}:
        for goal in sorted(float(str(one)) for one in goals):
            yield Goal(goal, "goal.return_mean")
    else:
        low = min(float(run.returns[0]) for each in alike for run in each.runs)
        high = max(float(run.returns[-1]) for each in alike for run in each.runs)
        for share in FALLBACK_SHARES:
            yield Goal(low + share * (high - low), f"{share:.0%} of the way to the best run here")


def published_figures(groups: Sequence[RunGroup]) -> Section | None:
    """Other published results of the same methods on the same tasks, where runs here have trained nearly as long."""
    rows = []
    for task in dict.fromkeys(group.task for group in groups):
        longest: dict[str, float] = {}  # timesteps of each algorithm
        for run in (run for group in groups if group.task == task for run in group.runs):
            name = str(run.config["algorithm.name"])
            longest[name] = max(longest.get(name, 0.0), run.totals["timesteps"])
        rows += [
            {"task": task, **vars(one)}
            for one in published.figures(task)
            if one.algorithm in longest and longest[one.algorithm] >= one.timesteps / published.NEAR
        ]
    if not rows:
        return None
    columns = [Column("task", "task here"), Column("environment", "published of"), Column("method", "method"),
               Column("what", "quantity"), Column("value", "value"), Column("source", "source")]  # fmt: skip
    return Section(
        "published", "Published figures of these tasks, each with the environment version that it is of", columns, rows
    )


def atari(groups: Sequence[RunGroup], random_play: Mapping[str, float], resamples: int) -> Section | None:
    """All 51 games of the paper next to our runs.

    Args:
        groups: of all runs; those of other tasks are skipped.
        random_play: game -> measured score; there, ours is also given as a share of the way from random play to the
            paper's ES.
        resamples: bootstrap samples.
    """
    ours = [group for group in groups if group.runs[0].game is not None]
    if not ours:
        return None
    rows = []
    for game in dict.fromkeys([*published.atari(), *(str(group.runs[0].game) for group in ours)]):
        paper: Row = {"game": game, "random": random_play.get(game), **published.atari().get(game, {})}
        mine = [group for group in ours if group.runs[0].game == game]
        rows += [paper | _atari_row(group, paper, resamples) for group in mine] or [paper]
    columns = [Column("game", "game"), Column("method", "method"), Column("seeds", "seeds", "d"),
               Column("frames", "frames", ",.0f"), *_columns("", ""), Column("kind", "of"),
               Column("random", "random play", ",.1f"),
               *(Column(key, heading, ",.1f") for key, heading in published.ATARI_COLUMNS.items()),
               Column("share", "share of ES's", ".3f")]  # fmt: skip
    title = (
        "Atari against Salimans et al. 2017 (arXiv 1703.03864), table 2: ES after 1 hour on 720 cores, 1 billion "
        "frames of OpenAI Gym's games of 2017; ours are ale-py's. Share: (ours - random) / (paper's ES - random), with "
        "random play as measured here; no published human or random scores are at hand, so none are normalised by them"
    )
    return Section("atari", title, columns, rows)


def _atari_row(group: RunGroup, paper: Row, resamples: int) -> Row:
    """The row of one method on one game: held-out episodes where all seeds have them, else last evaluations."""
    scores = held_out_scores(group)
    found = interval([last_scores(group) if scores is None else scores], resamples)
    row = {
        "method": group.method,
        "seeds": len(group.runs),
        "frames": median(run.totals["frames"] for run in group.runs),
    }
    row |= {"kind": "last evaluation" if scores is None else "held-out episodes"} | _interval("", found)
    random, es = paper["random"], paper.get("ES_FF_1_hour")
    if random is not None and es is not None and es != random:
        row["share"] = (found.iqm - random) / (es - random)
    return row


def speed(groups: Sequence[RunGroup]) -> Section:
    """Speed and faults, per method and task."""
    rows = []
    for group in groups:
        row: Row = _names(group)
        for key in ("minutes", "timesteps_per_second", "worker_busy", "workers"):
            values = [run.totals[key] for run in group.runs if key in run.totals]
            row[key] = median(values) if values else None
        for name in FAULTS:
            counts = [run.totals[name] for run in group.runs if name in run.totals]
            row[name] = int(sum(counts)) if counts else None
        rows.append(row)
    columns = [*_NAMES, Column("minutes", "minutes", ",.2f"), Column("timesteps_per_second", "timesteps/s", ",.0f"),
               Column("workers", "workers", ",.0f"), Column("worker_busy", "workers busy", ".2f")]  # fmt: skip
    seen = [name for name in FAULTS if any(row[name] for row in rows)]
    columns += [Column(name, name.replace("_", " "), "d") for name in seen]
    faults = "and faults (sums); of the kinds that have no column there were none" if seen else "; there were no faults"
    return Section("speed", f"Speed (medians over seeds){' ' * bool(seen)}{faults}", columns, rows)


def listed(groups: Sequence[RunGroup]) -> Section:
    """Every run that the tables use."""
    rows = [
        _names(group) | {"seed": run.seed, "status": run.status, "evaluations": run.returns.size,
                         "last": float(run.returns[-1]), "timesteps": run.totals["timesteps"],
                         "minutes": run.totals["minutes"], "path": run.path}
        for group in groups for run in group.runs
    ]  # fmt: skip
    title, names = _short_paths([row["path"] for row in rows])
    rows = [row | {"shown": name} for row, name in zip(rows, names, strict=True)]
    columns = [*_NAMES, Column("seed", "seed", "d"), Column("status", "status"),
               Column("evaluations", "evaluations", "d"), Column("last", "last evaluation", ",.1f"),
               Column("timesteps", "timesteps", ",.0f"), Column("minutes", "minutes", ",.2f"),
               Column("shown", "run")]  # fmt: skip
    return Section("runs", title, columns, rows)


def _short_paths(paths: Sequence[str]) -> tuple[str, list[str]]:
    """A title and the paths without what is alike in all of them: the folder, and parts of the names of a sweep's."""
    folders = {path.rpartition("/")[0] for path in paths}
    if len(folders) > 1 or len(paths) == 1:
        return "Runs", list(paths)
    parts = [path.rpartition("/")[2].split("__") for path in paths]
    common = [part for part in parts[0] if all(part in others for others in parts)]
    names = ["__".join(part for part in one if part not in common) or "__".join(one) for one in parts]
    alike = f"; the names of all have {', '.join(common)} too" if common else ""
    return f"Runs in {folders.pop() or '.'}{alike}", names


def left_out(runs: Sequence[StoredRun | Unreadable]) -> Section | None:
    """The runs that were found and are not used."""
    if not runs:
        return None
    rows = [{"path": run.path, "status": run.status, "reason": run.reason} for run in runs]
    columns = [Column("path", "run"), Column("status", "status"), Column("reason", "why")]
    return Section("left_out", "Left out of all figures", columns, rows)


_NAMES = (Column("task", "task"), Column("method", "method"))


def _names(group: RunGroup) -> Row:
    return {"task": group.task, "method": group.method}


def _interval(prefix: str, found: Interval) -> Row:
    low, high = (None if isnan(end) else end for end in (found.low, found.high))
    return {f"{prefix}iqm": found.iqm, f"{prefix}low": low, f"{prefix}high": high}


def _columns(prefix: str, words: str, form: str = ",.1f") -> list[Column]:
    headings = (f"{words}IQM", "low", "high")
    return [
        Column(f"{prefix}{key}", heading, form) for key, heading in zip(("iqm", "low", "high"), headings, strict=True)
    ]


def _finite(value: float) -> float | None:
    return None if value == inf else value
