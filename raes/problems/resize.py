"""Resizes frames by area, as OpenCV's INTER_AREA, but exactly, in whole numbers."""

from __future__ import annotations

import math

import numpy as np

from raes.types import Float32, UInt8


class AreaResize:
    """Shrinks grey frames: each pixel becomes the mean of the area it covers, rounded, halves to the even neighbour.

    Rows and columns fall into blocks that are all alike (210 rows to 84: 42 blocks of 5 to 2), so that two thin matrix
    products do it, in half of OpenCV's time. Their weights are whole numbers and the sums stay below 2**24, which
    float32 holds exactly; OpenCV's weights are rounded, so that it may round a mean that lies halfway the other way.
    """

    def __init__(self, source: tuple[int, int], target: tuple[int, int]) -> None:
        """Prepare for one size of frames.

        Args:
            source: rows and columns of the frames that come in.
            target: of those that go out, not larger.
        """
        down, across = block_weights(source[0], target[0]), block_weights(source[1], target[1])
        assert 255 * down[0].sum() * across[0].sum() < 2**24
        self._down, self._across = down, np.ascontiguousarray(across.T)
        self._area = np.float32(down[0].sum() * across[0].sum())
        self._frame = np.empty(source, np.float32)
        self._tall = self._frame.reshape(-1, down.shape[1], source[1])
        self._short = np.empty((len(self._tall), len(down), source[1]), np.float32)
        self._wide = self._short.reshape(-1, across.shape[1])
        self._sums = np.empty(target, np.float32)
        self._narrow = self._sums.reshape(-1, len(across))

    def __call__(self, frame: UInt8, out: UInt8) -> None:
        """Shrink a frame, uint8 of the source's size, into `out`, uint8 of the target's."""
        np.copyto(self._frame, frame)
        np.matmul(self._down, self._tall, out=self._short)
        np.dot(self._wide, self._across, out=self._narrow)
        np.divide(self._sums, self._area, out=self._sums)
        np.rint(self._sums, out=self._sums)
        np.copyto(out, self._sums, casting="unsafe")


def block_weights(source: int, target: int) -> Float32:
    """How much of each of a block's source cells lies in each of its target cells: whole numbers, float32 (q, p).

    source / target = p / q in lowest terms; a target cell is p long, a source cell q.
    """
    shared = math.gcd(source, target)
    cells, width = target // shared, source // shared
    ends_target, ends_source = np.arange(cells + 1) * width, np.arange(width + 1) * cells
    begin = np.maximum(ends_target[:-1, None], ends_source[None, :-1])
    end = np.minimum(ends_target[1:, None], ends_source[None, 1:])
    weights: Float32 = np.maximum(end - begin, 0).astype(np.float32)
    return weights
