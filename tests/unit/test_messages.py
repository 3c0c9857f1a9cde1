"""Blocks and results travel as bytes and arrive as they were."""

from __future__ import annotations

import pickle
from dataclasses import fields, replace
from typing import Any

import numpy as np
import pytest

from raes.results import RESULT_DTYPE, Behaviors, Fault, Moments, Results, WeightsReport
from raes.rng import Purpose
from raes.runtime.messages import pack_results, pack_tasks, unpack_results, unpack_tasks
from raes.tasks import Genomes, Tasks


def assert_same(ours: Any, theirs: Any) -> None:
    """Equal fields, arrays by dtype, shape and bytes."""
    assert type(ours) is type(theirs)
    for field in fields(ours):
        one, other = getattr(ours, field.name), getattr(theirs, field.name)
        if isinstance(one, np.ndarray):
            assert (one.dtype, one.shape, one.tobytes()) == (other.dtype, other.shape, other.tobytes()), field.name
        elif hasattr(one, "__dataclass_fields__"):
            assert_same(one, other)
        else:
            assert one == other, field.name


def tasks(count: int, **genomes: Any) -> Tasks:
    rng = np.random.default_rng(count)
    recipes = Genomes(rng.integers(0, 99, count), rng.standard_normal(count).astype(np.float32), **genomes)
    observe = rng.integers(0, 2, count).astype(np.bool_)
    return Tasks(int(Purpose.TRAINING), 7, np.arange(3, 3 + count), np.arange(count), observe, recipes)


@pytest.mark.parametrize(
    "block",
    [
        tasks(1),
        tasks(5, parent=np.array([4, 0, 3, 3, 1])),
        tasks(2, vectors=np.arange(6, dtype=np.float32).reshape(2, 3)),
        tasks(2, vectors=np.arange(6.0).reshape(2, 3)),
        tasks(9).take(slice(2, 9, 3)),
        tasks(0),
    ],
    ids=["one", "parents", "vectors", "float64", "strided", "none"],
)
def test_a_block_arrives_as_it_was(block: Tasks) -> None:
    assert_same(unpack_tasks(pack_tasks(block)), block)
    assert len(pack_tasks(tasks(2))) < len(pickle.dumps(tasks(2), pickle.HIGHEST_PROTOCOL)) / 3


@pytest.mark.parametrize("whole", [True, False])
def test_results_arrive_as_they_were(whole: bool) -> None:
    records = np.zeros(2, RESULT_DTYPE)
    records["index"], records["return"], records["fault"] = [4, 6], [1.5, np.nan], [False, True]
    moments = Moments(np.array([4]), np.array([9.0]), np.ones((1, 3)), np.zeros((1, 3)))
    parts = (moments, (Fault(6, "why", certain=False),), Behaviors(np.array([4]), np.ones((1, 2)))) if whole else ()
    models = {"weights": (WeightsReport("host", 3, "ab"),), "parts": ((4, np.ones(3, np.uint8)),)} if whole else {}
    results = Results(int(Purpose.PROBE), 2, records, *parts, **models)
    got = unpack_results(pack_results(results))
    for ours, theirs in ((got, results), (got.take(np.array([True, False])), results.take(np.array([True, False])))):
        assert [content.tolist() for _, content in ours.parts] == [content.tolist() for _, content in theirs.parts]
        assert_same(replace(ours, parts=()), replace(theirs, parts=()))
