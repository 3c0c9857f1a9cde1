"""Mirrors a run directory on this machine to a store, which is consistent for readers at every moment.

One round reads the checkpoints that `latest` and `best` name and sends, in this order: everything else that has changed
(a checkpoint relies on the metrics before it), the checkpoints (`state.json` last: without it there is no checkpoint),
the pointers; then it removes what is no longer kept. A round that fails in the middle leaves a store that a run can go
on from, and is repeated. What is created and removed between two rounds is never sent.
"""

from __future__ import annotations

import re
import time
from dataclasses import dataclass
from pathlib import Path

from raes.storage.checkpoint import NAME, QUARANTINE_OF_0_1, STATE, Checkpoints, generation_of
from raes.storage.location import RemotePath

Stamp = tuple[int, int, int]
"""Size, time of change and inode of a file; unchanged where the file has been sent."""
POINTERS = ("latest", "best")
TAKEN = re.compile(
    r"config\.yaml|metrics\.jsonl|log\.txt|tensorboard/[\w.-]+|faults/gen_[0-9]+\.npz|checkpoints/(latest|best)"
    r"|weights/gen_[0-9]{1,18}\.(safetensors|json)"
    rf"|checkpoints/gen_[0-9]{{1,18}}/(state\.json|arrays\.npz|quarantine\.json|{QUARANTINE_OF_0_1}\.json)",
    re.ASCII,
)
"""The names of what a run needs from a store to go on; nothing else is written to this machine, whatever its name."""
ATTEMPTS = 100
"""How often the checkpoints are read again where one is removed meanwhile."""


@dataclass(frozen=True)
class _File:
    stamp: Stamp
    content: bytes


class Mirror:
    """Keeps a store up to date with one run directory.

    Attributes:
        progress_at: when the store last accepted something, in seconds of `time.monotonic`.
    """

    def __init__(self, folder: Path, store: RemotePath, keep: int) -> None:
        """Prepare; nothing is sent yet.

        Args:
            folder: the run directory on this machine.
            store: the run directory in the store.
            keep: how many checkpoints stay in the store, besides the best.
        """
        self.progress_at = time.monotonic()
        self._folder, self._store, self._keep = folder, store, keep
        self._sent: dict[str, Stamp | None] = {}  # what lies in the store; None: not as it is here
        self._pointing: dict[str, str] = {}  # content of the pointers in the store

    def fetch(self) -> None:
        """Copy the run from the store into the folder, without incomplete checkpoints."""
        for name in self._list_files():
            if self._incomplete(name):
                continue
            path = self._folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes((self._store / name).read_bytes())
            self._sent[name] = _stamp(path)
        self._pointing = self._pointed()

    def compare(self) -> None:
        """Find out which checkpoints of the folder lie in the store already; all else is sent once more."""
        names = self._list_files()
        for name in names:
            path = self._folder / name
            if path.name != STATE or not path.exists() or path.read_bytes() != (self._store / name).read_bytes():
                continue
            for file in path.parent.iterdir():
                known = str(file.relative_to(self._folder))
                if known in self._sent:
                    self._sent[known] = _stamp(file)

    def send(self) -> None:
        """Bring the store up to date: one round.

        Raises:
            StoreError: the store does not take something; the next round goes on.
        """
        pointed, checkpoints = self._read_checkpoints()
        self._point(pointed)
        newest = max(map(generation_of, Checkpoints(self._folder).names()), default=-1)
        self._remove(
            [name for name in self._stored() if generation_of(name) > newest]
        )  # the run stepped back before them
        files = self._files()
        for name in files:
            self._put_file(name)
        self._unlink([name for name in self._sent if not name.startswith("checkpoints/") and name not in files])
        for name, content in checkpoints.items():
            self._put_checkpoint(name, content)
        self._point(pointed)
        complete = [name for name in self._stored() if f"checkpoints/{name}/{STATE}" in self._sent]
        kept = {*complete[-self._keep :], *pointed.values()}
        self._remove([name for name in self._stored() if name not in kept])

    # Reading the run directory.

    def _pointed(self) -> dict[str, str]:
        checkpoints = Checkpoints(self._folder)
        return {which: name for which in POINTERS if (name := checkpoints.pointed(which)) is not None}

    def _read_checkpoints(self) -> tuple[dict[str, str], dict[str, dict[str, _File]]]:
        """The pointers, and the files of the checkpoints they name, the latest first."""
        for attempt in range(ATTEMPTS):
            pointed = self._pointed()
            try:
                return pointed, {name: self._changed(name) for name in pointed.values()}
            except FileNotFoundError:
                if attempt == ATTEMPTS - 1:
                    raise
        raise AssertionError

    def _changed(self, checkpoint: str) -> dict[str, _File]:
        """The files of a checkpoint that differ from the store's; all files of a new checkpoint."""
        folder = self._folder / "checkpoints" / checkpoint
        paths = {str(path.relative_to(self._folder)): path for path in folder.iterdir() if path.name[0] != "."}
        stamps = {name: _stamp(path) for name, path in paths.items()}
        changed = [name for name, stamp in stamps.items() if self._sent.get(name) != stamp]
        return {name: _File(stamps[name], paths[name].read_bytes()) for name in changed}

    def _files(self) -> list[str]:
        """All files but checkpoints and those that are being written."""
        paths = [path.relative_to(self._folder) for path in sorted(self._folder.rglob("*")) if path.is_file()]
        return [
            str(path)
            for path in paths
            if path.parts[0] != "checkpoints" and not any(part[0] == "." for part in path.parts)
        ]

    def _list_files(self) -> list[str]:
        names = [name for name in self._store.files() if TAKEN.fullmatch(name)]
        self._sent = dict.fromkeys(names)
        return names

    def _incomplete(self, name: str) -> bool:
        parts = name.split("/")
        return len(parts) == 3 and parts[0] == "checkpoints" and f"checkpoints/{parts[1]}/{STATE}" not in self._sent

    def _stored(self) -> list[str]:
        """The checkpoints in the store, incomplete ones included, oldest first."""
        folders = {name.split("/")[1] for name in self._sent if name.startswith("checkpoints/")}
        return sorted(filter(NAME.fullmatch, folders), key=generation_of)

    # Writing to the store.

    def _put(self, name: str, content: bytes, stamp: Stamp) -> None:
        self._sent.setdefault(name, None)  # also a failed upload may leave something there
        (self._store / name).write_bytes(content)
        self._sent[name] = stamp
        self.progress_at = time.monotonic()

    def _put_file(self, name: str) -> None:
        path = self._folder / name
        try:
            stamp = _stamp(path)
            if self._sent.get(name) != stamp:
                self._put(name, path.read_bytes(), stamp)
        except FileNotFoundError:  # it has just been removed
            return

    def _put_checkpoint(self, checkpoint: str, files: dict[str, _File]) -> None:
        state = f"checkpoints/{checkpoint}/{STATE}"
        if state in files and state in self._sent:
            self._unlink([state])  # of the same generation, before the run stepped back
        for name in sorted(files, key=lambda name: name == state):
            self._put(name, files[name].content, files[name].stamp)

    def _point(self, pointed: dict[str, str]) -> None:
        """Write the pointers whose checkpoint is in the store, and remove those that no longer exist."""
        for which in POINTERS:
            name, target = f"checkpoints/{which}", pointed.get(which)
            if target is None:
                self._pointing.pop(which, None)
                self._unlink([name])
            elif self._pointing.get(which) != target and self._sent.get(f"checkpoints/{target}/{STATE}") is not None:
                self._put(name, f"{target}\n".encode(), (0, 0, 0))
                self._pointing[which] = target

    def _remove(self, checkpoints: list[str]) -> None:
        """Remove checkpoints, the newest first."""
        for checkpoint in reversed(checkpoints):
            names = [name for name in self._sent if name.startswith(f"checkpoints/{checkpoint}/")]
            self._unlink(sorted(names, key=lambda name: not name.endswith(f"/{STATE}")))

    def _unlink(self, names: list[str]) -> None:
        for name in names:
            if name in self._sent:
                (self._store / name).unlink()
                del self._sent[name]


def _stamp(path: Path) -> Stamp:
    stat = path.stat()
    return stat.st_size, stat.st_mtime_ns, stat.st_ino
