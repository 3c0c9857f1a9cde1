"""The clock of a worker pool. A benchmark whose virtual workers are slower than real ones slows it down too."""

from __future__ import annotations

import time
from dataclasses import dataclass


@dataclass(frozen=True)
class Clock:
    """The time of a pool; stretched, all that the pool decides by the clock stays in proportion.

    Attributes:
        stretch: real seconds per second of the pool.
    """

    stretch: float = 1.0

    def now(self) -> float:
        """The pool's time, in its own seconds."""
        return time.monotonic() / self.stretch

    def real_seconds(self, seconds: float) -> float:
        """Real seconds for a number of the pool's seconds."""
        return seconds * self.stretch


REAL_TIME = Clock()
