"""What a command is busy with: a status on a terminal and in a notebook, a line every two seconds elsewhere."""

from __future__ import annotations

import threading
import time
from contextlib import suppress
from types import TracebackType
from typing import Self, TextIO

from raes.console.screen import Parts, joined, screen

LOOK_SECONDS = 0.25
"""How often the status moves."""
SILENT_SECONDS = 2.0
"""After so many seconds without a line there is one, where no status is seen."""


class Busy:
    """Shows it from a thread, so that a step that takes long is shown too; use it in a `with` block."""

    def __init__(self, stream: TextIO | None = None) -> None:
        """Nothing is shown before the first `show`.

        Args:
            stream: None: stdout.
        """
        self._screen = screen(stream, plain=False)
        self._lock, self._ended = threading.Lock(), threading.Event()
        self._parts: Parts = []
        self._share: float | None = None
        self._begun = self._printed = time.monotonic()
        self._thread = threading.Thread(target=self._repeat, daemon=True)

    def show(self, parts: Parts, share: float | None = None) -> None:
        """Replace what is shown.

        Args:
            parts: of the status, see `raes.console.screen`; the seconds since the beginning follow.
            share: that is done, where it is known.
        """
        self._parts, self._share = parts, share

    def line(self, text: str) -> None:
        """A line that stays."""
        with self._lock:
            self._screen.line(text)
            self._printed = time.monotonic()

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._ended.set()
        self._thread.join()
        self._screen.close()

    def _repeat(self) -> None:
        with suppress(OSError, ValueError):  # whoever read it has gone; the command itself finds out
            self._report()

    def _report(self) -> None:
        while not self._ended.wait(LOOK_SECONDS):
            if not self._parts:
                continue
            parts = [*self._parts, (1, f"{time.monotonic() - self._begun:.0f} s")]
            if self._screen.has_status:
                with self._lock:
                    self._screen.status(self._share, parts)
            elif time.monotonic() - self._printed >= SILENT_SECONDS - LOOK_SECONDS:
                self.line(joined(parts))
