"""Convolutional policies: compared with PyTorch, virtual batch normalisation, the same bits whatever came before."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from pydantic import TypeAdapter, ValidationError

from raes.policies import ActionSpec, ConvPolicy, ConvSettings, build_policy
from raes.policies.conv_layers import FrameConvolution, MapConvolution
from raes.policies.conv_policy import VARIANCE_FLOOR
from raes.types import Float32, UInt8, UserError

from .alignment import ALIGNMENTS, at, buffers_at

if TYPE_CHECKING:  # its import takes longer than the tests that do without it
    import torch

ACTIONS = ActionSpec("discrete", (), "int64", counts=np.array([6]), start=np.array([0]))
SMALL = ConvSettings()
NATURE = ConvSettings(convolutions=((32, 8, 4), (64, 4, 2), (64, 3, 1)), hidden=(512,))
TINY = ConvSettings(convolutions=((4, 8, 4), (6, 4, 2)), hidden=(12,), reference=8)
SHAPE = (4, 84, 84)


def policy_of(settings: ConvSettings, shape: tuple[int, ...] = SHAPE) -> ConvPolicy:
    policy = build_policy(shape, ACTIONS, settings)
    assert isinstance(policy, ConvPolicy)
    return policy


def frames(count: int, seed: int = 0) -> UInt8:
    """Grey frames that look like a game: a few levels, in blocks."""
    rng = np.random.default_rng(seed)
    coarse = rng.choice(np.array([0, 30, 120, 255], np.uint8), (count, 21, 21))
    return coarse.repeat(4, axis=1).repeat(4, axis=2)


def calm_frames(count: int, seed: int = 0) -> UInt8:
    """Grey frames of which little changes from one to the next: a ball that moves, at times nothing, at times all."""
    (background, other), shown = frames(2, seed), []
    for number in range(count):
        frame = (other if number > 3 * count // 4 else background).copy()
        moved = 3 * (number - number % 5 // 3)  # two of five steps change nothing
        frame[moved % 78 : moved % 78 + 5, 2 * moved % 80 : 2 * moved % 80 + 3] = 200
        shown.append(frame)
    return np.stack(shown)


def stacks(count: int, seed: int = 0, stack: int = 4, calm: bool = False) -> UInt8:
    """The observations of an episode, the newest frame last."""
    shown = (calm_frames if calm else frames)(count + stack - 1, seed)
    return np.stack([shown[number : number + stack] for number in range(count)])


def some_theta(policy: ConvPolicy, seed: int = 1) -> Float32:
    """Parameters none of which is as it begins."""
    rng = np.random.default_rng(seed)
    theta = policy.initial_theta(rng)
    return (theta + 0.05 * rng.standard_normal(theta.size)).astype(np.float32)


def torch_outputs(theta: Float32, settings: ConvSettings, batch: UInt8, seen: UInt8) -> np.ndarray:  # type: ignore[type-arg]
    """The same network by PyTorch in float64, from theta as the module's docstring has it."""
    import torch
    from torch.nn import functional

    kinds: dict[str, Any] = {"relu": torch.relu, "elu": functional.elu, "tanh": torch.tanh}
    values, kind = torch.from_numpy(theta.astype(np.float64)), kinds[settings.nonlinearity]
    start = 0

    def take(*shape: int) -> torch.Tensor:
        nonlocal start
        start += int(np.prod(shape))
        return values[start - int(np.prod(shape)) : start].reshape(shape)

    def normalised(x: torch.Tensor, units: int) -> torch.Tensor:
        shape = (1, units, *[1] * (x.ndim - 2))
        shift = take(units).reshape(shape)
        if not settings.reference:
            return kind(x + shift)
        gain, reference = take(units).reshape(shape), x[: len(batch)]
        axes = [axis for axis in range(x.ndim) if axis != 1]
        mean, variance = reference.mean(axes, keepdim=True), reference.var(axes, correction=0, keepdim=True)
        return kind(gain * (x - mean) / torch.sqrt(variance + VARIANCE_FLOOR) + shift)

    x = torch.from_numpy(np.concatenate([batch, seen]).astype(np.float64) / 255)
    for filters, kernel, stride in settings.convolutions:
        weights = take(filters, kernel, kernel, x.shape[1]).permute(0, 3, 1, 2)
        x = normalised(functional.conv2d(x, weights, stride=stride), filters)
    x = x.permute(0, 2, 3, 1).flatten(1)
    for units in settings.hidden:
        x = normalised(x @ take(units, x.shape[1]).T, units)
    x = x @ take(6, x.shape[1]).T + take(6)
    assert start == len(values)
    return x[len(batch) :].numpy()


@pytest.mark.parametrize(("reference", "calm"), [(0, False), (8, False), (8, True)])
@pytest.mark.parametrize(
    "settings",
    [
        SMALL,
        NATURE,
        *[replace(TINY, nonlinearity=kind) for kind in ("relu", "elu", "tanh")],
        replace(TINY, convolutions=((5, 6, 2), (4, 3, 3)), hidden=(9, 7)),
    ],
)
def test_it_is_the_network_that_pytorch_computes(settings: ConvSettings, reference: int, calm: bool) -> None:
    settings = replace(settings, reference=reference, init_norm=1.0)
    policy, batch, seen = policy_of(settings), stacks(8, seed=5), stacks(40 if calm else 11, calm=calm)
    theta = some_theta(policy)
    if reference:
        policy.set_reference(batch)
    policy.set_parameters(theta)
    ours = np.stack([policy.outputs(observation.ravel()).copy() for observation in seen])
    theirs = torch_outputs(theta, settings, batch, seen)
    np.testing.assert_allclose(ours, theirs, rtol=2e-4, atol=2e-4 * np.abs(theirs).max())


@pytest.mark.parametrize(("stack", "size"), [(1, 84), (3, 96)])
def test_other_stacks_and_sizes_fit(stack: int, size: int) -> None:
    settings = replace(TINY, reference=0, init_norm=1.0)
    policy = policy_of(settings, (stack, size, size))
    seen = np.random.default_rng(0).integers(0, 256, (6 + stack - 1, size, size), dtype=np.uint8)
    seen = np.stack([seen[number : number + stack] for number in range(6)])
    theta = some_theta(policy)
    policy.set_parameters(theta)
    ours = np.stack([policy.outputs(observation.ravel()).copy() for observation in seen])
    np.testing.assert_allclose(ours, torch_outputs(theta, settings, seen[:0], seen), rtol=1e-3, atol=1e-4)


def test_windows_that_have_not_changed_are_not_computed_again() -> None:
    policy, seen = policy_of(NATURE), stacks(40, calm=True)
    policy.set_reference(stacks(8, seed=5))
    policy.set_parameters(some_theta(policy))
    first, *further = (layer for layer in policy._layers if isinstance(layer, (FrameConvolution, MapConvolution)))
    shares = []
    for observation in seen:
        policy.outputs(observation.ravel())
        shares.append([layer.changed.mean() for layer in (first, *further)])
    assert shares[0] == [1, 1, 1]
    calm = np.mean(shares[5:25], axis=0)
    assert 0 < calm[0] < 0.1
    assert calm[0] < calm[1] < calm[2] < 0.7


@pytest.mark.kernels
@pytest.mark.parametrize("calm", [False, True])
@pytest.mark.parametrize("settings", [SMALL, NATURE])
def test_an_episode_has_the_same_bits_whatever_came_before(settings: ConvSettings, calm: bool) -> None:
    used, fresh = policy_of(settings), policy_of(settings)
    batch, seen = stacks(128, seed=2), stacks(12 if calm else 7, calm=calm)
    theta = some_theta(used)
    used.set_reference(batch)
    for length in (3, 6):
        used.set_parameters(some_theta(used, seed=length))
        for observation in stacks(length, seed=9):
            used.outputs(observation.ravel())
    used.set_parameters(theta)
    fresh.set_reference(batch)
    fresh.set_parameters(theta.copy())
    for observation in seen:
        np.testing.assert_array_equal(used.outputs(observation.ravel()), fresh.outputs(observation.ravel()))


@pytest.mark.kernels
@pytest.mark.parametrize("settings", [SMALL, replace(NATURE, reference=0)])
def test_an_episode_has_the_same_bits_wherever_its_buffers_lie(settings: ConvSettings) -> None:
    theta, found, calm = some_theta(policy_of(settings)), [], stacks(8, calm=True)
    for offset in ALIGNMENTS:
        with buffers_at(offset):
            policy = policy_of(settings)
            policy.set_reference(at(offset, stacks(16, seed=2)))
            policy.set_parameters(at(offset, theta))
            found.append([policy.outputs(at(offset, seen.ravel())).tolist() for seen in [*stacks(4), *calm]])
    assert all(outputs == found[0] for outputs in found)


def test_a_normalised_policy_does_not_feel_the_scale_of_its_incoming_weights() -> None:
    policy = policy_of(TINY)
    policy.set_reference(stacks(8, seed=3))
    theta, observation = policy.initial_theta(np.random.default_rng(0)), stacks(1)[0].ravel()
    policy.set_parameters(theta)
    before = policy.outputs(observation).copy()
    scaled = theta.copy()
    scaled[: 4 * 256] *= 100
    policy.set_parameters(scaled)
    np.testing.assert_allclose(policy.outputs(observation), before, rtol=0.05)


def test_units_that_see_nothing_stay_finite() -> None:
    policy = policy_of(TINY)
    policy.set_reference(np.zeros((8, *SHAPE), np.uint8))
    policy.set_parameters(some_theta(policy))
    assert np.isfinite(policy.outputs(stacks(1)[0].ravel())).all()


def test_it_starts_with_unit_weights_no_shifts_and_unit_gains() -> None:
    policy = policy_of(SMALL)
    assert policy.num_params == 16 * 258 + 32 * 258 + 256 * (2592 + 2) + 6 * 257
    theta = policy.initial_theta(np.random.default_rng(0))
    first, rest = theta[: 16 * 256].reshape(16, 256), theta[16 * 256 :]
    np.testing.assert_allclose(np.linalg.norm(first, axis=1), 1, rtol=1e-5)
    assert np.all(rest[:16] == 0)
    assert np.all(rest[16:32] == 1)
    last = theta[-6 * 257 : -6].reshape(6, 256)
    np.testing.assert_allclose(np.linalg.norm(last, axis=1), 0.01, rtol=1e-5)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"convolutions": ()}, r"convolutions=\[\]: must be at least one layer"),
        ({"convolutions": ((16, 8, 3),)}, "stride must be 1, 2, 4 or 8"),
        ({"convolutions": ((16, 7, 4),)}, "divide its window"),
        ({"hidden": (0,)}, r"hidden\.0"),
        ({"nonlinearity": "sine"}, "nonlinearity must be one of relu, elu, tanh"),
        ({"reference": 1}, "reference must be 0 or at least 2"),
        ({"init_norm": -1.0}, "init_norm"),
    ],
)
def test_settings_out_of_range_are_refused(changes: dict[str, Any], words: str) -> None:
    with pytest.raises(ValidationError, match=words):
        TypeAdapter(ConvSettings).validate_python(changes)


def test_layers_that_do_not_fit_the_frames_are_refused() -> None:
    with pytest.raises(UserError, match=r"policy\.convolutions.*choose env\.size"):
        policy_of(SMALL, (4, 85, 85))
    with pytest.raises(UserError, match=r"policy\.convolutions.*\[8, 4, 2\] gets maps of 1 rows"):
        policy_of(replace(SMALL, convolutions=((16, 8, 4), (8, 20, 20), (8, 4, 2))))
