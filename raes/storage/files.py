"""Writes files so that a kill at any moment leaves the old content or the new one, complete, and follows no links.

A run directory that came from elsewhere may hold symbolic links in the place of files and folders that RAES writes.
"""

from __future__ import annotations

import errno
import os
import shutil
from pathlib import Path
from typing import IO, Any

from raes.types import UserError

FOLDERS = ("checkpoints", "tensorboard", "faults", "videos", "weights", "damaged")
"""The folders of a run directory."""


def open_own(path: Path, mode: str, buffering: int = -1) -> IO[Any]:
    """Open a file of our own for writing.

    Raises:
        UserError: it is a symbolic link, whose target is left as it is.
    """
    try:
        return open(path, mode, buffering, None if "b" in mode else "utf-8", opener=_no_link)
    except OSError as error:
        if error.errno == errno.ELOOP:
            raise UserError(_link(path)) from error
        raise


def refuse_links(run_dir: Path) -> None:
    """Refuse a run directory whose own folders are symbolic links, or hold some.

    Raises:
        UserError: with the first one.
    """
    for top in (run_dir / name for name in FOLDERS):
        if top.is_symlink():
            raise UserError(_link(top))
        for folder, folders, files in os.walk(top):
            for name in (*folders, *files):
                if (path := Path(folder) / name).is_symlink():
                    raise UserError(_link(path))


def write_durably(path: Path, content: bytes) -> None:
    """Write and wait until it is on the disk."""
    with open_own(path, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def write_atomically(path: Path, content: bytes) -> None:
    """Replace a file: a reader sees the old content or the new one."""
    temporary = path.with_name(f".writing_{path.name}")
    write_durably(temporary, content)
    temporary.rename(path)
    sync_folder(path.parent)


def sync_folder(folder: Path) -> None:
    """Wait until the folder's entries are on the disk."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def set_aside(run_dir: Path, path: Path) -> Path:
    """Move what cannot be used into the run's folder `damaged`, under a name that is free; where it lies now."""
    folder = run_dir / "damaged"
    folder.mkdir(exist_ok=True)
    target, number = folder / path.name, 1
    while target.exists() or target.is_symlink():
        number += 1
        target = folder / f"{path.name}-{number}"
    path.rename(target)
    return target


def remove_folder(folder: Path) -> None:
    """Remove a folder; a kill in between leaves nothing under its name."""
    removed = folder.with_name(f".removing_{folder.name}")
    shutil.rmtree(removed, ignore_errors=True)
    folder.rename(removed)
    shutil.rmtree(removed, ignore_errors=True)


def _no_link(path: str, flags: int) -> int:
    return os.open(path, flags | getattr(os, "O_NOFOLLOW", 0), 0o666)


def _link(path: Path) -> str:
    return (
        f"{path} is a symbolic link to {os.readlink(path)}, and a run writes only inside its own folder; remove the "
        "link, or make the whole run directory one"
    )
