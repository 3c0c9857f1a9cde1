"""How long Humanoid would take on a cluster, from measured curves and speeds."""

from __future__ import annotations

import json
import math
import statistics
from typing import Any

from curves import RESULTS, runs_of

HEAD = ("cores", "episodes per generation", "timesteps", "minutes of simulation", "and at least")
SIZES = ((16, 200), (128, 800), (1440, 4000))
"""Cores, and the episodes of a generation that keep them busy: some for each core, but no fewer than were measured."""
REACHED = 600.0
"""Evaluation mean at which both sizes of generations were measured."""
LONGEST = 1000
"""Timesteps of an episode at most, while all wait for the last one."""


def minutes() -> list[tuple[str, ...]]:
    """A row for each of `SIZES`.

    Timesteps grow with a power of the episodes of a generation, which the two measured sizes give; generations become
    fewer.
    """
    runs = runs_of("Humanoid_trials")
    whole = runs["published_then_small"]
    small, large = runs["small"], [runs["published"], runs["published_seed_1"]]
    cost = statistics.median(_timesteps_to(REACHED, one) for one in large) / _timesteps_to(REACHED, small)
    size = statistics.median(one["episodes"] / one["generations"] for one in large) / 200
    power = math.log(cost) / math.log(size)
    speed = whole["timesteps"] / (3600 * whole["hours"])
    together = json.loads((RESULTS / "bench_workers.json").read_text())["rows"]
    busy = min(row["times_one"] / row["workers"] for row in together)
    before = runs["published"]["timesteps"] / cost  # as small generations, which the whole run did not begin with
    rows = []
    for cores, episodes in SIZES:
        timesteps = (before + whole["timesteps"]) * (episodes / 200) ** power
        generations = whole["generations"] + before / (small["timesteps"] / small["generations"])
        generations *= (episodes / 200) ** (power - 1)
        simulated, serial = timesteps / (cores * speed * busy), generations * LONGEST / speed
        rows.append((f"{cores:,}", f"{episodes:,}", f"{timesteps:.1e}", f"{simulated / 60:.1f}", f"{serial / 60:.1f}"))
    return rows


def _timesteps_to(threshold: float, row: dict[str, Any]) -> float:
    """Timesteps of the first evaluation there, or of a straight line through the last two where none is."""
    curve = row["curve_timesteps_eval_mean"]
    for timesteps, mean in curve:
        if mean >= threshold:
            return float(timesteps)
    (before, low), (after, high) = curve[-2:]
    return float(after + (threshold - high) * (after - before) / (high - low))
