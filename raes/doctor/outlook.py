"""Predicts how long a generation would take, from what the trials measured. Pure."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from raes.doctor.trial import Trial
from raes.runtime.forecast import ALONE, RELAYS, Forecast, forecast
from raes.runtime.scheduling import reducers
from raes.search.noise import num_slices
from raes.types import Float64

NODE_CORES = 64
"""Cores of nodes that have not joined yet."""


@dataclass(frozen=True)
class Outlook:
    """One forecast.

    Attributes:
        lengths: which episodes it is for, in words.
        workers, nodes, episodes: of a generation.
        mean_length: timesteps of an episode.
        update: seconds that the driver takes to add up the noise.
        expected: the forecast.
    """

    lengths: str
    workers: int
    nodes: int
    episodes: int
    mean_length: float
    update: float
    expected: Forecast


def outlooks(trials: Sequence[Trial], workers: int, nodes: int, relays: bool, pipeline: bool = False) -> list[Outlook]:
    """For the episodes of the first policy, and for full ones, where their length is known.

    Args:
        trials: those that ended, of all hosts.
        workers: of the run.
        nodes: that they would be on.
        relays: whether each node would have a relay.
        pipeline: whether generations overlap.
    """
    trials = [trial for trial in trials if trial.lengths]
    if not trials:
        return []
    first, step_seconds = trials[0], float(np.mean([trial.step_seconds for trial in trials]))
    measured = np.array([length for trial in trials for length in trial.lengths], np.float64)
    cases = [("as the first policy's", measured)]
    if first.longest is not None and first.longest > measured.mean():
        cases.append((f"all of {first.longest:,} steps", np.array([first.longest], np.float64)))
    found = []
    for name, lengths in cases:
        episodes = _episodes(first, float(lengths.mean()))
        seconds: Float64 = step_seconds * np.resize(lengths, episodes)
        update = _update(first, episodes, workers)
        expected = forecast(RELAYS if relays else ALONE, seconds, workers, nodes, 0.0 if pipeline else update)
        found.append(Outlook(name, workers, nodes, episodes, float(lengths.mean()), update, expected))
    return found


def nodes_for(workers: int, cpus: Sequence[int]) -> int:
    """On how many nodes so many workers would be: those that are there, and more where they are too few.

    Args:
        workers: of the run.
        cpus: of the nodes that are there.
    """
    free, nodes = workers, 0
    for count in sorted(filter(None, cpus), reverse=True):
        if free <= 0:
            return nodes
        free, nodes = free - count, nodes + 1
    return max(1, nodes + math.ceil(max(0, free) / NODE_CORES))


def _episodes(trial: Trial, mean_length: float) -> int:
    """Episodes of a generation whose mean length is `mean_length`."""
    groups = max(trial.groups, math.ceil(trial.min_timesteps / (mean_length * trial.group)))
    if trial.max_groups is not None:
        groups = min(groups, max(trial.groups, trial.max_groups))
    return groups * trial.group


def _update(trial: Trial, episodes: int, workers: int) -> float:
    """Seconds of the weighted noise sum, shared as the executor would."""
    slices = episodes // trial.group
    helpers = reducers(trial.num_params * slices, num_slices(trial.num_params), workers - 1)
    return trial.slice_seconds * slices / (1 + helpers)
