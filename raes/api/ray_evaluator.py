"""Points of a search of a function, evaluated by workers of Ray."""

from __future__ import annotations

import time

import numpy as np

from raes.api.evaluators import Failure, Request
from raes.api.notices import Notices, in_python, print_notice
from raes.problems.function import NOT_FINITE
from raes.results import Results
from raes.rng import Purpose
from raes.runtime.executor import Executor
from raes.runtime.rounds import RoundRunner
from raes.runtime.scheduling import LATE_FACTOR, deadline
from raes.tasks import Genomes, Round, Snapshot, Tasks

QUIET_SECONDS = 2.0
"""After so long without a value, and `LATE_FACTOR` times what one takes on average, a line names what is awaited."""


class RayEvaluator:
    """Has workers of Ray call the function; each request is a round of them, and the lowest place comes first.

    Attributes:
        pool: the workers.
    """

    def __init__(self, pool: Executor, deadline_s: float | None = None) -> None:
        """Nothing is evaluated.

        Args:
            pool: of the workers; the caller closes it.
            deadline_s: seconds that a call may take, as the pool has it.
        """
        self.pool = pool
        self._waiting: dict[int, Request] = {}
        self._reasons: dict[int, dict[int, str]] = {}
        self._runner = RoundRunner(pool, _Hooks(pool, self._waiting, self._reasons, deadline_s))

    @property
    def workers(self) -> int:
        """See `Evaluator`."""
        return self.pool.workers

    def submit(self, request: Request) -> None:
        """See `Evaluator`; the round's number orders the pool's queue."""
        number, count, index = _number(request), len(request.points), np.arange(len(request.points))
        genomes = Genomes(np.zeros(count, np.int64), np.ones(count, np.float32), vectors=request.points)
        tasks = Tasks(Purpose.TRAINING, number, index, index, np.zeros(count, bool), genomes)
        self._waiting[number] = request
        self._reasons[number] = {}
        snapshot = Snapshot(number, np.zeros(request.points.shape[1]))
        self._runner.open(Round(snapshot, lambda first, groups: tasks, min_groups=count), min(self._waiting))

    def collect(self) -> Request:
        """See `Evaluator`."""
        finished = self._runner.collect(in_order=False)
        assert finished is not None
        number = finished.round.generation
        request, reasons = self._waiting.pop(number), self._reasons.pop(number)
        for _, reason in sorted(reasons.items()):
            request.failures.append(Failure(reason, raised=not reason.startswith(NOT_FINITE)))
        return request

    def abandon(self) -> None:
        """See `Evaluator`."""
        self._runner.abandon()
        self._waiting.clear()
        self._reasons.clear()


class _Hooks(Notices):
    """Fills in values as they arrive, and prints what is awaited where none does."""

    def __init__(
        self,
        pool: Executor,
        waiting: dict[int, Request],
        reasons: dict[int, dict[int, str]],
        deadline_s: float | None,
    ) -> None:
        super().__init__(pool)
        self._waiting, self._reasons, self._deadline = waiting, reasons, deadline_s
        self._longest, self._patience = 0.0, 1.0
        self._last: float | None = None

    def received(self, results: Results) -> None:
        """Keep them with their request."""
        self._last, self._patience = None, 1.0
        request, records = self._waiting[results.generation], results.records
        request.calls += len(records)
        good = ~records["fault"]
        request.values[records["index"][good]] = records["return"][good]
        self._reasons[results.generation] |= {fault.index: in_python(fault.reason) for fault in results.faults}
        self._longest = max(self._longest, float(records["seconds"].max(initial=0.0)))

    def poll(self) -> bool:
        """Print notices, and after a while without a value what is waited for, ever more seldom."""
        super().poll()
        now = time.monotonic()
        if self._last is None or self._pool.starting:
            self._last = now
        elif now - self._last > self._patience * (QUIET_SECONDS + LATE_FACTOR * self._pool.counters.mean_seconds):
            self._patience *= 4
            missing = sum(len(request.points) - request.calls for request in self._waiting.values())
            limit = deadline(self._deadline, self._longest)
            print_notice(
                f"no value for {now - self._last:.0f} s: {missing} {'is' if missing == 1 else 'are'} awaited of "
                f"{self._pool.workers} workers, whose calls count as hung after {limit:.3g} s (deadline)"
            )
        return False


def _number(request: Request) -> int:
    """A number that orders rounds as requests are ordered, of which there is one for each place."""
    return (request.before << 20) + request.run
