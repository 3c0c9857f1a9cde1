"""Atomic checkpoints: a temporary folder, fsync, rename. An incomplete one is never read as complete.

`checkpoints/gen_NNNNNN/` holds `state.json` and `arrays.npz`; `latest` and `best` are text files that name one. A
folder without `state.json` is no checkpoint, on a disk or in a store: it is left by a writer that was killed.
"""

from __future__ import annotations

import hashlib
import io
import json
import re
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from raes.storage.files import remove_folder, sync_folder, write_atomically, write_durably
from raes.storage.location import Location, StoreError
from raes.storage.tree import Arrays
from raes.text import described
from raes.types import UserError

SCHEMA_VERSION = 3
SCHEMA_OF_0_1 = 2
"""The version that RAES 0.1 wrote, with the quarantine under another name."""
QUARANTINE_OF_0_1 = "verdicts"
NAME = re.compile(r"gen_\d+")
"""The name of a checkpoint's folder."""


class DamagedCheckpointError(UserError):
    """A checkpoint with missing, cut or changed files."""


@dataclass(frozen=True)
class Checkpoint:
    """The content of a checkpoint.

    Attributes:
        path: its folder.
        state: the JSON object, `generation` and `config` among its keys.
        arrays: name -> array, `theta` among them.
    """

    path: Location
    state: dict[str, Any]
    arrays: Arrays


def read(path: Location) -> Checkpoint:
    """Read a checkpoint's folder and check that it is complete.

    Raises:
        DamagedCheckpointError: something is missing, cut or changed, or its schema is unknown.
        StoreError: the store does not answer; the checkpoint may be complete.
    """
    cure = "name another one with resume=PATH"
    try:
        state = json.loads((path / "state.json").read_text())
        content = (path / "arrays.npz").read_bytes()
        version = state["schema_version"]
        digest = state["arrays_sha256"]
    except StoreError:
        raise
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DamagedCheckpointError(f"{path} is not a complete checkpoint ({described(error)}); {cure}") from error
    if version not in (SCHEMA_VERSION, SCHEMA_OF_0_1):
        raise DamagedCheckpointError(
            f"{path} has schema version {version} and this RAES reads {SCHEMA_VERSION}; "
            "go on with the RAES that wrote it"
        )
    if hashlib.sha256(content).hexdigest() != digest:
        raise DamagedCheckpointError(f"{path} is damaged: arrays.npz does not match its checksum; {cure}")
    key = QUARANTINE_OF_0_1 if version == SCHEMA_OF_0_1 else "quarantine"
    if key in state:
        state["quarantine"] = state.pop(key)
    if (path / f"{key}.json").exists():
        state["quarantine"] = json.loads((path / f"{key}.json").read_text())
    with np.load(io.BytesIO(content), allow_pickle=False) as archive:
        return Checkpoint(path, state, {name: archive[name] for name in archive.files})


class Checkpoints:
    """Reads the checkpoints of one run directory.

    Attributes:
        folder: `run_dir/checkpoints`.
    """

    folder: Location

    def __init__(self, run_dir: Location) -> None:
        self.folder = run_dir / "checkpoints"

    def names(self) -> list[str]:
        """The folders of finished checkpoints, oldest first."""
        names = [path.name for path in self.folder.glob("gen_*") if (path / "state.json").exists()]
        return sorted(filter(NAME.fullmatch, names), key=generation_of)

    def newest(self) -> tuple[Checkpoint | None, list[str]]:
        """The newest complete checkpoint that the run can go on from, and a message per newer damaged one."""
        problems: list[str] = []
        for name in reversed(self.names()):
            try:
                checkpoint = read(self.folder / name)
                if not checkpoint.state.get("branch", False):
                    return checkpoint, problems
            except DamagedCheckpointError as error:
                problems.append(str(error))
        return None, problems

    def find(self, which: str) -> Checkpoint:
        """Read the checkpoint `latest`, `best`, or of a generation's number.

        Raises:
            UserError: there is no such checkpoint, or it is damaged.
        """
        if which in ("latest", "best"):
            name = self.pointed(which) or ""
            if not name and which == "best":
                raise UserError(f"{self.folder} has no best checkpoint yet; use checkpoint=latest")
            if not name:
                raise UserError(f"{self.folder} holds no checkpoint; check run_dir")
        elif which.isdecimal():
            name = _name(int(which))
        else:
            raise UserError(f"checkpoint={which}: use best, latest or a generation's number")
        if not (self.folder / name).is_dir():
            there = f"has {', '.join(self.names())}" if self.names() else "holds no checkpoint"
            raise UserError(f"checkpoint={which}: there is no {name}; {self.folder} {there}")
        return read(self.folder / name)

    def pointed(self, which: str) -> str | None:
        """The folder name that `latest` or `best` holds."""
        try:
            return (self.folder / which).read_text().strip() or None
        except OSError:
            return None


class CheckpointStore(Checkpoints):
    """Writes the checkpoints of one run directory on this machine.

    Attributes:
        folder: `run_dir/checkpoints`.
    """

    folder: Path

    def __init__(self, run_dir: Path, keep: int = 3) -> None:
        super().__init__(run_dir)
        self._keep = keep

    def save(self, state: dict[str, Any], arrays: Arrays, pointer: str = "latest") -> Path:
        """Write a checkpoint, point `latest` or `best` to it, and remove those that are no longer kept.

        A generation has one checkpoint: if it exists already, only the pointer is written. But a checkpoint that was
        written before the search had the results of the generation's probe is replaced.
        """
        target = self.folder / _name(int(state["generation"]))
        buffer = io.BytesIO()
        np.savez(buffer, **arrays)  # type: ignore[arg-type]
        content = buffer.getvalue()
        state = {"schema_version": SCHEMA_VERSION, "arrays_sha256": hashlib.sha256(content).hexdigest()} | state
        if not target.exists() or self._is_outdated(target, state):
            self._write(target, state, content)
        self._point(pointer, target.name)
        self._prune()
        return target

    @staticmethod
    def _is_outdated(target: Path, state: dict[str, Any]) -> bool:
        """Whether a checkpoint of the same run and generation holds another state of the search."""
        try:
            there = json.loads((target / "state.json").read_text())
        except (OSError, ValueError):  # it is no checkpoint
            return True
        if there.get("branch", False) or state.get("branch", False):
            return False
        compared = ("arrays_sha256", "search")
        return [there.get(key) for key in compared] != [json.loads(json.dumps(state.get(key))) for key in compared]

    def _write(self, target: Path, state: dict[str, Any], content: bytes) -> None:
        temporary = self.folder / f".writing_{target.name}"
        shutil.rmtree(temporary, ignore_errors=True)
        temporary.mkdir(parents=True)
        write_durably(temporary / "arrays.npz", content)
        write_durably(temporary / "state.json", json.dumps(state, indent=1).encode())
        sync_folder(temporary)
        if target.exists():
            remove_folder(target)  # a kill at this moment leaves the checkpoint before it
        temporary.rename(target)
        sync_folder(self.folder)

    def save_quarantine(self, generation: int, records: list[dict[str, Any]]) -> None:
        """Add records to a finished checkpoint; `read` returns them in place of those in its state."""
        write_atomically(self.folder / _name(generation) / "quarantine.json", json.dumps(records).encode())

    def rewind(self, generation: int) -> None:
        """Remove the checkpoints after a generation, from which the run will go on.

        The pointers move first, and the newest go first, so that a kill in between leaves a run to go on with.
        """
        left = [name for name in self.names() if generation_of(name) <= generation]
        for which in ("latest", "best"):
            pointed = self.pointed(which)
            if pointed is None or pointed in left:
                continue
            if which == "latest" and left:
                self._point(which, left[-1])
            else:
                (self.folder / which).unlink()
        for name in reversed(self.names()):
            if name not in left:
                remove_folder(self.folder / name)
        leftovers = [path for path in self.folder.glob("gen_*") if path.name not in left]
        for leftover in [*leftovers, *self.folder.glob(".*ing_gen_*")]:
            shutil.rmtree(leftover, ignore_errors=True)

    def _point(self, which: str, name: str) -> None:
        write_atomically(self.folder / which, f"{name}\n".encode())

    def _prune(self) -> None:
        kept = set(self.names()[-self._keep :]) | {self.pointed("latest"), self.pointed("best")}
        for name in self.names():
            if name not in kept:
                remove_folder(self.folder / name)


def generation_of(name: str) -> int:
    """The number in a checkpoint's name."""
    return int(name.removeprefix("gen_"))


def _name(generation: int) -> str:
    return f"gen_{generation:06d}"
