"""Runs rounds on a pool of workers: publishing, submitting and collecting are written here, once."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from raes.results import Batch, FailedTasks, Results, WeightsReport
from raes.runtime.collector import Collector
from raes.runtime.executor import Counters, Pool
from raes.tasks import Round, Tasks
from raes.text import one_line
from raes.types import UInt8

COLLECT_SECONDS = 0.5
"""The longest wait for results before `RoundHooks.poll` is called again."""
PHASES = ("ask", "dispatch", "wait", "reduce", "update", "log", "checkpoint")
"""The driver's work between the dispatches of two generations, for `RoundClock`."""


class RoundClock:
    """Measures the driver's time from one generation's first dispatch to the next generation's.

    Attributes:
        phases: seconds in each of `PHASES`; those of a phase inside another one count for the inner one alone.
        tail: seconds in which nothing was left to hand out.
    """

    def __init__(self, counters: Counters) -> None:
        """Start the clock.

        Args:
            counters: of the pool.
        """
        self._before = replace(counters)
        self._start = time.perf_counter()
        self._dry: float | None = None
        self._inside: list[float] = []
        self._stopped: tuple[float, Counters] | None = None
        self.phases = dict.fromkeys(PHASES, 0.0)
        self.tail = 0.0

    @contextmanager
    def phase(self, name: str) -> Iterator[None]:
        """Add the time inside this context to one of `PHASES`."""
        start = time.perf_counter()
        self._inside.append(0.0)
        try:
            yield
        finally:
            seconds = time.perf_counter() - start
            self.phases[name] += seconds - self._inside.pop()
            if self._inside:
                self._inside[-1] += seconds

    def watch_tail(self, queued: int, complete: bool) -> None:
        """Measure the tail, which begins when nothing is left to hand out and ends with the round."""
        if self._dry is None and not queued:
            self._dry = time.perf_counter()
        if complete and self._dry is not None:
            self.tail = time.perf_counter() - self._dry

    def stop(self, counters: Counters) -> None:
        """Count no more."""
        self._stopped = (time.perf_counter(), replace(counters))

    def elapsed(self, counters: Counters) -> tuple[float, Counters]:
        """Wall seconds, and what the pool has counted, from the start to the stop, or until now."""
        end, counted = self._stopped or (time.perf_counter(), counters)
        return max(end - self._start, 1e-9), counted.since(self._before)


class RoundHooks:
    """Called while rounds run; these do nothing, a driver overrides them."""

    def admit(self, tasks: Tasks) -> tuple[Tasks, list[Results]]:
        """Before tasks are submitted: those that may run, and results for those that must not."""
        return tasks, []

    def received(self, results: Results) -> None:
        """After results have arrived, before they count."""

    def repeated(self, finished: FinishedRound) -> Round | None:
        """After a round is complete: what must run in its place, since its results cannot be used; else None.

        Raises:
            RunFailedError: another try is useless.
        """
        return None

    def poll(self) -> bool:
        """Called at least every `COLLECT_SECONDS` of waiting; true ends the wait."""
        return False


@dataclass(frozen=True)
class FinishedRound:
    """A round whose episodes are all answered.

    Attributes:
        round: as it was opened.
        batch: its whole groups without a fault, in task order, with `keep_failed` all; None where there is none.
        evaluation: RESULT_DTYPE (k,), its evaluation's episodes in task order, those with a fault too.
        failed: its episodes without a result, in blocks.
        surplus: episodes that ran and are not needed.
        weights: the reports of workers that hold a model.
        parts: task index -> uint8 (n,), of a snapshot of a model's weights.
    """

    round: Round
    batch: Batch | None
    evaluation: np.ndarray[Any, Any]
    failed: tuple[FailedTasks, ...]
    surplus: int
    weights: tuple[WeightsReport, ...] = ()
    parts: Mapping[int, UInt8] = field(default_factory=dict)

    @property
    def first_reason(self) -> str:
        """Why the first episode without a result has none; `unknown` where every episode has one."""
        return one_line(next(iter(self.reasons), "unknown"))

    @property
    def reasons(self) -> list[str]:
        """Why episodes have no result, in task order."""
        return [reason for block in self.failed for reason in block.reasons]


class RoundRunner:
    """Opens rounds and collects them in the order in which they were opened; several may be open at a time.

    Attributes:
        clock: of the generation at hand.
    """

    def __init__(self, pool: Pool, hooks: RoundHooks | None = None) -> None:
        """Nothing is open.

        Args:
            pool: where episodes run, such as an executor; the caller closes it.
            hooks: called while rounds run.
        """
        self._pool, self._hooks = pool, hooks or RoundHooks()
        self._open: deque[Collector] = deque()
        self.clock = RoundClock(pool.counters)

    @property
    def open_rounds(self) -> int:
        """Rounds that are not collected yet."""
        return len(self._open)

    @property
    def progress(self) -> tuple[Round, tuple[int, int, int]]:
        """The oldest open round, and its episodes answered, its episodes in all, and its timesteps so far."""
        return self._open[0].round, self._open[0].progress

    def restart_clock(self) -> RoundClock:
        """Begin a new clock; the one before, stopped."""
        before = self.clock
        before.stop(self._pool.counters)
        self.clock = RoundClock(self._pool.counters)
        return before

    def open(self, round: Round, oldest: int | None = None) -> None:
        """Publish a round's snapshot and submit its first tasks: training first, so that evaluations fill the gap
        behind the last of them.

        Args:
            round: another generation than those that are open.
            oldest: tasks of generations before this one are abandoned; None: those before the round's own.
        """
        with self.clock.phase("ask"):
            collector = Collector(round)
            first = collector.start()
        with self.clock.phase("dispatch"):
            self._pool.publish(round.snapshot, round.generation if oldest is None else oldest)
        self._open.append(collector)
        for tasks in first:
            self._submit(collector, tasks)

    def collect(self, in_order: bool = True) -> FinishedRound | None:
        """Wait for the oldest open round and close it; None where `poll` ended the wait, and the round is still open.

        Args:
            in_order: else whichever round is complete first is closed.

        Raises:
            RunFailedError: no worker can be kept alive.
        """
        while (finished := self._collect(in_order)) is not None:
            if (again := self._hooks.repeated(finished)) is None:
                return finished
            self.open(again)
        return None

    def _collect(self, in_order: bool) -> FinishedRound | None:
        oldest = self._open[0]
        while (done := self._complete(in_order)) is None:
            if self._hooks.poll():
                return None
            with self.clock.phase("wait"):
                finished = self._pool.collect(COLLECT_SECONDS)
            for results in finished:
                owner = next((one for one in self._open if one.round.generation == results.generation), None)
                if owner is not None:
                    self._hooks.received(results)
                    owner.add(results)
            for collector in self._open:
                if (further := collector.more()) is not None:
                    self._submit(collector, further)
            self.clock.watch_tail(self._pool.queued, oldest.complete)
        self._hooks.poll()  # what arrived last may have left notices; a stop changes nothing any more
        self._open.remove(done)
        return FinishedRound(
            done.round,
            done.batch(),
            done.evaluation,
            tuple(done.failed_tasks()),
            done.surplus,
            tuple(done.weights),
            done.parts,
        )

    def _complete(self, in_order: bool) -> Collector | None:
        """The oldest round, or any, if it is complete."""
        candidates = [self._open[0]] if in_order else list(self._open)
        return next((one for one in candidates if one.complete), None)

    def abandon(self) -> None:
        """Close the open rounds without their results; the next `open` abandons them in the pool too."""
        self._open.clear()

    def _submit(self, collector: Collector, tasks: Tasks) -> None:
        with self.clock.phase("dispatch"):
            admitted, failed = self._hooks.admit(tasks)
            for results in failed:
                collector.add(results)
            self._pool.submit(admitted)
