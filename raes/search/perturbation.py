"""The decoder from genomes to parameters; workers, evaluation and playback all use it."""

from __future__ import annotations

from collections import OrderedDict
from typing import Any

import numpy as np

from raes.search.drawn_noise import DrawnNoise
from raes.search.low_rank import perturbation
from raes.tasks import Genomes, Lineages, Snapshot
from raes.types import Float32, Float64, Floating, Int64

CACHE_BYTES = 1 << 28
"""Memory for decoded lineages; at least two are kept, since a child needs its parent."""


class Decoder:
    """Decodes genomes, given their snapshot, into one buffer, which the next call overwrites."""

    def __init__(self, noise: Noise, num_params: int) -> None:
        self._noise = noise
        self._out: Any = np.empty(num_params, dtype=np.float64 if isinstance(noise, DrawnNoise) else np.float32)
        self._cache = _LineageCache(noise, num_params)

    def __call__(self, snapshot: Snapshot, genomes: Genomes, row: int) -> Floating:
        """base + scale * spread * noise slice, (d,), of the noise's dtype; a scale of 0 gives the base itself."""
        out = self._out
        if genomes.vectors is not None:
            np.copyto(out, genomes.vectors[row])
            return out  # type: ignore[no-any-return]
        base, scale = snapshot.theta, genomes.scale[row]
        if genomes.parent is not None:
            assert snapshot.lineages is not None
            base = self._cache.decode(snapshot.lineages, int(genomes.parent[row]))
        if scale == 0:
            np.copyto(out, base)
            return out  # type: ignore[no-any-return]
        start, form = int(genomes.noise_index[row]), snapshot.low_rank
        noise = noise_slice(self._noise, start, out.size if form is None else form.noise_size)
        np.multiply(noise if form is None else perturbation(form, noise, out), scale, out=out)
        if snapshot.spread is not None:
            np.multiply(out, snapshot.spread, out=out)
        return np.add(out, base, out=out)  # type: ignore[no-any-return]

    def all(self, snapshot: Snapshot, genomes: Genomes) -> Float64:
        """The same for all genomes at once, float64 (k, d), a new array, where there is no noise table."""
        assert isinstance(self._noise, DrawnNoise)
        if genomes.vectors is not None:
            return genomes.vectors.astype(np.float64)
        if genomes.parent is not None:
            return np.stack([self(snapshot, genomes, row).astype(np.float64) for row in range(len(genomes.scale))])
        spread = 1.0 if snapshot.spread is None else snapshot.spread
        out = self._noise.rows(genomes.noise_index, snapshot.theta.size) * genomes.scale[:, None]
        out *= spread
        out += snapshot.theta
        return out


Noise = Float32 | DrawnNoise
"""The noise table, or what draws noise where there is none."""


def noise_slice(noise: Noise, start: int, size: int) -> Floating:
    """The noise that an index means, (size,)."""
    if isinstance(noise, DrawnNoise):
        return noise.slice(start, size)
    return noise[start : start + size]


class _LineageCache:
    """Decoded chains of mutations, so that a child costs one mutation where its parent is known."""

    def __init__(self, noise: Noise, num_params: int) -> None:
        self._noise = noise
        self._most = max(2, CACHE_BYTES // (4 * max(1, num_params)))
        self._kept: OrderedDict[tuple[int, bytes], Floating] = OrderedDict()

    def decode(self, lineages: Lineages, row: int) -> Floating:
        """The parameters of a chain, (d,): the same bits from whichever prefix they are computed."""
        chain = lineages.chain(row)
        root: Floating = lineages.roots[lineages.root[row]]
        if not len(chain):
            return root
        origin, links = int(lineages.root[row]), chain.tobytes()
        known, theta = self._longest_prefix(origin, links, root)
        if known < len(chain):
            theta = extend(theta, self._noise, chain[known:], lineages.scale)
            self._kept[origin, links] = theta
            if len(self._kept) > self._most:
                self._kept.popitem(last=False)
        self._kept.move_to_end((origin, links))
        return theta

    def _longest_prefix(self, origin: int, links: bytes, root: Floating) -> tuple[int, Floating]:
        for end in range(len(links), 0, -8):
            theta = self._kept.get((origin, links[:end]))
            if theta is not None:
                return end // 8, theta
        return 0, root


def extend(theta: Floating, noise: Noise, chain: Int64, scale: float) -> Floating:
    """theta with mutations added one after the other, (d,), a new array."""
    theta, mutation = theta.copy(), np.empty_like(theta)
    for start in chain.tolist():
        np.multiply(noise_slice(noise, start, theta.size), theta.dtype.type(scale), out=mutation)
        theta += mutation
    return theta
