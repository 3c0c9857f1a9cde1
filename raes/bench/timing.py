"""Compares loops fairly on a machine that does other work too: in short rounds, each with every loop."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from raes.types import Float64

Loops = Mapping[str, Callable[[], object]]


TimeSource = Callable[[], float]

cpu_clock: TimeSource = time.process_time
"""Seconds of this process on a CPU: for loops that never wait, what the wall clock shows on an idle machine."""
wall_clock: TimeSource = time.perf_counter


def seconds_of(loop: Callable[[], object], clock: TimeSource) -> float:
    """Seconds that one call takes."""
    start = clock()
    loop()
    return clock() - start


def interleave(loops: Loops, seconds: float, min_rounds: int, clock: TimeSource) -> dict[str, Float64]:
    """Seconds of every loop in every round, float64 (rounds,), for at least `seconds` and `min_rounds`.

    The loop that begins changes from round to round, so that none always follows the same one.
    """
    names = list(loops)
    taken: dict[str, list[float]] = {name: [] for name in names}
    end, rounds = time.perf_counter() + seconds, 0
    while rounds < min_rounds or time.perf_counter() < end:
        first = rounds % len(names)
        for name in names[first:] + names[:first]:
            taken[name].append(seconds_of(loops[name], clock))
        rounds += 1
    return {name: np.array(values) for name, values in taken.items()}


def median_ratio(numerator: Float64, denominator: Float64) -> float:
    """The median over the rounds of the ratio within a round."""
    return float(np.median(numerator / denominator))


class Timer:
    """Replaces a callable and records the wall time of each call, until it is removed."""

    def __init__(self, owner: Any, key: str | int) -> None:
        self._owner, self._key, self._seconds = owner, key, [0.0][:0]
        self._own = not isinstance(key, int) and key in vars(owner)
        self._call: Callable[..., Any] = owner[key] if isinstance(key, int) else getattr(owner, key)
        self._put(self)

    def __call__(self, *arguments: Any) -> Any:
        start = time.perf_counter()
        answer = self._call(*arguments)
        self._seconds.append(time.perf_counter() - start)
        return answer

    def __getattr__(self, name: str) -> Any:
        return getattr(self._call, name)

    @property
    def total(self) -> float:
        """Seconds of all calls."""
        return sum(self._seconds)

    @property
    def median(self) -> float:
        """Microseconds of a call."""
        return 1e6 * float(np.median(self._seconds))

    def remove(self) -> None:
        """Put the callable back."""
        if isinstance(self._key, int) or self._own:
            self._put(self._call)
        else:
            delattr(self._owner, self._key)

    def _put(self, what: Any) -> None:
        if isinstance(self._key, int):
            self._owner[self._key] = what
        else:
            setattr(self._owner, self._key, what)
