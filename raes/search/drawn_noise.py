"""The noise of searches that have no noise table: float64 normals, drawn where they are needed.

Functions have few parameters and values that differ in the last digits, so that a table of float32 numbers would cost
more than it saves. An index names a generation and a member of it; the same index means the same numbers in every
process.
"""

from __future__ import annotations

from collections import OrderedDict

import numpy as np

from raes.rng import Purpose, generator
from raes.types import Float32, Float64, Int64

MEMBER_BITS = 24
"""Bits of an index for the member; the others are the generation's."""
CHUNK = 1 << 14
"""Numbers that one generator draws, so that a worker finds a member's noise without drawing all before it."""
CACHE_NUMBERS = 1 << 21
"""Numbers that are kept for the sums after an evaluation: 16 MiB."""
SUM_NUMBERS = 1 << 20
"""Numbers that are summed together."""


def drawn_index(generation: int, member: Int64) -> Int64:
    """The noise indices of members of a generation, int64 (k,)."""
    return (generation << MEMBER_BITS) + member


class DrawnNoise:
    """N(0, I), float64 (d,), for every index; `table_size=0` of an algorithm means that its indices are such."""

    def __init__(self, seed: int) -> None:
        self._seed = seed
        self._kept: OrderedDict[tuple[int, int, int], Float64] = OrderedDict()
        self._numbers = 0

    def rows(self, index: Int64, num_params: int) -> Float64:
        """The noise of each index, float64 (k, d)."""
        members = max(1, CHUNK // num_params)
        generations, member = index >> MEMBER_BITS, index & ((1 << MEMBER_BITS) - 1)
        chunks, rows = member // members, member % members
        first = (int(generations[0]), int(chunks[0])) if len(index) else (0, 0)
        if ((generations == first[0]) & (chunks == first[1])).all():
            chunk = self._chunk(*first, int(rows.max(initial=0)) + 1, num_params)
            drawn: Float64 = chunk[rows]
            return drawn
        out = np.empty((len(index), num_params))
        for generation, chunk in sorted(set(zip(generations.tolist(), chunks.tolist(), strict=True))):
            those = np.flatnonzero((generations == generation) & (chunks == chunk))
            out[those] = self._chunk(generation, chunk, int(rows[those].max()) + 1, num_params)[rows[those]]
        return out

    def weighted_sum(
        self, noise_index: Int64, weights: Float32 | Float64, num_params: int, squared: bool = False
    ) -> Float64:
        """sum_i weights[i] * noise of index i, float64 (d,), or of its squares, element by element.

        One row after the other, in blocks that depend on d alone, so that no bit depends on a BLAS.
        """
        factors, total = weights.astype(np.float64)[:, None], np.zeros(num_params)
        block = max(1, SUM_NUMBERS // num_params)
        for first in range(0, len(factors), block):
            noise = self.rows(noise_index[first : first + block], num_params)
            total += ((np.square(noise) if squared else noise) * factors[first : first + block]).sum(axis=0)
        return total

    def slice(self, start: int, size: int) -> Float64:
        """The noise of one index, float64 (size,)."""
        drawn: Float64 = self.rows(np.array([start]), size)[0]
        return drawn

    def _chunk(self, generation: int, chunk: int, rows: int, num_params: int) -> Float64:
        """The first rows of a chunk; a longer draw begins with the same numbers."""
        key = (generation, chunk, num_params)
        known = self._kept.get(key)
        if known is not None and len(known) >= rows:
            return known
        rng = generator(self._seed, Purpose.DRAWN_NOISE, generation, chunk)
        drawn = rng.standard_normal((rows, num_params))
        drawn.setflags(write=False)
        self._numbers += drawn.size - (0 if known is None else known.size)
        self._kept[key] = drawn
        while self._numbers > CACHE_NUMBERS and len(self._kept) > 1:
            self._numbers -= self._kept.popitem(last=False)[1].size
        return drawn
