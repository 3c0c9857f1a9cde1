"""The pools' clock. A benchmark whose virtual workers are slower than real ones slows it down with them."""

from __future__ import annotations

import time
from dataclasses import dataclass


@dataclass(frozen=True)
class Pace:
    """How fast time goes by for a pool, so that all that it decides by the clock stays in proportion.

    Attributes:
        stretch: seconds of the world in one of the pool's.
    """

    stretch: float = 1.0

    def now(self) -> float:
        """The pool's time, in its seconds."""
        return time.monotonic() / self.stretch

    def real(self, seconds: float) -> float:
        """The world's seconds in so many of the pool's."""
        return seconds * self.stretch


REAL = Pace()
