"""Recorded episode lengths, for `python -m benchmarks scale`. Pure; no Ray."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from raes.types import Float64, Int64

SECONDS_PER_STEP = 0.35e-3
"""A timestep of Humanoid with its policy, as `python -m raes.bench rollout tasks=[Humanoid]` measures it here."""
FILE = Path(__file__).parent / "lengths.json"
"""Lengths of perturbed episodes, as `results/lengths.py` recorded them."""


@dataclass(frozen=True)
class Lengths:
    """A policy's distribution of episode lengths, with a fixed length for each episode of each generation.

    Attributes:
        recorded: int64 (n,), timesteps.
    """

    recorded: Int64

    def of(self, generation: int, index: Int64) -> Int64:
        """Timesteps, int64 (k,), of the episodes `index` of a generation: drawn by a hash of both (splitmix64)."""
        bits = index.astype(np.uint64) + (np.uint64(generation + 1) << np.uint64(40))
        bits *= np.uint64(0x9E3779B97F4A7C15)
        bits = (bits ^ (bits >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        bits = (bits ^ (bits >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        bits ^= bits >> np.uint64(31)
        drawn: Int64 = self.recorded[bits % np.uint64(len(self.recorded))]
        return drawn

    def seconds(self, generation: int, episodes: int) -> Float64:
        """Seconds, float64 (episodes,), of each episode of a generation, on one worker."""
        return SECONDS_PER_STEP * self.of(generation, np.arange(episodes)).astype(np.float64)

    @property
    def mean_seconds(self) -> float:
        """Mean seconds of an episode."""
        return SECONDS_PER_STEP * float(self.recorded.mean())


def recorded() -> dict[str, Any]:
    """Name -> `lengths`, and the `description`, `command` and `date` of their recording."""
    content: dict[str, Any] = json.loads(FILE.read_text())
    return content


def lengths(policy: str) -> Lengths:
    """The recorded lengths of `falling` or `walking`."""
    return Lengths(np.array(recorded()[policy]["lengths"], dtype=np.int64))
