"""The network: its forward pass against float64, its start, and growth."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from raes.policies import MLP, PolicySettings, build_policy
from raes.policies.mlp import grow
from raes.problems.spaces import action_spec
from raes.types import UserError

from .alignment import ALIGNMENTS, at, buffers_at
from .worlds import ACTIONS

INPUTS, ACTION = 6, "box without bounds"


def build(hidden: tuple[int, ...] = (), inputs: int = INPUTS, action: str = ACTION, **settings: object) -> MLP:
    name = "mlp" if hidden else "linear"
    policy = build_policy((inputs,), action_spec(ACTIONS[action], "x"), PolicySettings(name, hidden, **settings))  # type: ignore[arg-type]
    assert isinstance(policy, MLP)
    return policy


def random_theta(policy: MLP, seed: int = 0) -> np.ndarray:
    return (0.5 * np.random.default_rng(seed).standard_normal(policy.num_params)).astype(np.float32)


def forward(theta: np.ndarray, x: np.ndarray, sizes: list[int], bias: bool, activate: object) -> np.ndarray:
    """The network in float64: layer by layer rows of weights, each row followed by its bias."""
    theta, start = theta.astype(np.float64), 0
    for number, (into, out) in enumerate(itertools.pairwise(sizes)):
        units = theta[start : start + out * (into + bias)].reshape(out, into + bias)
        start += units.size
        x = units[:, :into] @ x + (units[:, into] if bias else 0)
        if number < len(sizes) - 2:
            x = activate(x)  # type: ignore[operator]
    assert start == theta.size
    return x


@pytest.mark.parametrize("normalise", [False, True])
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("nonlinearity", ["tanh", "relu"])
@pytest.mark.parametrize("hidden", [(), (5,), (7, 4), (3, 8, 2)], ids=str)
def test_the_outputs_equal_a_float64_computation(
    hidden: tuple[int, ...], nonlinearity: str, bias: bool, normalise: bool
) -> None:
    policy = build(hidden, nonlinearity=nonlinearity, bias=bias)
    rng = np.random.default_rng(1)
    mean, scale = rng.standard_normal(INPUTS), rng.uniform(0.5, 10.0, INPUTS)
    activate = np.tanh if nonlinearity == "tanh" else lambda x: np.where(x > 0, x, 0)
    if normalise:
        policy.set_normaliser(mean, scale, 5.0)
    for seed in range(4):
        theta, observation = random_theta(policy, seed), (3 * rng.standard_normal(INPUTS)).astype(np.float32)
        policy.set_parameters(theta)
        x = observation.astype(np.float64)
        if normalise:
            x = np.clip((x - mean) * scale, -5, 5)
        expected = forward(theta, x, [INPUTS, *hidden, 2], bias, activate)
        outputs = policy.outputs(observation)
        assert outputs.dtype == np.float32
        np.testing.assert_allclose(outputs, expected, rtol=1e-4, atol=1e-5)


def test_the_normaliser_clips_and_can_be_switched_off() -> None:
    policy = build(inputs=2, bias=False)
    policy.set_parameters(np.eye(2, dtype=np.float32).ravel())
    far = np.array([1e9, -1e9])
    policy.set_normaliser(np.zeros(2), np.ones(2), 5.0)
    assert policy.outputs(far).tolist() == [5, -5]
    policy.set_normaliser(np.array([1.0, 2.0]), np.array([2.0, 0.5]), 3.0)
    assert policy.outputs(np.array([1.5, 0.0])).tolist() == [1, -1]
    assert policy.outputs(far).tolist() == [3, -3]
    policy.set_normaliser(None, None, 5.0)
    assert policy.outputs(far).tolist() == [np.float32(1e9), np.float32(-1e9)]


def test_theta_stays_as_it_is_and_new_parameters_take_effect() -> None:
    policy, observation = build((4,)), np.ones(INPUTS)
    first, second = random_theta(policy, 0), random_theta(policy, 1)
    outputs = []
    for theta in (first, second, first):
        before = theta.copy()
        policy.set_parameters(theta)
        outputs.append(policy.outputs(observation).tolist())
        np.testing.assert_array_equal(theta, before)
    assert outputs[0] == outputs[2] != outputs[1]


@pytest.mark.kernels
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("hidden", [(), (17, 64), (300,)], ids=str)
def test_the_outputs_have_the_same_bits_wherever_the_buffers_lie(hidden: tuple[int, ...], bias: bool) -> None:
    theta = random_theta(build(hidden, 25, bias=bias))
    observations, found = np.random.default_rng(1).standard_normal((8, 25)), []
    for offset in ALIGNMENTS:
        with buffers_at(offset):
            policy = build(hidden, 25, bias=bias)
        policy.set_parameters(at(offset, theta))
        found.append([policy.outputs(at(offset, observation)).tolist() for observation in observations])
    assert all(outputs == found[0] for outputs in found)


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("hidden", [(), (9,), (16, 5)], ids=str)
@pytest.mark.parametrize("init_norm", [0.01, 0.0, 0.5])
def test_weights_start_with_norm_one_and_the_outputs_with_theirs(
    hidden: tuple[int, ...], bias: bool, init_norm: float
) -> None:
    policy = build(hidden, bias=bias, init_norm=init_norm)
    theta = policy.initial_theta(np.random.default_rng(0))
    assert (theta.dtype, theta.shape) == (np.float32, (policy.num_params,))
    layers = policy.layers(theta)
    sizes = [INPUTS, *hidden, 2]
    assert [layer.shape for layer in layers] == [(out, into + bias) for into, out in itertools.pairwise(sizes)]
    for layer, into, norm in zip(layers, sizes, [1.0] * len(hidden) + [init_norm], strict=False):
        np.testing.assert_allclose(np.linalg.norm(layer[:, :into], axis=1), norm, rtol=1e-6)
        assert not layer[:, into:].any()


def test_the_start_depends_on_the_generator_alone() -> None:
    policy = build((8,))
    first, again, other = (policy.initial_theta(np.random.default_rng(seed)) for seed in (0, 0, 1))
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, other)


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("nonlinearity", ["tanh", "relu"])
@pytest.mark.parametrize(
    ("small", "large"), [((), ()), ((4,), (4,)), ((4,), (9,)), ((4, 3), (6, 3)), ((4, 3), (4, 5)), ((2, 3), (7, 8))]
)
def test_a_grown_network_acts_like_the_smaller_one(
    small: tuple[int, ...], large: tuple[int, ...], nonlinearity: str, bias: bool
) -> None:
    old, new = (build(hidden, nonlinearity=nonlinearity, bias=bias) for hidden in (small, large))
    old_theta, fresh = random_theta(old, 0), random_theta(new, 1)
    fresh_before = fresh.copy()
    theta = grow(old, old_theta, new, fresh)
    assert theta.dtype == np.float32
    np.testing.assert_array_equal(fresh, fresh_before)
    old.set_parameters(old_theta)
    new.set_parameters(theta)
    rng = np.random.default_rng(2)
    for _ in range(5):
        observation = 3 * rng.standard_normal(INPUTS)
        np.testing.assert_allclose(new.outputs(observation), old.outputs(observation), rtol=1e-5, atol=1e-6)
    if small and sum(large) > sum(small):
        assert new.layers(theta)[0][small[0] :].any() or small[0] == large[0], "new units keep their fresh weights"


@pytest.mark.parametrize(
    "other",
    [
        build((3,)),
        build((4, 4)),
        build(),
        build((4,), bias=False),
        build((4,), inputs=INPUTS + 1),
        build((4,), action="box of two axes"),
    ],
    ids=["fewer units", "more layers", "fewer layers", "no bias", "other observations", "other actions"],
)
def test_growing_into_a_network_that_does_not_fit_is_refused(other: MLP) -> None:
    old = build((4,))
    with pytest.raises(UserError, match=r"start_from.*does not fit.*policy\.hidden"):
        grow(old, random_theta(old), other, random_theta(other))
