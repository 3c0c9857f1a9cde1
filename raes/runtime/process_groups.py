"""Keeps the processes of an embedded Ray out of the process group of the command that starts them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from importlib import import_module
from typing import Any


@contextmanager
def groups_of_their_own() -> Iterator[None]:
    """Let Ray start its processes in groups of their own while this context lasts.

    A terminal that is closed sends SIGHUP to the whole group in its foreground, and `timeout` sends SIGTERM to its own.
    Ray's processes must live until the command, which they belong to, has saved the run. Ray itself keeps only SIGINT
    from them, and has no option for this.
    """
    services: Any = import_module("ray._private.services")
    start = services.ConsolePopen
    services.ConsolePopen = partial(start, process_group=0)
    try:
        yield
    finally:
        services.ConsolePopen = start
