"""The reference batch of virtual batch normalisation, prepared so that each theta costs few operations.

Most windows of a game's frames are equal: background. Equal windows have equal outputs, whatever the weights, and which
ones are equal, in every layer, is known from the batch alone. So each layer computes its distinct windows once, and the
statistics weigh them by how often they occur: for Pong 5 % of the first layer's windows, for BeamRider 38 %.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from raes.policies.conv_layers import windows
from raes.types import Float32, Int64, UInt8

ROWS = 1024
"""Windows in a matrix product: more would not stay in the cache."""


@dataclass(frozen=True)
class DistinctWindows:
    """The distinct windows that a layer sees in the whole batch.

    Attributes:
        rows: uint8 (u, inputs), the first layer's windows; or int64 (u, positions), the rows of the layer before that
            a window is made of.
        shares: float32 (u,), how often each occurs; they sum to 1.
    """

    rows: UInt8 | Int64
    shares: Float32

    def products(self, values: Float32 | None, weights: Float32) -> Float32:
        """The windows times weights, float32 (u, units).

        Args:
            values: float32 (rows, channels), what the layer before gives; None for the first layer.
            weights: float32 (inputs, units).
        """
        total = np.empty((len(self.rows), weights.shape[1]), np.float32)
        for start in range(0, len(self.rows), ROWS):
            part = self.rows[start : start + ROWS]
            inputs = part.astype(np.float32) if values is None else values.take(part, axis=0).reshape(len(part), -1)
            np.dot(inputs, weights, out=total[start : start + ROWS])
        return total


def distinct_windows(batch: UInt8, sizes: list[tuple[int, int]], dense: int) -> list[DistinctWindows]:
    """The distinct windows that each normalised layer sees.

    Args:
        batch: uint8 (n, rows, columns, inputs), the first layer's windows of n observations.
        sizes: rows and columns of a window, and the stride, of each further convolution.
        dense: fully connected layers after them.
    """
    first, which = _distinct(batch.reshape(-1, batch.shape[-1]).view(np.uint64))
    layers = [DistinctWindows(batch.reshape(-1, batch.shape[-1])[first], _shares(which))]
    maps = which.reshape(*batch.shape[:3], 1)
    for kernel, stride in sizes:
        seen = windows(maps, kernel, stride)
        rows = np.ascontiguousarray(seen).reshape(-1, kernel**2)
        first, which = _distinct(rows.view(np.uint64))
        layers.append(DistinctWindows(rows[first], _shares(which)))
        maps = which.reshape(*seen.shape[:3], 1)
    rows = maps.reshape(len(batch), -1)
    for _ in range(dense):
        layers.append(DistinctWindows(rows, np.full(len(batch), 1 / len(batch), np.float32)))
        rows = np.arange(len(batch))[:, None]
    return layers


def _shares(which: Int64) -> Float32:
    shares: Float32 = (np.bincount(which) / len(which)).astype(np.float32)
    return shares


def _distinct(rows: Any) -> tuple[Int64, Int64]:
    """Where each distinct row of uint64 (k, words) first occurs, and which of them each row is, int64 (k,)."""
    factors = np.random.default_rng(0).integers(1 << 63, size=rows.shape[1], dtype=np.uint64) * 2 + 1
    mixed = (rows ^ (rows >> 32)) * np.uint64(0x9E3779B97F4A7C15)  # brings a word's upper bytes into its lower ones
    keys = ((mixed ^ (mixed >> 29)) * factors).sum(axis=1, dtype=np.uint64)
    _, first, which = np.unique(keys, return_index=True, return_inverse=True)
    assert np.array_equal(rows[first][which], rows), "two windows share a key"  # about 1 in 10**10 batches
    return first, which
