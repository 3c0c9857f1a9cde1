"""Snapshots of a model's weights: `run_dir/weights/gen_NNNNNN.safetensors`, each with a sealed file of its checksum.

A checkpoint holds the log of all updates, so that the weights of any generation follow from the snapshot before it, or
from the weights that the run began with; a snapshot saves the time for that.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from raes.storage.files import open_own, sync_folder, write_atomically
from raes.storage.location import Location
from raes.storage.reading import names_in, read_file
from raes.storage.sealed import seal, unseal

FOLDER, SUFFIX = "weights", ".safetensors"
NAME = re.compile(r"gen_[0-9]{1,18}\.safetensors")
READ = 1 << 26
"""Bytes that are read at a time."""


class WeightFiles:
    """The snapshots of one run directory."""

    def __init__(self, run_dir: Location) -> None:
        self.folder = run_dir / FOLDER

    def generations(self) -> list[int]:
        """Those that have a snapshot, oldest first."""
        return sorted(int(name[4 : -len(SUFFIX)]) for name in filter(NAME.fullmatch, names_in(self.folder)))

    def path(self, generation: int) -> Location:
        """The snapshot's file."""
        return self.folder / f"gen_{generation:06d}{SUFFIX}"

    def newest(self, generation: int) -> int | None:
        """The newest whole snapshot that holds no more than so many updates; None where there is none."""
        return next((one for one in reversed(self.generations()) if one <= generation and self._is_whole(one)), None)

    def read(self, generation: int) -> Iterator[bytes]:
        """A snapshot in consecutive parts."""
        path = self.path(generation)
        if not isinstance(path, Path):
            yield path.read_bytes()
            return
        with open(path, "rb") as file:
            while part := file.read(READ):
                yield part

    def write(self, generation: int, parts: Iterable[Any]) -> None:
        """Write a snapshot from its parts; a kill leaves it whole, or none of this generation."""
        folder = self._own_folder()
        folder.mkdir(exist_ok=True)
        target, digest, size = folder / self.path(generation).name, hashlib.sha256(), 0
        temporary = folder / f".writing_{target.name}"
        with open_own(temporary, "wb") as file:
            for part in parts:
                content = memoryview(part).cast("B")
                file.write(content)
                digest.update(content)
                size += len(content)
            file.flush()
            os.fsync(file.fileno())
        write_atomically(target.with_suffix(".json"), seal({"file_sha256": digest.hexdigest(), "bytes": size}))
        temporary.rename(target)
        sync_folder(folder)

    def keep(self, needed: Iterable[int]) -> None:
        """Remove all snapshots but the newest ones that hold no more updates than these numbers."""
        there = self.generations()
        kept = {max((one for one in there if one <= number), default=None) for number in needed}
        self._remove([one for one in there if one not in kept])

    def rewind(self, generation: int) -> None:
        """Remove the snapshots after a generation, from which the run goes on."""
        self._remove([one for one in self.generations() if one > generation])

    def _remove(self, generations: Iterable[int]) -> None:
        for one in generations:
            target = self._own_folder() / self.path(one).name
            target.unlink(missing_ok=True)
            target.with_suffix(".json").unlink(missing_ok=True)

    def _own_folder(self) -> Path:
        assert isinstance(self.folder, Path)
        return self.folder

    def _is_whole(self, generation: int) -> bool:
        """Whether the file has the checksum that was written with it."""
        try:
            facts = unseal(read_file(self.folder / f"gen_{generation:06d}.json") or b"")
            digest = hashlib.sha256()
            for part in self.read(generation):
                digest.update(part)
        except (ValueError, OSError):
            return False
        return digest.hexdigest() == facts.get("file_sha256")
