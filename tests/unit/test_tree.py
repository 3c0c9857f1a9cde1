"""A state to named arrays and scalars and back, through what a checkpoint holds."""

from __future__ import annotations

import dataclasses
import json
import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from raes.storage import tree

from .conftest import SmallES


@dataclass(frozen=True)
class Inner:
    count: float
    values: np.ndarray


@dataclass(frozen=True)
class Outer:
    steps: int
    inner: Inner
    flag: bool
    limit: float
    name: str
    indices: np.ndarray
    best: float | None
    other: Inner


numbers = st.floats(allow_nan=False)
inners = st.builds(Inner, numbers, arrays(np.float64, array_shapes(max_dims=2, max_side=3), elements=numbers))
outers = st.builds(
    Outer,
    st.integers(),
    inners,
    st.booleans(),
    numbers,
    st.text(),
    arrays(np.int64, array_shapes(max_dims=1, min_side=0, max_side=4)),
    st.none() | st.floats(allow_nan=False, allow_infinity=False),
    inners,
)


def assert_same(first: Any, second: Any) -> None:
    assert type(first) is type(second)
    for field in dataclasses.fields(first):
        a, b = getattr(first, field.name), getattr(second, field.name)
        if dataclasses.is_dataclass(a):
            assert_same(a, b)
        elif isinstance(a, np.ndarray):
            assert (a.dtype, a.shape, a.tobytes()) == (b.dtype, b.shape, b.tobytes())
        else:
            assert (type(a), a) == (type(b), b), field.name


def blank(value: Any) -> Any:
    """A template: the same kinds of fields with other contents."""
    changes: dict[str, Any] = {}
    for field in dataclasses.fields(value):
        old = getattr(value, field.name)
        if dataclasses.is_dataclass(old):
            changes[field.name] = blank(old)
        elif isinstance(old, np.ndarray):
            changes[field.name] = np.zeros((0,) * old.ndim, old.dtype)
        else:
            changes[field.name] = type(old)() if old is not None else None
    return dataclasses.replace(value, **changes)


@given(outers)
def test_what_is_flattened_comes_back_through_json_bit_for_bit(value: Outer) -> None:
    found, scalars = tree.flatten(value)
    assert_same(tree.restore(blank(value), found, json.loads(json.dumps(scalars, allow_nan=False))), value)


def test_every_field_is_named_by_its_path() -> None:
    search = SmallES(7)
    found, scalars = tree.flatten(search.state)
    assert found.keys() == {
        "theta",
        "optimizer/first",
        "optimizer/second",
        "conditions/observations/mean",
        "conditions/observations/m2",
    }
    assert scalars.keys() == {
        "generation",
        "optimizer/steps",
        "conditions/observations/count",
        "conditions/episode_cap",
        "conditions/running_length",
    }
    assert scalars["conditions/episode_cap"] == "inf"
    assert math.isinf(tree.restore(search.state, found, scalars).conditions.episode_cap)


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({"theta": None}, KeyError),
        ({"theta": np.zeros(7)}, ValueError),
        ({"optimizer/first": np.zeros((7, 1), np.float32)}, ValueError),
    ],
)
def test_a_missing_or_foreign_array_is_an_error(changes: dict[str, Any], error: type[Exception]) -> None:
    search = SmallES(7)
    found, scalars = tree.flatten(search.state)
    found = {key: array for key, array in (found | changes).items() if array is not None}
    with pytest.raises(error, match=next(iter(changes))):
        tree.restore(search.state, found, scalars)


def test_a_missing_scalar_is_an_error_and_no_default() -> None:
    search = SmallES(7)
    found, scalars = tree.flatten(search.state)
    del scalars["optimizer/steps"]
    with pytest.raises(KeyError, match="optimizer/steps"):
        tree.restore(search.state, found, scalars)
