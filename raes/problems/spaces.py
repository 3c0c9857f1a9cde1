"""Translates Gymnasium spaces into the plain numpy that policies use."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from gymnasium import spaces
from gymnasium.spaces.utils import flatdim, flatten

from raes.policies import ActionSpec
from raes.types import UserError

Flatten = Callable[[Any], np.ndarray[Any, Any]]


def observation_reader(space: spaces.Space[Any], env_id: str) -> tuple[tuple[int, ...], Flatten | None]:
    """An observation's shape, and how to flatten it; None where it is flat already.

    Raises:
        UserError: the space has no fixed size.
    """
    if isinstance(space, spaces.Box):
        return space.shape, None if len(space.shape) == 1 else np.ravel
    try:
        size = flatdim(space)
    except (ValueError, NotImplementedError) as error:
        raise UserError(
            f"env.id={env_id}: observations of {space} have no fixed size; wrap the environment so that they do"
        ) from error
    return (size,), lambda observation: np.asarray(flatten(space, observation))


def action_spec(space: spaces.Space[Any], env_id: str) -> ActionSpec:
    """The action space in plain numpy.

    Raises:
        UserError: no policy here can act in this space.
    """
    if isinstance(space, spaces.Box):
        low, high = space.low.astype(np.float64), space.high.astype(np.float64)
        return ActionSpec("box", space.shape, str(space.dtype), low=low, high=high)
    if isinstance(space, spaces.Discrete):
        return ActionSpec("discrete", (), "int64", counts=np.array([space.n]), start=np.array([space.start]))
    if isinstance(space, spaces.MultiDiscrete):
        start = np.asarray(getattr(space, "start", np.zeros_like(space.nvec))).ravel()
        return ActionSpec("multi_discrete", space.shape, str(space.dtype), counts=space.nvec.ravel(), start=start)
    if isinstance(space, spaces.MultiBinary):
        return ActionSpec("multi_binary", space.shape, str(space.dtype))
    raise UserError(
        f"env.id={env_id}: the action space {space} is not supported; "
        "wrap the environment to one of Box, Discrete, MultiDiscrete, MultiBinary"
    )
