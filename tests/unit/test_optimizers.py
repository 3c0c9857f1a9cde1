"""Optimisers against the same recurrences written out in float64."""

from __future__ import annotations

import math
import pickle
from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest

from raes.search import optimizers
from raes.search.optimizers import OPTIMIZERS, OptimizerSettings
from raes.types import UserError

STEPS = 6
D = 5
NAMES = ["adam", "sgd", "clipup"]
Vector = np.ndarray


def adam(gradients: Iterator[Vector], s: OptimizerSettings) -> Iterator[Vector]:
    """Kingma & Ba 2015, algorithm 1, with the bias correction in the stepsize (end of section 2)."""
    m, v = np.zeros(D), np.zeros(D)
    for t, gradient in enumerate(gradients, start=1):
        m = s.momentum * m + (1 - s.momentum) * gradient
        v = s.beta2 * v + (1 - s.beta2) * gradient**2
        yield s.stepsize * math.sqrt(1 - s.beta2**t) / (1 - s.momentum**t) * m / (np.sqrt(v) + s.epsilon)


def sgd(gradients: Iterator[Vector], s: OptimizerSettings) -> Iterator[Vector]:
    """The reference implementation's momentum, which averages."""
    velocity = np.zeros(D)
    for gradient in gradients:
        velocity = s.momentum * velocity + (1 - s.momentum) * gradient
        yield s.stepsize * velocity


def clipup(gradients: Iterator[Vector], s: OptimizerSettings) -> Iterator[Vector]:
    """Toklu et al. 2020, algorithm 1."""
    velocity = np.zeros(D)
    for gradient in gradients:
        velocity = s.momentum * velocity + s.stepsize * gradient / math.sqrt((gradient**2).sum())
        speed = math.sqrt((velocity**2).sum())
        if speed > s.max_speed:
            velocity = velocity * s.max_speed / speed
        yield velocity


REFERENCE = {"adam": adam, "sgd": sgd, "clipup": clipup}


@pytest.mark.parametrize("weight_decay", [0.0, 0.005, 0.3])
@pytest.mark.parametrize("name", NAMES)
def test_several_steps_equal_the_float64_recurrence(name: str, weight_decay: float) -> None:
    own = {"adam": {"beta2": 0.95, "epsilon": 1e-3}, "sgd": {}, "clipup": {"max_speed": 0.15}}[name]
    settings = OptimizerSettings(name, stepsize=0.1, weight_decay=weight_decay, momentum=0.8, **own)
    rng = np.random.default_rng(0)
    raw = rng.standard_normal((STEPS, D)).astype(np.float32)
    theta = rng.standard_normal(D).astype(np.float32)
    exact = theta.astype(np.float64)

    def decayed() -> Iterator[Vector]:
        for gradient in raw:
            yield gradient.astype(np.float64) - weight_decay * exact

    state = optimizers.init(settings, D)
    for gradient, expected in zip(raw, REFERENCE[name](decayed(), settings), strict=True):
        step, state = optimizers.step(settings, state, theta, gradient, settings.stepsize)
        np.testing.assert_allclose(step, expected, rtol=1e-5, atol=1e-7)
        theta, exact = theta + step, exact + expected
    assert state.steps == STEPS


def test_adams_first_step_has_the_length_of_the_stepsize_in_every_component() -> None:
    """The bias correction's purpose: m and v start at zero, and yet the first step is stepsize * sign(g)."""
    settings = OptimizerSettings("adam", stepsize=0.01, weight_decay=0.0)
    gradient = np.array([1e-3, -5.0, 200.0], np.float32)
    step, _ = optimizers.step(settings, optimizers.init(settings, 3), np.zeros(3, np.float32), gradient, 0.01)
    np.testing.assert_allclose(step, [0.01, -0.01, 0.01], rtol=1e-3)


@pytest.mark.parametrize("name", NAMES)
def test_an_optimiser_climbs_keeps_float32_and_changes_nothing_in_place(name: str) -> None:
    settings = OptimizerSettings(name, stepsize=0.1, weight_decay=0.0)
    theta, first = np.full(4, 3.0, np.float32), optimizers.init(settings, 4)
    state, start = first, theta
    for _ in range(400):
        step, state = optimizers.step(settings, state, theta, -theta, 0.1)  # the gradient of -|theta|^2 / 2
        theta = theta + step
    assert np.linalg.norm(theta) < 0.5
    assert {array.dtype.name for array in (theta, step, state.first, state.second)} == {"float32"}
    assert first.steps == 0
    assert not first.first.any()
    np.testing.assert_array_equal(start, 3.0)


@pytest.mark.parametrize("name", NAMES)
def test_a_zero_gradient_gives_no_step(name: str) -> None:
    settings = OptimizerSettings(name, weight_decay=0.0)
    zero = np.zeros(3, np.float32)
    step, _ = optimizers.step(settings, optimizers.init(settings, 3), np.ones(3, np.float32), zero, 0.1)
    np.testing.assert_array_equal(step, zero)


@pytest.mark.parametrize("name", NAMES)
def test_weight_decay_pulls_towards_zero(name: str) -> None:
    settings = OptimizerSettings(name, weight_decay=0.1)
    zero, theta = np.zeros(2, np.float32), np.array([2.0, -3.0], np.float32)
    step, _ = optimizers.step(settings, optimizers.init(settings, 2), theta, zero, 0.01)
    assert step[0] < 0 < step[1]


@pytest.mark.parametrize(
    "wrong",
    [
        {"name": "rmsprop"},
        {"stepsize": 0.0},
        {"stepsize_decay": 1.1},
        {"stepsize_min": 0.02},
        {"weight_decay": -0.1},
        {"momentum": 1.0},
        {"beta2": -0.1},
        {"epsilon": 0.0},
        {"max_speed": 0.0, "name": "clipup"},
    ],
    ids=lambda wrong: next(iter(wrong)),
)
def test_settings_out_of_range_are_refused_with_key_and_value(wrong: dict) -> None:
    key, value = next(iter(wrong.items()))
    with pytest.raises(ValueError, match=key) as caught:
        OptimizerSettings(**wrong)
    assert str(value) in str(caught.value)


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"max_speed": 1}, "max_speed=1: has no effect with name='adam'; remove it, or give name='clipup'"),
        (
            {"name": "adam", "max_speed": 0.3},
            "max_speed=0.3: has no effect with name='adam'; remove it, or give name='clipup'",
        ),
        ({"name": "sgd", "beta2": 0.9}, "beta2=0.9: has no effect with name='sgd'; remove it, or give name='adam'"),
        ({"name": "rms"}, "name must be one of adam, sgd, clipup, got 'rms'"),
        (
            {"name": "sgd", "stepsiz": 1},
            "stepsiz: optimizer sgd has no such key; it has name, stepsize, stepsize_decay, stepsize_min, "
            "weight_decay, momentum",
        ),
    ],
    ids=lambda value: str(value)[:30],
)
def test_a_key_that_the_optimiser_does_not_read_is_refused(keys: dict, message: str) -> None:
    with pytest.raises(UserError) as caught:
        OptimizerSettings(**keys)
    assert str(caught.value) == message


@pytest.mark.parametrize("name", NAMES)
def test_the_settings_are_of_the_class_that_the_name_means(name: str) -> None:
    settings = OptimizerSettings(name, stepsize=0.2)
    assert type(settings) is OPTIMIZERS[name]
    assert isinstance(settings, OptimizerSettings)
    assert settings == OPTIMIZERS[name](stepsize=0.2) == pickle.loads(pickle.dumps(settings))
    assert replace(settings, stepsize=0.1) == OptimizerSettings(name, stepsize=0.1)
    other = "sgd" if name == "adam" else "adam"
    with pytest.raises(ValueError, match=f"name must be {name}, got '{other}'"):
        replace(settings, name=other)
