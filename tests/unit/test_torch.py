"""PyTorch modules as policies, trained from Python, and policies as PyTorch modules."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import raes
from raes.export import ACT, arrays
from raes.policies import MLP, PolicySettings, TorchPolicy, TorchSettings
from raes.policies.torch_export import script
from raes.policies.torch_policy import Parameters
from raes.problems.episode import EpisodeProblem, EpisodeSpec
from raes.problems.problem import Episode
from raes.problems.spaces import action_spec
from raes.tasks import Snapshot
from raes.types import UserError

from .alignment import ALIGNMENTS, buffers_at
from .torch_modules import Net, Recurrent, Remembering
from .worlds import ACTIONS, episode, toy

HERE = f"{__package__}.torch_modules"


def settings(name: str, **kwargs: object) -> TorchSettings:
    return TorchSettings(module=f"{HERE}:{name}", kwargs=kwargs)


def built(name: str, observation: str = "box", action: str = "box", **kwargs: object) -> EpisodeProblem:
    return EpisodeSpec(toy(observation=observation, action=action).env, settings(name, **kwargs)).build()


def policy_of(problem: EpisodeProblem) -> TorchPolicy:
    assert isinstance(problem.policy, TorchPolicy)
    return problem.policy


def test_theta_is_the_parameters_in_order_and_nothing_else() -> None:
    policy = policy_of(built("Net"))
    assert policy.num_params == 3 * 5 + 5 + 5 * 2 + 2
    theta = np.arange(policy.num_params, dtype=np.float32) / 10
    policy.set_parameters(theta)
    module = policy.module
    assert isinstance(module, Net)
    np.testing.assert_array_equal(module.first.weight.numpy().ravel(), theta[:15])
    np.testing.assert_array_equal(module.second.bias.numpy(), theta[-2:])
    assert (module.offset == 0.25).all()
    assert not module.training
    observation = np.array([0.1, -0.4, 2.0])
    hidden = np.tanh(theta[:15].reshape(5, 3) @ observation + theta[15:20]) + 0.25
    expected = theta[20:30].reshape(2, 5) @ hidden + theta[30:]
    np.testing.assert_allclose(policy.outputs(observation), expected, rtol=1e-5)


def test_the_start_is_the_modules_own_and_follows_the_seed() -> None:
    policy = policy_of(built("Net"))
    before = torch.random.get_rng_state()
    one, two, other = (policy.initial_theta(np.random.default_rng(seed)) for seed in (1, 1, 2))
    assert one.tobytes() == two.tobytes() != other.tobytes()
    assert 0 < np.abs(one).max() <= 1 / np.sqrt(3)
    assert torch.equal(before, torch.random.get_rng_state()), "the user's own random numbers go on as they were"


def test_observations_are_normalised_and_clipped() -> None:
    policy = policy_of(built("Net"))
    theta = policy.initial_theta(np.random.default_rng(0))
    policy.set_parameters(theta)
    expected = policy.outputs(np.array([0.5, -5.0, 5.0])).copy()
    policy.set_normaliser(np.ones(3), np.full(3, 2.0), 5.0)
    np.testing.assert_array_equal(policy.outputs(np.array([1.25, -40.0, 40.0])), expected)


@pytest.mark.parametrize("offset", [4, *ALIGNMENTS])
def test_the_modules_inputs_begin_at_a_cache_line(offset: int) -> None:
    """MKL rounds a matrix-vector product with where the vector begins."""
    with buffers_at(offset):
        policy = policy_of(built("Net", observation="box"))
    assert policy._x.ctypes.data == policy._tensor.data_ptr()
    assert policy._tensor.data_ptr() % 64 == 0
    assert policy._tensor.dtype == torch.float32


def test_a_recurrent_module_keeps_its_state_within_an_episode_and_is_reset_between() -> None:
    problem = built("Recurrent")
    theta = problem.initial_theta(np.random.default_rng(0))
    returns = [problem.evaluate(theta, episode(seed)).total for seed in (4, 5, 4)]
    assert returns[0] == returns[2] != returns[1]
    policy = policy_of(problem)
    observation = np.ones(3)
    first, second = policy.outputs(observation).copy(), policy.outputs(observation).copy()
    assert not np.array_equal(first, second)
    assert isinstance(policy.module, Recurrent)


def test_action_noise_stays_out_of_the_modules_own_memory() -> None:
    problem = built("Remembering")
    theta = problem.initial_theta(np.random.default_rng(0))
    quiet = problem.evaluate(theta, episode(1)).total
    problem.use(Snapshot(0, theta, action_noise=1.0))
    noisy = problem.evaluate(theta, Episode(1, True, False, np.random.default_rng(0))).total
    module = policy_of(problem).module
    assert isinstance(module, Remembering)
    assert noisy != quiet
    assert torch.equal(module.given, module.copy)


def test_an_image_reaches_the_module_unflattened() -> None:
    problem = built("Convolution", observation="image")
    outcome = problem.evaluate(problem.initial_theta(np.random.default_rng(0)), episode(observe=True))
    assert outcome.length == 5
    assert outcome.observations is not None
    assert outcome.observations.mean.shape == (24,)


@pytest.mark.parametrize(
    ("module", "words"),
    [
        (TorchSettings(module="no_such_package:Net"), "cannot be imported.*install it"),
        (settings("Nothing"), "cannot be imported"),
        (settings("Net", outputs=7), r"gives 7 numbers.*need 2.*policy\.kwargs"),
        (settings("Net", inputs=9), r"fails on observations of shape \(1, 3\)"),
        (settings("Net", wrong=9), "cannot be made with policy.kwargs"),
        (settings("Doubles"), "torch.float64"),
        (settings("no_module"), "not a torch.nn.Module"),
    ],
    ids=["package", "class", "outputs", "inputs", "kwargs", "doubles", "function"],
)
def test_a_module_that_does_not_fit_is_refused_with_the_cure(module: TorchSettings, words: str) -> None:
    with pytest.raises(UserError, match=words):
        EpisodeSpec(toy().env, module).build()


# Training a module from Python.


def distance(module: nn.Module) -> float:
    """0 where every parameter is 1."""
    return -float(sum(torch.square(one.detach() - 1).sum() for one in module.parameters()))


def reference(theta: np.ndarray, population: list[np.ndarray], sigma: float, rate: float) -> np.ndarray:
    """One iteration as PyTorch-ES has it, in float64; `population` is the noise."""
    module = Net()
    numbers = Parameters(module)
    rewards = []
    for noise in population:
        numbers.set(theta + sigma * noise)
        rewards.append(distance(module))
    standard = (np.array(rewards) - np.mean(rewards)) / np.std(rewards)
    return theta + rate / (len(population) * sigma) * (np.stack(population).T @ standard)


def test_the_learning_rate_has_the_convention_of_pytorch_es() -> None:
    module = Net()
    theta = Parameters(module).theta().astype(np.float64)
    population: list[np.ndarray] = []

    def noted(perturbed: Net) -> float:
        numbers = nn.utils.parameters_to_vector(perturbed.parameters()).detach().numpy()
        population.append((numbers.astype(np.float64) - theta) / 0.1)
        return distance(perturbed)

    raes.train_module(module, noted, iterations=1, population_size=20, learning_rate=0.05, sigma=0.1, seed=7)
    assert not population[0].any(), "the module as it is"
    population = population[1:21]
    expected = reference(theta, population, 0.1, 0.05)
    assert np.abs(expected - theta).max() > 0.05
    np.testing.assert_allclose(Parameters(module).theta(), expected, rtol=1e-3, atol=1e-4)


def test_a_module_is_trained_in_place_until_the_goal_is_met_and_saved(tmp_path: Path) -> None:
    module, reported = Net(), []
    next(module.parameters()).requires_grad_(False)
    needed, threads = [one.requires_grad for one in module.parameters()], torch.get_num_threads()
    path = tmp_path / "module.pt"
    before = distance(module)
    returned = raes.train_module(
        module, distance, iterations=400, learning_rate=0.02, reward_goal=-1.0, consecutive_goals=2,
        save_path=path, report=lambda iteration, value: reported.append((iteration, value)),
    )  # fmt: skip
    assert returned is module
    assert distance(module) >= -1.0 > before
    assert [value >= -1.0 for _, value in reported[-2:]] == [True, True]
    assert reported[-1][0] < 400
    assert reported[-1][1] == pytest.approx(distance(module))
    saved = torch.load(path)
    assert all(torch.equal(saved[name], value) for name, value in module.state_dict().items())
    assert [one.requires_grad for one in module.parameters()] == needed
    assert torch.get_num_threads() == threads


@pytest.mark.parametrize(
    "wrong",
    [
        {"population_size": 7}, {"population_size": "a"}, {"iterations": 0}, {"iterations": 1.5}, {"workers": 0},
        {"learning_rate": -1.0}, {"sigma": 0.0}, {"sigma": float("nan")}, {"decay": 2.0}, {"sigma_decay": 0.0},
        {"reward_goal": "a"}, {"save_path": "no/such/folder/module.pt"}, {"module": None}, {"module": Net},
        {"module": nn.LazyLinear(2)}, {"module": nn.Flatten()},
    ],
    ids=lambda wrong: next(iter(wrong)),
)  # fmt: skip
def test_wrong_arguments_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(UserError, match=next(iter(wrong))):
        raes.train_module(**({"module": Net(), "reward": distance} | wrong))


def test_a_reward_that_fails_now_and_then_is_left_out_also_where_it_is_tested() -> None:
    calls, reported = [0], list[float]()

    def flaky(module: nn.Module) -> float:
        calls[0] += 1
        if calls[0] % 5 == 2:
            raise RuntimeError("flaky")
        return distance(module)

    raes.train_module(
        Net(), flaky, iterations=14, population_size=6, test_every=1, report=lambda _, x: reported.append(x)
    )
    assert len(reported) == 14
    assert 0 < np.isnan(reported).sum() < 14


def test_a_reward_of_another_module_is_one_warning() -> None:
    module = Net()
    with pytest.warns(UserWarning, match="uses the module that it is called with") as seen:
        raes.train_module(module, lambda copied: 1.0, iterations=9, population_size=6)
    assert len(seen) == 1


# Policies as plain arrays and as PyTorch modules.


@pytest.mark.parametrize("bins", [None, 5], ids=["plain", "bins"])
@pytest.mark.parametrize("action", [name for name in ACTIONS if name != "text"])
def test_an_exported_policy_acts_like_the_policy(action: str, bins: int | None) -> None:
    if bins is not None and (not action.startswith("box") or "without bounds" in action):
        pytest.skip("bins are for bounded boxes")
    problem = toy(PolicySettings("mlp", (7,), init_norm=1.0, bins=bins), action=action).build()
    policy = problem.policy
    assert isinstance(policy, MLP)
    theta = policy.initial_theta(np.random.default_rng(0))
    snapshot = Snapshot(0, theta, np.full(3, 0.1), np.array([1.0, 2.0, 30.0]))
    problem.use(snapshot)
    policy.set_parameters(theta)
    named = arrays(policy, snapshot, action_spec(problem.env.action_space, "x"))
    space: dict[str, object] = {"numpy": np}
    exec(ACT, space)
    act, module = space["act"], script(named)
    rng = np.random.default_rng(1)
    for _ in range(20):
        observation = rng.uniform(-2, 2, 3)
        expected = policy.head(policy.outputs(observation))
        assert callable(act)
        alone = act({name: np.asarray(value) for name, value in named.items()}, observation)
        together = module(torch.from_numpy(np.stack([observation, observation])))[1].numpy()
        np.testing.assert_allclose(alone, expected, rtol=1e-4, atol=1e-5)
        np.testing.assert_allclose(together, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("value", [float("nan"), "broken"])
def test_a_reward_that_fails_at_the_start_is_said_before_anything_starts(value: object) -> None:
    with pytest.raises(UserError, match="the reward of the module as it is"):
        raes.train_module(Net(), lambda module: value)  # type: ignore[arg-type,return-value]
