"""What a run tells: records and notices, to its files and to whoever watches."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from raes.config.schema import FREE_TO_CHANGE
from raes.storage.metrics import Histograms, MetricsWriter, Record

Event = tuple[str, Any]
"""("record", Record), ("notice", text) or ("live", Progress)."""
LIVE_SECONDS = 0.25
"""How often it is told where a generation stands."""


@dataclass(frozen=True)
class Progress:
    """Where a run stands within a generation.

    Attributes:
        generation: the one whose episodes are out.
        answered: its episodes that have a result, those of its evaluation included.
        asked: its episodes in all, as far as is known.
        timesteps: of the run, those of the answered episodes included.
        seconds: of the run.
        workers: how many there are ...
        starting: ... and how many of them have not begun yet.
        best: the highest evaluation mean so far.
        actors_lost: workers that died, since the run's beginning.
        quarantined: episodes left out, since the run's beginning.
        evaluating: whether only the evaluation at the end is out.
    """

    generation: int
    answered: int
    asked: int
    timesteps: int
    seconds: float
    workers: int
    starting: int
    best: float | None
    actors_lost: int
    quarantined: int
    evaluating: bool


class EventLog:
    """The events of one driver, numbered, for a reader in another thread.

    Attributes:
        incarnation: another number after a restart, when the numbering begins again.
    """

    def __init__(self, report: Callable[[Event], None] | None = None) -> None:
        self.incarnation = time.time_ns()
        self._events: deque[tuple[int, Event]] = deque(maxlen=10_000)
        self._count = 0
        self._report = report
        self._live: Progress | None = None

    def emit(self, event: Event) -> None:
        """Add one event, and hand it on at once where someone in this process asked for it."""
        self._count += 1
        self._events.append((self._count, event))
        if self._report is not None:
            self._report(event)

    def tell(self, live: Progress) -> None:
        """Where the run stands: only the newest is kept."""
        self._live = live
        if self._report is not None:
            self._report(("live", live))

    def after(self, number: int) -> list[tuple[int, Event]]:
        """The events after a number, and where the run stands, which has no number of its own."""
        live, events = self._live, [event for event in list(self._events) if event[0] > number]
        return events if live is None else [*events, (events[-1][0] if events else number, ("live", live))]


class RunLog:
    """metrics.jsonl, TensorBoard, log.txt and the events of one run directory."""

    def __init__(self, run_dir: Path, config: Mapping[str, Any], generation: int, events: EventLog) -> None:
        self._log = (run_dir / "log.txt").open("a", buffering=1)
        self._metrics = MetricsWriter(run_dir, config, generation, FREE_TO_CHANGE)
        self._events = events
        self._told = -LIVE_SECONDS

    def record(self, record: Record, histograms: Histograms) -> None:
        """One generation's figures, and what TensorBoard shows the distribution of."""
        self._metrics.write(record, histograms)
        self._events.emit(("record", record))

    def video(self, generation: int, gif: bytes) -> None:
        """The policy that a generation perturbs, as an animated GIF."""
        self._metrics.video(generation, gif)

    def note(self, generation: int, text: str) -> None:
        """A line for the user and for log.txt."""
        self._log.write(f"{time.strftime('%Y-%m-%d %H:%M:%S')} generation {generation}: {text}\n")
        self._events.emit(("notice", text))

    def live(self, look: Callable[[], Progress]) -> None:
        """Tell where the run stands, if it is time to."""
        now = time.monotonic()
        if now - self._told >= LIVE_SECONDS:
            self._told = now
            self._events.tell(look())

    def flush(self) -> None:
        """Before a checkpoint relies on what was written."""
        self._metrics.flush()

    def close(self) -> None:
        """Close the files."""
        self._metrics.close()
        self._log.close()
