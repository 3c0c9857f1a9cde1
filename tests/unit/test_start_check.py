"""Faults of environments and policies that would be trained in silence: refused or remarked upon before a run."""

from __future__ import annotations

import random
import sys
from typing import Any

import gymnasium
import numpy as np
import pytest
from gymnasium import spaces

from raes.policies import PolicySettings, TorchSettings
from raes.problems.environment import EnvSettings
from raes.problems.episode import EpisodeProblem, EpisodeSpec
from raes.problems.problem import EpisodeError, EpisodeStopped
from raes.runtime.serial import SerialExecutor
from raes.runtime.worker import WorkerSpec
from raes.tasks import Purpose, Snapshot, evaluation_tasks
from raes.types import UserError

from .worlds import episode

LINEAR = PolicySettings("linear", (), init_norm=1.0)


class Odd(gymnasium.Env[Any, Any]):
    """Counts its timesteps; `kind` is what is odd about it from timestep `since` on."""

    observation_space = spaces.Box(-np.inf, np.inf, (3,), np.float64)

    def __init__(self, kind: str = "", since: int = 1, length: int = 6, discrete: bool = False) -> None:
        self.action_space: spaces.Space[Any] = spaces.Discrete(2) if discrete else spaces.Box(-1.0, 1.0, (1,))
        self._kind, self._since, self._length = kind, since, length
        self._own = np.random.default_rng()
        self.actions: list[Any] = []

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[Any, dict[str, Any]]:
        super().reset(seed=seed)
        self._time = 0
        if self._kind == "exit at reset":
            sys.exit("no licence")
        return self._observe(), {}

    def step(self, action: Any) -> tuple[Any, Any, bool, bool, dict[str, Any]]:
        self.actions.append(action)
        self._time += 1
        odd = self._time >= self._since
        if odd and self._kind == "exit":
            sys.exit(3)
        if odd and self._kind == "item":
            action.item()
        reward: Any = np.ones(1) if self._kind == "reward" else 1.0
        return self._observe(), reward, self._time == self._length, False, {}

    def close(self) -> None:
        if self._kind == "close":
            raise RuntimeError("the window is gone")

    def _observe(self) -> Any:
        good = self.np_random.uniform(-1, 1, 3)
        if not self._time or self._time < self._since:
            return good
        return {
            "one": good[:1], "scalar": float(good[0]), "infinite": good * np.inf, "nan": good * np.nan,
            "own": self._own.uniform(-1, 1, 3), "numpy": np.random.uniform(-1, 1, 3),  # noqa: NPY002
            "python": np.array([random.random()] * 3),
        }.get(self._kind, good)  # fmt: skip


gymnasium.register("Odd-v0", entry_point=Odd, max_episode_steps=50)
gymnasium.register("OddEndless-v0", entry_point=Odd)


def odd(kind: str = "", policy: Any = LINEAR, env_id: str = "Odd-v0", **kwargs: Any) -> EpisodeSpec:
    """Its recipe."""
    return EpisodeSpec(EnvSettings("odd", env_id, {"kind": kind, **kwargs}), policy)


def play(problem: EpisodeProblem, seed: int = 1) -> float:
    """The return of an episode with parameters of one."""
    problem.use(Snapshot(0, np.zeros(0, np.float32)))
    return problem.evaluate(np.ones(problem.num_params, np.float32), episode(seed=seed)).total


def test_a_sound_environment_has_no_remarks() -> None:
    assert odd().check().remarks == ()


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        ("one", r"env\.id=Odd-v0: after its first step an observation has shape \(1,\).*\(3,\)"),
        ("scalar", "is a float, not an array"),
        ("exit", "cannot be stepped: SystemExit: 3"),
        ("exit at reset", "cannot be reset: SystemExit: no licence"),
        ("reward", "its reward is an array"),
    ],
)
def test_what_fails_at_the_first_step_is_refused(kind: str, words: str) -> None:
    with pytest.raises(UserError, match=words):
        odd(kind).check()


@pytest.mark.parametrize("since", [2, 5])
@pytest.mark.parametrize("kind", ["one", "scalar", "infinite", "nan", "exit"])
@pytest.mark.parametrize("policy", [LINEAR, PolicySettings("mlp", (4,))], ids=["linear", "tanh"])
def test_what_fails_later_is_a_fault_of_the_episode(kind: str, since: int, policy: PolicySettings) -> None:
    """Infinite inputs make a tanh network's outputs finite."""
    problem = odd(kind, policy, since=since).check()
    with pytest.raises(EpisodeError):
        play(problem)
    with pytest.raises(EpisodeError):
        play(problem)


def test_an_environment_that_cannot_close_ends_nothing() -> None:
    problem = odd("close").check()
    assert play(problem) == 6.0
    problem.close()


def test_discrete_actions_are_numpys_as_those_of_the_spaces_sample() -> None:
    problem = odd("item", discrete=True).check()
    assert play(problem) == 6.0
    actions = problem.env.unwrapped.actions  # type: ignore[attr-defined]
    assert {type(action) for action in actions} == {type(spaces.Discrete(2).sample())}


def test_random_numbers_of_its_own_are_remarked_upon() -> None:
    (remark,) = odd("own").check().remarks
    assert "env.id=Odd-v0: with the same seed its observation after timestep 1" in remark
    assert "self.np_random" in remark


@pytest.mark.parametrize("kind", ["numpy", "python"])
def test_shared_generators_are_seeded_for_each_episode_and_left_as_they_were(kind: str) -> None:
    problem = odd(kind).check()
    assert problem.remarks == ()
    observed = []
    for seed in (1, 2, 1):
        problem.use(Snapshot(0, np.zeros(0, np.float32), np.zeros(3), np.ones(3)))
        outcome = problem.evaluate(np.ones(problem.num_params, np.float32), episode(seed=seed, observe=True))
        assert outcome.observations is not None
        observed.append(outcome.observations.mean.tobytes())
    assert observed[0] == observed[2] != observed[1]
    np.random.seed(5)  # noqa: NPY002
    random.seed(5)
    expected = np.random.uniform(), random.random()  # noqa: NPY002
    np.random.seed(5)  # noqa: NPY002
    random.seed(5)
    odd(kind).check()
    executor = SerialExecutor(WorkerSpec(odd(kind), 0), 1000)
    executor.publish(Snapshot(0, np.ones(problem.num_params, np.float32)), 0)
    executor.submit(evaluation_tasks(Purpose.EVALUATION, 0, 1))
    assert executor.collect(1.0)
    executor.close()
    assert (np.random.uniform(), random.random()) == expected  # noqa: NPY002


def test_a_module_that_remembers_the_episode_before_is_remarked_upon() -> None:
    pytest.importorskip("torch")
    policy = TorchSettings(module="tests.unit.torch_modules:Forgetful", kwargs={"inputs": 3})
    assert odd(policy=policy).check().remarks == ()
    policy = TorchSettings(module="tests.unit.torch_modules:Remembers", kwargs={"inputs": 3})
    (remark,) = odd(policy=policy).check().remarks
    assert "policy.module=tests.unit.torch_modules:Remembers" in remark
    assert "reset()" in remark


def test_any_output_that_is_not_finite_fails_the_episode() -> None:
    pytest.importorskip("torch")
    policy = TorchSettings(module="tests.unit.torch_modules:SecondIsNaN", kwargs={"inputs": 3})
    with pytest.raises(EpisodeError, match="an output of the policy is not finite"):
        play(odd(policy=policy, discrete=True).build())


def test_episodes_without_a_known_limit_are_remarked_upon() -> None:
    (remark,) = odd(env_id="OddEndless-v0").check().remarks
    assert "env.kwargs.max_episode_steps=1000" in remark
    assert odd(env_id="OddEndless-v0", max_episode_steps=9).check().remarks == ()


def test_an_endless_episode_is_said_to_be_long_and_left_when_the_run_is_to_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("raes.runtime.serial.POLL_SECONDS", 0.0)
    monkeypatch.setattr("raes.runtime.serial.LONG_EPISODE", 1000)
    spec = odd(env_id="OddEndless-v0", length=-1)
    executor = SerialExecutor(WorkerSpec(spec, 0), 1000, lambda: bool(executor.notices))
    executor.publish(Snapshot(0, np.ones(spec.build().num_params, np.float32)), 0)
    executor.submit(evaluation_tasks(Purpose.EVALUATION, 0, 1))
    assert executor.collect(1.0) == []
    assert executor.queued == 1, "the episode is not lost"
    (notice,) = executor.notices
    assert "1,000 timesteps" in notice
    executor.close()


def test_a_stop_is_no_fault_of_the_episode() -> None:
    problem = odd().build()

    def watch(timesteps: int) -> None:
        if timesteps == 3:
            raise EpisodeStopped

    problem.watch = watch
    with pytest.raises(EpisodeStopped):
        play(problem)
    problem.watch = None
    assert play(problem) == 6.0
