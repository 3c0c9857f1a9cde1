"""Notices when workers cannot start because other work on the same Ray has the CPUs."""

from __future__ import annotations

import time
from collections.abc import Callable

WAIT_SECONDS = 10.0
"""How long workers may take to start before it is asked whether they wait for CPUs."""


class CpuWait:
    """Says once that workers wait for CPUs, and once that they have them."""

    def __init__(self, free_cpus: Callable[[], float], clock: Callable[[], float] = time.monotonic) -> None:
        """Nothing waits yet.

        Args:
            free_cpus: of all nodes at this moment; asked seldom.
            clock: in seconds.
        """
        self._free_cpus, self._clock = free_cpus, clock
        self._asked_at: float | None = None
        self._told = False

    def __call__(self, workers: int, starting: int) -> str | None:
        """What the user should know, or None.

        Args:
            workers: that there should be.
            starting: of those, how many have not begun yet.
        """
        now = self._clock()
        if not starting:
            told, self._told, self._asked_at = self._told, False, None
            return f"all {workers} workers have a CPU now" if told else None
        if self._asked_at is None:
            self._asked_at = now
        if self._told or now - self._asked_at < WAIT_SECONDS:
            return None
        self._asked_at = now
        if self._free_cpus() >= 1:  # they are slow to start, which is another thing
            return None
        self._told = True
        return (
            f"{starting} of {workers} workers wait for CPUs that other work on this Ray has (`ray status` shows it); "
            "they begin as CPUs become free, or give fewer with workers=N"
        )
