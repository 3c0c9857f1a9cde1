"""The pending table: every episode is answered once, whatever dies and whatever comes twice."""

from __future__ import annotations

import random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from raes.results import RESULT_DTYPE, Fault, Moments, Results
from raes.runtime.pending import MAX_KILLS, MAX_STRIKES, PendingTable
from raes.tasks import Genomes, Tasks

TRAINING, EVALUATION = 2, 5


def tasks(count: int, first: int = 0, purpose: int = TRAINING, generation: int = 0) -> Tasks:
    index = np.arange(first, first + count)
    none = np.zeros(count, dtype=bool)
    return Tasks(purpose, generation, index, index, none, Genomes(index, none.astype(np.float32)))


def answers(block: Tasks) -> Results:
    """A result for each episode; even ones are observed, multiples of 5 are faults."""
    index = block.index
    records = np.zeros(len(block), dtype=RESULT_DTYPE)
    records["index"], records["return"], records["fault"] = index, 10.0 * index, index % 5 == 0
    observed = index[index % 2 == 0]
    mean = observed[:, None].astype(np.float64)
    moments = Moments(observed, np.ones(len(observed)), mean, mean) if observed.size else None
    faults = tuple(Fault(int(i), f"reason {i}") for i in index if i % 5 == 0)
    return Results(block.purpose, block.generation, records, moments, faults)


def next_block(table: PendingTable, count: int = 100) -> Tasks | None:
    """As the pool asks: suspects come first."""
    return table.take_suspect() or table.take(count)


def lost(table: PendingTable, block: Tasks, lone: bool, killed: bool = False) -> tuple[int, list[int]]:
    """How many go out again, and the indices of those that count as the cause."""
    again, culprits, _ = table.strike(block, lone, killed)
    return again, culprits.index.tolist()


def taken(table: PendingTable, count: int = 100) -> list[list[int]]:
    """All that waits, block by block."""
    return [block.index.tolist() for block in iter(lambda: next_block(table, count), None)]


@given(st.integers(1, 60), st.integers(0, 2**32))
def test_every_episode_is_answered_exactly_once_in_any_order_of_events(total: int, seed: int) -> None:
    rng, table, out, kept, dropped, sent = random.Random(seed), PendingTable(), [], [], 0, 0
    table.add(tasks(total))
    table.add(tasks(total, purpose=EVALUATION))  # the same indices, another purpose
    assert len(table) == table.queued == 2 * total
    for _ in range(10_000):
        if not len(table):
            break
        block = next_block(table, rng.randint(1, 9)) if rng.random() < 0.5 else None
        if block is not None:
            out.append(block)
        elif out:
            block = out.pop(rng.randrange(len(out)))
            if rng.random() < 0.2:
                assert lost(table, block, lone=False) == (len(block), [])
                continue
            for _ in range(rng.choice([1, 1, 2])):
                accepted, late = table.accept(answers(block))
                kept += [(accepted.purpose, index) for index in accepted.records["index"].tolist()]
                dropped, sent = dropped + late, sent + len(block)
    assert sorted(kept) == sorted((purpose, index) for purpose in (TRAINING, EVALUATION) for index in range(total))
    assert dropped == sent - 2 * total


def test_a_block_comes_in_order_and_no_larger_than_asked_for() -> None:
    table = PendingTable()
    table.add(tasks(5))
    table.add(tasks(2, first=5))
    table.add(tasks(0))
    assert table.queued == 7
    assert taken(table, 3) == [[0, 1, 2], [3, 4], [5, 6]]
    assert table.queued == 0
    assert len(table) == 7


def test_a_lost_block_goes_out_again_once_first_and_one_episode_a_block() -> None:
    table = PendingTable()
    table.add(tasks(6))
    block = table.take(4)
    assert block is not None
    assert table.take_suspect() is None
    assert lost(table, block, lone=False) == (4, [])
    assert table.queued == 2, "suspects do not go out in blocks"
    assert taken(table) == [[0], [1], [2], [3], [4, 5]]
    assert taken(table) == []


def test_an_episode_that_was_answered_is_not_issued_again() -> None:
    table = PendingTable()
    table.add(tasks(4))
    block = table.take(4)
    assert block is not None
    table.accept(answers(block.take(slice(0, 3))))
    assert lost(table, block, lone=True) == (1, [])
    assert taken(table) == [[3]]


def test_a_second_answer_is_dropped_with_its_statistics_and_its_reason() -> None:
    table = PendingTable()
    table.add(tasks(8))
    first, dropped = table.accept(answers(tasks(3)))
    assert (first.records["index"].tolist(), dropped) == ([0, 1, 2], 0)
    second, dropped = table.accept(answers(tasks(8)))
    assert dropped == 3
    assert second.records["index"].tolist() == [3, 4, 5, 6, 7]
    assert second.moments is not None
    assert second.moments.index.tolist() == [4, 6]
    assert second.moments.mean.ravel().tolist() == [4.0, 6.0]
    assert second.faults == (Fault(5, "reason 5"),)
    nothing, dropped = table.accept(answers(tasks(8)))
    assert (len(nothing.records), dropped) == (0, 8)


def suspect(table: PendingTable) -> Tasks:
    one = table.take_suspect()
    assert one is not None
    return one


def test_an_episode_is_the_culprit_after_three_deaths_that_it_was_alone_at() -> None:
    table = PendingTable()
    table.add(tasks(2))
    block = table.take(2)
    assert block is not None
    assert lost(table, block, lone=True) == (2, [])  # two in the block: no one is alone
    for death in range(1, MAX_STRIKES + 1):
        bad, good = sorted([suspect(table), suspect(table)], key=lambda one: one.index[0])
        assert lost(table, good, lone=False) == (1, [])
        assert lost(table, bad, lone=True) == ((1, []) if death < MAX_STRIKES else (0, [0]))
    assert taken(table) == [[1]]


def test_kills_from_outside_count_less_than_deaths() -> None:
    table = PendingTable()
    table.add(tasks(2))
    assert lost(table, tasks(1), lone=True, killed=True) == (1, [])
    for _ in range(MAX_KILLS - 2):
        assert lost(table, suspect(table), lone=True, killed=True) == (1, [])
    again, culprits, losses = table.strike(suspect(table), lone=True, killed=True)
    assert (again, culprits.index.tolist(), losses) == (0, [0], MAX_KILLS)
    other = tasks(1, first=1)
    for killed in (False, True, True, True):
        assert lost(table, other, lone=True, killed=killed) == (1, []), "one death and three kills are not enough"
    assert lost(table, other, lone=True) == (1, [])
    assert table.strike(other, lone=True)[2] == 6


def test_deaths_with_company_condemn_nobody() -> None:
    table = PendingTable()
    table.add(tasks(1))
    assert lost(table, tasks(1), lone=False) == (1, [])
    for _ in range(3 * MAX_STRIKES):
        assert lost(table, suspect(table), lone=False) == (1, [])


def test_giving_up_counts_what_had_no_answer_and_forgets_all_of_it() -> None:
    table = PendingTable()
    table.add(tasks(5))
    block = table.take(2)
    assert block is not None
    table.accept(answers(block))
    assert table.retire(1) == 3
    table.add(tasks(1, generation=1))
    lost(table, tasks(1, generation=1), lone=False)
    table.retire(2)
    assert (len(table), table.queued, table.suspects, taken(table)) == (0, 0, 0, [])
    assert table.accept(answers(tasks(5)))[1] == 5


def test_a_later_generation_outlives_the_end_of_an_earlier_one() -> None:
    table = PendingTable()
    table.add(tasks(3))
    table.add(tasks(2, generation=1))
    table.take(1)
    assert table.retire(1) == 3
    assert (len(table), table.queued) == (2, 2)
    assert table.accept(answers(tasks(3)))[1] == 3, "answers of the ended one come too late"
    assert table.accept(answers(tasks(2, generation=1)))[1] == 0


def test_a_block_that_was_lost_innocently_goes_out_again_whole_and_first() -> None:
    table = PendingTable()
    table.add(tasks(6))
    block = table.take(4)
    assert block is not None
    table.accept(answers(block.take(slice(1, 2))))
    assert table.return_block(block) == 3
    assert table.suspects == 0
    assert taken(table) == [[0, 2, 3], [4, 5]]


def test_a_suspect_that_a_copy_has_answered_does_not_go_out() -> None:
    table = PendingTable()
    table.add(tasks(2))
    block = table.take(2)
    assert block is not None
    lost(table, block, lone=False)
    table.accept(answers(tasks(1)))
    assert taken(table) == [[1]]


@pytest.mark.parametrize("alone", [True, False])
def test_deaths_of_an_earlier_generation_are_forgotten(alone: bool) -> None:
    table = PendingTable()
    for generation in range(2 * MAX_STRIKES):
        table.add(tasks(1, generation=generation))
        assert lost(table, table.take(1), lone=alone) == (1, [])  # type: ignore[arg-type]
        table.retire(generation + 1)


def test_a_generation_is_awaited_until_all_its_purposes_are_answered() -> None:
    table = PendingTable()
    table.add(tasks(3))
    table.add(tasks(2, purpose=EVALUATION))
    table.add(tasks(1, generation=1))
    table.accept(answers(tasks(3)))
    assert [table.awaits(generation) for generation in range(3)] == [True, True, False]
    table.accept(answers(tasks(2, purpose=EVALUATION)))
    assert [table.awaits(generation) for generation in range(3)] == [False, True, False]


def test_an_earlier_generation_goes_out_first_whenever_it_was_added() -> None:
    table = PendingTable()
    table.add(tasks(2, generation=5))
    table.add(tasks(1, generation=7))
    first = table.take(1)
    assert first is not None
    table.add(tasks(3, generation=5, purpose=EVALUATION))
    table.add(tasks(1, generation=3))
    table.return_block(first)
    blocks = list(iter(lambda: table.take(10), None))
    assert [(block.generation, block.purpose, len(block)) for block in blocks] == [
        (3, TRAINING, 1),
        (5, TRAINING, 1),
        (5, TRAINING, 1),
        (5, EVALUATION, 3),
        (7, TRAINING, 1),
    ]
    assert blocks[1].index.tolist() == first.index.tolist()
    assert table.queued == 0


@pytest.mark.parametrize("retries", [0, 1, 4])
@pytest.mark.parametrize("killed", [False, True])
def test_retries_bound_the_losses_whoever_ended_the_workers(retries: int, killed: bool) -> None:
    table = PendingTable(retries)
    table.add(tasks(1))
    for _ in range(retries):
        block = next_block(table)
        assert block is not None
        assert lost(table, block, True, killed) == (1, [])
    block = next_block(table)
    assert block is not None
    assert lost(table, block, True, killed) == (0, [0])
