"""Novelty: how far a behaviour is from its nearest neighbours in an archive (Lehman & Stanley 2011)."""

from __future__ import annotations

import numpy as np

from raes.types import Float64

CHUNK = 256
"""Behaviours whose distances to the archive are in memory together."""


def novelty(behaviors: Float64, archive: Float64, neighbors: int) -> Float64:
    """The mean distance to the k nearest in the archive, float64 (n,); fewer than k where the archive has fewer.

    Args:
        behaviors: float64 (n, b).
        archive: float64 (a, b), a >= 1.
        neighbors: k.
    """
    nearest = min(neighbors, len(archive))
    parts = []
    for start in range(0, len(behaviors), CHUNK):
        differences = behaviors[start : start + CHUNK, None, :] - archive[None, :, :]
        distances = np.sqrt(np.square(differences).sum(axis=2))
        parts.append(np.sort(distances, axis=1)[:, :nearest].mean(axis=1))
    return np.concatenate(parts)
