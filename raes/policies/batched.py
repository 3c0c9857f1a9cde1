"""The network of `mlp` for several low-rank perturbations of one theta at once (Sarkar et al. 2025, section 4.2).

    x (W + s A^T B / sqrt(r))^T = x W^T + s / sqrt(r) (x B^T) A

The bits of a lane depend on that lane alone. Rows of one matrix product over all lanes would not do: BLAS cuts it into
tiles that may round differently (OpenBLAS' Haswell kernels: rows 0 to 5, 6 to 11 and 12 to 15 of 16). So each lane has
vector-matrix products of its own, by the same weights, which stay in the cache. Its part of every buffer begins at a
cache line, so that the calls for two lanes differ in nothing but their numbers.
"""

from __future__ import annotations

import itertools
import math
from typing import Any

import numpy as np

from raes.policies.heads import Head
from raes.policies.mlp import MLP, PolicySettings
from raes.tasks import LowRank
from raes.types import Float32

LINE = 16
"""Numbers in 64 bytes: a cache line, and the widest registers of any processor."""


def cache_lines(*shape: int) -> Float32:
    """Zeros, float32 (..., n), whose last axis is padded to a multiple of LINE and begins at a multiple of 64 bytes."""
    *outer, columns = shape
    shape = (*outer, LINE * -(-columns // LINE))
    size = math.prod(shape)
    room = np.zeros(size + LINE, np.float32)
    start = -room.ctypes.data % 64 // 4
    return room[start : start + size].reshape(shape)


class _Layer:
    """A layer of all lanes.

    Attributes:
        weights: float32 (inputs, outputs) of theta; these and all that follow are padded to cache lines.
        shift: float32 (outputs,), the biases of theta.
        right: float32 (lanes, rank, inputs), B of each lane.
        left: float32 (lanes, rank + 1, outputs), A of each lane with its factor, and the biases, theirs included.
        input: float32 (lanes, inputs), what `forward` reads.
        output: float32 (lanes, outputs), what it writes.
    """

    def __init__(self, inputs: int, outputs: int, rank: int, lanes: int) -> None:
        self.weights, self.shift = cache_lines(inputs, outputs), cache_lines(outputs)
        self.right = cache_lines(lanes, rank, inputs)
        self.left = cache_lines(lanes, rank + 1, outputs)
        self.input, self.output = cache_lines(lanes, inputs), cache_lines(lanes, outputs)
        self._noise = cache_lines(lanes, outputs)
        x, thin = self.input[:, :inputs], cache_lines(lanes, rank + 1)[:, : rank + 1]
        thin[:, rank] = 1  # what the biases are multiplied by
        self._shared = x[:, None], self.weights, self.output[:, None]
        self._inner = self.right[:, :, :inputs], x[:, :, None], thin[:, :rank, None]
        self._outer = thin[:, None], self.left, self._noise[:, None]

    def forward(self) -> None:
        """Every lane's outputs, by vector-matrix products of its own."""
        np.matmul(*self._shared)
        np.matmul(*self._inner)
        np.matmul(*self._outer)
        np.add(self.output, self._noise, out=self.output)


class BatchedMLP(MLP):
    """A network over preallocated float32 buffers, with a row in each for every lane."""

    def __init__(self, inputs: int, head: Head, settings: PolicySettings, form: LowRank, lanes: int) -> None:
        super().__init__(inputs, head, settings)
        self._form = form
        self._layers = [_Layer(inputs, outputs, form.rank, lanes) for outputs, inputs, _ in form.layers]
        self._input = self._layers[0].input[:, :inputs]
        self._normalised = np.zeros((lanes, inputs))

    def set_parameters(self, theta: Float32) -> None:
        """Lanes that are set from now on act with perturbations of these parameters."""
        for layer, weights, (outputs, inputs, _) in zip(
            self._layers, self.layers(theta), self._form.layers, strict=True
        ):
            # Copied so that inputs come first: the products take less time.
            layer.weights[:, :outputs] = weights[:, :inputs].T
            if self._bias:
                layer.shift[:outputs] = weights[:, inputs]

    def set_lane(self, lane: int, noise: Float32, scale: float) -> None:
        """One lane acts with theta + scale * what `noise`, float32 (noise_size,), stands for; 0 needs no noise."""
        for layer in self._layers:
            layer.right[lane], layer.left[lane, :-1], layer.left[lane, -1] = 0, 0, layer.shift
        if scale == 0:
            return
        factor, thin = np.float32(scale), np.float32(scale / math.sqrt(self._form.rank))
        for layer, (left, right, bias) in zip(self._layers, self._form.factors(noise), strict=True):
            layer.right[lane, :, : right.shape[1]] = right
            np.multiply(left, thin, out=layer.left[lane, :-1, : left.shape[1]])
            layer.left[lane, -1, : bias.size] += bias * factor

    def outputs(self, observation: np.ndarray[Any, Any]) -> Float32:
        """The last layer's outputs, float32 (lanes, outputs), of observations (lanes, inputs): a buffer."""
        self._take_in(observation)
        for layer, following in itertools.pairwise(self._layers):
            layer.forward()
            self._activate(layer.output, following.input)
        last = self._layers[-1]
        last.forward()
        return last.output[:, : self.head.outputs]
