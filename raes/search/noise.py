"""The shared noise table (Salimans et al. 2017, section 2.1) and the sums over its slices.

The table's seed is constant and its size depends on d alone, so that a noise index means the same numbers on every
machine; the run's seed only chooses indices.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping

import numpy as np
from scipy.linalg.blas import saxpy

from raes.types import Float32, Int64

NOISE_SEED = 123
FILL_CHUNK = 1 << 20
MIN_SIZE = 1 << 24
"""64 MiB: small enough for a laptop, large enough for every policy up to 65,536 parameters."""
MAX_SIZE = 1 << 28
"""1 GiB, the size of the reference implementation's table."""

SUM_SLICE = 1 << 17
"""Parameters in a slice at most: its sums and its noise, half a MiB each, fit into the second-level cache together."""
SUM_PAIRS = 256
"""Pairs in a block: partial sums of constant length keep the float32 rounding error small."""
SUM_STRIP = 4
"""Slices that are summed together: 2 MiB, which stay in the third-level cache. It changes the speed, but no bit."""
SUM_GROUP = 4
"""Pairs that go through a strip together, so that each finds in the cache what the last one has read. It changes the
speed, but no bit."""


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


def num_slices(num_params: int) -> int:
    """Slices of d parameters, into which the weighted sum can be cut; even, so that two processes share it evenly."""
    least = -(-num_params // SUM_SLICE)
    return least + least % 2 if least > 1 else 1


def parameters_of(slices: range, num_params: int) -> slice:
    """The parameters of consecutive slices; all slices are of one length, a multiple of 16, but for the last."""
    length = 16 * -(-num_params // (16 * num_slices(num_params)))
    return slice(slices.start * length, min(slices.stop * length, num_params))


def join_slices(parts: Mapping[range, Float32], num_params: int) -> Float32:
    """Join ranges of slices that together cover all of them, float32 (d,)."""
    total = np.empty(num_params, dtype=np.float32)
    for slices, part in parts.items():
        total[parameters_of(slices, num_params)] = part
    return total


def weighted_sum(
    table: Float32,
    noise_index: Int64,
    weights: Float32,
    num_params: int,
    slices: range | None = None,
    squared: bool = False,
) -> Float32:
    """sum_i weights[i] * table[noise_index[i] : noise_index[i] + d], float32 (d,), or shorter for some slices.

    The plan depends on the inputs alone: pairs in order of their noise index (equal ones in the order given), blocks
    of SUM_PAIRS of them, slices that depend on d. So a slice has the same bits whoever computes it, and whichever
    other slices are computed with it.

    Memory is what limits a large sum, above all where several processes share it. Neighbours in the order overlap in
    the table, so that most noise is in the cache already when the next pair wants it. A BLAS axpy stacks nothing.

    Args:
        table: float32 (size,).
        noise_index: int64 (n,).
        weights: float32 (n,).
        num_params: d.
        slices: consecutive slices to compute, at least one, within range(num_slices(d)); all of them by default.
        squared: whether to sum the squares of the noise, element by element, in its place.
    """
    wanted = range(num_slices(num_params)) if slices is None else slices
    order = np.argsort(noise_index, kind="stable")
    pairs = list(zip(noise_index[order].tolist(), weights[order].tolist(), strict=True))
    strips = [wanted[first : first + SUM_STRIP] for first in range(0, len(wanted), SUM_STRIP)]
    parts = [_strip_sum(table, pairs, strip, num_params, squared) for strip in strips]
    return np.concatenate(parts) if len(parts) > 1 else parts[0]


def _strip_sum(table: Float32, pairs: list[tuple[int, float]], strip: range, num_params: int, squared: bool) -> Float32:
    """The weighted sum of a few slices over ordered pairs of (noise index, weight)."""
    whole = parameters_of(strip, num_params)
    slices = [parameters_of(range(number, number + 1), num_params) for number in strip]
    total, partial = (np.zeros(whole.stop - whole.start, dtype=np.float32) for _ in range(2))
    together = _side_by_side(pairs, slices)
    for block in range(0, len(pairs), SUM_PAIRS):
        members = pairs[block : block + SUM_PAIRS]
        partial[:] = 0
        for group in range(0, len(members), together):
            for part in slices:
                first, count = part.start, part.stop - part.start
                for start, factor in members[group : group + together]:
                    if squared:
                        noise = np.square(table[start + first : start + part.stop])
                        saxpy(noise, partial, count, factor, 0, 1, first - whole.start)
                    else:
                        saxpy(table, partial, count, factor, start + first, 1, first - whole.start)
        total += partial
    return total


def _side_by_side(pairs: list[tuple[int, float]], slices: list[slice]) -> int:
    """How many pairs go through each slice together, which saves reading only where neighbours overlap."""
    if len(slices) == 1 or not pairs:
        return SUM_PAIRS
    apart = (pairs[-1][0] - pairs[0][0]) / len(pairs)
    return SUM_GROUP if apart < slices[0].stop - slices[0].start else 1
