"""The format safetensors: 8 bytes with the header's length, a header in JSON, and the tensors' bytes one after another.

Written here and not with its package, since a file of any size must be made and read piece by piece.
Source: https://github.com/huggingface/safetensors#format
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

LARGEST_HEADER = 100_000_000
"""Bytes; the package refuses more, too."""


@dataclass(frozen=True)
class Entry:
    """One tensor of a file.

    Attributes:
        name: in the file.
        dtype: as the format has it: F32, BF16, F16, I64, ...
        shape: of the tensor.
        start, stop: its bytes, counted from the header's end.
    """

    name: str
    dtype: str
    shape: tuple[int, ...]
    start: int
    stop: int


def entries(tensors: Iterable[tuple[str, str, tuple[int, ...], int]]) -> list[Entry]:
    """Entries of (name, dtype, shape, bytes), one after another."""
    found, at = [], 0
    for name, dtype, shape, size in tensors:
        found.append(Entry(name, dtype, shape, at, at + size))
        at += size
    return found


def header(tensors: list[Entry], metadata: dict[str, str]) -> bytes:
    """The file's beginning, a multiple of 8 bytes."""
    plain: dict[str, Any] = {"__metadata__": metadata}
    plain |= {
        one.name: {"dtype": one.dtype, "shape": list(one.shape), "data_offsets": [one.start, one.stop]}
        for one in tensors
    }
    text = json.dumps(plain, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text


class PartsReader:
    """Reads a file that comes in consecutive parts, so that no more than one part is held."""

    def __init__(self, parts: Iterable[Any]) -> None:
        self._parts = iter(parts)
        self._rest = memoryview(b"")
        self.entries, self.metadata = self._header()

    def pieces(self, size: int) -> Iterable[memoryview]:
        """The next `size` bytes, in pieces.

        Raises:
            ValueError: the file ends before.
        """
        while size:
            if not self._rest:
                part = next(self._parts, None)
                if part is None:
                    raise ValueError(f"the file ends {size} bytes too early")
                self._rest = memoryview(part).cast("B")
                continue
            piece, self._rest = self._rest[:size], self._rest[size:]
            size -= len(piece)
            yield piece

    def _header(self) -> tuple[list[Entry], dict[str, str]]:
        length = int.from_bytes(b"".join(self.pieces(8)), "little")
        if length > LARGEST_HEADER:
            raise ValueError(f"its header has {length:,} bytes")
        plain = json.loads(b"".join(self.pieces(length)))
        if not isinstance(plain, dict):
            raise ValueError("its header is no object")
        metadata = plain.pop("__metadata__", {})
        found = [
            Entry(name, one["dtype"], tuple(one["shape"]), *map(int, one["data_offsets"]))
            for name, one in plain.items()
        ]
        found.sort(key=lambda one: one.start)
        at = 0
        for one in found:
            if one.start != at:
                raise ValueError(f"{one.name} begins at byte {one.start} and not at {at}")
            at = one.stop
        return found, metadata
