"""What a run tells: records and notices, to its files and to whoever watches."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from raes.storage.metrics import MetricsWriter, Record

Event = tuple[str, Any]
"""("record", Record) or ("notice", text)."""


class Events:
    """The events of one driver, numbered, for a reader in another thread.

    Attributes:
        incarnation: another number after a restart, when the numbering begins again.
    """

    def __init__(self, report: Callable[[Event], None] | None = None) -> None:
        self.incarnation = time.time_ns()
        self._events: deque[tuple[int, Event]] = deque(maxlen=10_000)
        self._count = 0
        self._report = report

    def emit(self, event: Event) -> None:
        """Add one event, and hand it on at once where someone in this process asked for it."""
        self._count += 1
        self._events.append((self._count, event))
        if self._report is not None:
            self._report(event)

    def after(self, number: int) -> list[tuple[int, Event]]:
        """The events after a number."""
        return [event for event in list(self._events) if event[0] > number]


class Journal:
    """metrics.jsonl, TensorBoard, log.txt and the events of one run directory."""

    def __init__(self, run_dir: Path, config: Mapping[str, Any], generation: int, events: Events) -> None:
        self._log = (run_dir / "log.txt").open("a", buffering=1)
        self._metrics = MetricsWriter(run_dir, config, generation)
        self._events = events

    def record(self, record: Record) -> None:
        """One generation's figures."""
        self._metrics.write(record)
        self._events.emit(("record", record))

    def note(self, generation: int, text: str) -> None:
        """A line for the user and for log.txt."""
        self._log.write(f"{time.strftime('%Y-%m-%d %H:%M:%S')} generation {generation}: {text}\n")
        self._events.emit(("notice", text))

    def flush(self) -> None:
        """Before a checkpoint relies on what was written."""
        self._metrics.flush()

    def close(self) -> None:
        """Close the files."""
        self._metrics.close()
        self._log.close()
