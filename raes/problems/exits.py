"""Where a user's code runs in the command's own process, its `os._exit` must not end the command without a message."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NoReturn


@contextmanager
def exits_are_faults() -> Iterator[None]:
    """`os._exit` raises `SystemExit` instead, in this process and thread; children that it forks end as always."""
    leave, process, thread = os._exit, os.getpid(), threading.get_ident()

    def _exit(status: int) -> NoReturn:
        if os.getpid() == process and threading.get_ident() == thread:
            raise SystemExit(f"it called os._exit({status})")
        leave(status)

    os._exit = _exit
    try:
        yield
    finally:
        os._exit = leave
