"""The one decoder from genome to parameters; actors, evaluation and playback all use it."""

from __future__ import annotations

import numpy as np

from raes.types import Float32, Genomes


def decode(theta: Float32, table: Float32, genomes: Genomes, row: int, out: Float32) -> Float32:
    """theta + scale * noise slice, written to `out`, float32 (d,); a scale of 0 gives theta itself."""
    scale = genomes.scale[row]
    if scale == 0:
        np.copyto(out, theta)
        return out
    start = int(genomes.noise_index[row])
    np.multiply(table[start : start + theta.size], scale, out=out)
    return np.add(out, theta, out=out)
