"""Environments registered only in the user's own process: their registry entries are sent to other processes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import gymnasium
from gymnasium.envs.registration import EnvSpec

from raes.problems.atari import AtariSettings
from raes.problems.environment import EnvSettings
from raes.problems.function import FunctionSettings
from raes.types import UserError

Registered = EnvSpec
"""A registry entry; Ray pickles its class or function by value where it was made in a notebook or a script."""


def enter(make: Callable[..., Any]) -> str:
    """Register a class of environments, or a function that makes one; its id in the registry.

    The same name replaces an earlier entry, since a cell of a notebook may run again.

    Raises:
        UserError: it cannot be called.
    """
    if not callable(make):
        raise UserError(f"env={make!r}: give a name, a class of environments, or a function that makes one")
    name = "".join(letter for letter in getattr(make, "__name__", "Environment") if letter.isalnum() or letter == "_")
    env_id = f"{name or 'Environment'}-v0"
    known = gymnasium.registry.get(env_id)
    if known is not None and isinstance(known.entry_point, str):
        env_id = f"raes/{env_id}"  # keep Gymnasium's own entry
    register(EnvSpec(env_id, entry_point=make))
    return env_id


def registry_entry(settings: EnvSettings | AtariSettings | FunctionSettings) -> Registered | None:
    """The entry that other processes need to make this environment; None where they find it by themselves."""
    spec = gymnasium.registry.get(settings.id)
    return None if spec is None or str(spec.entry_point).startswith(("gymnasium.", "ale_py.")) else spec


def register(spec: Registered | None) -> None:
    """Add an entry to this process's registry."""
    if spec is not None:
        gymnasium.registry[spec.id] = spec
