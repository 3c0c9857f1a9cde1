"""Dense layers of a convolutional network, for one observation after the other; see `conv_layers`."""

from __future__ import annotations

import math

import numpy as np

from raes.policies.conv_layers import ACTIVATIONS
from raes.types import Float32

LEAST_INPUTS = 64
"""Inputs of a part of a sum, at least: fewer would not be worth a call."""


class Dense:
    """A layer whose units see all of the vector before it. Its weights are not copied."""

    def __init__(self, source: Float32, units: int, activation: str | None) -> None:
        """Set up.

        Args:
            source: the buffer that it reads.
            units: outputs.
            activation: one of `ACTIVATIONS`, None for none.
        """
        self._source = source.reshape(-1)
        self.units, self.inputs = units, self._source.size
        self.output = np.zeros(units, np.float32)
        self._activate = None if activation is None else ACTIVATIONS[activation](self.output)
        self._scale: Float32 | None = None
        self._weights = self._shift = self.output
        self.matrix = self.output[None]

    def load(self, weights: Float32) -> None:
        """Take raw weights, float32 (units, inputs), which must stay as they are until the next call."""
        self._weights, self.matrix = weights, weights.T

    def fold(self, scale: Float32 | None, shift: Float32) -> None:
        """Compute activation(scale * raw + shift) from now on; float32 (units,), None for a scale of 1."""
        self._scale, self._shift = scale, shift

    def forward(self) -> None:
        """Run on what the layer before has left in its buffer."""
        output = self.output
        self._product()
        if self._scale is not None:
            np.multiply(output, self._scale, out=output)
        np.add(output, self._shift, out=output)
        if self._activate is not None:
            self._activate(output)

    def _product(self) -> None:
        """The weights times the inputs, written to the output."""
        np.dot(self._weights, self._source, out=self.output)


class MapDense(Dense):
    """A layer whose units see all of the map before it, as (row, column, channel).

    Its weights have to come from memory each time. So the sum over the inputs is made of parts, of some positions of
    the map each, and parts whose inputs have not changed are kept. The weights are copied, so that those of a part lie
    together.
    """

    def __init__(self, source: Float32, units: int, activation: str) -> None:
        """Set up.

        Args:
            source: the buffer that it reads, (rows, columns, channels).
            units: outputs.
            activation: one of `ACTIVATIONS`.
        """
        super().__init__(source, units, activation)
        *cells, channels = source.shape
        positions = math.prod(cells)
        divisors = [count for count in range(1, positions + 1) if positions % count == 0]
        together = next((count for count in divisors if count * channels >= LEAST_INPUTS), positions)
        parts = positions // together
        self._now = self._source.reshape(parts, -1)
        self._parts, self._known = list(self._now), np.zeros_like(self._now)
        self._part_weights = np.empty((parts, units, together * channels), np.float32)
        self._sums = np.zeros((parts, units), np.float32)

    def load(self, weights: Float32) -> None:
        """See `Dense`."""
        super().load(weights)
        np.copyto(self._part_weights, weights.reshape(self.units, len(self._parts), -1).swapaxes(0, 1))
        self._known[:] = np.nan

    def _product(self) -> None:
        changed = np.logical_or.reduce(self._now != self._known, 1).nonzero()[0].tolist()
        for part in changed:
            np.dot(self._part_weights[part], self._parts[part], out=self._sums[part])
        if changed:
            np.copyto(self._known, self._now)
        np.add.reduce(self._sums, 0, out=self.output)
