"""What differs among Gymnasium's MuJoCo v5 tasks: the arrays of an observation, the terms of a reward, the end.

Each operation is Gymnasium's, on the same types and in the same order, so that every number has the same bits; a test
compares them. The action's cost is therefore a float32 in most tasks: Gymnasium multiplies a sum of float32 by a Python
number. What does not change between two steps is computed once, and the position before a step is the one after the
step before.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from raes.policies.clip import clip
from raes.policies.einsum import einsum
from raes.types import Float32, Float64

Outcome = Callable[[Float32], tuple[float, bool]]
"""Reward and end of the step that an action has just made; called once after each step."""
Number = Callable[[], float]
Fill = Callable[[], Any]
add = np.add.reduce


def _nothing() -> None:
    """What tasks without a memory do when an episode begins."""


@dataclass(frozen=True)
class Terms:
    """What a step computes from the simulator's arrays.

    Attributes:
        parts: float64, one-dimensional, what an observation is made of, in order: views of `mjData`, and buffers.
        outcome: of each step.
        fill: fill the buffers among the parts, before they are read.
        begin: called after each reset.
        contact_forces: whether `cfrc_ext` is read, which `mj_rnePostConstraint` computes.
    """

    parts: Sequence[Float64]
    outcome: Outcome
    fill: Sequence[Fill] = ()
    begin: Callable[[], None] = _nothing
    contact_forces: bool = False


# Parts.


def _state(env: Any, skipped: int) -> list[Float64]:
    """Positions without the first ones, where those are excluded, and velocities."""
    start = skipped if env._exclude_current_positions_from_observation else 0
    return [env.data.qpos[start:], env.data.qvel]


def _bounded(source: Float64, low: float, high: float) -> tuple[Float64, Fill]:
    """A buffer for an array clipped to [low, high], and what fills it."""
    target = np.empty_like(source)
    return target, partial(clip, source, np.full_like(source, low), np.full_like(source, high), target)


def _body_parts(env: Any) -> list[Float64]:
    """The observation of both humanoids."""
    data, parts = env.data, _state(env, 2)
    if env._include_cinert_in_observation is True:
        parts.append(data.cinert[1:].reshape(-1))
    if env._include_cvel_in_observation is True:
        parts.append(data.cvel[1:].reshape(-1))
    if env._include_qfrc_actuator_in_observation is True:
        parts.append(data.qfrc_actuator[6:])
    if env._include_cfrc_ext_in_observation is True:
        parts.append(data.cfrc_ext[1:].reshape(-1))
    return parts


# Terms of the reward.


def _squares(weight: float, array: Any) -> Number:
    """The weighted sum of an array's squares, now."""
    buffer, square = np.empty_like(array), np.square
    return lambda: float(weight * add(square(array, buffer), None))


def _action_cost(env: Any) -> Callable[[Float32], float]:
    """The weighted sum of an action's squares, a float32."""
    weight, buffer, square = env._ctrl_cost_weight, np.empty(env.model.nu, np.float32), np.square
    return lambda action: float(weight * add(square(action, buffer)))


def _limited(cost: Number, bounds: tuple[float, float]) -> Number:
    """A cost within bounds, as np.clip."""
    low, high = bounds
    return lambda: min(max(cost(), low), high)


def _center_of_mass_x(env: Any) -> Number:
    """x of the centre of mass."""
    masses, positions, total = env.model.body_mass, env.data.xipos, float(env.model.body_mass.sum())
    return lambda: einsum("b,bj->j", masses, positions).item(0) / total


def _locomotion(
    env: Any,
    parts: Sequence[Float64],
    *,
    position: Number | None = None,
    control: Callable[[Float32], float] | None = None,
    contact: Number | None = None,
    healthy: Callable[[], bool] | None = None,
    fill: Sequence[Fill] = (),
) -> Terms:
    """Terms of a body that is rewarded for its speed along x.

    Args:
        env: the task.
        parts: of the observation.
        position: x; None for the first joint's position.
        control: the action's cost; None for the usual one.
        contact: what contact forces cost; None where they cost nothing.
        healthy: whether the body stands, where that counts.
        fill: as in `Terms`.
    """
    position = partial(env.data.qpos.item, 0) if position is None else position
    control = _action_cost(env) if control is None else control
    forward, seconds, before = env._forward_reward_weight, float(env.dt), 0.0
    bonus = 0.0 if healthy is None else env._healthy_reward
    ends = healthy is not None and bool(env._terminate_when_unhealthy)

    def begin() -> None:
        nonlocal before
        before = position()

    def outcome(action: Float32) -> tuple[float, bool]:
        nonlocal before
        after, terminated = position(), False
        reward = forward * ((after - before) / seconds)
        before = after
        if healthy is not None:
            stands = healthy()
            reward += stands * bonus
            terminated = ends and not stands
        cost = control(action)
        return reward - (cost if contact is None else cost + contact()), terminated

    return Terms(parts, outcome, fill, begin, contact is not None)


# Tasks.


def half_cheetah(env: Any) -> Terms:
    """Speed and the action's cost."""
    return _locomotion(env, _state(env, 1))


def swimmer(env: Any) -> Terms:
    """The same, without both coordinates."""
    return _locomotion(env, _state(env, 2))


def hopper(env: Any) -> Terms:
    """Ends where it falls, or where any number of its state leaves its range."""
    qpos, qvel = env.data.qpos, env.data.qvel
    velocity, fill = _bounded(qvel, -10, 10)
    (least, most), (low, high), (left, right) = (
        env._healthy_state_range, env._healthy_z_range, env._healthy_angle_range,
    )  # fmt: skip
    rest = qpos[2:]

    def healthy() -> bool:
        _, z, angle = qpos[:3].tolist()
        if not (low < z < high and left < angle < right):
            return False
        for number in rest.tolist() + qvel.tolist():  # noqa: SIM110  (NumPy or all() take longer for a dozen numbers)
            if not least < number < most:
                return False
        return True

    return _locomotion(env, [*_state(env, 1)[:1], velocity], healthy=healthy, fill=[fill])


def walker2d(env: Any) -> Terms:
    """Ends where it falls."""
    height, angle = partial(env.data.qpos.item, 1), partial(env.data.qpos.item, 2)
    velocity, fill = _bounded(env.data.qvel, -10, 10)
    (low, high), (left, right) = env._healthy_z_range, env._healthy_angle_range
    return _locomotion(
        env,
        [*_state(env, 1)[:1], velocity],
        healthy=lambda: low < height() < high and left < angle() < right,
        fill=[fill],
    )


def ant(env: Any) -> Terms:
    """Ends where it leaves its range of heights; contact forces cost something, within their range."""
    qpos, qvel = env.data.qpos, env.data.qvel
    height, (low, high) = partial(qpos.item, 2), env._healthy_z_range
    forces, fill = _bounded(env.data.cfrc_ext, *env._contact_force_range)
    no_position, no_velocity = np.zeros_like(qpos), np.zeros_like(qvel)
    parts = _state(env, 2)
    if env._include_cfrc_ext_in_observation:
        parts.append(forces[1:].reshape(-1))

    def healthy() -> bool:  # products with zero are NaN where a number is not finite
        return low <= height() <= high and float(qpos.dot(no_position) + qvel.dot(no_velocity)) == 0

    return _locomotion(
        env,
        parts,
        position=partial(env.data.body(env._main_body).xpos.item, 0),
        contact=_squares(env._contact_cost_weight, forces),
        healthy=healthy,
        fill=[fill],
    )


def humanoid(env: Any) -> Terms:
    """The speed is that of the centre of mass; the action's cost is of the controls, float64."""
    height, (low, high) = partial(env.data.qpos.item, 2), env._healthy_z_range
    control = _squares(env._ctrl_cost_weight, env.data.ctrl)
    return _locomotion(
        env,
        _body_parts(env),
        position=_center_of_mass_x(env),
        control=lambda action: control(),
        contact=_limited(_squares(env._contact_cost_weight, env.data.cfrc_ext), env._contact_cost_range),
        healthy=lambda: low < height() < high,
    )


def humanoid_standup(env: Any) -> Terms:
    """The height counts."""
    height, timestep = partial(env.data.qpos.item, 2), float(env.model.opt.timestep)
    control = _squares(env._ctrl_cost_weight, env.data.ctrl)
    impact = _limited(_squares(env._impact_cost_weight, env.data.cfrc_ext), env._impact_cost_range)
    return Terms(
        _body_parts(env),
        lambda action: (height() / timestep - control() - impact() + 1, False),
        contact_forces=True,
    )


def inverted_pendulum(env: Any) -> Terms:
    """One for each step in which the pole stands."""
    qpos, qvel = env.data.qpos, env.data.qvel

    def outcome(action: Float32) -> tuple[float, bool]:
        state = qpos.tolist() + qvel.tolist()
        fallen = abs(state[1]) > 0.2 or not all(map(math.isfinite, state))
        return float(not fallen), fallen

    return Terms([qpos, qvel], outcome)


def inverted_double_pendulum(env: Any) -> Terms:
    """A bonus while it stands, less its tip's distance and its speeds."""
    data, bonus = env.data, env._healthy_reward
    angles, velocities, tip = data.qpos[1:], data.qvel[1:3], data.site_xpos[0]
    sines, cosines = np.empty_like(angles), np.empty_like(angles)
    velocity, fill_velocity = _bounded(data.qvel, -10, 10)
    force, fill_force = _bounded(data.qfrc_constraint[:1], -10, 10)

    def outcome(action: Float32) -> tuple[float, bool]:
        (x, _, y), (v1, v2) = tip.tolist(), velocities.tolist()
        terminated = y <= 1
        distance = 0.01 * x**2 + (y - 2) ** 2
        speed = 0.001 * v1**2 + 0.005 * v2**2
        return bonus * (not terminated) - distance - speed, terminated

    fill: list[Fill] = [partial(np.sin, angles, sines), partial(np.cos, angles, cosines), fill_velocity, fill_force]
    return Terms([data.qpos[:1], sines, cosines, velocity, force], outcome, fill)


def _between(env: Any, body: str, other: str) -> tuple[Float64, Fill]:
    """A buffer for the vector from one body to another, and what fills it."""
    vector = np.empty(3)
    return vector, partial(np.subtract, env.data.body(body).xpos, env.data.body(other).xpos, vector)


def _reaching(env: Any) -> Callable[[Float32], float]:
    """The (negative) cost of an action in Reacher and Pusher, a float32."""
    weight, buffer, square = env._reward_control_weight, np.empty(env.model.nu, np.float32), np.square
    return lambda action: float(-add(square(action, buffer)) * weight)


def reacher(env: Any) -> Terms:
    """The distance to the target."""
    data, weight, control = env.data, env._reward_dist_weight, _reaching(env)
    angles = data.qpos[:2]
    sines, cosines = np.empty_like(angles), np.empty_like(angles)
    vector, fill_vector = _between(env, "fingertip", "target")

    def outcome(action: Float32) -> tuple[float, bool]:
        return -math.sqrt(vector.dot(vector)) * weight + control(action), False

    fill: list[Fill] = [partial(np.cos, angles, cosines), partial(np.sin, angles, sines), fill_vector]
    return Terms([cosines, sines, data.qpos[2:], data.qvel[:2], vector[:2]], outcome, fill)


def pusher(env: Any) -> Terms:
    """The object's distance to the goal, and the arm's to the object."""
    data, near, far, control = env.data, env._reward_near_weight, env._reward_dist_weight, _reaching(env)
    to_arm, fill_arm = _between(env, "object", "tips_arm")
    to_goal, fill_goal = _between(env, "object", "goal")
    bodies = [data.body(name).xpos for name in ("tips_arm", "object", "goal")]

    def outcome(action: Float32) -> tuple[float, bool]:
        distance = -math.sqrt(to_goal.dot(to_goal)) * far
        return distance + control(action) + -math.sqrt(to_arm.dot(to_arm)) * near, False

    return Terms([data.qpos[:7], data.qvel[:7], *bodies], outcome, [fill_arm, fill_goal])


PACKAGE = "gymnasium.envs.mujoco"
TASKS: dict[str, Callable[[Any], Terms]] = {
    "ant_v5.AntEnv": ant,
    "half_cheetah_v5.HalfCheetahEnv": half_cheetah,
    "hopper_v5.HopperEnv": hopper,
    "humanoid_v5.HumanoidEnv": humanoid,
    "humanoidstandup_v5.HumanoidStandupEnv": humanoid_standup,
    "inverted_double_pendulum_v5.InvertedDoublePendulumEnv": inverted_double_pendulum,
    "inverted_pendulum_v5.InvertedPendulumEnv": inverted_pendulum,
    "pusher_v5.PusherEnv": pusher,
    "reacher_v5.ReacherEnv": reacher,
    "swimmer_v5.SwimmerEnv": swimmer,
    "walker2d_v5.Walker2dEnv": walker2d,
}
"""Gymnasium's classes by their place in PACKAGE."""
