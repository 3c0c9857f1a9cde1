"""The decoder from genomes to parameters; workers, evaluation and playback all use it."""

from __future__ import annotations

from collections import OrderedDict

import numpy as np

from raes.search.low_rank import perturbation
from raes.tasks import Genomes, Lineages, Snapshot
from raes.types import Float32, Int64

CACHE_BYTES = 1 << 28
"""Memory for decoded lineages; at least two are kept, since a child needs its parent."""


class Decoder:
    """Decodes genomes, given their snapshot, into one buffer, which the next call overwrites."""

    def __init__(self, table: Float32, num_params: int) -> None:
        self._table = table
        self._out = np.empty(num_params, dtype=np.float32)
        self._cache = _LineageCache(table, num_params)

    def __call__(self, snapshot: Snapshot, genomes: Genomes, row: int) -> Float32:
        """base + scale * spread * noise slice, float32 (d,); a scale of 0 gives the base itself."""
        out = self._out
        if genomes.vectors is not None:
            np.copyto(out, genomes.vectors[row])
            return out
        base, scale = snapshot.theta, genomes.scale[row]
        if genomes.parent is not None:
            assert snapshot.lineages is not None
            base = self._cache.decode(snapshot.lineages, int(genomes.parent[row]))
        if scale == 0:
            np.copyto(out, base)
            return out
        start, form = int(genomes.noise_index[row]), snapshot.low_rank
        noise = self._table[start : start + (out.size if form is None else form.noise_size)]
        np.multiply(noise if form is None else perturbation(form, noise), scale, out=out)
        if snapshot.spread is not None:
            np.multiply(out, snapshot.spread, out=out)
        return np.add(out, base, out=out)


class _LineageCache:
    """Decoded chains of mutations, so that a child costs one mutation where its parent is known."""

    def __init__(self, table: Float32, num_params: int) -> None:
        self._table = table
        self._most = max(2, CACHE_BYTES // (4 * max(1, num_params)))
        self._kept: OrderedDict[tuple[int, bytes], Float32] = OrderedDict()

    def decode(self, lineages: Lineages, row: int) -> Float32:
        """The parameters of a chain, float32 (d,): the same bits from whichever prefix they are computed."""
        chain = lineages.chain(row)
        root: Float32 = lineages.roots[lineages.root[row]]
        if not len(chain):
            return root
        origin, links = int(lineages.root[row]), chain.tobytes()
        known, theta = self._longest_prefix(origin, links, root)
        if known < len(chain):
            theta = extend(theta, self._table, chain[known:], lineages.scale)
            self._kept[origin, links] = theta
            if len(self._kept) > self._most:
                self._kept.popitem(last=False)
        self._kept.move_to_end((origin, links))
        return theta

    def _longest_prefix(self, origin: int, links: bytes, root: Float32) -> tuple[int, Float32]:
        for end in range(len(links), 0, -8):
            theta = self._kept.get((origin, links[:end]))
            if theta is not None:
                return end // 8, theta
        return 0, root


def extend(theta: Float32, table: Float32, chain: Int64, scale: float) -> Float32:
    """theta with mutations added one after the other, float32 (d,), a new array."""
    theta, mutation = theta.copy(), np.empty_like(theta)
    for start in chain.tolist():
        np.multiply(table[start : start + theta.size], np.float32(scale), out=mutation)
        theta += mutation
    return theta
