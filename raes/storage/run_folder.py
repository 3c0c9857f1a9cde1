"""The run directory that a driver writes to: a folder of this machine, on its own or as the spool of a store.

The driver writes files below `path` in either case. For a URL, `path` is a spool: a thread brings the store up to date
at intervals (`raes.storage.mirror`), so that training never waits for a store. If a store does not answer, only the
newest checkpoints are at risk, should this machine be lost as well.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import threading
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

from raes.storage.checkpoint import Checkpoints
from raes.storage.files import open_own, refuse_links, write_atomically
from raes.storage.lease import Lease, TakenOverError
from raes.storage.location import RemotePath, StoreError, location
from raes.storage.lock import RunFolderGoneError, RunLock
from raes.storage.mirror import Mirror
from raes.storage.reading import read_file
from raes.text import one_line
from raes.types import SETTINGS, Positive, RunFailedError, UserError

Notify = Callable[[str], None]
"""Called with messages for the user."""

LAST_PAUSE = 2.0
"""Seconds between two attempts at the end of a run."""


@dataclass(frozen=True)
class UploadSettings:
    """How a run directory in a store is written.

    Attributes:
        every: seconds between two uploads; a lost machine costs at most so much, and the upload's own time.
        patience: seconds without progress after which a run that has ended stops its uploads.
        spool: the folder for what is not in the store yet; None: `~/.cache/raes/spool`.
    """

    __pydantic_config__ = SETTINGS

    every: Positive = 30.0
    patience: Positive = 120.0
    spool: str | None = None

    def folder(self, url: str) -> Path:
        """The spool of a run directory, the same for every command on this machine."""
        cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
        name = re.sub(r"[^\w.-]+", "_", url.split("://", 1)[1])[-60:]
        return Path(self.spool or cache / "raes" / "spool") / f"{name}-{hashlib.sha256(url.encode()).hexdigest()[:12]}"


class RunFolder:
    """A run directory on a disk.

    Attributes:
        path: where to write.
    """

    def __init__(self, path: Path, name: str) -> None:
        """Lock the run directory.

        Args:
            path: where to write.
            name: `run_dir` as the user wrote it.

        Raises:
            UserError: another process writes to it.
        """
        self.path = path
        self._name = name
        self._lock = RunLock(path, name)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def check(self) -> None:
        """Make sure that it is still where it was.

        Raises:
            RunFolderGoneError: it is not.
        """
        self._lock.check()

    def aside(self) -> Path:
        """A name next to it that is free."""
        folder = self._lock.folder
        return folder.with_name(f"{folder.name}-saved-{time.strftime('%Y%m%d-%H%M%S')}-{os.getpid()}")

    def start(self) -> None:
        """Begin uploads, where there are any: the run directory now holds something to go on from."""

    def notices(self) -> list[str]:
        """Messages about the store for the user since the last call.

        Raises:
            RunFailedError: another command has taken the run directory over.
        """
        return []

    def with_user_path(self, text: str) -> str:
        """A text with `run_dir` as the user wrote it in place of `path`."""
        return text

    def finish(self, notify: Notify) -> str | None:
        """Wait, after the last write, until everything is uploaded; what went wrong and the fix, or None."""
        return None

    def close(self) -> None:
        """Release the lock."""
        self._lock.close()


class SpooledFolder(RunFolder):
    """A run directory in a store, with its spool on this machine.

    The spool outlives a command that could not send everything. The next one on this machine goes on from it, unless
    another machine has written to the store since; a spool whose content has arrived is removed.
    """

    def __init__(self, store: RemotePath, keep: int, settings: UploadSettings, notify: Notify) -> None:
        """Lock the run directory and bring the spool up to date.

        Args:
            store: the run directory.
            keep: how many checkpoints stay in the store, besides the best.
            settings: of the uploads.
            notify: called with a message about what takes time.

        Raises:
            UserError: another command writes to it, or the spool cannot be written.
            StoreError: the store does not answer.
        """
        self._store, self._settings = store, settings
        self._root = settings.folder(str(store))
        try:
            super().__init__(self._root, str(store))
        except OSError as error:
            raise UserError(
                f"upload.spool={self._root} cannot be written ({one_line(error)}); name a folder that can"
            ) from error
        self.path = self._root / "run"
        self._owner_file = self._root / "owner"
        self._notices: deque[str] = deque()
        self._trouble: str | None = None  # why the last round failed
        self._lost: str | None = None  # why this run must stop: another command has taken the run directory over
        self._ending = self._stopped = self._is_removable = False
        self._wake = threading.Event()
        self._mirror = Mirror(self.path, store, keep)
        self._thread = threading.Thread(target=self._upload, name="upload", daemon=True)
        try:
            self._open(notify)
        except BaseException:
            self.close()
            raise

    def _open(self, notify: Notify) -> None:
        text = read_file(self._owner_file) or b""
        earlier = text.decode("ascii", "ignore").strip() or None
        self._lease = Lease(self._store, earlier, self._settings.every)
        if earlier and self._lease.held_by_us():
            notify(f"{self._store}: going on with what lies in {self.path}, which may be newer")
            self._lease.take(notify)
            self._mirror.compare()
            return
        if Checkpoints(self.path).names():
            aside = self._root / f"run-{time.strftime('%Y%m%d-%H%M%S')}"
            self.path.rename(aside)
            notify(f"{self._store} has been written by another machine since; the spool of this one is kept as {aside}")
        self._owner_file.unlink(missing_ok=True)
        shutil.rmtree(self.path, ignore_errors=True)
        self._lease = Lease(self._store, None, self._settings.every)
        self._lease.take(notify)
        self._is_removable = True  # while the spool holds nothing that the store lacks
        (self.path / "checkpoints").mkdir(parents=True)
        self._mirror.fetch()
        write_atomically(self._owner_file, self._lease.owner.encode())

    def check(self) -> None:
        super().check()
        if not (self.path / "checkpoints").is_dir():
            raise RunFolderGoneError(f"{self.path} was removed while the run wrote to it", None)

    def start(self) -> None:
        self._is_removable = False
        self._thread.start()

    def notices(self) -> list[str]:
        if self._lost is not None:
            raise RunFailedError(self._lost)
        texts: list[str] = []
        self._send_notices(texts.append)
        return texts

    def with_user_path(self, text: str) -> str:
        return text.replace(str(self.path), self._name)

    def finish(self, notify: Notify) -> str | None:
        begun, notified = time.monotonic(), False
        self._ending = True
        self._wake.set()
        while self._thread.is_alive():
            self._thread.join(0.1)
            self._send_notices(notify)
            now = time.monotonic()
            if now - max(begun, self._mirror.progress_at) > self._settings.patience:
                break
            if now - begun > LAST_PAUSE and not notified:
                notify(f"sending the last files to {self._name}; Ctrl-C leaves them in {self.path}")
                notified = True
        self._send_notices(notify)
        if self._is_removable or self._lost is not None:
            return self._lost
        return (
            f"{self._name} lacks the newest files ({self._trouble or 'it accepts nothing'}). They lie in {self.path} "
            "on this machine. Fix the store, then run the same command here with resume=auto: it sends them and goes on"
        )

    def close(self) -> None:
        """Release the locks; where the store has everything, remove the spool."""
        self._stopped = True
        self._wake.set()
        if self._is_removable:
            with suppress(StoreError):
                self._lease.release()
                self._owner_file.unlink(missing_ok=True)
                shutil.rmtree(self.path, ignore_errors=True)
        super().close()

    def _send_notices(self, notify: Notify) -> None:
        while self._notices:
            notify(self._notices.popleft())

    # The upload thread.

    def _upload(self) -> None:
        """Mirror the folder at intervals; at the end of the run, until the store has everything."""
        while not self._stopped:
            last, begun = self._ending, time.monotonic()
            arrived = self._round()
            if self._lost is not None or (last and arrived):
                self._is_removable = arrived
                return
            if last:
                time.sleep(min(LAST_PAUSE, self._settings.every))
            elif not self._ending:
                self._wake.wait(max(self._settings.every, time.monotonic() - begun))

    def _round(self) -> bool:
        """Mirror the folder once. Whether everything that it held before is in the store now."""
        try:
            self.check()  # before the store follows a spool that is empty
            self._lease.renew()
            self._mirror.send()
        except RunFolderGoneError as error:
            self._lost = f"{error}; nothing more is sent to {self._name}"
            return False
        except TakenOverError as error:
            self._lost = (
                f"run_dir={self._name} was taken over by {error}, so this run stops; what it had not sent is kept in "
                f"{self.path}"
            )
            return False
        except Exception as error:  # whatever it is, training goes on
            if self._trouble is None:
                self._notices.append(
                    f"{error}. Training goes on; uploads are tried again every {self._settings.every:g} s, until then "
                    f"the newest checkpoints lie in {self.path}"
                )
            self._trouble = str(error)
            return False
        if self._trouble is not None:
            self._notices.append(f"{self._name} answers again and has everything")
        self._trouble = None
        return True


def open_folder(run_dir: str, keep: int, settings: UploadSettings, notify: Notify) -> RunFolder:
    """Lock a run directory and prepare it for writing.

    Args:
        run_dir: a path or a URL.
        keep: how many checkpoints stay in a store, besides the best.
        settings: of the uploads to a store.
        notify: called with a message about what takes time.

    Raises:
        UserError: another command writes to it, or it cannot be written.
    """
    where = location(run_dir)
    if isinstance(where, RemotePath):
        return SpooledFolder(where, keep, settings, notify)
    return RunFolder(where, run_dir)


def check_writable(run_dir: str, settings: UploadSettings) -> None:
    """Refuse a run directory that cannot be written, before anything starts.

    Raises:
        UserError: with the reason.
    """
    where = location(run_dir)
    try:
        if isinstance(where, RemotePath):
            (where / ".writable").write_bytes(b"")
            (where / ".writable").unlink()
            settings.folder(run_dir).mkdir(parents=True, exist_ok=True)
        else:
            refuse_links(where)
            (where / "checkpoints").mkdir(parents=True, exist_ok=True)
            open_own(where / ".writable", "w").close()
            (where / ".writable").unlink()
    except OSError as error:
        raise UserError(f"run_dir={run_dir} cannot be written ({one_line(error)}); name a folder that can") from error
