"""Small environments, registered with Gymnasium as `Toy-v0`, whose spaces and faults the tests choose."""

from __future__ import annotations

import copy
from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces

from raes.policies import PolicySettings
from raes.problems.environment import EnvSettings
from raes.problems.episode import EpisodeProblem, EpisodeSpec
from raes.problems.problem import Episode

OBSERVATIONS: dict[str, spaces.Space[Any]] = {
    "box": spaces.Box(-2.0, 2.0, (3,), np.float32),
    "image": spaces.Box(0, 255, (4, 3, 2), np.uint8),
    "scalar": spaces.Box(-1.0, 1.0, (), np.float64),
    "discrete": spaces.Discrete(5, start=2),
    "multi_discrete": spaces.MultiDiscrete([2, 3]),
    "multi_binary": spaces.MultiBinary(4),
    "tuple": spaces.Tuple((spaces.Discrete(3), spaces.Box(-1.0, 1.0, (2, 2), np.float32))),
    "dict": spaces.Dict({"b": spaces.Box(-1.0, 1.0, (2,), np.float64), "a": spaces.Discrete(4)}),
    "sequence": spaces.Sequence(spaces.Discrete(3)),
}
SIZES = {
    "box": 3,
    "image": 24,
    "scalar": 1,
    "discrete": 5,
    "multi_discrete": 5,
    "multi_binary": 4,
    "tuple": 7,
    "dict": 6,
}
ACTIONS: dict[str, spaces.Space[Any]] = {
    "box": spaces.Box(np.array([-1.0, -0.5], np.float32), np.array([1.0, 2.0], np.float32)),
    "box of float64": spaces.Box(np.array([-0.7, 0.1]), np.array([0.1, 0.7]), dtype=np.float64),
    "box of two axes": spaces.Box(-1.0, 1.0, (2, 3), np.float32),
    "box without axes": spaces.Box(-3.0, 3.0, (), np.float32),
    "box without bounds": spaces.Box(-np.inf, np.inf, (2,), np.float32),
    "box of integers": spaces.Box(-3, 7, (3,), np.int32),
    "box of large integers": spaces.Box(-(2**31), 2**31 - 1, (1,), np.int32),
    "box of bytes": spaces.Box(0, 255, (2,), np.uint8),
    "discrete": spaces.Discrete(4),
    "discrete from -2": spaces.Discrete(3, start=-2),
    "multi_discrete": spaces.MultiDiscrete([3, 2, 5]),
    "multi_discrete of two axes": spaces.MultiDiscrete(np.array([[2, 3], [4, 2]])),
    "multi_discrete from 10": spaces.MultiDiscrete([3, 2], start=[10, -1]),
    "multi_binary": spaces.MultiBinary(3),
    "multi_binary of two axes": spaces.MultiBinary([2, 2]),
    "text": spaces.Text(5),
}


class Toy(gymnasium.Env[Any, Any]):
    """Random observations; a reward of the observation's and the action's sum, so that all of both counts.

    Args:
        observation: a key of OBSERVATIONS.
        action: a key of ACTIONS.
        length: timesteps of an episode.
        fault: what goes wrong at the second timestep, where the reset seed is odd.
    """

    def __init__(self, observation: str = "box", action: str = "box", length: int = 5, fault: str = "") -> None:
        self.observation_space = copy.deepcopy(OBSERVATIONS[observation])  # it draws from a generator of its own
        self.action_space = ACTIONS[action]
        self._length, self._fault = length, fault
        self.seeds: list[int | None] = []
        self.actions: list[Any] = []

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[Any, dict[str, Any]]:
        self.seeds.append(seed)
        self.actions, self._time = [], 0
        self._faulty = bool(self._fault) and seed is not None and seed % 2 == 1
        self.observation_space.seed(seed)
        return self._observe(), {}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        assert self.action_space.contains(action), f"{action!r} is not in {self.action_space}"
        self.actions.append(action)
        self._time += 1
        reward = float(np.sum(action)) + float(np.sum(spaces.flatten(self.observation_space, self._last)))
        if self._faulty and self._time == 2:
            if self._fault == "raise":
                raise RuntimeError("the joint is broken")
            reward = {"nan reward": np.nan, "infinite reward": np.inf}.get(self._fault, reward)
        return self._observe(), reward, self._time == self._length, False, {}

    def _observe(self) -> Any:
        self._last = self.observation_space.sample()
        if self._faulty and self._fault == "nan observation" and self._time == 2:
            return np.full_like(self._last, np.nan)
        if self._faulty and self._fault == "nan at the end" and self._time == self._length:
            return np.full_like(self._last, np.nan)
        return self._last


if "Toy-v0" not in gymnasium.registry:
    gymnasium.register("Toy-v0", entry_point=Toy)

LINEAR = PolicySettings("linear", (), init_norm=1.0)


def toy(policy: PolicySettings = LINEAR, rebuild: bool = False, **kwargs: Any) -> EpisodeSpec:
    """The recipe of a problem in a Toy."""
    return EpisodeSpec(EnvSettings("toy", "Toy-v0", kwargs, rebuild), policy)


def world(problem: EpisodeProblem) -> Toy:
    """The Toy below Gymnasium's wrappers."""
    inner = problem.env.unwrapped
    assert isinstance(inner, Toy)
    return inner


def episode(seed: int = 0, training: bool = True, observe: bool = False, noise_seed: int | None = None) -> Episode:
    """The conditions of one episode."""
    rng = None if noise_seed is None else np.random.default_rng(noise_seed)
    return Episode(seed, training, observe, rng)
