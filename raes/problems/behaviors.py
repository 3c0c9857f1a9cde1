"""Behaviour descriptors: what a finished episode did, in a few numbers; novelty is a distance between them.

Names, and `module:function` for the user's own: a function of a `FinishedEpisode` that returns an array.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import gymnasium
import numpy as np

from raes.import_object import import_object
from raes.types import Float64, UserError


@dataclass(frozen=True)
class FinishedEpisode:
    """An episode after its last timestep.

    Attributes:
        env: the environment after it, wrappers included.
        observation: float64 (obs,), the last one, flat.
        length: timesteps.
        total: the undiscounted return.
    """

    env: gymnasium.Env[Any, Any]
    observation: Float64
    length: int
    total: float


Descriptor = Callable[[FinishedEpisode], Any]

MEMORIES = 8
"""Timesteps whose memory `memory` returns."""


def last_observation(episode: FinishedEpisode) -> Float64:
    """The last observation."""
    return episode.observation


def final_x(episode: FinishedEpisode) -> Float64:
    """The body's final x (MuJoCo)."""
    return _position(episode)[:1]


def final_xy(episode: FinishedEpisode) -> Float64:
    """The body's final position in the plane (MuJoCo bodies that move in three dimensions)."""
    return _position(episode)[:2]


def velocity(episode: FinishedEpisode) -> Float64:
    """Mean speed along x (MuJoCo), from the origin, where episodes start up to a small random offset."""
    seconds = episode.length * float(episode.env.unwrapped.dt)  # type: ignore[attr-defined]
    speed: Float64 = final_x(episode) / seconds
    return speed


def velocity_x(episode: FinishedEpisode) -> Float64:
    """velocity * final x, which is large for bodies that get far and fast."""
    return velocity(episode) * final_x(episode)


def memory(episode: FinishedEpisode) -> Float64:
    """An Atari game's memory at 8 timesteps spread evenly over the episode, the first and the last among them.

    Conti et al. 2018 concatenate all timesteps; this has the same length for every episode.
    """
    rows = episode.env.unwrapped.memory  # type: ignore[attr-defined]
    chosen: Float64 = rows[np.linspace(0, len(rows) - 1, MEMORIES).round().astype(int)].ravel().astype(np.float64)
    return chosen


DESCRIPTORS: dict[str, Descriptor] = {
    "last_observation": last_observation,
    "final_x": final_x,
    "final_xy": final_xy,
    "velocity": velocity,
    "velocity_x": velocity_x,
    "memory": memory,
}
POSITIONAL = {"final_x", "final_xy", "velocity", "velocity_x"}
"""Descriptors that read MuJoCo's joint positions."""


def descriptor(name: str, env: gymnasium.Env[Any, Any]) -> Descriptor:
    """The descriptor of this name for this environment.

    Raises:
        UserError: there is none, or it does not work with this environment.
    """
    if name in POSITIONAL and not hasattr(env.unwrapped, "data"):
        raise UserError(f"behavior={name} needs a MuJoCo environment; use behavior=last_observation or module:function")
    if name == "memory" and not hasattr(env.unwrapped, "memory"):
        raise UserError("behavior=memory needs an Atari game; use behavior=last_observation or module:function")
    if name in DESCRIPTORS:
        return DESCRIPTORS[name]
    if ":" not in name:
        raise UserError(f"behavior={name}: choose one of {', '.join(DESCRIPTORS)}, or module:function of your own")
    found: Descriptor = import_object("behavior", name)
    if not callable(found):
        raise UserError(f"behavior={name} is a {type(found).__name__}; name a function of the finished episode")
    return found


def descriptor_values(describe: Descriptor, episode: FinishedEpisode) -> Float64:
    """The behaviour of an episode, float64 (b,).

    Raises:
        ValueError: it is empty or not finite.
    """
    values = np.array(describe(episode), dtype=np.float64).ravel()
    if not values.size:
        raise ValueError("the behaviour is empty")
    if not np.isfinite(values).all():
        raise ValueError(f"the behaviour is not finite: {values}")
    return values


def _position(episode: FinishedEpisode) -> Float64:
    return np.array(episode.env.unwrapped.data.qpos[:2], dtype=np.float64)  # type: ignore[attr-defined]
