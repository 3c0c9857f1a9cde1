"""A faster step for Gymnasium's MuJoCo v5 tasks, with the same bits: physics, observation, reward, end, nothing else.

Gymnasium's own environment makes the simulator and resets it. The step works on the same `mjData`, whose arrays it
holds as views, so that whatever reads the environment after an episode finds it as always.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import gymnasium
import numpy as np
from gymnasium.wrappers import OrderEnforcing, TimeLimit

from raes.problems.atari import AtariSettings
from raes.problems.environment import EnvSettings
from raes.problems.mujoco_tasks import PACKAGE, TASKS
from raes.text import described
from raes.types import Float32, Float64, UserError, check_fault

COMPARED = 50
"""Timesteps that are compared with the environment's own before a step is used."""

Step = Callable[[Float32, Float64], tuple[Float64, float, bool, bool]]
"""From an action, float32 (action,), and an array that the observation is written to, to that array, reward, terminated
and truncated."""


@dataclass(frozen=True)
class NativeStep:
    """The step of one environment.

    Attributes:
        env: the environment, wrappers included.
        reset: in the place of the environment's, from a seed to the first observation.
        step: in the place of the environment's.
        end: computes what the environment's own step would have left behind for whoever reads it after an episode.
    """

    env: gymnasium.Env[Any, Any]
    reset: Callable[[int], Float64]
    step: Step
    end: Callable[[], None]


def choose_step(env: gymnasium.Env[Any, Any], settings: EnvSettings | AtariSettings) -> tuple[NativeStep | None, str]:
    """The step of an environment that the settings describe, where it may have one; else a notice, or nothing.

    Raises:
        UserError: it has none, and `env.native=require`.
    """
    if isinstance(settings, AtariSettings) or settings.native == "never":
        return None, ""
    found = native_step(env)
    if isinstance(found, NativeStep):
        return found, ""
    if settings.native == "require":
        raise UserError(f"env.native=require: env.id={settings.id} has no native step: {found}; set env.native=auto")
    if task_name(env).partition(".")[0] in ("", "mujoco_env"):
        return None, ""  # not Gymnasium's
    return None, (
        f"env.id={settings.id}: runs with Gymnasium's own step, which takes longer than the native one: {found}; "
        "env.native=never hides this notice"
    )


def native_step(env: gymnasium.Env[Any, Any]) -> NativeStep | str:
    """The step of an environment, which is reset and stepped to compare both, or why there is none."""
    if task_name(env) not in TASKS:
        return "it is not one of Gymnasium's MuJoCo v5 tasks"
    if why := obstacle(env):
        return why
    try:
        native = build_step(env)
        return _difference(native) or native
    except BaseException as error:
        check_fault(error)
        return f"a step fails ({described(error)})"


def task_name(env: gymnasium.Env[Any, Any]) -> str:
    """The place in Gymnasium's package of the nearest class that an environment's class is or derives from."""
    for base in type(env.unwrapped).__mro__:
        if base.__module__.startswith(f"{PACKAGE}."):
            return f"{base.__module__.removeprefix(f'{PACKAGE}.')}.{base.__qualname__}"
    return ""


def obstacle(env: gymnasium.Env[Any, Any]) -> str:
    """What an environment of Gymnasium's has that the step would leave out; empty for nothing."""
    if type(env.unwrapped).__module__ != f"{PACKAGE}.{task_name(env).partition('.')[0]}":
        return f"the class {type(env.unwrapped).__name__} derives from Gymnasium's"
    if env.render_mode is not None:
        return f"it renders (render_mode={env.render_mode})"
    inner: Any = env
    while type(inner) in (TimeLimit, OrderEnforcing):
        inner = inner.env
    return "" if inner is env.unwrapped else f"it has the wrapper {type(inner).__name__}"


def build_step(env: gymnasium.Env[Any, Any]) -> NativeStep:
    """The step of an environment of one of the tasks, without a comparison.

    Raises:
        ValueError: the observation is not what the environment's space promises.
    """
    import mujoco

    inner: Any = env.unwrapped
    terms = TASKS[task_name(env)](inner)
    concatenate, parts = np.concatenate, tuple(terms.parts)
    observation = concatenate(parts)
    if observation.shape != env.observation_space.shape or observation.dtype != env.observation_space.dtype:
        raise ValueError(f"an observation of {observation.shape}, its space is {env.observation_space.shape}")
    model, data, frame_skip, control = inner.model, inner.data, inner.frame_skip, inner.data.ctrl
    mj_reset, mj_step, all_forces = mujoco.mj_resetData, mujoco.mj_step, mujoco.mj_rnePostConstraint
    seed_generator, reset_model = partial(gymnasium.Env.reset, inner), inner.reset_model
    contact_forces = all_forces if terms.contact_forces else None
    fills, outcome, begin_task = tuple(terms.fill), terms.outcome, terms.begin
    limit = env.get_wrapper_attr("_max_episode_steps") if env.has_wrapper_attr("_max_episode_steps") else np.inf
    elapsed = 0

    def reset(seed: int) -> Float64:
        nonlocal elapsed
        elapsed = 0
        seed_generator(seed=seed)
        mj_reset(model, data)
        first: Float64 = reset_model()
        begin_task()
        return first

    def step(action: Float32, observation: Float64) -> tuple[Float64, float, bool, bool]:
        nonlocal elapsed
        control[...] = action  # quicker than a slice
        mj_step(model, data, frame_skip)
        if contact_forces is not None:
            contact_forces(model, data)
        for fill in fills:
            fill()
        concatenate(parts, 0, observation)
        reward, terminated = outcome(action)
        elapsed += 1
        return observation, reward, terminated, elapsed >= limit

    return NativeStep(env, reset, step, partial(all_forces, model, data))


def _difference(native: NativeStep) -> str:
    """What differs from the environment's own steps, with the same actions; empty for nothing."""
    space: Any = native.env.action_space
    low, high = np.maximum(space.low, -10), np.minimum(space.high, 10)  # bounds may be infinite
    actions = np.random.default_rng(0).uniform(low, high, (COMPARED, *space.shape)).astype(space.dtype)
    row = np.empty(native.env.observation_space.shape or ())
    own = _trace(actions, lambda seed: native.env.reset(seed=seed)[0], lambda action: native.env.step(action)[:4])
    ours = _trace(actions, native.reset, lambda action: native.step(action, row))
    for timestep, (one, other) in enumerate(zip(own, ours, strict=True), 1):
        for name, left, right in zip(TRACED, one, other, strict=True):
            if left != right:
                return f"its {name} at timestep {timestep} is another one (Gymnasium or MuJoCo has changed)"
    return ""


TRACED = ("first observation", "observation", "reward", "terminated", "truncated")


def _trace(
    actions: Float32, reset: Callable[[int], Float64], step: Callable[[Any], Any]
) -> list[tuple[bytes, bytes, bytes, bool, bool]]:
    """The bits of every timestep and of the last reset before it; an episode that ends is followed by another."""
    rows, ended, first = [], True, b""
    for seed, action in enumerate(actions):
        if ended:
            first = reset(seed).tobytes()
        observation, reward, terminated, truncated = step(action)
        bits = observation.tobytes(), np.float64(reward).tobytes()
        rows.append((first, *bits, bool(terminated), bool(truncated)))
        ended = terminated or truncated
    return rows
