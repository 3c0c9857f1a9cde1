"""Novelty: how far a behaviour is from its nearest neighbours in an archive (Lehman & Stanley 2011)."""

from __future__ import annotations

import numpy as np

from raes.types import Float64

CHUNK_NUMBERS = 1 << 23
"""Differences that are in memory together: 64 MB."""


def novelty(behaviors: Float64, archive: Float64, neighbors: int) -> Float64:
    """The mean distance to the k nearest in the archive, float64 (n,); fewer than k where the archive has fewer.

    Args:
        behaviors: float64 (n, b).
        archive: float64 (a, b), a >= 1.
        neighbors: k.
    """
    nearest = min(neighbors, len(archive))
    across = max(1, min(len(archive), CHUNK_NUMBERS // archive.shape[1]))
    down = max(1, CHUNK_NUMBERS // (across * archive.shape[1]))
    distances = np.empty((len(behaviors), len(archive)))
    for row in range(0, len(behaviors), down):
        for column in range(0, len(archive), across):
            differences = behaviors[row : row + down, None, :] - archive[None, column : column + across, :]
            np.square(differences, out=differences)
            distances[row : row + down, column : column + across] = np.sqrt(differences.sum(axis=2))
    means: Float64 = np.sort(distances, axis=1)[:, :nearest].mean(axis=1)
    return means
