"""What the workers of a call from Python have to say while it waits for them."""

from __future__ import annotations

import sys

from raes.runtime.executor import Executor
from raes.runtime.rounds import RoundHooks
from raes.text import message


def print_notice(text: str) -> None:
    """Print a line to stderr."""
    print(message(text), file=sys.stderr, flush=True)


def in_python(text: str) -> str:
    """With the names of arguments instead of keys of the command line."""
    return text.replace("runtime.deadline", "deadline")


class Notices(RoundHooks):
    """Prints the notices of workers to stderr, such as that there are too few CPUs for them."""

    def __init__(self, pool: Executor) -> None:
        self._pool = pool

    def poll(self) -> bool:
        """Print them; never a reason to stop."""
        for text in self._pool.notices:
            print_notice(in_python(text))
        self._pool.notices.clear()
        return False
