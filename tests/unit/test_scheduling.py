"""What the pool decides, from made-up statuses."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from raes.runtime.scheduling import (
    BLOCK_SECONDS,
    FIRST_DEADLINE,
    LEAST_DEADLINE,
    LEAST_PATIENCE,
    LEAST_REPORT_SECONDS,
    LOW_SECONDS,
    MAX_BLOCK,
    MAX_REDUCERS,
    POOL_SECONDS,
    QUEUE_SHARE,
    RELAY_CALLS,
    SHARE_WORK,
    TAIL_CALLS,
    Node,
    Size,
    block_size,
    blocks_to_hold,
    deadline,
    is_late,
    is_low,
    is_short,
    many_are_idle,
    patience,
    place_workers,
    placement,
    reducers,
    relay_room,
    report_seconds,
    results_together,
    shares,
    spare,
    start_is_hopeless,
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
    served = min(math.ceil(queued / max(1, workers)), math.ceil(workers * POOL_SECONDS / seconds)) if seconds else 1
    assert size <= max(1, math.ceil(queued / (QUEUE_SHARE * max(1, workers))), served)
    assert size == 1 or size * seconds <= BLOCK_SECONDS * (1 + 1e-9)
    assert block_size(queued // 2, workers, seconds) <= size


@pytest.mark.parametrize(
    ("queued", "workers", "seconds", "size"),
    [
        (438, 64, 0.024, 3),  # 64 workers with episodes of 24 ms: 72 ms for 64 answers
        (100, 64, 0.024, 2),  # no more than an even share
        (64, 64, 0.024, 1),
        (438, 64, 0.7, 1),  # long episodes: one is enough
        (438, 4, 0.024, 10),
    ],
)
def test_a_pool_of_many_workers_gives_blocks_that_it_can_serve(
    queued: int, workers: int, seconds: float, size: int
) -> None:
    assert block_size(queued, workers, seconds) == size


def test_answers_are_taken_in_together_only_while_others_wait() -> None:
    assert results_together(438, 64, 0.024) == 4
    assert results_together(0, 64, 0.024) == 1
    assert results_together(438, 64, 0.0) == 1
    assert results_together(438, 64, 0.7) == 1


def test_a_second_block_waits_at_an_actor_only_while_more_is_queued_than_there_are_workers() -> None:
    assert [blocks_to_hold(queued, 4) for queued in (0, 4, 5, 100)] == [1, 1, 2, 2]


def test_starting_is_given_up_after_three_losses_in_a_row() -> None:
    assert [start_is_hopeless(lost) for lost in range(5)] == [False, False, False, True, True]


@pytest.mark.parametrize(
    ("workers", "size"),
    [("auto", Size(1, None)), (8, Size(8, 8)), ("8", Size(8, 8)), ("2..8", Size(2, 8)), ("3..3", Size(3, 3))],
)
def test_the_key_workers_has_three_forms(workers: int | str, size: Size) -> None:
    assert Size.of(workers) == size


@pytest.mark.parametrize("workers", [0, -1, "8..2", "0..3", "all", "2..", "..3", "1.5", "2...5", ""])
def test_other_numbers_of_workers_are_refused(workers: int | str) -> None:
    with pytest.raises(ValueError, match="workers must be"):
        Size.of(workers)


NODES = (Node("a", 4), Node("b", 2, draining=True), Node("c", 8), Node("d", 0))


@pytest.mark.parametrize(
    ("most", "placed"),
    [
        (None, {"a": 4, "b": 0, "c": 8, "d": 0}),
        (6, {"a": 4, "b": 0, "c": 2, "d": 0}),
        (3, {"a": 3, "b": 0, "c": 0, "d": 0}),
        (100, {"a": 4, "b": 0, "c": 8, "d": 0}),
    ],
)
def test_workers_fill_the_nodes_that_stay_in_the_order_they_joined(most: int | None, placed: dict[str, int]) -> None:
    assert place_workers(NODES, most) == placed


@given(st.lists(st.tuples(st.integers(0, 9), st.booleans()), max_size=9), st.integers(1, 50), st.integers(0, 9))
def test_a_node_that_joins_moves_nobody(nodes: list[tuple[int, bool]], most: int, cpus: int) -> None:
    before = [Node(str(number), *node) for number, node in enumerate(nodes)]
    old = place_workers(before, most)
    new = place_workers([*before, Node("new", cpus)], most)
    assert {node: new[node] for node in old} == old
    assert sum(new.values()) <= most


def test_the_deadline_follows_the_longest_episode_unless_it_is_given() -> None:
    assert deadline(None, 0.0) == FIRST_DEADLINE
    assert deadline(None, 0.1) == LEAST_DEADLINE
    assert deadline(None, 100.0) == 2000.0
    assert deadline(2.5, 100.0) == deadline(2.5, 0.0) == 2.5


def test_a_block_is_late_after_four_times_what_it_takes_and_a_second() -> None:
    assert not is_late(8.9, episodes=2, seconds_per_episode=1.0)
    assert is_late(9.1, episodes=2, seconds_per_episode=1.0)
    assert not is_late(0.9, episodes=1, seconds_per_episode=0.001)


def test_reports_become_rarer_with_more_relays_so_that_the_driver_takes_a_bounded_number() -> None:
    assert report_seconds(1, tail=True) == report_seconds(2, tail=True) == LEAST_REPORT_SECONDS
    for relays in (10, 100, 1000):
        assert relays / report_seconds(relays) == pytest.approx(RELAY_CALLS)
        assert relays / report_seconds(relays, tail=True) == pytest.approx(TAIL_CALLS)


def test_a_relay_gets_work_for_all_its_workers_and_a_reserve_that_lasts_until_it_is_asked_again() -> None:
    assert relay_room(1000, 0, 10, 20, pause=0.1, mean=0.0) == 20  # nothing measured: twice its workers
    assert relay_room(1000, 0, 10, 20, pause=0.1, mean=10.0) == 11  # long episodes: hardly a reserve
    assert relay_room(1000, 0, 10, 20, pause=0.1, mean=0.02) == 110
    assert relay_room(1000, 105, 10, 20, pause=0.1, mean=0.02) == 5
    assert relay_room(12, 0, 10, 20, pause=0.1, mean=0.02) == 10, "no reserve where the queue ends"
    assert relay_room(12, 9, 10, 20, pause=0.1, mean=10.0) == 2
    assert relay_room(3, 0, 10, 20, pause=0.1, mean=10.0) == 3
    assert relay_room(1000, 0, 0, 20, pause=0.1, mean=1.0) == relay_room(0, 0, 10, 20, pause=0.1, mean=1.0) == 0
    assert relay_room(1000, 500, 10, 20, pause=0.1, mean=10.0) == 0
    assert relay_room(9, 100, 100, 2000, pause=0.1, mean=0.02) == 1, "the last ones go where workers are free first"


def test_a_short_queue_goes_out_whole() -> None:
    assert is_short(10_000, 1_440, relays=16, mean=0.024), "0.17 s, and a call to each of 16 relays takes 0.02 s"
    assert not is_short(10_000, 1_440, relays=4, mean=0.024)
    assert not is_short(10_000, 1_440, relays=16, mean=0.28)
    assert not is_short(10_000, 1_440, relays=16, mean=0.0), "nothing measured"
    assert not is_short(0, 1_440, relays=16, mean=0.024)
    assert relay_room(1_000, 0, 10, 40, pause=1.0, mean=0.001, short=True) == 250
    assert relay_room(1_000, 0, 10, 40, pause=1.0, mean=0.001) == 188, "a quarter stays"


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


def test_a_relay_is_low_when_its_queue_lasts_for_less_than_an_answer_takes() -> None:
    assert is_low(0, 10, mean=1.0)
    assert is_low(5, 10, mean=LOW_SECONDS * 2)
    assert not is_low(6, 10, mean=LOW_SECONDS * 2)
    assert is_low(1000, 10, mean=0.0), "nothing measured"


def test_half_of_what_a_relay_has_not_begun_is_shared_where_that_is_much() -> None:
    assert spare(30, 10, age=0.0, mean=1.0) == 10
    assert spare(30, 10, age=1.0, mean=1.0) == 5, "it has done 10 meanwhile"
    assert spare(24, 10, age=1.0, mean=1.0) == 2, "fewer than half its workers, but they would wait"
    assert spare(24, 10, age=0.01, mean=0.01) == 0, "fewer than half its workers, and begun soon"
    assert spare(30, 10, age=9.0, mean=0.0) == 10, "nothing measured"
    assert spare(5, 10, age=0.0, mean=1.0) == 0


def test_patience_is_twice_the_own_share_and_never_too_short() -> None:
    assert [patience(seconds) for seconds in (0.01, 3.0)] == [LEAST_PATIENCE, 6.0]


@pytest.mark.parametrize(
    ("idle", "workers", "expected"),
    [(0, 0, False), (0, 90, False), (8, 90, False), (9, 90, True), (90, 90, True), (1, 4, True), (0, 4, False)],
)
def test_many_workers_of_a_relay_are_idle_when_a_tenth_is(idle: int, workers: int, expected: bool) -> None:
    assert many_are_idle(idle, workers) is expected
