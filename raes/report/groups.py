"""Groups runs that differ only in their seed; the groups of a task are labelled by the keys in which they differ."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from raes.config.effect import without_effect
from raes.config.schema import FREE_TO_CHANGE
from raes.report.run_finder import StoredRun, Unreadable

NOT_A_METHOD = (*FREE_TO_CHANGE, "seed", "noise.size", "env.", "evaluation.")
"""Prefixes of keys that do not belong to a method: where and how long it runs, the task itself, and evaluation."""
ENV_METHOD = ("env.frame_skip", "env.sticky", "env.stack", "env.size", "env.full_actions", "env.life_loss", "env.noops")
"""Prefixes of the environment's keys that belong to the method."""
MOST_WORDS = 3
"""Keys that a label names; of further keys it gives the number."""
ABSENT = "(absent)"


@dataclass(frozen=True)
class RunGroup:
    """The runs of one method on one task.

    Attributes:
        task: the environment with its version.
        method: the algorithm, and the keys in which it differs from others of the same algorithm on this task.
        runs: one per seed, in order of the seed.
    """

    task: str
    method: str
    runs: Sequence[StoredRun]


def group(runs: Sequence[StoredRun]) -> tuple[list[RunGroup], list[Unreadable]]:
    """All groups, by task and method in the order of their first runs, and the runs that repeat another."""
    groups: list[RunGroup] = []
    for task in dict.fromkeys(run.task for run in runs):
        here = [run for run in runs if run.task == task]
        for algorithm in dict.fromkeys(run.config["algorithm.name"] for run in here):
            alike = [run for run in here if run.config["algorithm.name"] == algorithm]
            groups += _split(task, str(algorithm), alike)
    parts = [_without_repeats(one) for one in groups]
    return [part for part, _ in parts], [run for _, repeated in parts for run in repeated]


def _without_repeats(group: RunGroup) -> tuple[RunGroup, list[Unreadable]]:
    """Keep the longest run of each seed: the same seed and settings give the same bits, and would count twice."""
    kept: dict[int, StoredRun] = {}
    for run in group.runs:
        if run.seed not in kept or run.totals["timesteps"] > kept[run.seed].totals["timesteps"]:
            kept[run.seed] = run
    repeated = [
        Unreadable(run.path, f"the same seed and settings as {kept[run.seed].path}, which is no shorter", "repeated")
        for run in group.runs
        if run is not kept[run.seed]
    ]
    return RunGroup(group.task, group.method, list(kept.values())), repeated


def _split(task: str, algorithm: str, runs: Sequence[StoredRun]) -> list[RunGroup]:
    """The groups of one algorithm on one task."""
    settings = [_settings(run.config) for run in runs]
    keys = sorted(set().union(*settings))
    differing = [key for key in keys if len({repr(one.get(key, ABSENT)) for one in settings}) > 1]
    parts: dict[tuple[str, ...], list[StoredRun]] = {}
    for run, one in zip(runs, settings, strict=True):
        words = tuple(f"{_short(key)}={one[key]}" if key in one else "" for key in differing)
        parts.setdefault(words, []).append(run)
    labels = [_label(algorithm, [rounded(word) for word in words if word]) for words in parts]
    twice = {label for label in labels if labels.count(label) > 1}  # they differ only in what the labels leave out
    labels = [f"{label} #{number}" if label in twice else label for number, label in enumerate(labels, 1)]
    ordered = [sorted(part, key=lambda run: run.seed) for part in parts.values()]
    return [RunGroup(task, label, part) for label, part in zip(labels, ordered, strict=True)]


def _settings(config: Mapping[str, Any]) -> dict[str, Any]:
    """The keys and values that define a method: those that act."""
    rules = without_effect(config)
    return {
        key: value
        for key, value in config.items()
        if key.startswith(ENV_METHOD) or not (key.startswith(NOT_A_METHOD) or any(rule.covers(key) for rule in rules))
    }


def _short(key: str) -> str:
    node, _, name = key.rpartition(".")
    return node if name == "name" else name


def rounded(word: str) -> str:
    """`key=value` with a number of three digits at most that count."""
    key, _, value = word.partition("=")
    try:
        return f"{key}={float(value):.3g}" if "." in value or "e" in value else word
    except ValueError:
        return word


def _label(algorithm: str, words: Sequence[str]) -> str:
    more = [f"and {len(words) - MOST_WORDS} more"] if len(words) > MOST_WORDS else []
    return " ".join([algorithm, *words[:MOST_WORDS], *more])
