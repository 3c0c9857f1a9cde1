"""Ways to damage a run directory, and to forge one: a forged file has a checksum that fits."""

from __future__ import annotations

import hashlib
import io
import json
import os
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from raes.storage.sealed import seal, unseal

Damage = Callable[[Path], None]
"""Is given a run directory, and changes it."""
NEWEST = "checkpoints/gen_000004"
STATE, ARRAYS, QUARANTINE = f"{NEWEST}/state.json", f"{NEWEST}/arrays.npz", f"{NEWEST}/quarantine.json"


def put(name: str, content: bytes | str) -> Damage:
    """A file with this content in the place of what is there."""

    def damage(run: Path) -> None:
        path = run / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content if isinstance(content, bytes) else content.encode())

    return damage


def cut(name: str) -> Damage:
    """The first half of a file."""
    return lambda run: put(name, (run / name).read_bytes()[: (run / name).stat().st_size // 2])(run)


def flip(name: str) -> Damage:
    """One bit in the middle."""

    def damage(run: Path) -> None:
        content = bytearray((run / name).read_bytes())
        content[len(content) // 2] ^= 1
        (run / name).write_bytes(bytes(content))

    return damage


def add(name: str, content: bytes) -> Damage:
    """More at the end of a file."""
    return lambda run: put(name, (run / name).read_bytes() + content)(run)


def missing(name: str) -> Damage:
    return lambda run: (run / name).unlink()


def folder(name: str) -> Damage:
    """A folder in the place of a file."""

    def damage(run: Path) -> None:
        (run / name).unlink(missing_ok=True)
        (run / name).mkdir()

    return damage


def pipe(name: str) -> Damage:
    """A pipe that nobody writes to in the place of a file."""

    def damage(run: Path) -> None:
        (run / name).unlink(missing_ok=True)
        os.mkfifo(run / name)

    return damage


def link(name: str) -> Damage:
    """A link to a file or folder outside, in the place of what is there, which moves there."""

    def damage(run: Path) -> None:
        outside = run.parent / "outside"
        if (run / name).exists():
            (run / name).rename(outside)
        else:
            outside.write_text("precious\n")
        (run / name).symlink_to(outside)

    return damage


def forged(**changes: Any) -> Damage:
    """The newest checkpoint with other values in its state, and a checksum that fits; None removes a key."""

    def damage(run: Path) -> None:
        state = unseal((run / STATE).read_bytes())
        for key, value in changes.items():
            *path, last = key.split("__")
            node = state
            for part in path:
                node = node[part]
            node[last] = value
            if value is None:
                del node[last]
        (run / STATE).write_bytes(seal(state))

    return damage


def forged_arrays(change: Callable[[dict[str, np.ndarray]], Any], compressed: bool = False) -> Damage:
    """The newest checkpoint with other arrays, and checksums that fit."""

    def damage(run: Path) -> None:
        with np.load(run / ARRAYS) as archive:
            arrays = dict(archive)
        change(arrays)
        buffer = io.BytesIO()
        (np.savez_compressed if compressed else np.savez)(buffer, **arrays)
        _forge(run, buffer.getvalue())

    return damage


def forged_header(shape: tuple[int, ...]) -> Damage:
    """A theta whose header declares this shape, and no number follows."""

    def damage(run: Path) -> None:
        buffer, header = io.BytesIO(), io.BytesIO()
        np.lib.format.write_array_header_1_0(header, {"descr": "<f4", "fortran_order": False, "shape": shape})
        with zipfile.ZipFile(buffer, "w") as archive:
            archive.writestr("theta.npy", header.getvalue())
        _forge(run, buffer.getvalue())

    return damage


def _forge(run: Path, arrays: bytes) -> None:
    (run / ARRAYS).write_bytes(arrays)
    state = unseal((run / STATE).read_bytes()) | {"arrays_sha256": hashlib.sha256(arrays).hexdigest()}
    (run / STATE).write_bytes(seal(state))


def newer(run: Path) -> None:
    """A checkpoint of a newer RAES."""
    put(STATE, json.dumps(unseal((run / STATE).read_bytes()) | {"schema_version": 99}))(run)


def configured(old: str, new: str) -> Damage:
    """Another text in config.yaml; where the old one is not there, the new one follows it."""

    def damage(run: Path) -> None:
        path = run / "config.yaml"
        text = path.read_text()
        path.write_text(text.replace(old, new) if old and old in text else text + new)

    return damage


def all_of(*damages: Damage) -> Damage:
    def damage(run: Path) -> None:
        for one in damages:
            one(run)

    return damage
