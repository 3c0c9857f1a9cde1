"""What a run reports: records, notices and progress, to its files and to whoever watches."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from raes.config.schema import FREE_TO_CHANGE
from raes.storage.files import open_own
from raes.storage.metrics import Histograms, MetricsWriter, Record
from raes.text import message

Event = tuple[str, Any]
"""("record", Record), ("notice", text), ("progress", Progress), or ("best", mean): the next record has the best
evaluation so far, of this mean."""
PROGRESS_SECONDS = 0.25
"""The least time between two progress events."""


@dataclass(frozen=True)
class Progress:
    """How far a run has come within a generation.

    Attributes:
        generation: the one whose episodes are out.
        answered: its episodes that have a result, those of its evaluation included.
        asked: its episodes in all, as far as is known.
        timesteps: of the run, those of the answered episodes included.
        seconds: of the run.
        workers: how many there are.
        starting: how many of these have not begun to work yet.
        best: the highest evaluation mean so far.
        actors_lost: workers that died, since the run's beginning.
        quarantined: episodes left out, since the run's beginning.
        evaluating: whether only the evaluation at the end is out.
        filming: after the end, the generation whose video is awaited, and for how many seconds it has been filmed.
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
    filming: tuple[int, float] | None = None


class EventLog:
    """The events of one driver, numbered, for a reader in another thread.

    Attributes:
        incarnation: another number after a restart, when the numbering begins again.
    """

    def __init__(self, report: Callable[[Event], None] | None = None) -> None:
        """No event yet.

        Args:
            report: called with each event at once, in the driver's own thread.
        """
        self.incarnation = time.time_ns()
        self._events: deque[tuple[int, Event]] = deque(maxlen=10_000)
        self._count = 0
        self._report = report
        self._progress: Event | None = None

    def emit(self, event: Event) -> None:
        """Add one event; of progress only the newest is kept, without a number of its own."""
        if event[0] == "progress":
            self._progress = event
        else:
            self._count += 1
            self._events.append((self._count, event))
        if self._report is not None:
            self._report(event)

    def after(self, number: int) -> list[tuple[int, Event]]:
        """The events after a number, and the newest progress, under the number of the event before it."""
        progress, events = self._progress, [event for event in list(self._events) if event[0] > number]
        return events if progress is None else [*events, (events[-1][0] if events else number, progress)]


class RunLog:
    """metrics.jsonl, TensorBoard, log.txt and the events of one run directory."""

    def __init__(self, run_dir: Path, config: Mapping[str, Any], generation: int, events: EventLog) -> None:
        """Open the files.

        Args:
            run_dir: an existing folder.
            config: all keys, nested; TensorBoard shows them.
            generation: records from this generation on are removed, since the run resumes there.
            events: where records and notices go, too.
        """
        self._metrics = MetricsWriter(run_dir, config, generation, FREE_TO_CHANGE)
        self._log = open_own(run_dir / "log.txt", "a", buffering=1)
        self._events = events
        self._reported_at = -PROGRESS_SECONDS

    def record(self, record: Record, histograms: Histograms) -> None:
        """One generation's metrics, and what TensorBoard shows the distribution of."""
        self._metrics.write(record, histograms)
        self._events.emit(("record", record))

    def new_best(self, mean: float) -> None:
        """The evaluation of the next record is the best so far; the first one is no news."""
        self._events.emit(("best", mean))

    def video(self, generation: int, gif: bytes) -> None:
        """The policy that a generation perturbs, as an animated GIF."""
        self._metrics.video(generation, gif)

    def notice(self, generation: int, text: str) -> None:
        """A line for the user and for log.txt."""
        self._log.write(f"{time.strftime('%Y-%m-%d %H:%M:%S')} generation {generation}: {message(text)}\n")
        self._events.emit(("notice", text))

    def progress(self, make: Callable[[], Progress]) -> None:
        """Emit progress, unless the last one was a moment ago."""
        now = time.monotonic()
        if now - self._reported_at >= PROGRESS_SECONDS:
            self._reported_at = now
            self._events.emit(("progress", make()))

    def flush(self) -> None:
        """Hand everything that was written to the operating system, before a checkpoint relies on it."""
        self._metrics.flush()

    def close(self) -> None:
        """Close the files."""
        self._metrics.close()
        self._log.close()
