"""The network of `mlp` for several low-rank perturbations of one theta at once (Sarkar et al. 2025, section 4.2).

    (W + s A^T B / sqrt(r)) x = W x + s / sqrt(r) A^T (B x)

The first product is one for all lanes, which read the weights once. The lanes are the columns of every matrix: with as
many as the widest registers hold, BLAS and NumPy compute all of them by the same instructions, so that the bits of a
lane depend on that lane alone. (As rows they would not: OpenBLAS cuts these into tiles that may round differently.)
"""

from __future__ import annotations

import itertools
import math
from typing import Any

import numpy as np

from raes.policies.einsum import einsum
from raes.policies.heads import Head
from raes.policies.mlp import MLP, PolicySettings
from raes.tasks import LowRank
from raes.types import Float32


class _Layer:
    """A layer of all lanes.

    Attributes:
        weights: float32 (outputs, inputs + biases), of theta.
        right: float32 (rank, inputs, lanes), B of each lane.
        left: float32 (rank, outputs, lanes), A of each lane with its factor.
        shift: float32 (outputs, lanes), what each lane adds to the biases.
        input: float32 (inputs + biases, lanes), what `forward` reads; the last row is 1.
        output: float32 (outputs, lanes), what it writes.
    """

    def __init__(self, outputs: int, inputs: int, biases: int, rank: int, lanes: int) -> None:
        self.weights = np.zeros((outputs, inputs + biases), np.float32)
        self.right, self.left = (
            np.zeros((rank, inputs, lanes), np.float32),
            np.zeros((rank, outputs, lanes), np.float32),
        )
        self.shift, self.output = np.zeros((outputs, lanes), np.float32), np.zeros((outputs, lanes), np.float32)
        self.input = np.ones((inputs + biases, lanes), np.float32)
        self.input[:inputs] = 0
        self._x, self._thin = self.input[:inputs], np.zeros((rank, lanes), np.float32)
        self._noise = np.zeros_like(self.output)

    def forward(self) -> None:
        """Every lane's outputs."""
        output = self.output
        np.dot(self.weights, self.input, out=output)
        np.add(output, self.shift, out=output)
        einsum("ril,il->rl", self.right, self._x, out=self._thin)
        einsum("rol,rl->ol", self.left, self._thin, out=self._noise)
        np.add(output, self._noise, out=output)


class BatchedMLP(MLP):
    """A network over preallocated float32 buffers, with a column in each for every lane."""

    def __init__(self, inputs: int, head: Head, settings: PolicySettings, form: LowRank, lanes: int) -> None:
        """Set up.

        Args:
            inputs: numbers of an observation.
            head: of the actions.
            settings: of the network.
            form: of the perturbations.
            lanes: how many at once, a multiple of 16.
        """
        super().__init__(inputs, head, settings)
        self._form = form
        self._layers = [_Layer(*sizes, form.rank, lanes) for sizes in form.layers]
        self._input = self._layers[0].input[:inputs].T
        self._normalised = np.zeros((lanes, inputs))

    def set_parameters(self, theta: Float32) -> None:
        """Lanes that are set from now on act with perturbations of these parameters; theta is not copied."""
        for layer, weights in zip(self._layers, self.layers(theta), strict=True):
            layer.weights = weights

    def set_lane(self, lane: int, noise: Float32, scale: float) -> None:
        """One lane acts with theta + scale * what `noise`, float32 (noise_size,), stands for; 0 needs no noise."""
        if scale == 0:
            for layer in self._layers:
                layer.right[..., lane] = layer.left[..., lane] = layer.shift[:, lane] = 0
            return
        factor, thin = np.float32(scale), np.float32(scale / math.sqrt(self._form.rank))
        for layer, (left, right, bias) in zip(self._layers, self._form.factors(noise), strict=True):
            layer.right[..., lane] = right
            layer.left[..., lane] = left * thin
            if bias.size:
                layer.shift[:, lane] = bias * factor

    def outputs(self, observation: np.ndarray[Any, Any]) -> Float32:
        """The last layer's outputs, float32 (lanes, outputs), of observations (lanes, inputs)."""
        self._take_in(observation)
        for layer, following in itertools.pairwise(self._layers):
            layer.forward()
            self._activate(layer.output, following.input[: len(layer.output)])
        last = self._layers[-1]
        last.forward()
        return last.output.T.copy()
