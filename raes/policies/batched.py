"""The network of `mlp` for several low-rank perturbations of one theta at once (Sarkar et al. 2025, section 4.2).

    x (W + s A^T B / sqrt(r))^T = x W^T + s / sqrt(r) (x B^T) A

The first term is one matrix product for all; the second is thin. The product always has the same number of rows, so
that a row's bits depend neither on its place nor on the other rows.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from raes.policies.heads import Head
from raes.policies.mlp import MLP, PolicySettings
from raes.tasks import LowRank
from raes.types import Float32


class BatchedMLP(MLP):
    """A network over preallocated float32 buffers, with a row in each for every lane."""

    def __init__(self, inputs: int, head: Head, settings: PolicySettings, form: LowRank, lanes: int) -> None:
        super().__init__(inputs, head, settings)
        self._form = form
        self._batch = [np.ones((lanes, columns), np.float32) for _, columns in self.shapes]
        self._outputs = [np.zeros((lanes, rows), np.float32) for rows, _ in self.shapes]
        self._scratch = [np.zeros((lanes, rows), np.float32) for rows, _ in self.shapes]
        self._left = [np.zeros((form.rank, lanes, rows), np.float32) for rows, _ in self.shapes]
        self._right = [np.zeros((form.rank, lanes, inputs), np.float32) for _, inputs, _ in form.layers]
        self._biases = [np.zeros((lanes, biases * rows), np.float32) for rows, _, biases in form.layers]
        self._input = self._batch[0][:, :inputs]
        self._normalised = np.zeros((lanes, inputs))

    def set_parameters(self, theta: Float32) -> None:
        """All lanes act with perturbations of these parameters from now on."""
        # Copied so that inputs come first: the products take half the time.
        self._weights = [np.ascontiguousarray(weights.T) for weights in self.layers(theta)]

    def set_lane(self, lane: int, noise: Float32, scale: float) -> None:
        """One lane acts with theta + scale * what `noise`, float32 (noise_size,), stands for; 0 needs no noise."""
        if scale == 0:
            for left, bias in zip(self._left, self._biases, strict=True):
                left[:, lane], bias[lane] = 0, 0
            return
        thin = np.float32(scale / math.sqrt(self._form.rank))
        for number, (left, right, bias) in enumerate(self._form.factors(noise)):
            np.multiply(left, thin, out=self._left[number][:, lane])
            self._right[number][:, lane] = right
            np.multiply(bias, np.float32(scale), out=self._biases[number][lane])

    def outputs(self, observation: np.ndarray[Any, Any]) -> Float32:
        """The last layer's outputs, float32 (lanes, outputs), of observations (lanes, inputs): a buffer."""
        self._take_in(observation)
        last = len(self._weights) - 1
        for number, weights in enumerate(self._weights):
            x, y, scratch = self._batch[number], self._outputs[number], self._scratch[number]
            np.dot(x, weights, out=y)
            for left, right in zip(self._left[number], self._right[number], strict=True):
                thin = np.vecdot(right, x[:, : right.shape[1]])
                np.multiply(left, thin[:, None], out=scratch)
                y += scratch
            if self._bias:
                y += self._biases[number]
            if number < last:
                self._activate(y, self._batch[number + 1][:, : y.shape[1]])
        return self._outputs[last]
