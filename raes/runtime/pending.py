"""The pending table: which episodes are queued, sent out and answered. Pure; no clock, no Ray."""

from __future__ import annotations

from collections import deque

import numpy as np

from raes.results import Results
from raes.tasks import Tasks

MAX_STRIKES = 3
"""After so many deaths or missed deadlines of workers that ran nothing else, the episode counts as the cause."""
MAX_KILLS = 10
"""After so many where all of these workers were killed from outside, which is seldom the episode's fault."""

Group = tuple[int, int]
"""(generation, purpose)."""


class PendingTable:
    """Episodes keyed by (generation, purpose, index), sent out generation by generation, each in the order in which it
    was added.

    The episodes of a block whose worker died become suspects, which go out one by one, each alone in its worker, so
    that an episode that kills its worker is found. An answer that comes twice is dropped. The serial executor, the
    actor pool and the relay pool all use it.
    """

    def __init__(self, retries: int | None = None) -> None:
        """Nothing is queued.

        Args:
            retries: how often an episode goes out again after its worker was lost while it ran nothing else, whoever
                ended it; None: `MAX_STRIKES` and `MAX_KILLS` count.
        """
        self._max_strikes, self._max_kills = (MAX_STRIKES, MAX_KILLS) if retries is None else (retries + 1, retries + 1)
        self._queue: deque[Tasks] = deque()
        self._queued = 0
        self._suspects: deque[Tasks] = deque()
        self._open: dict[Group, set[int]] = {}
        self._strikes: dict[tuple[Group, int], list[int]] = {}

    def __len__(self) -> int:
        """Episodes without an answer."""
        return sum(map(len, self._open.values()))

    @property
    def queued(self) -> int:
        """Episodes that wait to be sent out in blocks."""
        return self._queued

    @property
    def suspects(self) -> int:
        """Episodes that wait to be sent out alone."""
        return len(self._suspects)

    def add(self, tasks: Tasks) -> None:
        """Queue these episodes behind the others of their generation and of those before."""
        if len(tasks):
            self._open.setdefault(_group(tasks), set()).update(tasks.index.tolist())
            self._insert(tasks, sum(queued.generation <= tasks.generation for queued in self._queue))

    def take(self, count: int) -> Tasks | None:
        """The next block, of at most `count` episodes; None if none waits."""
        if not self._queue:
            return None
        head = self._queue.popleft()
        if len(head) > count:
            self._queue.appendleft(head.take(slice(count, None)))
            head = head.take(slice(0, count))
        self._queued -= len(head)
        return head

    def take_suspect(self) -> Tasks | None:
        """The next suspect, for a worker that has nothing else; None if there is none."""
        while self._suspects:
            suspect = self._suspects.popleft()
            if len(self.unanswered(suspect)):  # a copy of it may have been answered meanwhile
                return suspect
        return None

    def awaits(self, generation: int) -> bool:
        """Whether an episode of this generation has no answer."""
        return any(waiting for (number, _), waiting in self._open.items() if number == generation)

    def unanswered(self, tasks: Tasks) -> Tasks:
        """The episodes of a block that have no answer yet."""
        waiting = self._open.get(_group(tasks), set())
        wanted = [index in waiting for index in tasks.index.tolist()]
        return tasks if all(wanted) else tasks.take(np.flatnonzero(wanted))

    def return_block(self, tasks: Tasks) -> int:
        """Queue a block again that was lost through no fault of its episodes, before the others of its generation. How
        many had no answer."""
        again = self.unanswered(tasks)
        if len(again):
            self._insert(again, sum(queued.generation < tasks.generation for queued in self._queue))
        return len(again)

    def strike(self, tasks: Tasks, lone: bool, killed: bool = False) -> tuple[int, Tasks, int]:
        """Take back a block whose worker died or hung; what has no answer goes out again, alone.

        Args:
            tasks: the block.
            lone: whether the worker had nothing else.
            killed: whether it was killed from outside.

        Returns:
            How many episodes will go out again, those that count as the cause, and after how many losses.
        """
        again, losses, culprits = 0, 0, []
        weight = self._max_strikes if killed else self._max_kills  # as shares of their product
        open_tasks = self.unanswered(tasks)
        for row in range(len(open_tasks)):
            key = (_group(tasks), int(open_tasks.index[row]))
            if lone and len(tasks) == 1:
                strikes = self._strikes.setdefault(key, [])
                strikes.append(weight)
                if sum(strikes) >= self._max_strikes * self._max_kills:
                    culprits.append(row)
                    losses = len(strikes)
                    continue
            self._suspects.append(open_tasks.take(slice(row, row + 1)))
            again += 1
        return again, open_tasks.take(np.array(culprits, dtype=np.int64)), losses

    def accept(self, results: Results) -> tuple[Results, int]:
        """The results that were still awaited, and how many were not."""
        indices = results.records["index"].tolist()
        waiting = self._open.get((results.generation, results.purpose), set())
        wanted = np.array([index in waiting for index in indices], dtype=bool)
        waiting.difference_update(indices)
        dropped = len(indices) - int(wanted.sum())
        if not dropped:
            return results, 0
        return results.take(wanted), dropped

    def _insert(self, tasks: Tasks, place: int) -> None:
        self._queue.insert(place, tasks)
        self._queued += len(tasks)

    def retire(self, oldest: int) -> int:
        """Abandon all episodes of generations before `oldest`; how many had no answer."""
        abandoned = 0
        for group in [group for group in self._open if group[0] < oldest]:
            abandoned += len(self._open.pop(group))
        self._queue = deque(tasks for tasks in self._queue if tasks.generation >= oldest)
        self._queued = sum(map(len, self._queue))
        self._suspects = deque(tasks for tasks in self._suspects if tasks.generation >= oldest)
        self._strikes = {key: struck for key, struck in self._strikes.items() if key[0][0] >= oldest}
        return abandoned


def _group(tasks: Tasks) -> Group:
    return tasks.generation, tasks.purpose
