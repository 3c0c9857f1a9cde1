"""The rollout actors of a pool, what each has been given, and which of them can take more."""

from __future__ import annotations

from collections.abc import ItemsView, Mapping, ValuesView
from dataclasses import dataclass, field
from typing import Any

from raes.runtime.rollout_actor import RolloutHandle
from raes.runtime.scheduling import IN_FLIGHT
from raes.tasks import Tasks


@dataclass
class ActorSlot:
    """One actor and its blocks by result reference, the one that it runs first.

    Attributes:
        rollout: the actor.
        node: where it runs.
        since: when it began the first block.
        ready: whether it has started and can work.
        alone: whether it has one suspect and must get nothing else.
        leaving: whether it gets nothing more and ends when it is done.
        blocks: result reference -> the episodes that it answers.
    """

    rollout: RolloutHandle
    node: str
    since: float
    ready: bool = False
    alone: bool = False
    leaving: bool = False
    blocks: dict[Any, Tasks] = field(default_factory=dict)


class ActorSlots:
    """Actors by number, with an index by how many blocks they hold, and the owner of every call under way.

    Attributes:
        calls: reference of a call under way -> the number of its actor.
    """

    def __init__(self) -> None:
        self._slots: dict[int, ActorSlot] = {}
        self._by_load: tuple[dict[int, None], ...] = tuple({} for _ in range(IN_FLIGHT + 1))
        self._next = 0
        self.calls: dict[Any, int] = {}

    def __len__(self) -> int:
        return len(self._slots)

    def __getitem__(self, number: int) -> ActorSlot:
        return self._slots[number]

    def items(self) -> ItemsView[int, ActorSlot]:
        """(number, actor) of all."""
        return self._slots.items()

    def values(self) -> ValuesView[ActorSlot]:
        """All actors."""
        return self._slots.values()

    @property
    def expected(self) -> list[Any]:
        """The calls that are answered next, the oldest of each actor: it answers them one after the other."""
        return list({number: reference for reference, number in reversed(self.calls.items())}.values())

    def holding(self, blocks: int) -> Mapping[int, None]:
        """The numbers of the actors that hold so many blocks and may be given more; a view that follows changes."""
        return self._by_load[blocks]

    def add(self, rollout: RolloutHandle, node: str, now: float) -> None:
        """Take in an actor that has just been started, and ask it to report when it is ready."""
        number, self._next = self._next, self._next + 1
        self._slots[number] = ActorSlot(rollout, node, now)
        self.calls[rollout.ready()] = number

    def give(self, number: int, tasks: Tasks, snapshot: Any, now: float) -> Any:
        """Send a block to an actor; the reference to its answer."""
        slot = self._slots[number]
        reference = slot.rollout.run(tasks, snapshot)
        if not slot.blocks:
            slot.since = now
        slot.blocks[reference] = tasks
        self.calls[reference] = number
        self.refile(number)
        return reference

    def remove(self, number: int) -> ActorSlot:
        """End an actor and forget its calls; what it held is still in its `blocks`."""
        slot = self._slots.pop(number)
        self.refile(number)
        for reference in [reference for reference, owner in self.calls.items() if owner == number]:
            del self.calls[reference]
        slot.rollout.kill()
        return slot

    def refile(self, number: int) -> None:
        """Bring the index up to date after an actor's state has changed."""
        for numbers in self._by_load:
            numbers.pop(number, None)
        slot = self._slots.get(number)
        if slot is not None and slot.ready and not slot.alone and not slot.leaving:
            self._by_load[len(slot.blocks)][number] = None

    def close(self) -> None:
        """Kill all actors."""
        for slot in self._slots.values():
            slot.rollout.kill()
        self._slots.clear()
        self.calls.clear()
