"""A lock: one writer per run directory. After a kill, a new command waits until the old one's driver is gone.

Its holder also learns from it that the run directory has been removed, moved or replaced.
"""

from __future__ import annotations

import fcntl
import os
import secrets
import time
from pathlib import Path
from typing import IO

from raes.storage.files import open_own
from raes.types import RunFailedError, UserError

WAIT_SECONDS = 30.0


class RunFolderGoneError(RunFailedError):
    """The run directory is not where it was.

    Attributes:
        now: where it lies by now; None where it was removed, or that cannot be known.
    """

    def __init__(self, text: str, now: Path | None) -> None:
        super().__init__(text)
        self.now = now


class RunLock:
    """Holds `run_dir/.lock` until it is closed or its process ends; does nothing on a file system without locks.

    Attributes:
        folder: where it lies.
    """

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
        self.folder, self._path, self._name = run_dir, run_dir / ".lock", name or str(run_dir)
        self._file: IO[str] = open_own(self._path, "a")
        self._take(wait_seconds)
        self._mark = secrets.token_hex(8)
        self._file.truncate(0)
        self._file.write(self._mark)
        self._file.flush()

    def _take(self, wait_seconds: float) -> None:
        end = time.monotonic() + wait_seconds
        while True:
            try:
                fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                return
            except BlockingIOError as error:
                if time.monotonic() >= end:
                    raise UserError(
                        f"run_dir={self._name} is in use by another process; wait for it, stop it, or name "
                        "another run_dir"
                    ) from error
                time.sleep(0.2)
            except OSError:
                return

    def check(self) -> None:
        """Make sure that the run directory is still where it was.

        Its mark is read, not its inode, which is not the same for ever on every file system.

        Raises:
            RunFolderGoneError: it is not.
        """
        try:
            if self._path.read_text() in (self._mark, ""):
                return
            what = "replaced by another run"
        except FileNotFoundError:
            what = "removed"
        except (OSError, ValueError):  # a disk that fails for a moment
            return
        now = self._now()
        what = what if now is None else f"moved to {now}"
        raise RunFolderGoneError(f"run_dir={self._name} was {what} while the run wrote to it", now)

    def _now(self) -> Path | None:
        """Where the folder lies that we hold, as Linux has it."""
        try:
            path = Path(os.readlink(f"/proc/self/fd/{self._file.fileno()}"))
            return path.parent if path != self._path and path.read_text() == self._mark else None
        except (OSError, ValueError):
            return None

    def close(self) -> None:
        """Release the lock."""
        self._file.close()
