"""Episodes: observation spaces, the rollout loop, its conditions and its failures."""

from __future__ import annotations

import math
from typing import Any

import gymnasium
import numpy as np
import pytest
from gymnasium import spaces

from raes.policies import PolicySettings
from raes.problems.environment import EnvSettings, make_environment
from raes.problems.episode import EpisodeProblem, EpisodeSpec
from raes.problems.function import FunctionSettings, FunctionSpec
from raes.problems.problem import EpisodeError, EpisodeOutcome
from raes.problems.spaces import observation_reader
from raes.tasks import Snapshot
from raes.types import UserError

from .worlds import ACTIONS, OBSERVATIONS, SIZES, episode, toy, world

MLP_SETTINGS = PolicySettings("mlp", (6,), init_norm=1.0)
D = 8  # parameters of a linear policy from 3 observations to 2 actions


def theta_of(problem: EpisodeProblem, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(problem.num_params).astype(np.float32)


def bits(outcome: EpisodeOutcome) -> tuple[Any, ...]:
    """All of an outcome, to be compared bit for bit."""
    seen = outcome.observations
    parts = () if seen is None else (seen.count, seen.mean.tobytes(), seen.m2.tobytes())
    return (outcome.total, outcome.sign_total, outcome.length, outcome.capped, *parts)


# Spaces.


@pytest.mark.parametrize("name", SIZES)
def test_an_observation_is_read_as_its_numbers_in_order(name: str) -> None:
    space = OBSERVATIONS[name]
    shape, flatten = observation_reader(space, "Toy-v0")
    size = math.prod(shape)
    assert size == SIZES[name]
    space.seed(0)
    for _ in range(5):
        observation = space.sample()
        flat = observation if flatten is None else flatten(observation)
        assert flat.shape == (size,)
        np.testing.assert_array_equal(flat, spaces.flatten(space, observation))


@pytest.mark.parametrize("name", SIZES)
def test_an_observation_is_read_as_a_flat_array_and_a_flat_box_as_it_is(name: str) -> None:
    _, read = observation_reader(OBSERVATIONS[name], "x")
    observation = OBSERVATIONS[name].sample()
    assert read(observation).shape == (SIZES[name],)
    assert (read(observation) is observation) == (name == "box")


@pytest.mark.parametrize(
    ("name", "observation", "words"),
    [
        ("box", np.zeros(1, np.float32), r"has shape \(1,\), and its space has shape \(3,\)"),
        ("box", np.float32(1), r"has shape \(\)"),
        ("box", 1.0, "is a float, not an array"),
        ("box", None, "is a NoneType"),
        ("image", np.zeros((2, 3, 4), np.uint8), r"\(2, 3, 4\)"),
        ("scalar", np.zeros(1), r"\(1,\)"),
        ("discrete", 1, r"observation 1 does not lie in its space Discrete\(5, start=2\)"),
        ("discrete", 7, "7"),
        ("discrete", 2.5, "2.5"),
        ("multi_discrete", np.array([0, 3]), r"array\(\[0, 3\]\)"),
        ("multi_binary", np.array([0, 1, 2, 0]), "MultiBinary"),
        ("tuple", (0, np.zeros((2, 1), np.float32)), "Tuple"),
        ("tuple", (0,), "Tuple"),
        ("tuple", (-1, np.zeros((2, 2), np.float32)), "Tuple"),
        ("dict", {"b": np.zeros(2)}, "Dict"),
        ("dict", {"a": -1, "b": np.zeros(2)}, "Dict"),
    ],
)  # fmt: skip
def test_an_observation_that_has_not_the_form_of_its_space_is_an_error(name: str, observation: Any, words: str) -> None:
    """A single number would fill all of a policy's inputs, and -1 would be the last choice."""
    _, read = observation_reader(OBSERVATIONS[name], "x")
    with pytest.raises(EpisodeError, match=words):
        read(observation)


def test_a_box_may_be_left_by_its_observations() -> None:
    """Many environments do, by a little."""
    for name in ("box", "tuple", "dict"):
        observation = OBSERVATIONS[name].sample()
        if name == "dict":
            observation["b"] += 10
        elif name == "tuple":
            observation[1][:] = 10
        else:
            observation[:] = 10
        observation_reader(OBSERVATIONS[name], "x")[1](observation)


def test_observations_without_a_fixed_size_are_refused() -> None:
    with pytest.raises(UserError, match=r"env\.id=Toy-v0.*Sequence.*no fixed size"):
        toy(observation="sequence").build()


@pytest.mark.parametrize(
    ("observation", "action"),
    [*((name, "box") for name in SIZES), *(("box", name) for name in ACTIONS if name not in ("box", "text"))],
)
def test_every_space_plays_an_episode_and_is_observed(observation: str, action: str) -> None:
    problem = toy(observation=observation, action=action).build()
    problem.use(Snapshot(0, np.zeros(0, np.float32), np.zeros(SIZES[observation]), np.ones(SIZES[observation])))
    theta = problem.initial_theta(np.random.default_rng(0))
    outcome = problem.evaluate(theta, episode(observe=True))
    assert (outcome.length, outcome.capped) == (5, False)
    assert outcome.observations is not None
    assert outcome.observations.count == 5
    assert outcome.observations.mean.shape == (SIZES[observation],)


# The loop.


@pytest.mark.parametrize("normalise", [False, True])
@pytest.mark.parametrize("settings", [PolicySettings("linear", (), init_norm=1.0), MLP_SETTINGS], ids=["linear", "mlp"])
@pytest.mark.parametrize(("env_id", "shape"), [("Pendulum-v1", 1), ("CartPole-v1", 2), ("Toy-v0", 2)])
def test_an_episode_equals_a_loop_written_by_hand(
    env_id: str, shape: int, settings: PolicySettings, normalise: bool
) -> None:
    problem = EpisodeSpec(EnvSettings(env_id, env_id), settings).check()
    env = gymnasium.make(env_id)
    size = problem.observation_size
    mean, scale = np.full(size, 0.2), np.full(size, 1.5)
    problem.use(Snapshot(0, np.zeros(0, np.float32), mean if normalise else None, scale if normalise else None))
    theta = theta_of(problem)
    layers = [layer.astype(np.float64) for layer in problem.policy.layers(theta)]

    total, signs, rows, ended = 0.0, 0, [], False
    observation, _ = env.reset(seed=11)
    while not ended:
        rows.append(observation)
        x = np.asarray(observation, np.float64)
        if normalise:
            x = np.clip((x - mean) * scale, -5, 5)
        for number, layer in enumerate(layers):
            x = layer @ np.append(x, 1.0)
            if number < len(layers) - 1:
                x = np.tanh(x)
        assert x.shape == (shape,)
        action: Any = int(x.argmax())
        if isinstance(env.action_space, spaces.Box):
            action = np.clip(x, env.action_space.low, env.action_space.high).astype(np.float32)
        observation, reward, terminated, truncated, _ = env.step(action)
        total, signs = total + float(reward), signs + int(np.sign(reward))
        ended = terminated or truncated

    outcome = problem.evaluate(theta, episode(seed=11, observe=True))
    assert (outcome.length, outcome.sign_total, outcome.capped) == (len(rows), signs, False)
    assert outcome.total == pytest.approx(total, rel=1e-3)
    assert outcome.observations is not None
    assert outcome.observations.count == len(rows)
    np.testing.assert_allclose(outcome.observations.mean, np.mean(rows, axis=0), rtol=1e-2, atol=1e-3)
    np.testing.assert_allclose(
        outcome.observations.m2 / len(rows), np.var(np.array(rows, np.float64), axis=0), rtol=1e-2, atol=1e-3
    )


def test_observations_are_gathered_only_where_asked_for() -> None:
    problem = toy().build()
    assert problem.evaluate(theta_of(problem), episode(observe=False)).observations is None


def test_an_action_handed_out_earlier_is_never_overwritten() -> None:
    problem = toy(length=20, action="box without bounds").build()
    problem.evaluate(theta_of(problem), episode())
    assert len({action.tobytes() for action in world(problem).actions}) == 20


# Conditions.


def played(problem: EpisodeProblem, **conditions: Any) -> np.ndarray:
    """The actions of an episode with parameters zero: nothing but noise."""
    problem.evaluate(np.zeros(problem.num_params, np.float32), episode(**conditions))
    return np.array(world(problem).actions)


def test_action_noise_is_the_tasks_own_and_in_training_only() -> None:
    problem = toy(length=300).build()
    problem.use(Snapshot(0, np.zeros(D, np.float32), action_noise=0.1))
    noisy = played(problem, noise_seed=5)
    expected = np.float32(0.1) * np.random.default_rng(5).standard_normal((300, 2), dtype=np.float32)
    np.testing.assert_allclose(noisy, expected, rtol=1e-6)
    np.testing.assert_array_equal(noisy, played(problem, noise_seed=5))
    assert not np.array_equal(noisy, played(problem, noise_seed=6))
    assert not played(problem, noise_seed=5, training=False).any()


def test_noisy_actions_stay_within_the_bounds() -> None:
    problem = toy(length=300).build()
    problem.use(Snapshot(0, np.zeros(D, np.float32), action_noise=3.0))
    actions = played(problem, noise_seed=0)
    np.testing.assert_array_equal(actions.min(axis=0), [-1.0, -0.5])
    np.testing.assert_array_equal(actions.max(axis=0), [1.0, 2.0])


def test_a_snapshot_without_noise_ends_the_noise_of_the_last() -> None:
    problem = toy().build()
    problem.use(Snapshot(0, np.zeros(D, np.float32), action_noise=0.1, max_steps=2))
    problem.use(Snapshot(1, np.zeros(D, np.float32)))
    actions = played(problem, noise_seed=5)
    assert len(actions) == 5
    assert not actions.any()


@pytest.mark.parametrize(
    ("cap", "training", "length", "capped"),
    [
        (None, True, 5, False),
        (3, True, 3, True),
        (5, True, 5, False),  # it ended by itself at its last timestep
        (9, True, 5, False),
        (3, False, 5, False),
    ],
)
def test_the_episode_cap_cuts_training_episodes_and_says_so(
    cap: int | None, training: bool, length: int, capped: bool
) -> None:
    problem = toy().build()
    problem.use(Snapshot(0, np.zeros(D, np.float32), max_steps=cap))
    outcome = problem.evaluate(theta_of(problem), episode(training=training, observe=True))
    assert (outcome.length, outcome.capped) == (length, capped)
    assert outcome.observations is not None
    assert outcome.observations.count == length


def test_the_reset_seed_decides_everything() -> None:
    problem, other = toy(length=30).build(), toy(length=30).build()
    theta = theta_of(problem)
    first = bits(problem.evaluate(theta, episode(seed=4, observe=True)))
    between = bits(problem.evaluate(theta, episode(seed=9, observe=True)))
    assert bits(problem.evaluate(theta, episode(seed=4, observe=True))) == first
    assert bits(other.evaluate(theta, episode(seed=4, observe=True))) == first
    assert between != first
    assert world(problem).seeds == [4, 9, 4]


def test_an_environment_that_leaks_is_made_anew_for_each_episode() -> None:
    problem = toy(rebuild=True).build()
    for seed in (1, 2, 3):
        problem.evaluate(theta_of(problem), episode(seed=seed))
        assert world(problem).seeds == [seed]


# Failures.


@pytest.mark.parametrize(
    ("fault", "reason"),
    [
        ("raise", "RuntimeError: the joint is broken"),
        ("nan reward", "nan"),
        ("infinite reward", "inf"),
        ("nan at the end", "observation.*not finite"),
        ("nan observation", "nan|not finite"),
    ],
)
def test_a_broken_episode_is_an_error_and_the_next_one_is_sound(fault: str, reason: str) -> None:
    problem, sound = toy(fault=fault).build(), toy().build()
    theta = theta_of(problem)
    with pytest.raises(EpisodeError, match=reason):
        problem.evaluate(theta, episode(seed=1, observe=True))
    expected = sound.evaluate(theta, episode(seed=2, observe=True))
    assert bits(problem.evaluate(theta, episode(seed=2, observe=True))) == bits(expected)
    assert world(problem).seeds == [2], "a fresh environment after a failure"


def test_an_observation_that_is_not_finite_never_reaches_the_statistics() -> None:
    """Discrete actions: the return stays finite although the network's outputs are not."""
    problem = toy(fault="nan observation", action="discrete").build()
    with pytest.raises(EpisodeError, match="not finite"):
        problem.evaluate(theta_of(problem), episode(seed=1, observe=True))


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        (EnvSettings("x", "Nothing-v0"), r"env\.id=Nothing-v0.*spelling"),
        (EnvSettings("x", "no_such_module:Nothing-v0"), r"env\.id=no_such_module:Nothing-v0.*Python path"),
        (EnvSettings("x", "Toy-v0", {"size": 3}), r"env\.id=Toy-v0 with env\.kwargs=\{'size': 3\}.*size"),
        (EnvSettings("x", "Toy-v0", {"action": "no"}), r"env\.kwargs=.*KeyError"),
    ],
)
def test_an_environment_that_cannot_be_made_is_the_users_error(settings: EnvSettings, words: str) -> None:
    with pytest.raises(UserError, match=words):
        make_environment(settings)


def test_an_empty_id_is_refused_with_an_example() -> None:
    with pytest.raises(ValueError, match=r"id is empty.*env=HalfCheetah"):
        EnvSettings()


class Liar(gymnasium.Env[Any, Any]):
    """Its first observation does not fit its space, or its reset or step fails."""

    observation_space = OBSERVATIONS["box"]
    action_space = ACTIONS["box"]

    def __init__(self, broken: str) -> None:
        self._broken = broken

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[Any, dict[str, Any]]:
        if self._broken == "reset":
            raise RuntimeError("no licence")
        return np.zeros(4 if self._broken == "shape" else 3, np.float32), {}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        raise RuntimeError("no engine")


@pytest.mark.parametrize(("broken", "words"), [("reset", "no licence"), ("shape", "shape"), ("step", "no engine")])
def test_what_is_wrong_with_an_environment_is_said_before_anything_starts(broken: str, words: str) -> None:
    if "Liar-v0" not in gymnasium.registry:
        gymnasium.register("Liar-v0", entry_point=Liar)
    with pytest.raises(UserError, match=words):
        EpisodeSpec(EnvSettings("liar", "Liar-v0", {"broken": broken}), MLP_SETTINGS).check()


class PanicError(BaseException):
    """As bindings to Rust raise it."""


@pytest.mark.parametrize("error", [PanicError("a panic"), SystemExit(3), GeneratorExit()], ids=str)
def test_what_is_no_exception_fails_an_evaluation_too(error: BaseException) -> None:
    def function(x: Any) -> float:
        raise error

    problem = FunctionSpec(FunctionSettings(call="test:function", dim=2), function).build()
    with pytest.raises(EpisodeError, match=type(error).__name__):
        problem.evaluate(np.zeros(2, np.float32), episode(0))


def test_ctrl_c_within_an_evaluation_is_no_fault_of_it() -> None:
    def function(x: Any) -> float:
        raise KeyboardInterrupt

    problem = FunctionSpec(FunctionSettings(call="test:function", dim=2), function).build()
    with pytest.raises(KeyboardInterrupt):
        problem.evaluate(np.zeros(2, np.float32), episode(0))
