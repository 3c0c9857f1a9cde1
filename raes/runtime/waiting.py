"""Detects that workers cannot start because other work on the same Ray has the CPUs."""

from __future__ import annotations

import time
from collections.abc import Callable

WAIT_SECONDS = 10.0
"""Seconds that workers may take to start before Ray is asked whether CPUs are free."""


class CpuWait:
    """Gives one message when workers wait for CPUs, and one when all have theirs."""

    def __init__(self, free_cpus: Callable[[], float], clock: Callable[[], float] = time.monotonic) -> None:
        """Start without a message.

        Args:
            free_cpus: gives the free CPUs of all nodes; called seldom.
            clock: in seconds.
        """
        self._free_cpus, self._clock = free_cpus, clock
        self._asked_at: float | None = None
        self._announced = False

    def __call__(self, workers: int, starting: int) -> str | None:
        """A message for the user, or None.

        Args:
            workers: that there should be.
            starting: of those, how many have not begun yet.
        """
        now = self._clock()
        if not starting:
            announced, self._announced, self._asked_at = self._announced, False, None
            return "all workers have started" if announced else None
        if self._asked_at is None:
            self._asked_at = now
        if self._announced or now - self._asked_at < WAIT_SECONDS:
            return None
        self._asked_at = now
        if self._free_cpus() >= 1:  # they are only slow to start
            return None
        self._announced = True
        return (
            f"{starting} of {workers} workers have not started yet: this machine is busy, or other work on this Ray "
            "has the CPUs (`ray status` shows it); they begin as CPUs become free, or give fewer with workers=N"
        )
