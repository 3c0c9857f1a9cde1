"""Low-rank perturbations (Sarkar et al. 2025, "Evolution Strategies at the Hyperscale", section 4).

The noise of a layer's matrix is A^T B / sqrt(r) with A (r, m), B (r, k) ~ N(0, 1) from the shared table, so that a
perturbation takes r (m + k) numbers in the place of m k; biases have noise of their own, in full.
"""

from __future__ import annotations

import math

import numpy as np

from raes.tasks import LowRank
from raes.types import Float32, Int64

SUM_PAIRS = 256
"""Pairs in a block of the sum, whose thin factors stay in the cache."""


def perturbation(form: LowRank, noise: Float32, out: Float32 | None = None) -> Float32:
    """The noise on theta, float32 (d,), that float32 (noise_size,) stands for, written to `out` or to a new array."""
    if out is None:
        out = np.empty(sum(outputs * (inputs + biases) for outputs, inputs, biases in form.layers), np.float32)
    start, root = 0, np.float32(math.sqrt(form.rank))
    for left, right, bias in form.factors(noise):
        outputs, inputs = left.shape[1], right.shape[1]
        end = start + outputs * inputs + bias.size
        layer = out[start:end].reshape(outputs, -1)
        np.divide(left.T @ right, root, out=layer[:, :inputs])
        if bias.size:
            layer[:, inputs] = bias
        start = end
    return out


def weighted_sum(form: LowRank, table: Float32, noise_index: Int64, weights: Float32) -> Float32:
    """sum_i weights[i] * perturbation i, float32 (d,): a product of two thin stacks for each layer.

    The plan depends on the inputs alone: blocks of SUM_PAIRS in the order given.

    Args:
        form: what perturbations are made of.
        table: float32 (size,).
        noise_index: int64 (n,).
        weights: float32 (n,).
    """
    total = [np.zeros((outputs, inputs + biases), np.float32) for outputs, inputs, biases in form.layers]
    each = weights / np.float32(math.sqrt(form.rank))
    length = form.noise_size
    for block in range(0, len(noise_index), SUM_PAIRS):
        members = slice(block, block + SUM_PAIRS)
        noise = np.stack([table[start : start + length] for start in noise_index[members].tolist()])
        for layer, (left, right, bias) in zip(total, form.factors(noise), strict=True):
            outputs, inputs = left.shape[-1], right.shape[-1]
            weighted = left * each[members, None, None]
            layer[:, :inputs] += weighted.reshape(-1, outputs).T @ right.reshape(-1, inputs)
            if bias.size:
                layer[:, inputs] += weights[members] @ bias
    return np.concatenate([layer.ravel() for layer in total])
