"""A lease: one writer per run directory in a store. The object `.lock` names it and is rewritten while it lives.

A store has no locks that end with a process. So a new writer waits for a sign of life of the one before, and a writer
that finds another name in `.lock` stops. Two writers are possible only if both start within the same second, or if a
single upload takes longer than the wait.
"""

from __future__ import annotations

import json
import os
import re
import socket
import time
import uuid
from collections.abc import Callable
from typing import Any

from raes.storage.location import RemotePath
from raes.types import UserError

SLACK_SECONDS = 10.0
"""Added to two of the other writer's intervals, after which it counts as dead."""
DEAD_SECONDS = 1800.0
"""A lock this old needs no waiting: stores refuse machines whose clock is off by 15 minutes."""

LONGEST_NAME = 100
"""Letters of a writer's name, host or process that count."""


class TakenOverError(Exception):
    """Another command has taken the lease of the run directory."""


class Lease:
    """The lease of one run directory.

    Attributes:
        owner: this writer's name; commands with the same spool have the same name.
    """

    def __init__(self, run_dir: RemotePath, owner: str | None, every: float) -> None:
        """Prepare the lease; the store is neither read nor written yet.

        Args:
            run_dir: in the store.
            owner: from an earlier command on the same spool, or None.
            every: seconds between two signs of life.
        """
        self.owner = owner or uuid.uuid4().hex
        self._run_dir, self._every, self._beat = run_dir, every, 0

    def held_by_us(self) -> bool:
        """Whether the last writer had this lease's name."""
        return self._read().get("owner") == self.owner

    def take(self, notify: Callable[[str], None]) -> None:
        """Take the lease, after a wait where its last writer may be alive.

        Args:
            notify: called with a message where it must wait.

        Raises:
            UserError: another command writes to the run.
        """
        seen = self._read()
        if not self._free(seen):
            seconds = 2 * float(seen.get("every", self._every)) + SLACK_SECONDS
            who = f"process {seen.get('pid')} on {seen.get('host')}"
            notify(f"{self._run_dir} was last written by {who}; waiting {seconds:.0f} s for a sign of life")
            end = time.monotonic() + seconds
            while time.monotonic() < end:
                time.sleep(min(1.0, seconds / 10))
                now = self._read()
                if self._free(now):
                    break
                if now != seen:
                    raise UserError(
                        f"run_dir={self._run_dir} is in use by {who}; wait for it, stop it, or name another run_dir"
                    )
        self._write()
        if not self.held_by_us():
            raise UserError(f"run_dir={self._run_dir} was taken by another command at the same moment; try again")

    def renew(self) -> None:
        """Give a sign of life.

        Raises:
            TakenOverError: the lock holds another name.
        """
        seen = self._read()
        if seen and seen.get("owner") != self.owner:
            raise TakenOverError(f"process {seen.get('pid')} on {seen.get('host')}")
        self._write()

    def release(self) -> None:
        """Release the lease: the next command need not wait."""
        self._write(released=True)

    def _free(self, seen: dict[str, Any]) -> bool:
        old = abs(time.time() - float(seen.get("at", 0.0))) > DEAD_SECONDS
        return not seen or bool(seen.get("released")) or seen.get("owner") == self.owner or old

    def _read(self) -> dict[str, Any]:
        return _read(self._run_dir)

    def _write(self, released: bool = False) -> None:
        self._beat += 1
        content = {"owner": self.owner, "host": socket.gethostname(), "pid": os.getpid(), "beat": self._beat}
        content |= {"every": self._every, "at": time.time(), "released": released}
        (self._run_dir / ".lock").write_bytes(json.dumps(content).encode())


def is_held(run_dir: RemotePath) -> bool:
    """Whether a writer's last sign of life is so recent, by this machine's clock, that it counts as alive."""
    seen = _read(run_dir)
    patience = 2 * float(seen.get("every", 0.0)) + SLACK_SECONDS
    return bool(seen) and not seen.get("released") and time.time() - float(seen.get("at", 0.0)) < patience


def _read(run_dir: RemotePath) -> dict[str, Any]:
    """The content of the lock; empty where there is none, or RAES did not write it."""
    try:
        content = json.loads((run_dir / ".lock").read_bytes())
    except (FileNotFoundError, ValueError, RecursionError):
        return {}
    if not isinstance(content, dict) or any(type(content.get(key)) not in (int, float) for key in ("at", "every")):
        return {}
    names = {key: re.sub(r"[^\w.:-]", "?", str(content.get(key)))[:LONGEST_NAME] for key in ("owner", "host", "pid")}
    return content | names | {"every": min(max(0.0, content["every"]), DEAD_SECONDS)}
