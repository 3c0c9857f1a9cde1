"""Translates Gymnasium spaces into the plain numpy that policies use, and checks what environments hand over."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from gymnasium import spaces
from gymnasium.spaces.utils import flatdim, flatten

from raes.policies import ActionSpec
from raes.problems.problem import EpisodeError
from raes.types import UserError

ReadObservation = Callable[[Any], np.ndarray[Any, Any]]
"""An observation as a flat array; raises EpisodeError where it has not the form of its space."""

LONGEST_TEXT = 200
"""Letters of an observation in a message."""


def observation_reader(space: spaces.Space[Any], env_id: str) -> tuple[tuple[int, ...], ReadObservation]:
    """An observation's shape as the policy sees it, and what reads one.

    Raises:
        UserError: the space has no fixed size.
    """
    if isinstance(space, spaces.Box):
        return space.shape, _box_reader(space)
    try:
        size = flatdim(space)
    except (ValueError, NotImplementedError) as error:
        raise UserError(
            f"env.id={env_id}: observations of {space} have no fixed size; wrap the environment so that they do"
        ) from error

    def read(observation: Any) -> np.ndarray[Any, Any]:
        if not fits(space, observation):
            raise misfit(space, observation)
        return np.asarray(flatten(space, observation))

    return (size,), read


def _box_reader(space: spaces.Box) -> ReadObservation:
    """Compares the shape, since numpy would fill a policy's inputs with a single number in silence."""
    shape, is_flat = space.shape, len(space.shape) == 1

    def read(observation: Any) -> np.ndarray[Any, Any]:
        if getattr(observation, "shape", None) != shape:
            raise misfit(space, observation)
        return observation if is_flat else np.ravel(observation)

    return read


def fits(space: spaces.Space[Any], observation: Any) -> bool:
    """Whether an observation has the form of its space: names, shapes and choices; a Box's bounds are not asked for."""
    if isinstance(space, spaces.Box):
        return bool(np.shape(observation) == space.shape)
    if isinstance(space, spaces.Dict):
        return observation.keys() == space.keys() and all(fits(space[key], observation[key]) for key in space)
    if isinstance(space, spaces.Tuple):
        return len(observation) == len(space) and all(map(fits, space, observation))
    return bool(space.contains(observation))


def misfit(space: spaces.Space[Any], observation: Any) -> EpisodeError:
    """What is wrong with an observation."""
    shape = getattr(observation, "shape", None)
    if isinstance(space, spaces.Box):
        if shape is None:
            return EpisodeError(f"an observation is a {type(observation).__name__}, not an array of {space.shape}")
        return EpisodeError(f"an observation has shape {shape}, and its space has shape {space.shape}")
    text = " ".join(repr(observation).split())[:LONGEST_TEXT]
    return EpisodeError(f"the observation {text} does not lie in its space {str(space)[:LONGEST_TEXT]}")


def action_spec(space: spaces.Space[Any], env_id: str) -> ActionSpec:
    """The action space in plain numpy.

    Raises:
        UserError: no policy here can act in this space.
    """
    if isinstance(space, spaces.Box):
        low, high = space.low.astype(np.float64), space.high.astype(np.float64)
        return ActionSpec("box", space.shape, str(space.dtype), low=low, high=high)
    if isinstance(space, spaces.Discrete):
        return ActionSpec("discrete", (), str(space.dtype), counts=np.array([space.n]), start=np.array([space.start]))
    if isinstance(space, spaces.MultiDiscrete):
        start = np.asarray(getattr(space, "start", np.zeros_like(space.nvec))).ravel()
        return ActionSpec("multi_discrete", space.shape, str(space.dtype), counts=space.nvec.ravel(), start=start)
    if isinstance(space, spaces.MultiBinary):
        return ActionSpec("multi_binary", space.shape, str(space.dtype))
    raise UserError(
        f"env.id={env_id}: the action space {space} is not supported; "
        "wrap the environment to one of Box, Discrete, MultiDiscrete, MultiBinary"
    )
