"""The same loop in several processes at once: what a machine has for processes that share nothing but its memory."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from typing import Any

from threadpoolctl import threadpool_limits

Measure = Callable[[float], float]
"""Timesteps per second of a loop that runs for so many seconds."""
WARM_UP = 0.1
"""Seconds of a loop that do not count: the first call of anything is slow."""
START_SECONDS = 120.0
"""How long a process may take until its loop is ready."""

_barrier: Any = None


def _remember(barrier: Any) -> None:
    global _barrier
    _barrier = barrier


def _speed(prepare: Callable[..., Measure], arguments: tuple[Any, ...], seconds: float) -> float:
    """Timesteps per second from a moment at which all processes are ready."""
    with threadpool_limits(1):
        measure = prepare(*arguments)
        measure(WARM_UP)
        _barrier.wait(START_SECONDS)
        return measure(seconds)


def speed_at_once(processes: int, seconds: float, prepare: Callable[..., Measure], *arguments: Any) -> float:
    """Timesteps per second of so many processes together, each in a loop of its own.

    Args:
        processes: how many.
        seconds: how long.
        prepare: a function of a module, called in each process, that makes the loop.
        arguments: of it.
    """
    context = multiprocessing.get_context("spawn")
    barrier = context.Barrier(processes)
    with ProcessPoolExecutor(processes, context, _remember, (barrier,)) as pool:
        loops = [pool.submit(_speed, prepare, arguments, seconds) for _ in range(processes)]
        return sum(loop.result() for loop in loops)
