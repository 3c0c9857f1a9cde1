"""What the pool decides, from made-up statuses."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from raes.runtime.decisions import (
    BLOCK_SECONDS,
    LEAST_PATIENCE,
    MAX_BLOCK,
    MAX_REDUCERS,
    QUEUE_SHARE,
    SHARE_WORK,
    block_size,
    blocks_to_hold,
    give_up_starting,
    patience,
    placement,
    reducers,
    shares,
)


@pytest.mark.parametrize(
    ("queued", "workers", "seconds", "size"),
    [
        (1000, 4, 0.0, 1),  # nothing measured: one episode, to learn how long they are
        (1000, 4, 0.001, 63),  # a quarter of an even share: 1000 / 16, rounded up
        (1000, 4, 0.05, 5),  # a quarter of a second
        (1000, 4, 10.0, 1),  # an episode of ten seconds still goes out
        (1_000_000, 4, 1e-5, MAX_BLOCK),
        (3, 4, 1e-5, 1),
        (0, 4, 1e-5, 1),
        (100, 0, 1e-5, 25),  # no worker yet
    ],
)
def test_a_block_is_a_share_of_the_queue_bounded_in_time(queued: int, workers: int, seconds: float, size: int) -> None:
    assert block_size(queued, workers, seconds) == size


@given(st.integers(0, 10**6), st.integers(0, 1000), st.floats(0, 100))
def test_a_block_is_never_empty_never_too_long_and_shrinks_with_the_queue(
    queued: int, workers: int, seconds: float
) -> None:
    size = block_size(queued, workers, seconds)
    assert 1 <= size <= MAX_BLOCK
    assert size <= max(1, math.ceil(queued / (QUEUE_SHARE * max(1, workers))))
    assert size == 1 or size * seconds <= BLOCK_SECONDS * (1 + 1e-9)
    assert block_size(queued // 2, workers, seconds) <= size


def test_a_second_block_waits_at_an_actor_only_while_more_is_queued_than_there_are_workers() -> None:
    assert [blocks_to_hold(queued, 4) for queued in (0, 4, 5, 100)] == [1, 1, 2, 2]


def test_starting_is_given_up_after_three_losses_in_a_row() -> None:
    assert [give_up_starting(lost, ready=0) for lost in range(5)] == [False, False, False, True, True]


def test_starting_is_never_given_up_while_an_actor_is_ready() -> None:
    assert not any(give_up_starting(lost, ready=1) for lost in range(100))


@pytest.mark.parametrize(
    ("work", "slices", "allowed", "count"),
    [
        (SHARE_WORK - 1, 14, 5, 0),  # too small to be sent
        (SHARE_WORK, 14, 5, 1),
        (3 * SHARE_WORK, 14, 5, 3),
        (100 * SHARE_WORK, 14, 5, 5),
        (100 * SHARE_WORK, 14, 0, 0),
        (100 * SHARE_WORK, 14, 400, MAX_REDUCERS),
        (100 * SHARE_WORK, 2, 400, 1),  # one slice each
        (100 * SHARE_WORK, 1, 400, 0),
    ],
)
def test_reducers_are_as_many_as_the_sum_is_worth(work: int, slices: int, allowed: int, count: int) -> None:
    assert reducers(work, slices, allowed) == count


@given(st.integers(1, 5000), st.integers(1, 20))
def test_shares_cover_the_slices_in_order_and_evenly(slices: int, processes: int) -> None:
    cut = shares(slices, processes)
    assert [number for share in cut for number in share] == list(range(slices))
    lengths = [len(share) for share in cut]
    assert len(cut) == processes
    assert lengths == sorted(lengths, reverse=True)
    assert lengths[0] - lengths[-1] <= 1


@pytest.mark.parametrize(
    ("allowed", "wanted", "placed"),
    [
        ({"own": 3}, 2, {"own": 2}),
        ({"own": 3, "a": 2, "b": 2}, 2, {"a": 1, "b": 1}),  # other nodes first, one each
        ({"own": 3, "a": 2, "b": 2}, 3, {"a": 1, "b": 1, "own": 1}),
        ({"own": 3, "a": 2, "b": 1}, 5, {"a": 2, "b": 1, "own": 2}),
        ({"own": 1, "a": 1}, 9, {"own": 1, "a": 1}),
        ({}, 3, {}),
        ({"own": 3}, 0, {}),
    ],
)
def test_reducers_are_spread_over_the_nodes_the_own_one_last(
    allowed: dict[str, int], wanted: int, placed: dict[str, int]
) -> None:
    assert placement(allowed, wanted, "own") == placed


def test_patience_is_twice_the_own_share_and_never_too_short() -> None:
    assert [patience(seconds) for seconds in (0.01, 3.0)] == [LEAST_PATIENCE, 6.0]
