"""The collector: the same batch, bit for bit, however the results come."""

from __future__ import annotations

import dataclasses
import random
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from raes.results import RESULT_DTYPE, Batch, Fault, Moments, Results
from raes.rng import Purpose
from raes.runtime.collector import Collector
from raes.tasks import Round, Tasks, evaluation_tasks

from .conftest import SmallES

SEARCH = SmallES(observation_share=0.5)


def ask(first: int, count: int) -> Tasks:
    return SEARCH.algorithm.ask(SEARCH.state, first, count)


def length_of(index: int) -> int:
    return 1 + (7 * index) % 13


def play(tasks: Tasks, broken: Sequence[int] = ()) -> Results:
    """What a worker would send: every figure a function of the episode's index alone."""
    index = tasks.index
    records = np.zeros(len(tasks), dtype=RESULT_DTYPE)
    records["index"] = index
    records["return"] = np.sin(index.astype(np.float64)) * 1e3
    records["sign_return"], records["length"] = index % 7 - 3, [length_of(i) for i in index.tolist()]
    records["capped"], records["fault"] = index % 3 == 0, np.isin(index, broken)
    records["return"][records["fault"]], records["length"][records["fault"]] = np.nan, 0
    seen = index[tasks.observe & ~records["fault"]]
    mean = np.cos(seen[:, None] + np.arange(3.0))
    moments = Moments(seen, 1.0 + seen, mean, mean**2) if seen.size else None
    faults = tuple(Fault(i, f"broken {i}") for i in index[records["fault"]].tolist())
    return Results(tasks.purpose, tasks.generation, records, moments, faults)


def gather(collector: Collector, rng: random.Random | None = None, broken: Sequence[int] = ()) -> Collector:
    """Play all that is asked for; with `rng` cut anyhow and in any order."""
    open_tasks = collector.start()
    while open_tasks:
        blocks = []
        for tasks in open_tasks:
            order = np.arange(len(tasks))
            if rng is not None:
                rng.shuffle(order)
            while order.size:
                size = len(order) if rng is None else rng.randint(1, 6)
                blocks.append(tasks.take(order[:size]))
                order = order[size:]
        if rng is not None:
            rng.shuffle(blocks)
        for block in blocks:
            assert not collector.complete
            assert collector.more() is None, "nothing is to add before all are answered"
            collector.add(play(block, broken))
        further = collector.more()
        open_tasks = [] if further is None else [further]
    assert collector.complete
    return collector


def new(pairs: int, timesteps: int = 0, expected_length: float = 0.0, evaluation: Tasks | None = None) -> Collector:
    snapshot = SEARCH.algorithm.snapshot(SEARCH.state)
    return Collector(Round(snapshot, ask, 2, pairs, None, timesteps, expected_length, evaluation=evaluation))


def bits(batch: Batch | None) -> tuple[object, ...]:
    assert batch is not None
    moments = () if batch.moments is None else dataclasses.astuple(batch.moments)
    genomes = (column for column in dataclasses.astuple(batch.genomes) if column is not None)
    arrays = (*genomes, batch.returns, batch.sign_returns, batch.lengths, *moments)
    return batch.capped_share, *((array.dtype.str, array.shape, array.tobytes()) for array in arrays)


@given(
    pairs=st.integers(1, 30),
    timesteps=st.integers(0, 600),
    expected_length=st.just(0.0) | st.floats(1, 20),
    broken=st.lists(st.integers(0, 80), max_size=8),
    seed=st.integers(0, 2**32),
)
def test_results_in_any_order_and_cut_any_way_give_the_same_bits(
    pairs: int, timesteps: int, expected_length: float, broken: list[int], seed: int
) -> None:
    plain = gather(new(pairs, timesteps), broken=broken)
    shuffled = gather(new(pairs, timesteps, expected_length), random.Random(seed), broken)
    if plain.batch() is None:
        assert shuffled.batch() is None or expected_length > 0
        return
    assert bits(shuffled.batch()) == bits(plain.batch())
    assert shuffled.faults == plain.faults


@given(pairs=st.integers(1, 20), timesteps=st.integers(0, 500), broken=st.lists(st.integers(0, 60), max_size=5))
def test_a_generation_is_the_shortest_prefix_of_pairs_with_enough_timesteps(
    pairs: int, timesteps: int, broken: list[int]
) -> None:
    collector = gather(new(pairs, timesteps), broken=broken)
    batch = collector.batch()
    expected, total, pair = [], 0, 0
    while pair < pairs or total < timesteps:
        if pair >= pairs and not expected:
            break  # all of the certain pairs failed
        if not {2 * pair, 2 * pair + 1} & set(broken):
            expected.append(pair)
            total += length_of(2 * pair) + length_of(2 * pair + 1)
        pair += 1
    if batch is None:
        assert not expected
        return
    kept = np.array(expected)
    genomes = ask(0, pair).genomes.take(2 * kept)
    np.testing.assert_array_equal(batch.genomes.noise_index, genomes.noise_index)
    np.testing.assert_array_equal(batch.genomes.scale, genomes.scale)
    assert (batch.genomes.scale > 0).all()
    np.testing.assert_array_equal(batch.returns, np.sin(np.stack([2 * kept, 2 * kept + 1], axis=1)) * 1e3)
    assert batch.lengths.sum() == total
    assert batch.lengths.shape == batch.sign_returns.shape == (len(expected), 2)
    if batch.moments is not None:
        assert set(batch.moments.index // 2) <= set(expected)
        assert (np.diff(batch.moments.index) > 0).all()
        np.testing.assert_array_equal(batch.moments.count, 1.0 + batch.moments.index)


def test_a_fault_leaves_out_its_pair_and_no_other_takes_its_place() -> None:
    collector = gather(new(6), broken=[2, 7])
    batch = collector.batch()
    assert batch is not None
    assert len(batch.returns) == 4
    assert np.isfinite(batch.returns).all()
    assert collector.faults == [(Purpose.TRAINING, Fault(2, "broken 2")), (Purpose.TRAINING, Fault(7, "broken 7"))]
    assert batch.moments is None or not {1, 3} & set(batch.moments.index // 2)


def test_a_generation_in_which_all_fail_is_complete_and_has_no_batch() -> None:
    collector = gather(new(3, timesteps=100), broken=range(10))
    assert collector.batch() is None
    assert len(collector.faults) == 6


def test_more_pairs_follow_until_the_timesteps_suffice() -> None:
    collector = new(2, timesteps=200)
    asked = collector.start()
    assert asked[0].index.tolist() == [0, 1, 2, 3]
    while not collector.complete:
        collector.add(play(asked[-1]))
        further = collector.more()
        if further is not None:
            asked.append(further)
    assert np.concatenate([tasks.index for tasks in asked]).tolist() == list(range(sum(map(len, asked))))
    assert len(asked) <= 5, "each extension aims at all that is missing"


def test_the_expected_length_saves_rounds_and_the_surplus_is_left_out() -> None:
    plain, guessed = gather(new(2, timesteps=200)), new(2, timesteps=200, expected_length=1.0)
    [tasks] = guessed.start()
    assert len(tasks) == 200
    guessed.add(play(tasks))
    assert guessed.complete
    assert guessed.more() is None
    assert bits(guessed.batch()) == bits(plain.batch())
    batch = guessed.batch()
    assert batch is not None
    assert guessed.surplus == 200 - batch.returns.size


def test_a_fault_behind_the_prefix_is_no_fault_of_the_generation() -> None:
    collector = new(2, timesteps=10, expected_length=0.5)
    collector.add(play(*collector.start(), broken=[1, 19]))
    assert collector.faults == [(Purpose.TRAINING, Fault(1, "broken 1"))]


@pytest.mark.parametrize("training", [True, False])
def test_an_evaluation_runs_along_in_index_order_and_apart(training: bool) -> None:
    evaluation = evaluation_tasks(Purpose.EVALUATION, 0, 7)
    rng = random.Random(0)
    assert new(4, evaluation=evaluation).start()[1] is evaluation, "behind the training episodes"
    if training:
        collector = gather(new(4, evaluation=evaluation), rng, [1])
        assert bits(collector.batch()) == bits(gather(new(4), broken=[1]).batch())
    else:
        collector = Collector(Round(SEARCH.algorithm.snapshot(SEARCH.state), evaluation=evaluation))
        assert collector.start() == [evaluation]
        assert not collector.complete
        for row in (6, 1, 0, 5, 3, 2, 4):
            collector.add(play(evaluation.take(slice(row, row + 1)), [1]))
        assert collector.complete
        assert collector.batch() is None
    assert collector.evaluation["index"].tolist() == list(range(7))
    assert collector.evaluation["fault"].tolist() == [False, True] + [False] * 5
    assert (Purpose.EVALUATION, Fault(1, "broken 1")) in collector.faults


def same_tasks(tasks: Tasks, expected: Tasks) -> bool:
    return [value.tolist() for value in _columns(tasks)] == [value.tolist() for value in _columns(expected)] and (
        (tasks.purpose, tasks.generation) == (expected.purpose, expected.generation)
    )


def _columns(tasks: Tasks) -> tuple[np.ndarray, ...]:
    return tasks.index, tasks.reset, tasks.observe, tasks.genomes.noise_index, tasks.genomes.scale


def test_the_failed_tasks_are_those_that_were_asked_for() -> None:
    """Of the first tasks, of an extension and of the evaluation; not of the surplus, nor the good half of a pair."""
    evaluation = evaluation_tasks(Purpose.EVALUATION, 0, 4)
    broken = [1, 7, 1_000]
    collector = gather(new(2, timesteps=60, evaluation=evaluation), random.Random(3), broken)
    blocks = collector.failed_tasks()
    assert [block.tasks.index.tolist() for block in blocks] == [[1], [7], [1]]
    everything = ask(0, 10)
    for block, source in zip(blocks, (everything, everything, evaluation), strict=True):
        assert same_tasks(block.tasks, source.take(block.tasks.index))
    expected = [
        (block.tasks.purpose, Fault(index, reason))
        for block in blocks
        for index, reason in zip(block.tasks.index.tolist(), block.reasons, strict=True)
    ]
    assert expected == collector.faults


def test_a_failed_task_behind_the_prefix_is_none_of_the_generations() -> None:
    collector = new(2, timesteps=10, expected_length=0.5)
    collector.add(play(*collector.start(), broken=[1, 19]))
    [block] = collector.failed_tasks()
    assert block.tasks.index.tolist() == [1]
    assert block.reasons == ("broken 1",)


def test_no_fault_no_failed_tasks() -> None:
    assert gather(new(3)).failed_tasks() == []
