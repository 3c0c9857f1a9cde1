"""A lock: one writer per run directory. After a kill, a new command waits until the old one's driver is gone."""

from __future__ import annotations

import fcntl
import time
from pathlib import Path
from typing import IO

from raes.storage.files import open_own
from raes.types import UserError

WAIT_SECONDS = 30.0


class RunLock:
    """Holds `run_dir/.lock` until it is closed or its process ends; does nothing on a file system without locks."""

    def __init__(self, run_dir: Path, name: str | None = None, wait_seconds: float = WAIT_SECONDS) -> None:
        """Take the lock.

        Args:
            run_dir: where the lock lies.
            name: the user's name of the run directory, where it is not this path.
            wait_seconds: how long to wait for an earlier holder to end.

        Raises:
            UserError: another process keeps writing to the run.
        """
        run_dir.mkdir(parents=True, exist_ok=True)
        self._file: IO[str] = open_own(run_dir / ".lock", "a")
        end = time.monotonic() + wait_seconds
        while True:
            try:
                fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                return
            except BlockingIOError as error:
                if time.monotonic() >= end:
                    raise UserError(
                        f"run_dir={name or run_dir} is in use by another process; wait for it, stop it, or name "
                        "another run_dir"
                    ) from error
                time.sleep(0.2)
            except OSError:
                return

    def close(self) -> None:
        """Release the lock."""
        self._file.close()
