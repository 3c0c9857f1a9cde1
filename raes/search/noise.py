"""The shared noise table (Salimans et al. 2017, section 2.1) and the sums over its slices.

The table's seed is constant and its size depends on d alone, so that a noise index means the same numbers on every
machine; the run's seed only chooses indices.
"""

from __future__ import annotations

import hashlib

import numpy as np
from scipy.linalg.blas import saxpy

from raes.types import Float32, Int64

NOISE_SEED = 123
FILL_CHUNK = 1 << 20
MIN_SIZE = 1 << 24
"""64 MiB: small enough for a laptop, large enough for every policy up to 65,536 parameters."""
MAX_SIZE = 1 << 28
"""1 GiB, the size of the reference implementation's table."""

SUM_SLICE = 1 << 18
"""Parameters a slice: its 1 MiB accumulator stays in the cache while the noise streams past."""
SUM_PAIRS = 256
"""Pairs a block: partial sums of constant length keep the float32 rounding error small."""


def table_size(num_params: int) -> int:
    """Floats of the table for d parameters: the power of two from 256 d on, within [2**24, 2**28], at least 2 d."""
    wanted = 1 << (256 * num_params - 1).bit_length()
    return max(min(max(wanted, MIN_SIZE), MAX_SIZE), 1 << (2 * num_params - 1).bit_length())


def make_table(size: int) -> Float32:
    """float32 (size,) of N(0, 1), filled in chunks, each from its own seed."""
    table = np.empty(size, dtype=np.float32)
    for chunk, start in enumerate(range(0, size, FILL_CHUNK)):
        part = table[start : start + FILL_CHUNK]
        np.random.Generator(np.random.Philox(key=(NOISE_SEED << 64) + chunk)).standard_normal(
            dtype=np.float32, out=part
        )
    return table


def fingerprint(table: Float32) -> str:
    """A digest of the table's size and of 1,024 numbers spread over it; equal tables have equal ones."""
    digest = hashlib.blake2b(str(table.size).encode(), digest_size=8)
    digest.update(table[:: max(1, table.size // 1024)].tobytes())
    return digest.hexdigest()


def weighted_sum(table: Float32, noise_index: Int64, weights: Float32, num_params: int) -> Float32:
    """sum_i weights[i] * table[noise_index[i] : noise_index[i] + d], float32 (d,).

    The plan is fixed: slices of SUM_SLICE parameters, blocks of SUM_PAIRS pairs in the order given, so the bits do
    not depend on who computes a slice. A BLAS axpy reads each noise slice once and stacks nothing.

    Args:
        table: float32 (size,).
        noise_index: int64 (n,).
        weights: float32 (n,).
        num_params: d.
    """
    total = np.zeros(num_params, dtype=np.float32)
    starts, factors = noise_index.tolist(), weights.tolist()
    partial = np.empty(min(SUM_SLICE, num_params), dtype=np.float32)
    for low in range(0, num_params, SUM_SLICE):
        length = min(SUM_SLICE, num_params - low)
        for block in range(0, len(starts), SUM_PAIRS):
            partial[:length] = 0
            for start, factor in zip(
                starts[block : block + SUM_PAIRS], factors[block : block + SUM_PAIRS], strict=True
            ):
                saxpy(table, partial, length, factor, start + low)
            total[low : low + length] += partial[:length]
    return total
