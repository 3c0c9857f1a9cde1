"""Environments registered only in the user's own process: their registry entries are sent to other processes."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import gymnasium
from gymnasium.envs.registration import EnvSpec

from raes.models.settings import ModuleSettings
from raes.problems.atari import AtariSettings
from raes.problems.code_identity import code_identity
from raes.problems.environment import EnvSettings, packaged
from raes.problems.function import FunctionSettings
from raes.types import UserError

Registered = EnvSpec
"""A registry entry; Ray pickles its class or function by value where it was made in a notebook or a script."""


def enter(make: Callable[..., Any]) -> str:
    """Register a class of environments, or a function that makes one; its id in the registry.

    The id ends in a digest of the code: the same class entered again, from a notebook's cell that runs twice or in
    another process, has the same id, and another one of the same name has another.

    Raises:
        UserError: it cannot be called.
    """
    if not callable(make):
        raise UserError(f"env={make!r}: give a name, a class of environments, or a function that makes one")
    env_id = f"{plain_name(make)}-{code_identity(make)}-v0"
    register(EnvSpec(env_id, entry_point=make))
    return env_id


def bind(env_id: str, make: Callable[..., Any]) -> bool:
    """Let an id that `enter` gave in another process mean this class or function; whether its code is the same.

    Raises:
        UserError: it cannot be called.
    """
    same = enter(make) == env_id
    register(EnvSpec(env_id, entry_point=make))
    return same


def plain_name(make: Callable[..., Any]) -> str:
    """A name for messages and folders."""
    while isinstance(make, functools.partial):
        make = make.func
    name = getattr(make, "__name__", type(make).__name__)
    return "".join(letter for letter in name if letter.isascii() and letter.isalnum()) or "Environment"


def registry_entry(settings: EnvSettings | AtariSettings | FunctionSettings | ModuleSettings) -> Registered | None:
    """The entry that other processes need to make this environment; None where they find it by themselves."""
    spec = gymnasium.registry.get(settings.id)
    return None if spec is None or packaged(spec.entry_point) else spec


def register(spec: Registered | None) -> None:
    """Add an entry to this process's registry."""
    if spec is not None:
        gymnasium.registry[spec.id] = spec
