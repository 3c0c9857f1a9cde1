"""Reads files that may be anything: damaged, another program's, a stranger's, or out of reach at this moment.

What is not there or cannot be what it should be is one thing, and may be passed over. What cannot be read now, as on a
disk that fails once, is another: it may be whole, and nothing may be decided without it.
"""

from __future__ import annotations

import io
import os
import stat
import zipfile
from pathlib import Path

import numpy as np

from raes.storage.location import Location
from raes.storage.tree import Arrays
from raes.text import described
from raes.types import UserError

MOST_COMPRESSED = 1 << 30
"""Bytes that compressed arrays may grow to; RAES compresses none that are large."""


class UnreadableError(UserError):
    """A file or folder that may be whole and cannot be read at this moment."""


def read_file(path: Location) -> bytes | None:
    """The content of a plain file; None where there is none, or something else in its place.

    Raises:
        UnreadableError: the disk fails, or does not let us.
        StoreError: the store does not answer.
    """
    try:
        if not isinstance(path, Path):
            return path.read_bytes()
        with open(path, "rb", opener=_without_waiting) as file:
            return file.read() if stat.S_ISREG(os.fstat(file.fileno()).st_mode) else None
    except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
        return None
    except OSError as error:
        raise _unreadable(path, error) from error


def is_there(path: Location) -> bool:
    """Whether there is something of this name.

    Raises:
        UnreadableError: the disk fails, or does not let us.
        StoreError: the store does not answer.
    """
    if not isinstance(path, Path):
        return path.exists()
    try:
        path.stat()
    except (FileNotFoundError, NotADirectoryError):
        return False
    except OSError as error:
        raise _unreadable(path, error) from error
    return True


def names_in(folder: Location) -> list[str]:
    """The names in a folder, in order; none where there is no such folder.

    Raises:
        UnreadableError: the disk fails, or does not let us.
        StoreError: the store does not answer.
    """
    if not isinstance(folder, Path):
        return [path.name for path in folder.glob("*")]
    try:
        return sorted(os.listdir(folder))
    except (FileNotFoundError, NotADirectoryError):
        return []
    except OSError as error:
        raise _unreadable(folder, error) from error


def read_arrays(content: bytes) -> Arrays:
    """The arrays in an npz file, without pickles.

    Raises:
        ValueError: it is none, or its arrays would be larger than the file may make them.
    """
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            packed = sum(one.file_size for one in archive.infolist() if one.compress_type != zipfile.ZIP_STORED)
        if packed > MOST_COMPRESSED:
            raise ValueError(f"it would grow to {packed:,} bytes")
        with np.load(io.BytesIO(content), allow_pickle=False) as arrays:
            return {name: arrays[name] for name in arrays.files}
    except Exception as error:  # zipfile, zlib, numpy and the parser of its headers have errors of their own
        raise ValueError(described(error)) from error


def _without_waiting(path: str, flags: int) -> int:
    """Open it; a pipe or a device does not make us wait."""
    return os.open(path, flags | getattr(os, "O_NONBLOCK", 0))


def _unreadable(path: Location, error: OSError) -> UnreadableError:
    return UnreadableError(
        f"{path} cannot be read now ({error.strerror or error}); nothing was removed: see to the disk or to its "
        "permissions, and run the same command again"
    )
