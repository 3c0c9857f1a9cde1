"""When a run's points are written as checkpoints."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import asdict, replace
from typing import Any

from raes.storage.checkpoint import CheckpointStore
from raes.storage.tree import Arrays
from raes.training.state import RunState

CHECKPOINT_SHARE = 0.02
"""checkpoint.every=auto: writing costs at most this share of the time."""


class Checkpointer:
    """Writes points: when they are due, at the end, when a policy is the best, and when the pool gave something up."""

    def __init__(
        self, store: CheckpointStore, every: int | str, common: Callable[[], dict[str, Any]], kept: Arrays
    ) -> None:
        """Nothing is written yet.

        Args:
            store: where to.
            every: the key `checkpoint.every`: generations, or `auto`.
            common: what a checkpoint holds beside its point; called when one is about to be written.
            kept: arrays that every checkpoint of the run holds.
        """
        self._store, self._every, self._common, self._kept = store, every, common, kept
        self._generation, self._cost, self._at = -1, 0.0, time.perf_counter()

    def if_due(self, point: RunState) -> None:
        """Write the point where `checkpoint.every` says so; not the very first, which is quickly made again."""
        if self._every == "auto":
            due = self._cost <= CHECKPOINT_SHARE * (time.perf_counter() - self._at)
        else:
            due = point.generation % int(self._every) == 0
        if due and point.generation:
            self.now(point)

    def now(self, point: RunState) -> None:
        """Write the point, if it is not there yet."""
        if self._generation == point.generation:
            return
        started = time.perf_counter()
        self._write(point, "latest")
        self._generation, self._at = point.generation, time.perf_counter()
        self._cost = self._at - started

    def best(self, point: RunState, around: Any) -> None:
        """Keep a policy that was good.

        With `runtime.pipeline=1` it is the one of a generation ago: kept as a branch that starts there anew, unless
        that generation's own checkpoint is still there.

        Args:
            point: where the run is.
            around: the state whose theta was evaluated.
        """
        if around.theta is not point.state.theta:
            earlier = replace(around, generation=point.generation - 1)
            point = RunState(earlier, earlier, point.progress, branch=True)
        self._write(point, "best")

    def verdicts(self, point: RunState) -> None:
        """Write down what the pool gave up on, before it counts, so that a restart cannot decide otherwise."""
        self.now(point)
        self._store.keep_verdicts(point.generation, [asdict(verdict) for verdict in point.verdicts])

    def _write(self, point: RunState, pointer: str) -> None:
        arrays, plain = point.store()
        self._store.save(plain | self._common(), arrays | self._kept, pointer)
