"""Layers of a convolutional network in plain numpy, for one observation after the other, over preallocated buffers.

Maps are float32 (rows, columns, channels). A convolution copies its windows into the rows of a matrix, and is one
matrix product. Every layer reads its predecessor's output buffer, so that no arrays are passed between them.

From one timestep to the next most of a game's screen stays as it is (Pong: 93 % of the first layer's windows), and a
window that has not changed has the output that it had. So a convolution of some size computes the windows that have
changed, where these are not too many, and marks them for the layer after it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol

import numpy as np
from numpy.lib.stride_tricks import as_strided

from raes.types import Bool, Float32, Int64, UInt8

MOST_CHANGED = 0.6
"""Share of changed windows above which a layer computes all of them, which takes less time then."""
LEAST_PRODUCTS = 1_000_000
"""Products in a layer below which it always computes all windows."""

Activate = Callable[[Float32], Any]


def _relu(like: Float32) -> Activate:
    zeros = np.zeros_like(like)  # four times faster than the number 0
    return lambda x: np.maximum(x, zeros[: len(x)], out=x)


def _elu(like: Float32) -> Activate:
    zeros, negative = np.zeros_like(like), np.empty_like(like)

    def activate(x: Float32) -> None:  # max(x, 0) + exp(min(x, 0)) - 1
        zero, below = zeros[: len(x)], negative[: len(x)]
        np.minimum(x, zero, out=below)
        np.exp(below, out=below)
        np.subtract(below, 1, out=below)
        np.maximum(x, zero, out=x)
        np.add(x, below, out=x)

    return activate


def _tanh(like: Float32) -> Activate:
    return lambda x: np.tanh(x, out=x)


ACTIVATIONS: dict[str, Callable[[Float32], Activate]] = {"relu": _relu, "elu": _elu, "tanh": _tanh}
"""Name -> a function that takes a buffer and returns a function that transforms its first rows in place."""


def windows(maps: Any, kernel: int, stride: int) -> Any:
    """A view of contiguous maps (..., rows, columns, channels): (..., y, x, kernel, kernel * channels)."""
    *outer, rows, columns, channels = maps.shape
    *steps, down, across, inner = maps.strides
    shape = (*outer, (rows - kernel) // stride + 1, (columns - kernel) // stride + 1, kernel, kernel * channels)
    return as_strided(maps, shape, (*steps, stride * down, stride * across, down, inner))


def window_members(cells: Sequence[int], kernel: int, stride: int) -> Int64:
    """The numbers of the cells in each window of a map of rows and columns, int64 (windows, kernel * kernel)."""
    numbers = np.arange(cells[0] * cells[1]).reshape(*cells, 1)
    return np.ascontiguousarray(windows(numbers, kernel, stride)).reshape(-1, kernel**2)


class Changes:
    """Which windows of a map hold a cell that has changed."""

    def __init__(self, cells: tuple[int, ...], kernel: int, stride: int, products: int) -> None:
        """Set up.

        Args:
            cells: rows and columns of the map.
            kernel: rows and columns of a window.
            stride: cells between two windows.
            products: of a window.
        """
        rows, columns = ((size - kernel) // stride + 1 for size in cells)
        down, across = stride * (rows - 1) + 1, stride * (columns - 1) + 1
        self._down = [slice(start, start + down, stride) for start in range(kernel)]
        self._across = [(slice(None), slice(start, start + across, stride)) for start in range(kernel)]
        self._tall, self._windows = np.ones((rows, cells[1]), bool), np.ones((rows, columns), bool)
        self._most = int(MOST_CHANGED * rows * columns)
        self._small = products * rows * columns < LEAST_PRODUCTS

    def __call__(self, cells: Bool) -> tuple[Bool, Int64 | None]:
        """For bool (rows, columns) of cells: the same of windows, a buffer; and their numbers, None for all of them."""
        tall, out = self._tall, self._windows
        if self._small:
            return out, None
        np.copyto(tall, cells[self._down[0]])
        for part in self._down[1:]:
            np.logical_or(tall, cells[part], out=tall)
        np.copyto(out, tall[self._across[0]])
        for piece in self._across[1:]:
            np.logical_or(out, tall[piece], out=out)
        which = out.ravel().nonzero()[0]
        return out, which if len(which) <= self._most else None


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
    """A convolution whose windows lie in the rows of a matrix; base of both kinds.

    Attributes:
        changed: bool (rows, columns), the positions whose outputs the last `forward` has computed.
    """

    changed: Bool

    def __init__(self, changes: Changes, grid: tuple[int, ...], inputs: int, units: int, activation: str) -> None:
        self.units, self.inputs = units, inputs
        self.output = np.zeros((*grid, units), np.float32)
        self._changes, self._inputs = changes, np.zeros((grid[0] * grid[1], inputs), np.float32)
        self._flat = self.output.reshape(-1, units)
        self._some_inputs, self._some = np.empty_like(self._inputs), np.empty_like(self._flat)
        self._shift = np.zeros_like(self._flat)
        self._activate = ACTIVATIONS[activation](self._flat)
        self.matrix = np.zeros((inputs, units), np.float32)

    def _compute(self, inputs: Float32, weights: Float32, out: Float32) -> Float32:
        """The outputs of windows, float32 (k, inputs), written to float32 (k, units)."""
        np.dot(inputs, weights, out=out)
        np.add(out, self._shift[: len(out)], out=out)
        self._activate(out)
        return out


class FrameConvolution(_Windowed):
    """The first layer: it reads each frame once, and keeps the windows of the frames in the stack.

    A frame's pixels are first moved into blocks of stride * stride, one after the other; a window is then
    kernel / stride runs of memory (space-to-depth). The stack's windows lie side by side in a ring, in which the newest
    frame takes the place of the oldest; for each place of the newest there is a copy of the weights in that order.
    A window has changed where any of the last steps from one frame of the stack to the next has changed it.

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
        blocks, across = (rows // stride, columns // stride), kernel // stride
        grid = (blocks[0] - across + 1, blocks[1] - across + 1)
        inputs = self._stack * kernel**2
        super().__init__(Changes(blocks, across, 1, inputs * filters), grid, inputs, filters, activation)
        self._pixels, self._word = rows * columns, np.dtype(f"u{stride}")
        self._rows = (blocks[0], stride, blocks[1])
        frame = np.zeros((*blocks, stride**2), np.uint8)
        self._frame, self._blocks = frame.view(self._word), frame.reshape(-1, stride**2)
        self._windows = windows(frame, across, 1)
        self._members = window_members(blocks, across, 1)
        self._ring = self._inputs.reshape(-1, self._stack, kernel**2)
        ring = self._inputs.reshape(*grid, self._stack, *self._windows.shape[2:])
        self._slots = [ring[:, :, slot] for slot in range(self._stack)]
        self._steps = np.ones((self._stack, *blocks), bool)
        self._cut = (filters, across, stride, across, stride, self._stack)
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
            self.changed, which = self._changes(self._steps[0])
        else:
            self._slot = slot = (self._slot + 1) % self._stack
            self._read(observation[-self._pixels :], slot)
            self.changed, which = self._changes(np.logical_or.reduce(self._steps, 0))
            if which is None:
                np.copyto(self._slots[slot], self._windows)
            elif len(which):
                self._ring[which, slot] = self._blocks.take(self._members[which], 0).reshape(len(which), -1)
        weights = self._weights[self._slot]
        if which is None:
            self._compute(self._inputs, weights, self._flat)
        elif count := len(which):
            some = self._inputs.take(which, 0, self._some_inputs[:count], "clip")
            self._flat[which] = self._compute(some, weights, self._some[:count])

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
            self._read(observation[slot * self._pixels : (slot + 1) * self._pixels], slot)
            np.copyto(self._slots[slot], self._windows)
        self._steps[:] = True
        self._slot = self._stack - 1

    def _read(self, frame: UInt8, slot: int) -> None:
        """Move a frame's pixels into blocks, and mark those that differ from the frame's before."""
        words = frame.view(self._word).reshape(self._rows).swapaxes(1, 2)
        np.logical_or.reduce(words != self._frame, 2, out=self._steps[slot])
        np.copyto(self._frame, words)


class MapConvolution(_Windowed):
    """A further layer, on the maps of the one before. A unit's weights are (kernel, kernel, channels)."""

    def __init__(self, before: _Windowed, filters: int, kernel: int, stride: int, activation: str) -> None:
        """Set up.

        Args:
            before: the layer that it reads.
            filters: units.
            kernel: rows and columns of a window.
            stride: positions between two windows.
            activation: one of `ACTIVATIONS`.
        """
        source = before.output
        *cells, channels = source.shape
        self._before, self._cells = before, source.reshape(-1, channels)
        self._windows = windows(source, kernel, stride)
        self._members = window_members(cells, kernel, stride)
        inputs = kernel**2 * channels
        changes = Changes(tuple(cells), kernel, stride, inputs * filters)
        super().__init__(changes, self._windows.shape[:2], inputs, filters, activation)
        self._target = self._inputs.reshape(self._windows.shape)
        self._some_cells = self._some_inputs.reshape(len(self._members), -1, channels)
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
        self.changed, which = self._changes(self._before.changed)
        if which is None:
            np.copyto(self._target, self._windows)
            self._compute(self._inputs, self._weights, self._flat)
        elif count := len(which):
            self._cells.take(self._members[which], 0, self._some_cells[:count], "clip")
            some = self._some_inputs[:count]
            self._flat[which] = self._compute(some, self._weights, self._some[:count])
