"""The pending table: which episodes wait, which are out, which are answered. Pure; no clock, no Ray."""

from __future__ import annotations

import numpy as np

from raes.types import Results, Tasks

MAX_LONE_DEATHS = 3
"""An episode that was alone in its worker at this many deaths is taken for their cause."""


class PendingTable:
    """Tasks keyed by (purpose, index) within one generation.

    The episodes of a block whose worker died become suspects, which go out one by one, each alone in its worker, so
    that an episode that kills its worker is found. An answer that comes twice is dropped.
    """

    def __init__(self) -> None:
        self._queue: list[Tasks] = []
        self._suspects: list[Tasks] = []
        self._open: set[tuple[int, int]] = set()
        self._lone_deaths: dict[tuple[int, int], int] = {}

    def __len__(self) -> int:
        """Episodes without an answer."""
        return len(self._open)

    @property
    def queued(self) -> int:
        """Episodes that wait to be sent out in blocks."""
        return sum(map(len, self._queue))

    def add(self, tasks: Tasks) -> None:
        """Queue these episodes behind the others."""
        if len(tasks):
            self._open.update((tasks.purpose, index) for index in tasks.index.tolist())
            self._queue.append(tasks)

    def take(self, count: int) -> Tasks | None:
        """The next block, of at most `count` episodes; None if none waits."""
        if not self._queue:
            return None
        head = self._queue[0]
        if len(head) <= count:
            return self._queue.pop(0)
        self._queue[0] = head.take(slice(count, None))
        return head.take(slice(0, count))

    def take_suspect(self) -> Tasks | None:
        """The next episode that was in a worker when it died: to be given to a worker that has nothing else."""
        return self._suspects.pop(0) if self._suspects else None

    def lost(self, tasks: Tasks, lone: bool) -> tuple[int, list[int]]:
        """A worker died with this block; queue again what has no answer.

        Args:
            tasks: the block.
            lone: whether the worker had nothing else.

        Returns:
            How many episodes were queued again, and the indices of those that count as the cause of the death.
        """
        again, culprits = 0, []
        for row in range(len(tasks)):
            one = tasks.take(slice(row, row + 1))
            key = (tasks.purpose, int(one.index[0]))
            if key not in self._open:
                continue
            if lone and len(tasks) == 1:
                self._lone_deaths[key] = self._lone_deaths.get(key, 0) + 1
                if self._lone_deaths[key] >= MAX_LONE_DEATHS:
                    culprits.append(key[1])
                    continue
            self._suspects.append(one)
            again += 1
        return again, culprits

    def accept(self, results: Results) -> tuple[Results, int]:
        """The results that were still awaited, and how many were not."""
        keys = [(results.purpose, index) for index in results.records["index"].tolist()]
        wanted = np.array([key in self._open for key in keys], dtype=bool)
        self._open.difference_update(keys)
        dropped = len(keys) - int(wanted.sum())
        if not dropped:
            return results, 0
        kept = set(results.records["index"][wanted].tolist())
        moments = results.moments
        if moments is not None:
            moments = moments.take(np.flatnonzero([index in kept for index in moments.index.tolist()]))
        faults = tuple(fault for fault in results.faults if fault.index in kept)
        return Results(results.purpose, results.generation, results.records[wanted], moments, faults), dropped

    def clear(self) -> int:
        """Give everything up; how many episodes had no answer."""
        given_up = len(self._open)
        self._queue.clear()
        self._suspects.clear()
        self._open.clear()
        self._lone_deaths.clear()
        return given_up
