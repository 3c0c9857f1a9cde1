"""Observations of random play, the reference batch of virtual batch normalisation."""

from __future__ import annotations

from typing import Any

import gymnasium
import numpy as np

from raes.types import UInt8

APART = 8
"""Timesteps between two observations of the batch, so that it shows more than the beginning of one episode."""


def random_play(env: gymnasium.Env[Any, Any], count: int, rng: np.random.Generator) -> UInt8:
    """Every eighth observation of episodes with random actions, uint8 (count, *shape).

    Args:
        env: an environment with discrete actions.
        count: observations.
        rng: draws the episodes' seeds and the actions.
    """
    batch = np.empty((count, *env.observation_space.shape), np.uint8)  # type: ignore[misc]
    ended, actions = True, int(env.action_space.n)  # type: ignore[attr-defined]
    for timestep in range(count * APART):
        if ended:
            observation, _ = env.reset(seed=int(rng.integers(1 << 31)))
        observation, _, terminated, truncated, _ = env.step(int(rng.integers(actions)))
        ended = terminated or truncated
        if (timestep + 1) % APART == 0:
            batch[timestep // APART] = observation
    return batch
