"""RAES's own step of the MuJoCo tasks: Gymnasium's numbers, bit for bit, or Gymnasium's own step."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest
from gymnasium.envs.mujoco.half_cheetah_v5 import HalfCheetahEnv
from gymnasium.wrappers import TimeLimit
from hypothesis import given, settings
from hypothesis import strategies as st

from raes.policies import PolicySettings
from raes.problems.camera import with_pictures
from raes.problems.environment import EnvSettings, make_environment
from raes.problems.episode import EpisodeProblem, EpisodeSpec
from raes.problems.mujoco import NativeStep, build_step, choose_step, native_step
from raes.types import UserError

from .test_problems import bits, theta_of
from .worlds import episode

TASKS = (
    "Ant", "HalfCheetah", "Hopper", "Humanoid", "HumanoidStandup", "InvertedDoublePendulum", "InvertedPendulum",
    "Pusher", "Reacher", "Swimmer", "Walker2d",
)  # fmt: skip
ASSETS = Path(gymnasium.__file__).parent / "envs" / "mujoco" / "assets"

WEIGHTS = st.sampled_from([0, 1, 0.1, 0.37, 1e-3, 12.5])
FLAGS = st.booleans()
SMALL = st.sampled_from([0.0, 0.01, 0.2])


def ranges(low: tuple[float, ...], high: tuple[float, ...]) -> st.SearchStrategy[list[float]]:
    return st.tuples(st.sampled_from(low), st.sampled_from(high)).map(list)


COMMON = {"frame_skip": st.integers(1, 6), "max_episode_steps": st.integers(1, 40)}
RUNNER = {
    "forward_reward_weight": WEIGHTS,
    "ctrl_cost_weight": WEIGHTS,
    "reset_noise_scale": SMALL,
    "exclude_current_positions_from_observation": FLAGS,
}
FALLING = {"healthy_reward": WEIGHTS, "terminate_when_unhealthy": FLAGS}
BODY = {f"include_{name}_in_observation": FLAGS for name in ("cinert", "cvel", "qfrc_actuator", "cfrc_ext")} | {
    "reset_noise_scale": SMALL,
    "exclude_current_positions_from_observation": FLAGS,
    "ctrl_cost_weight": WEIGHTS,
}
COSTS = ranges((-np.inf, 0.0, 1e-4), (1e-3, 10.0))
ARGUMENTS: dict[str, dict[str, st.SearchStrategy[Any]]] = {
    "Ant": RUNNER | FALLING | {
        "contact_cost_weight": WEIGHTS,
        "healthy_z_range": ranges((0.2, 0.5), (0.6, 1.0)),
        "contact_force_range": ranges((-1.0, -0.1), (0.2, 1.0)),
        "main_body": st.sampled_from([1, 3, "torso", "front_left_leg"]),
        "include_cfrc_ext_in_observation": FLAGS,
    },
    "HalfCheetah": RUNNER,
    "Hopper": RUNNER | FALLING | {
        "healthy_state_range": ranges((-100.0, -2.0), (2.0, 100.0)),
        "healthy_z_range": ranges((0.7, 1.2), (1.26, float("inf"))),
        "healthy_angle_range": ranges((-0.2, -0.02), (0.02, 0.2)),
    },
    "Humanoid": BODY | FALLING | {
        "forward_reward_weight": WEIGHTS,
        "contact_cost_weight": WEIGHTS,
        "contact_cost_range": COSTS,
        "healthy_z_range": ranges((1.0, 1.3), (1.4, 2.0)),
    },
    "HumanoidStandup": BODY | {"uph_cost_weight": WEIGHTS, "impact_cost_weight": WEIGHTS, "impact_cost_range": COSTS},
    "InvertedDoublePendulum": {"healthy_reward": WEIGHTS, "reset_noise_scale": SMALL},
    "InvertedPendulum": {"reset_noise_scale": SMALL},
    "Pusher": dict.fromkeys(("reward_near_weight", "reward_dist_weight", "reward_control_weight"), WEIGHTS),
    "Reacher": dict.fromkeys(("reward_dist_weight", "reward_control_weight"), WEIGHTS),
    "Swimmer": RUNNER,
    "Walker2d": RUNNER | FALLING | {
        "healthy_z_range": ranges((0.8, 1.2), (1.3, 2.0)),
        "healthy_angle_range": ranges((-1.0, -0.1), (0.1, 1.0)),
    },
}  # fmt: skip
"""Every argument of the constructors that changes a number, but the file of the model."""
OF_NO_STEP = {"self", "xml_file", "default_camera_config", "kwargs"}


def actions(space: Any, count: int) -> Iterator[np.ndarray]:
    """Random actions and, in turns of 50, small smooth ones under which bodies stand for longer."""
    rng = np.random.default_rng(0)
    low, high = np.maximum(space.low, -3), np.minimum(space.high, 3)
    phases = rng.uniform(0, 2 * np.pi, space.shape)
    for timestep in range(count):
        if timestep // 50 % 2:
            yield rng.uniform(low, high).astype(np.float32)
        else:
            yield (0.3 * high * np.sin(timestep / 7 + phases)).astype(np.float32)


def number(value: Any) -> bytes:
    return np.float64(value).tobytes()


def assert_equal_steps(env_id: str, kwargs: dict[str, Any], count: int) -> int:
    """Both steps, side by side, each in an environment of its own; how many episodes ended."""
    settings, ended = EnvSettings(id=env_id, kwargs=kwargs), 0
    with closing(make_environment(settings)) as theirs, closing(make_environment(settings)) as ours:
        native = build_step(ours)
        row = np.full(ours.observation_space.shape, np.nan)
        begun = False
        for seed, action in enumerate(actions(ours.action_space, count)):
            if not begun:
                assert native.reset(seed).tobytes() == theirs.reset(seed=seed)[0].tobytes()
            observation, reward, terminated, truncated, _ = theirs.step(action)
            got, got_reward, got_terminated, got_truncated = native.step(action, row)
            assert got is row
            assert (got.dtype, got.tobytes()) == (observation.dtype, observation.tobytes())
            assert type(got_reward) is float
            assert number(got_reward) == number(reward)
            assert (bool(got_terminated), bool(got_truncated)) == (bool(terminated), bool(truncated))
            begun = not (terminated or truncated)
            ended += not begun
    return ended


@pytest.mark.parametrize("task", TASKS)
def test_two_thousand_steps_have_gymnasiums_bits(task: str) -> None:
    assert assert_equal_steps(f"{task}-v5", {}, 2000) >= 2


@pytest.mark.parametrize("task", TASKS)
def test_every_argument_is_honoured(task: str) -> None:
    arguments = COMMON | ARGUMENTS[task]

    made = inspect.signature(type(gymnasium.make(f"{task}-v5").unwrapped).__init__).parameters
    assert made.keys() - OF_NO_STEP == arguments.keys() - {"max_episode_steps"}

    @settings(max_examples=15, deadline=None)
    @given(st.fixed_dictionaries({}, optional=arguments))
    def check(kwargs: dict[str, Any]) -> None:
        assert_equal_steps(f"{task}-v5", kwargs, 150)

    check()


def test_another_model_is_another_observation(tmp_path: Path) -> None:
    """A file of the user's: other masses, another timestep, and a joint more."""
    model = (ASSETS / "hopper.xml").read_text()
    changed = model.replace('timestep="0.002"', 'timestep="0.004"').replace('size="0.05"', 'size="0.06"')
    assert changed != model
    (tmp_path / "mine.xml").write_text(changed)
    assert assert_equal_steps("Hopper-v5", {"xml_file": str(tmp_path / "mine.xml")}, 300) >= 1


class Heavier(HalfCheetahEnv):
    """A class of the user's."""


def doubled(env: Any) -> Any:
    """A wrapper of the user's."""
    return gymnasium.wrappers.TransformReward(env, lambda reward: 2 * reward)


def chosen(env_id: str, env: Any = None, **fields: Any) -> tuple[NativeStep | None, str]:
    settings = EnvSettings(id=env_id, **fields)
    with closing(make_environment(settings) if env is None else env) as env:
        return choose_step(env, settings)


def test_every_task_is_stepped_natively_without_a_notice() -> None:
    for task in TASKS:
        native, notice = chosen(f"{task}-v5")
        assert isinstance(native, NativeStep), task
        assert notice == ""
    assert chosen("Reacher-v5", native="require")[0] is not None
    assert chosen("Reacher-v5", native="never") == (None, "")


@pytest.mark.parametrize(
    ("make", "why"),
    [
        (lambda: TimeLimit(Heavier(), 5), "the class Heavier derives from Gymnasium's"),
        (lambda: doubled(gymnasium.make("HalfCheetah-v5")), "it has the wrapper TransformReward"),
        (lambda: gymnasium.make("HalfCheetah-v4"), "it is not one of Gymnasium's MuJoCo v5 tasks"),
        (lambda: gymnasium.make("HalfCheetah-v5", render_mode="rgb_array"), "it renders (render_mode=rgb_array)"),
    ],
)  # fmt: skip
@pytest.mark.filterwarnings("ignore:.*out of date:DeprecationWarning")
def test_whatever_else_an_environment_has_it_keeps_its_own_step(make: Any, why: str) -> None:
    native, notice = chosen("HalfCheetah-v5", make())
    assert native is None
    assert why in notice
    assert notice.startswith("env.id=HalfCheetah-v5: ")
    assert notice.count("env.native=never") == 1
    with pytest.raises(UserError, match=r"^env\.native=require: env\.id=HalfCheetah-v5 .*set env\.native=auto"):
        chosen("HalfCheetah-v5", make(), native="require")


def test_a_task_that_has_nothing_to_do_with_mujoco_gives_no_notice() -> None:
    assert chosen("CartPole-v1") == (None, "")
    with pytest.raises(UserError, match=r"env\.native=require: env\.id=CartPole-v1"):
        chosen("CartPole-v1", native="require")


@pytest.mark.parametrize(
    ("name", "value", "what"),
    [
        ("control_cost", lambda self, action: 0.1 * float(np.sum(np.square(action))), "its reward at timestep 1 "),
        (
            "_get_obs",
            lambda self: np.concatenate([self.data.qpos[1:], 2 * self.data.qvel]),
            "its observation at timestep 1 ",
        ),
        ("step", lambda self, action: 1 / 0, "a step fails (ZeroDivisionError"),
    ],
)
def test_a_gymnasium_that_computes_otherwise_keeps_its_own_step(
    monkeypatch: pytest.MonkeyPatch, name: str, value: Any, what: str
) -> None:
    monkeypatch.setattr(HalfCheetahEnv, name, value)
    with closing(gymnasium.make("HalfCheetah-v5", disable_env_checker=True)) as env:
        why = native_step(env)
    assert isinstance(why, str)
    assert what in why


def problem_of(task: str, native: str, behavior: str | None = None, **fields: Any) -> EpisodeProblem:
    env = EnvSettings(task, f"{task}-v5", native=native, **fields)  # type: ignore[arg-type]
    return EpisodeProblem(EpisodeSpec(env, PolicySettings("mlp", (6,), init_norm=1.0), behavior))


@pytest.mark.parametrize("task", TASKS)
def test_an_episode_has_the_same_outcome_either_way(task: str) -> None:
    outcomes = []
    for native in ("require", "never"):
        problem = problem_of(task, native, rebuild=task == "Hopper", kwargs={"max_episode_steps": 70})
        theta = theta_of(problem)
        outcomes.append([bits(problem.evaluate(theta, episode(seed))) for seed in range(3)])
        problem.close()
    assert outcomes[0] == outcomes[1]
    assert any(outcome[2] > 1 for outcome in outcomes[0])


def accelerations(finished: Any) -> np.ndarray:
    """A descriptor that reads what only `mj_rnePostConstraint` computes."""
    data = finished.env.unwrapped.data
    return np.concatenate([data.cacc.ravel(), data.cfrc_int.ravel(), finished.observation])


@pytest.mark.parametrize("task", ["Hopper", "Ant"])
def test_a_descriptor_finds_the_environment_as_always(task: str) -> None:
    values = []
    for native in ("require", "never"):
        problem = problem_of(task, native, f"{__name__}:accelerations")
        behavior = problem.evaluate(theta_of(problem), episode(1)).behavior
        assert behavior is not None
        values.append(behavior)
        problem.close()
    assert np.abs(values[0]).max() > 1
    np.testing.assert_array_equal(*values)


def test_what_is_put_around_the_environment_later_is_stepped() -> None:
    """A camera counts the steps that it sees."""
    problem = problem_of("InvertedPendulum", "require")
    counter = problem.env = Counter(problem.env)
    length = problem.evaluate(theta_of(problem), episode(0)).length
    assert counter.steps == length > 0
    problem.close()


class Counter(gymnasium.Wrapper[Any, Any, Any, Any]):
    """Counts its steps."""

    steps = 0

    def step(self, action: Any) -> Any:
        self.steps += 1
        return self.env.step(action)


def test_pictures_are_of_the_environments_own_step() -> None:
    asked = EnvSettings(id="HalfCheetah-v5", native="require")
    assert with_pictures(asked) == replace(asked, kwargs={"render_mode": "rgb_array"}, native="never")


def test_a_twin_needs_no_comparison(monkeypatch: pytest.MonkeyPatch) -> None:
    problem = problem_of("Reacher", "auto")
    monkeypatch.setattr("raes.problems.mujoco._difference", partial(pytest.fail, "compared again"))
    twin = problem.twin()
    theta = theta_of(problem)
    assert bits(twin.evaluate(theta, episode(3))) == bits(problem.evaluate(theta, episode(3)))
    for one in (problem, twin):
        one.close()
