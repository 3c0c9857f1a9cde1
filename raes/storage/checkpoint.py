"""Atomic checkpoints: a temporary folder, fsync, rename. An incomplete one is never read as complete.

`checkpoints/gen_NNNNNN/` holds `state.json` and `arrays.npz`, each with a checksum; `latest` and `best` are text files
that name one. A folder without `state.json` is no checkpoint, on a disk or in a store: it is left by a writer that was
killed.
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

from raes.storage.files import remove_folder, set_aside, sync_folder, write_atomically, write_durably
from raes.storage.location import Location
from raes.storage.reading import is_there, names_in, read_arrays, read_file
from raes.storage.sealed import seal, unseal
from raes.storage.tree import Arrays
from raes.text import one_line
from raes.types import UserError

SCHEMA_VERSION = 4
SCHEMA_WITHOUT_CHECKSUM = 3
SCHEMA_OF_0_1 = 2
"""The version that RAES 0.1 wrote, with the quarantine under another name."""
QUARANTINE_OF_0_1 = "verdicts"
NAME = re.compile(r"gen_[0-9]{1,18}")
"""The name of a checkpoint's folder."""
STATE, ARRAYS, QUARANTINE = "state.json", "arrays.npz", "quarantine.json"
"""The files of a checkpoint; the last one is there where episodes were abandoned after the others were written."""


COMPARED = ("arrays_sha256", "search")
"""What differs where a search has settled something since its checkpoint was written."""


class DamagedCheckpointError(UserError):
    """A checkpoint with missing, cut or changed files."""


class NewerCheckpointError(UserError):
    """A checkpoint that only a newer RAES can read."""


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
        DamagedCheckpointError: something is missing, cut or changed.
        NewerCheckpointError: its schema is newer than this RAES.
        UnreadableError: the disk fails, or does not let us; the checkpoint may be complete.
        StoreError: the store does not answer; the same.
    """
    try:
        return _read(path)
    except UserError:
        raise
    except ValueError as error:
        raise DamagedCheckpointError(
            f"{path} is not a complete checkpoint ({one_line(error)}); name another one with resume=PATH"
        ) from error


def _read(path: Location) -> Checkpoint:
    text, content = read_file(path / STATE), read_file(path / ARRAYS)
    if text is None or content is None:
        raise ValueError(f"{STATE if text is None else ARRAYS} is missing")
    state = unseal(text, required=False)
    version = state.get("schema_version")
    if type(version) is int and version > SCHEMA_VERSION:
        raise NewerCheckpointError(
            f"{path} has schema version {version} and this RAES reads {SCHEMA_VERSION}; go on with the RAES that wrote "
            "it, or a newer one"
        )
    if version not in (SCHEMA_OF_0_1, SCHEMA_WITHOUT_CHECKSUM):
        unseal(text)
    if version not in (SCHEMA_OF_0_1, SCHEMA_WITHOUT_CHECKSUM, SCHEMA_VERSION):
        raise ValueError(f"schema_version={version} is none that RAES has written")
    if hashlib.sha256(content).hexdigest() != state.get("arrays_sha256"):
        raise ValueError(f"{ARRAYS} does not match its checksum")
    state["quarantine"] = _quarantine(path, version, state)
    generation, arrays = state.get("generation"), read_arrays(content)
    if type(generation) is not int or generation < 0 or not isinstance(state.get("config"), dict):
        raise ValueError(f"{STATE} names no generation, or no configuration")
    if NAME.fullmatch(path.name) and generation != generation_of(path.name):
        raise ValueError(f"it is of generation {generation}")
    theta, env = arrays.get("theta"), state["config"].get("env")
    of_function = isinstance(env, dict) and env.get("name") == "function"
    if (
        theta is None
        or theta.dtype not in ((np.float32, np.float64) if of_function else (np.float32,))
        or theta.ndim != 1
    ):
        raise ValueError(f"{ARRAYS} holds no theta, float32 (d,), or of a function float64")
    return Checkpoint(path, state, arrays)


def _quarantine(path: Location, version: int, state: dict[str, Any]) -> Any:
    """The abandoned episodes: of their own file, where there is one."""
    name = QUARANTINE_OF_0_1 if version == SCHEMA_OF_0_1 else "quarantine"
    text = read_file(path / f"{name}.json")
    if text is None:
        return state.pop(name, [])
    return unseal(text).get("records") if version == SCHEMA_VERSION else json.loads(text)


class Checkpoints:
    """Reads the checkpoints of one run directory; every method may raise `UnreadableError` and `StoreError`.

    Attributes:
        folder: `run_dir/checkpoints`.
    """

    folder: Location

    def __init__(self, run_dir: Location) -> None:
        self.folder = run_dir / "checkpoints"

    def names(self) -> list[str]:
        """The folders of finished checkpoints, oldest first."""
        names = filter(NAME.fullmatch, names_in(self.folder))
        return sorted((name for name in names if is_there(self.folder / name / STATE)), key=generation_of)

    def newest(self) -> tuple[Checkpoint | None, list[str]]:
        """The newest complete checkpoint that the run can go on from, and a message per newer damaged one.

        Raises:
            NewerCheckpointError: the newest is of a newer RAES.
        """
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
            if not name and read_file(self.folder / which) is not None:
                others = f"there are {', '.join(self.names())}" if self.names() else "there is none"
                raise UserError(f"{self.folder / which} names no checkpoint; give checkpoint=NUMBER: {others}")
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
        """The checkpoint that `latest` or `best` names; None where there is no such file, or it names none."""
        text = read_file(self.folder / which) or b""
        name = text[:100].decode("ascii", "replace").strip()
        return name if NAME.fullmatch(name) else None


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
        state = state | {"schema_version": SCHEMA_VERSION, "arrays_sha256": hashlib.sha256(content).hexdigest()}
        if not target.exists() or self._is_outdated(target, state):
            self._write(target, state, content)
        self._point(pointer, target.name)
        self._prune()
        return target

    @staticmethod
    def _is_outdated(target: Path, state: dict[str, Any]) -> bool:
        """Whether a checkpoint of the same run and generation holds another state of the search."""
        try:
            there, here = unseal(read_file(target / STATE) or b""), unseal(seal(state))
        except ValueError:  # it is no checkpoint
            return True
        if there.get("branch", False) or here.get("branch", False):
            return False
        return [there.get(key) for key in COMPARED] != [here.get(key) for key in COMPARED]

    def _write(self, target: Path, state: dict[str, Any], content: bytes) -> None:
        temporary = self.folder / f".writing_{target.name}"
        shutil.rmtree(temporary, ignore_errors=True)
        if not self.folder.exists():
            self.folder.mkdir()  # but not the run directory: where that is gone, nothing is to be made in its place
        temporary.mkdir()
        write_durably(temporary / ARRAYS, content)
        write_durably(temporary / STATE, seal(state))
        sync_folder(temporary)
        if target.exists():
            remove_folder(target)  # a kill at this moment leaves the checkpoint before it
        temporary.rename(target)
        sync_folder(self.folder)

    def save_quarantine(self, generation: int, records: list[dict[str, Any]]) -> None:
        """Add records to a finished checkpoint; `read` returns them in place of those in its state."""
        write_atomically(self.folder / _name(generation) / QUARANTINE, seal({"records": records}))

    def rewind(self, generation: int) -> list[Path]:
        """Remove the checkpoints after a generation, from which the run will go on; damaged ones are set aside.

        The pointers move first, and the newest go first, so that a kill in between leaves a run to go on with.

        Returns:
            Where those lie now that were set aside.

        Raises:
            UnreadableError: one cannot be read at this moment; then nothing was changed.
        """
        whole = {name for name in self.names() if generation_of(name) > generation and self._is_whole(name)}
        left = [name for name in self.names() if generation_of(name) <= generation]
        for which in ("latest", "best"):
            pointed = self.pointed(which)
            if pointed is None or pointed in left:
                continue
            if which == "latest" and left:
                self._point(which, left[-1])
            else:
                (self.folder / which).unlink()
        for name in sorted(whole, key=generation_of, reverse=True):
            remove_folder(self.folder / name)
        for leftover in self.folder.glob(".*ing_gen_*"):
            shutil.rmtree(leftover, ignore_errors=True)
        damaged = [path for path in sorted(self.folder.glob("gen_*")) if path.name not in left]
        return [set_aside(self.folder.parent, path) for path in damaged]

    def _is_whole(self, name: str) -> bool:
        try:
            read(self.folder / name)
        except (DamagedCheckpointError, NewerCheckpointError):
            return False
        return True

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
