"""Makes environments from their settings: Gymnasium's by id, and Atari games. Every failure becomes one message."""

from __future__ import annotations

import importlib
import logging
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import gymnasium

from raes.import_object import import_object
from raes.problems.atari import AtariEnvironment, AtariSettings
from raes.text import described, one_line
from raes.types import SETTINGS, UserError, check_fault

GIVEN_FROM_PYTHON = re.compile(r"(\w+)-[0-9a-f]{8}-v0")
"""An id of a class or function that was given from Python: its name, and a digest of its code."""


@dataclass(frozen=True)
class EnvSettings:
    """Configuration group `env`.

    Attributes:
        name: its name in runs and messages.
        id: a Gymnasium id, `Name-v0` or `module:Name-v0`.
        kwargs: keyword arguments of `gymnasium.make`.
        rebuild: make the environment anew for each episode, where earlier episodes leak into later ones.
        wrappers: `module:Wrapper`, each a class or a function that is given the environment, the innermost first.
        native: whether MuJoCo tasks take RAES's own step, which computes the same bits in less time: `auto` where there
            is one for the environment, `never`, or `require`, which refuses an environment without one.
    """

    __pydantic_config__ = SETTINGS

    name: str = "gymnasium"
    id: str = ""
    kwargs: Mapping[str, Any] = field(default_factory=dict)
    rebuild: bool = False
    wrappers: tuple[str, ...] = ()
    native: Literal["auto", "never", "require"] = "auto"

    def __post_init__(self) -> None:
        if not self.id:
            raise ValueError("id is empty; name an environment, e.g. env=HalfCheetah or env=gymnasium env.id=Hopper-v5")

    def reset_options(self, training: bool) -> dict[str, Any] | None:
        """Options of the environment's reset, besides the seed: none."""
        return None


def make_environment(settings: EnvSettings | AtariSettings) -> gymnasium.Env[Any, Any]:
    """Make the environment.

    Raises:
        UserError: it is not registered, its packages are missing or its arguments are wrong.
    """
    if isinstance(settings, AtariSettings):
        return AtariEnvironment(settings)
    try:
        _hush_mujoco(settings.id)
        env = gymnasium.make(settings.id, disable_env_checker=True, **settings.kwargs)
    except gymnasium.error.DependencyNotInstalled as error:
        raise UserError(
            f"env.id={settings.id} needs a package that is not installed: {one_line(error)} "
            "(for Box2D: pip install 'raes[box2d]')"
        ) from error
    except (gymnasium.error.Error, ModuleNotFoundError) as error:
        if given := GIVEN_FROM_PYTHON.fullmatch(settings.id):
            raise UserError(
                f"env.id={settings.id}: {given[1]} was given from Python in another process, or has "
                f"other code now; give it again: raes.fit(env={given[1]}, ...) or raes.load(run_dir, env={given[1]})"
            ) from error
        raise UserError(
            f"env.id={settings.id}: {one_line(error)}; check the spelling, or for an environment of your own "
            "use env.id=module:Name-v0 with the module on the Python path"
        ) from error
    except BaseException as error:
        check_fault(error)
        raise UserError(
            f"env.id={settings.id} with env.kwargs={dict(settings.kwargs)} cannot be made: "
            f"{described(error)}; fix env.kwargs or the environment"
        ) from error
    for name in settings.wrappers:
        env = _wrapped(env, name)
    return env


def _wrapped(env: gymnasium.Env[Any, Any], name: str) -> gymnasium.Env[Any, Any]:
    """The environment inside a wrapper of the user's.

    Raises:
        UserError: it cannot be imported or made, or makes no environment.
    """
    wrap = import_object("env.wrappers", name)
    try:
        wrapped = wrap(env)
    except BaseException as error:
        check_fault(error)
        raise UserError(f"env.wrappers={name}: cannot be made: {described(error)}") from error
    if not isinstance(wrapped, gymnasium.Env):
        raise UserError(f"env.wrappers={name}: gives a {type(wrapped).__name__}; it must give an environment")
    return wrapped


def close_environment(env: gymnasium.Env[Any, Any]) -> None:
    """Close it; where its `close` fails it is gone all the same, and what was computed counts."""
    try:
        env.close()
    except BaseException as error:
        check_fault(error)


def length_limit_known(env: gymnasium.Env[Any, Any]) -> bool:
    """Whether something is known to end every episode: a game's frames, the registry's limit, a wrapper `TimeLimit`."""
    if isinstance(env, AtariEnvironment) or (env.spec is not None and env.spec.max_episode_steps):
        return True
    return env.has_wrapper_attr("_max_episode_steps")


def from_elsewhere(env: gymnasium.Env[Any, Any], settings: EnvSettings | AtariSettings) -> bool:
    """Whether it is neither Gymnasium's nor a game, and may draw random numbers where they are not seeded."""
    if isinstance(settings, AtariSettings):
        return False
    if settings.wrappers or env.spec is None or env.spec.additional_wrappers:
        return True
    return not packaged(env.spec.entry_point)


def is_registered(env_id: str) -> bool:
    """Whether Gymnasium knows this id, or one of its name with a version."""
    try:
        gymnasium.spec(env_id)
    except gymnasium.error.Error:
        return False
    return True


def imports_code(env_id: str) -> bool:
    """Whether making an environment imports a package that is neither Gymnasium nor ale-py.

    A class or function that this process was given is no import.
    """
    if ":" in env_id:
        return True
    try:
        entry = gymnasium.spec(env_id).entry_point
    except gymnasium.error.Error:  # there is none, so that nothing can be made
        return False
    return isinstance(entry, str) and not packaged(entry)


def packaged(entry_point: Any) -> bool:
    """Whether an entry of the registry is one of Gymnasium's or ale-py's own."""
    return str(entry_point).startswith(("gymnasium.", "ale_py."))


def _hush_mujoco(env_id: str) -> None:
    """Keep MuJoCo from writing MUJOCO_LOG.TXT into the user's folder: log its warnings, without deprecations."""
    module, colon, name = env_id.rpartition(":")
    if colon:
        importlib.import_module(module)
    spec = gymnasium.envs.registration.registry.get(name)
    if spec is None or "mujoco" not in str(spec.entry_point):
        return
    import mujoco

    if getattr(mujoco, "get_mju_user_warning", lambda: True)() is None:
        mujoco.set_mju_user_warning(_mujoco_warning)


def _mujoco_warning(message: str) -> None:
    if "deprecated" not in message:
        logging.getLogger("raes.mujoco").warning(message.strip())
