"""Layers of a convolutional network in plain numpy, for one observation after the other, over preallocated buffers.

Maps are float32 (rows, columns, channels). A convolution copies its windows into the rows of a matrix, and is one
matrix product. Every layer reads its predecessor's output buffer, so that no arrays are passed between them.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

import numpy as np
from numpy.lib.stride_tricks import as_strided

from raes.types import Float32, UInt8

Activate = Callable[[], Any]


def _relu(x: Float32) -> Activate:
    zeros = np.zeros_like(x)  # four times faster than the number 0
    return lambda: np.maximum(x, zeros, out=x)


def _elu(x: Float32) -> Activate:
    zeros, below = np.zeros_like(x), np.empty_like(x)

    def activate() -> None:  # max(x, 0) + exp(min(x, 0)) - 1
        np.minimum(x, zeros, out=below)
        np.exp(below, out=below)
        np.subtract(below, 1, out=below)
        np.maximum(x, zeros, out=x)
        np.add(x, below, out=x)

    return activate


def _tanh(x: Float32) -> Activate:
    return lambda: np.tanh(x, out=x)


ACTIVATIONS: dict[str, Callable[[Float32], Activate]] = {"relu": _relu, "elu": _elu, "tanh": _tanh}
"""Name -> a function that takes a buffer and returns a function that transforms it in place."""


def windows(maps: Any, kernel: int, stride: int) -> Any:
    """A view of contiguous maps (..., rows, columns, channels): (..., y, x, kernel, kernel * channels)."""
    *outer, rows, columns, channels = maps.shape
    *steps, down, across, inner = maps.strides
    shape = (*outer, (rows - kernel) // stride + 1, (columns - kernel) // stride + 1, kernel, kernel * channels)
    return as_strided(maps, shape, (*steps, stride * down, stride * across, down, inner))


class Layer(Protocol):
    """A layer whose units all have `inputs` weights.

    Attributes:
        units: outputs per position: filters of a convolution.
        inputs: weights of a unit.
        output: float32, a buffer that `forward` overwrites.
        matrix: float32 (inputs, units), the raw weights, in the order of the inputs.
    """

    units: int
    inputs: int
    output: Float32
    matrix: Float32

    def load(self, weights: Float32) -> None:
        """Take raw weights, float32 (units, inputs), which must stay as they are until the next call."""

    def fold(self, scale: Float32 | None, shift: Float32) -> None:
        """Compute activation(scale * raw + shift) from now on; float32 (units,), None for a scale of 1."""


class _Windowed:
    """A convolution whose windows lie in the rows of a matrix; base of both kinds."""

    def __init__(self, grid: tuple[int, int], inputs: int, units: int, activation: str) -> None:
        self.units, self.inputs = units, inputs
        self.output = np.zeros((*grid, units), np.float32)
        self._inputs = np.zeros((grid[0] * grid[1], inputs), np.float32)
        self._flat = self.output.reshape(-1, units)
        self._shift = np.zeros_like(self._flat)
        self._activate = ACTIVATIONS[activation](self._flat)
        self.matrix = np.zeros((inputs, units), np.float32)

    def _finish(self, weights: Float32) -> None:
        np.dot(self._inputs, weights, out=self._flat)
        np.add(self._flat, self._shift, out=self._flat)
        self._activate()


class FrameConvolution(_Windowed):
    """The first layer: it reads each frame once, and keeps the windows of the frames in the stack.

    A frame's pixels are first moved into blocks of stride * stride, one after the other; a window is then
    kernel / stride runs of memory (space-to-depth). The stack's windows lie side by side in a ring, in which the newest
    frame takes the place of the oldest; for each place of the newest there is a copy of the weights in that order.

    A unit's weights are (kernel, kernel, stack), the oldest frame first, for pixels in [0, 1].
    """

    def __init__(self, shape: tuple[int, int, int], filters: int, kernel: int, stride: int, activation: str) -> None:
        """Set up.

        Args:
            shape: frames in a stack, rows, columns; the latter two and `kernel` are multiples of `stride`.
            filters: units.
            kernel: rows and columns of a window.
            stride: 1, 2, 4 or 8 pixels between two windows.
            activation: one of `ACTIVATIONS`.
        """
        self._stack, rows, columns = shape
        grid = ((rows - kernel) // stride + 1, (columns - kernel) // stride + 1)
        super().__init__(grid, self._stack * kernel**2, filters, activation)
        self._pixels, self._word = rows * columns, np.dtype(f"u{stride}")
        self._rows = (rows // stride, stride, columns // stride)
        blocks = np.zeros((rows // stride, columns // stride, stride**2), np.uint8)
        self._blocks = blocks.view(self._word)
        self._windows = windows(blocks, kernel // stride, 1)
        ring = self._inputs.reshape(*grid, self._stack, *self._windows.shape[2:])
        self._slots = [ring[:, :, slot] for slot in range(self._stack)]
        self._cut = (filters, kernel // stride, stride, kernel // stride, stride, self._stack)
        self._weights: list[Float32] = []
        self._slot = -1

    def restart(self) -> None:
        """The next observation is the first of an episode."""
        self._slot = -1

    def load(self, weights: Float32) -> None:
        """Take raw weights, float32 (units, inputs), which are copied."""
        ordered = weights.reshape(self._cut).transpose(5, 1, 3, 2, 4, 0).reshape(self.inputs, self.units)
        self.matrix = ordered * np.float32(1 / 255)

    def fold(self, scale: Float32 | None, shift: Float32) -> None:
        """Compute activation(scale * raw + shift) from now on; float32 (units,), None for a scale of 1."""
        weights = (self.matrix if scale is None else self.matrix * scale).reshape(self._stack, -1, self.units)
        self._weights = [np.roll(weights, slot + 1, axis=0).reshape(self.matrix.shape) for slot in range(self._stack)]
        self._shift[:] = shift

    def forward(self, observation: UInt8) -> None:
        """Run on a stack of frames, uint8 (stack * rows * columns,), whose newest one alone is new in an episode."""
        if self._slot < 0:
            self._take_all(observation)
        else:
            self._slot = (self._slot + 1) % self._stack
            self._take(observation[-self._pixels :], self._slot)
        self._finish(self._weights[self._slot])

    def cut(self, observations: UInt8) -> UInt8:
        """The windows of n observations, uint8 (n, rows, columns, inputs), in the order of `matrix`."""
        cut = np.empty((len(observations), *self.output.shape[:2], self.inputs), np.uint8)
        for number, observation in enumerate(observations):
            self._take_all(observation.ravel())
            np.copyto(cut[number], self._inputs.reshape(cut.shape[1:]), casting="unsafe")
        self.restart()
        return cut

    def _take_all(self, observation: UInt8) -> None:
        for slot in range(self._stack):
            self._take(observation[slot * self._pixels : (slot + 1) * self._pixels], slot)
        self._slot = self._stack - 1

    def _take(self, frame: UInt8, slot: int) -> None:
        """Put a frame's windows into the ring."""
        np.copyto(self._blocks, frame.view(self._word).reshape(self._rows).swapaxes(1, 2))
        np.copyto(self._slots[slot], self._windows)


class MapConvolution(_Windowed):
    """A further layer, on the maps of the one before. A unit's weights are (kernel, kernel, channels)."""

    def __init__(self, source: Float32, filters: int, kernel: int, stride: int, activation: str) -> None:
        self._windows = windows(source, kernel, stride)
        grid = self._windows.shape[:2]
        super().__init__(grid, kernel**2 * source.shape[2], filters, activation)
        self._target = self._inputs.reshape(self._windows.shape)
        self._weights = self.matrix

    def load(self, weights: Float32) -> None:
        """Take raw weights, float32 (units, inputs), which are copied."""
        np.copyto(self.matrix, weights.T)

    def fold(self, scale: Float32 | None, shift: Float32) -> None:
        """Compute activation(scale * raw + shift) from now on; float32 (units,), None for a scale of 1."""
        self._weights = self.matrix if scale is None else self.matrix * scale
        self._shift[:] = shift

    def forward(self) -> None:
        """Run on what the layer before has left in its buffer."""
        np.copyto(self._target, self._windows)
        self._finish(self._weights)


class Dense:
    """A layer whose units see all of the one before: maps as (row, column, channel). Its weights are not copied."""

    def __init__(self, source: Float32, units: int, activation: str | None) -> None:
        self._source = source.reshape(-1)
        self.units, self.inputs = units, self._source.size
        self.output = np.zeros(units, np.float32)
        self._activate = None if activation is None else ACTIVATIONS[activation](self.output)
        self._scale: Float32 | None = None
        self._rows = self._shift = self.output
        self.matrix = self.output[None]

    def load(self, weights: Float32) -> None:
        """Take raw weights, float32 (units, inputs), which are not copied."""
        self._rows, self.matrix = weights, weights.T

    def fold(self, scale: Float32 | None, shift: Float32) -> None:
        """Compute activation(scale * raw + shift) from now on; float32 (units,), None for a scale of 1."""
        self._scale, self._shift = scale, shift

    def forward(self) -> None:
        """Run on what the layer before has left in its buffer."""
        output = self.output
        np.dot(self._rows, self._source, out=output)
        if self._scale is not None:
            np.multiply(output, self._scale, out=output)
        np.add(output, self._shift, out=output)
        if self._activate is not None:
            self._activate()
