"""How the process of a rollout actor ended: where it crashes or exits, and is not killed, it leaves words in a file.

For Ray all of them are a `connection error code 2`, and its raylet has taken the exit code. Crashes and kills from
outside must be kept apart, since only a crash is a reason to leave an episode out.
"""

from __future__ import annotations

import ctypes
import faulthandler
import os
import re
import tempfile
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, NoReturn

import psutil
import ray

RUNNING = "running"
"""The first word of the file, with the process's id, while the process lives; it has no file after an orderly exit."""


class LastWords:
    """The file of one actor, as its pool sees it; the pool is on the same node, or learns nothing."""

    def __init__(self, folder: str | None = None) -> None:
        """Make the file.

        Args:
            folder: where it lies; None for Ray's logs.
        """
        node: Any = ray._private.worker._global_node
        handle, self.path = tempfile.mkstemp(prefix="raes-actor-", dir=folder or str(node.get_logs_dir_path()))
        os.close(handle)

    def read(self) -> str | None:
        """How the process ended by itself, in words; empty where it was killed, None where that is not known."""
        try:
            first, _, rest = Path(self.path).read_text(errors="replace").partition("\n")
        except OSError:
            return "it exited"
        return _short(rest) if first.startswith(RUNNING) else None

    def is_stopped(self) -> bool:
        """Whether somebody has stopped the process, as with kill -STOP or a debugger."""
        with suppress(OSError, ValueError, IndexError, psutil.Error):
            process = psutil.Process(int(Path(self.path).read_text().split()[1]))
            return process.status() in (psutil.STATUS_STOPPED, psutil.STATUS_TRACING_STOP)
        return False

    def remove(self) -> None:
        """Remove the file."""
        with suppress(OSError):
            Path(self.path).unlink()


def leave_last_words(path: str) -> None:
    """From now on, write down how this process ends; nothing where the file is not there, as on another node.

    A crash is written by Python's fault handler, `os._exit` by itself; at an orderly exit, by C's `exit` too, the C
    library removes the file. Nothing of it runs where the process is killed.
    """
    try:
        file = open(path, "r+")  # noqa: SIM115 (for the fault handler, as long as the process lives)
    except OSError:
        return
    process = os.getpid()
    file.write(f"{RUNNING} {process}\n")
    file.flush()
    faulthandler.enable(file, all_threads=False)
    os.register_at_fork(after_in_child=faulthandler.disable)
    library = ctypes.CDLL(None)
    library.strdup.restype = ctypes.c_void_p
    name = ctypes.c_void_p(library.strdup(os.fsencode(path)))  # never freed: Python's own memory is gone at the exit
    library.__cxa_atexit(library.unlink, name, None)
    os._exit = _exit_with_words(os._exit, file, process)  # type: ignore[assignment]


def _exit_with_words(leave: Callable[[int], NoReturn], file: Any, process: int) -> Callable[[int], NoReturn]:
    def _exit(status: int) -> NoReturn:
        if os.getpid() == process:  # and no child that it has forked
            file.write(f"it called os._exit({status})\n")
            file.flush()
        leave(status)

    return _exit


def _short(text: str) -> str:
    """What was left, in a line: the kind of crash, and the innermost line of Python."""
    text = text.strip()
    if not text:
        return ""
    kind = text.splitlines()[0].removeprefix("Fatal Python error: ")
    where = re.search(r'File "(.*)", line (\d+) in (\S+)', text)
    kind = kind if kind.startswith("it called") else f"it crashed: {kind}"
    return kind if where is None else f"{kind}, at {where[1]}:{where[2]} in {where[3]}"
