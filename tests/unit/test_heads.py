"""Action heads: every head on every kind of action space."""

from __future__ import annotations

import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from raes.policies import Head, build_head
from raes.problems.spaces import action_spec
from raes.types import UserError

from .worlds import ACTIONS

BOXES = [name for name in ACTIONS if name.startswith("box")]
OTHERS = [name for name in ACTIONS if not name.startswith("box") and name != "text"]
BOUNDED = [name for name in BOXES if name != "box without bounds"]
CASES = [
    *((name, None) for name in [*BOXES, *OTHERS]),
    *((name, 5) for name in BOUNDED),
    *((name, (-9.0, 0.0, 0.3, 1.0)) for name in BOXES),
]


def head_of(name: str, bins: int | tuple[float, ...] | None = None) -> Head:
    return build_head(action_spec(ACTIONS[name], "Toy-v0"), bins)


@pytest.mark.parametrize(("name", "bins"), CASES)
@given(data=st.data())
def test_the_space_contains_every_action(name: str, bins: int | tuple[float, ...] | None, data: st.DataObject) -> None:
    head = head_of(name, bins)
    numbers = st.floats(-1e6, 1e6, width=32) | st.sampled_from([-0.5, 0.0, 0.1, 0.5, -1e10, 1e10]).map(np.float32)
    output = data.draw(arrays(np.float32, (head.outputs,), elements=numbers))
    action = head(output)
    assert ACTIONS[name].contains(action), repr(action)
    assert getattr(action, "dtype", ACTIONS[name].dtype) == ACTIONS[name].dtype


@pytest.mark.parametrize(("name", "bins"), CASES)
def test_an_action_is_a_new_object_at_each_call(name: str, bins: int | tuple[float, ...] | None) -> None:
    """Environments keep their last action; the output buffer is overwritten at the next timestep."""
    head = head_of(name, bins)
    output = np.linspace(-1, 1, head.outputs, dtype=np.float32)
    first = head(output)
    kept = np.array(first)
    output *= -1
    second = head(output)
    np.testing.assert_array_equal(first, kept)
    assert not np.shares_memory(np.asarray(first), np.asarray(second))
    assert not np.shares_memory(np.asarray(first), output)


@pytest.mark.parametrize(
    ("name", "output", "expected"),
    [
        ("box", [-9.0, 9.0], [-1.0, 2.0]),
        ("box", [0.25, -0.75], [0.25, -0.5]),
        ("box of two axes", [0.1, 0.2, 0.3, 0.4, 5.0, -5.0], [[0.1, 0.2, 0.3], [0.4, 1.0, -1.0]]),
        ("box without axes", [-7.0], -3.0),
        ("box without bounds", [-1e30, 1e30], [-1e30, 1e30]),
        ("box of integers", [-99.0, 2.6, -0.4], [-3, 3, 0]),
        ("discrete", [0.1, 0.3, 0.2, -5.0], 1),
        ("discrete from -2", [0.1, 0.2, 0.3], 0),
        ("multi_discrete", [1, 2, 3, 9, 8, 0, 0, 1, 0, 0], [2, 0, 2]),
        ("multi_discrete of two axes", [0, 1, 2, 1, 0, 0, 0, 0, 3, 5, 4], [[1, 0], [3, 0]]),
        ("multi_discrete from 10", [0, 0, 7, 1, 2], [12, 0]),
        ("multi_binary", [0.1, -0.1, 0.0], [1, 0, 0]),
        ("multi_binary of two axes", [1, -1, -1, 1], [[1, 0], [0, 1]]),
    ],
)
def test_a_head_gives_the_action_worked_out_by_hand(name: str, output: list[float], expected: object) -> None:
    head = head_of(name)
    assert head.outputs == len(output)
    np.testing.assert_allclose(head(np.array(output, np.float32)), expected, rtol=1e-6)


@pytest.mark.parametrize(
    ("bins", "values"),
    [
        (3, [[-1.0, 0.0, 1.0], [-0.5, 0.75, 2.0]]),  # uniform between each component's own bounds
        (2, [[-1.0, 1.0], [-0.5, 2.0]]),
        ((-1.0, 0.0, 5.0), [[-1.0, 0.0, 1.0], [-0.5, 0.0, 2.0]]),  # clipped to them
    ],
)
def test_each_component_takes_the_bin_of_its_largest_output(bins: int | tuple[float, ...], values: list) -> None:
    head, (first, second) = head_of("box", bins), values
    assert head.outputs == 2 * len(first)
    for i, a in enumerate(first):
        for j, b in enumerate(second):
            output = np.zeros((2, len(first)), np.float32)
            output[0, i], output[1, j] = 1, 1
            np.testing.assert_allclose(head(output.ravel()), [a, b], rtol=1e-6)


def test_only_a_continuous_head_takes_action_noise() -> None:
    assert all(head_of(name).continuous for name in BOXES)
    assert not any(head_of(name).continuous for name in OTHERS)
    assert not head_of("box", 3).continuous


@pytest.mark.parametrize("name", OTHERS)
def test_bins_are_refused_where_actions_are_discrete(name: str) -> None:
    with pytest.raises(UserError, match=r"policy\.bins=10.*policy\.bins=null"):
        head_of(name, 10)


def test_uniform_bins_are_refused_where_the_space_has_no_bounds() -> None:
    with pytest.raises(UserError, match=r"policy\.bins=10.*bounded"):
        head_of("box without bounds", 10)


def test_an_unsupported_action_space_is_refused_with_its_name() -> None:
    with pytest.raises(UserError, match=re.escape("env.id=Toy-v0") + ".*Text.*wrap"):
        head_of("text")
