"""Buffers that begin elsewhere in memory: BLAS may round with where its operands begin, and bits must not."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest

ALIGNMENTS = (0, 16, 32, 48)
"""Where memory from malloc begins, modulo the 64 bytes of a cache line."""


EMPTY, ZEROS = np.empty, np.zeros


def at(offset: int, array: Any) -> Any:
    """A copy that begins `offset` bytes after a multiple of 64."""
    array = np.asarray(array)
    room = EMPTY(array.nbytes + 128, np.uint8)
    start = -room.ctypes.data % 64 + offset
    copy = room[start : start + array.nbytes].view(array.dtype).reshape(array.shape)
    copy[...] = array
    return copy


@contextmanager
def buffers_at(offset: int) -> Iterator[None]:
    """Let what `np.zeros` and `np.empty` give begin there."""
    with pytest.MonkeyPatch.context() as patch:
        for name in ("zeros", "empty"):
            patch.setattr(np, name, lambda shape, dtype=float: at(offset, ZEROS(shape, dtype)))
        yield
