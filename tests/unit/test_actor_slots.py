"""The actors of a pool and how many blocks each holds, with actors that are lists of what was done to them."""

from __future__ import annotations

from typing import Any

import pytest

from raes.rng import Purpose
from raes.runtime.actor_slots import ActorSlots
from raes.tasks import Tasks, evaluation_tasks


class FakeRollout:
    """An actor whose references are (itself, number of the call)."""

    def __init__(self) -> None:
        self.calls = 0
        self.killed = False

    def ready(self) -> Any:
        return self._call()

    def run(self, tasks: Tasks, snapshot: Any) -> Any:
        return self._call()

    def kill(self) -> None:
        self.killed = True

    def _call(self) -> tuple[int, int]:
        self.calls += 1
        return id(self), self.calls


@pytest.fixture
def rollout() -> FakeRollout:
    return FakeRollout()


@pytest.fixture
def slots(rollout: FakeRollout) -> ActorSlots:
    slots = ActorSlots()
    slots.add(rollout, "node", 0.0)
    return slots


def start(slots: ActorSlots, number: int) -> None:
    slots[number].ready = True
    slots.refile(number)


def block() -> Tasks:
    return evaluation_tasks(Purpose.EVALUATION, 0, 3)


def test_an_actor_that_has_not_started_is_given_nothing(slots: ActorSlots) -> None:
    assert list(slots.calls.values()) == [0]
    assert not slots.holding(0)
    start(slots, 0)
    assert list(slots.holding(0)) == [0]


def test_the_index_follows_the_blocks_and_the_first_block_sets_the_time(slots: ActorSlots) -> None:
    start(slots, 0)
    first = slots.give(0, block(), None, 5.0)
    second = slots.give(0, block(), None, 6.0)
    assert slots[0].since == 5.0
    assert list(slots[0].blocks) == [first, second]
    assert not slots.holding(0)
    assert not slots.holding(1)
    assert list(slots.holding(2)) == [0]


@pytest.mark.parametrize("state", ["alone", "leaving"])
def test_an_actor_that_is_alone_or_leaving_gets_no_more(slots: ActorSlots, state: str) -> None:
    start(slots, 0)
    setattr(slots[0], state, True)
    slots.refile(0)
    assert not slots.holding(0)


def test_a_removed_actor_is_killed_and_its_calls_are_forgotten(slots: ActorSlots, rollout: FakeRollout) -> None:
    start(slots, 0)
    slots.add(FakeRollout(), "other", 1.0)
    reference = slots.give(0, block(), None, 2.0)
    removed = slots.remove(0)
    assert rollout.killed
    assert list(removed.blocks) == [reference]
    assert list(slots.calls.values()) == [1]
    assert not slots.holding(1)
    assert len(slots) == 1
