"""The tanh network of the paper; with no hidden layer it is the linear policy.

Layer l is a matrix (out, in + 1) whose last column is the bias, stored row by row in theta, layer after layer. Every
activation buffer ends in a constant 1, so a layer is one matrix-vector product and one non-linearity, in place.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from raes.policies.clip import clip
from raes.policies.heads import Head
from raes.tasks import Layers
from raes.types import SETTINGS, Count, Float32, Float64, NotNegative, UserError


def _relu(x: Float32, out: Float32) -> Float32:
    return np.maximum(x, 0, out=out)


NONLINEARITIES: dict[str, Callable[..., Float32]] = {"tanh": np.tanh, "relu": _relu}


@dataclass(frozen=True)
class PolicySettings:
    """Configuration group `policy`.

    Attributes:
        name: `linear` or `mlp`.
        hidden: units of each hidden layer; none for `linear`.
        nonlinearity: `tanh` or `relu`.
        bias: whether units have biases; without, their column stays zero and is not part of theta.
        init_norm: norm of the incoming weights of each output unit at the start (hidden units: 1).
        bins: None, or bins per action component: how many uniform ones, or their values.
    """

    __pydantic_config__ = SETTINGS

    name: Literal["linear", "mlp"] = "mlp"
    hidden: tuple[Count, ...] = (64, 64)
    nonlinearity: str = "tanh"
    bias: bool = True
    init_norm: NotNegative = 0.01
    bins: int | tuple[float, ...] | None = None

    def __post_init__(self) -> None:
        if self.name == "linear" and self.hidden:
            raise ValueError(f"hidden={list(self.hidden)}: a linear policy has no hidden layers; use policy=mlp")
        if self.name == "mlp" and not self.hidden:
            raise ValueError("hidden=[]: an mlp needs at least one hidden layer; use policy=linear for none")
        if self.nonlinearity not in NONLINEARITIES:
            raise ValueError(f"nonlinearity must be one of {', '.join(NONLINEARITIES)}, got {self.nonlinearity!r}")
        count = self.bins if isinstance(self.bins, int) else 2 if self.bins is None else len(self.bins)
        if count < 2:
            raise ValueError(f"bins must be at least 2 a component, got {self.bins}")


class MLP:
    """A network over preallocated float32 buffers.

    Attributes:
        num_params: d, the length of theta.
        head: the action head.
        nonlinearity: of the hidden layers.
    """

    def __init__(self, inputs: int, head: Head, settings: PolicySettings) -> None:
        self.head, self.nonlinearity = head, settings.nonlinearity
        self._bias = 1 if settings.bias else 0
        self._init_norm = settings.init_norm
        self._activate = NONLINEARITIES[settings.nonlinearity]
        sizes = (inputs, *settings.hidden, head.outputs)
        self.shapes = [(out, into + self._bias) for into, out in itertools.pairwise(sizes)]
        self.num_params = sum(rows * columns for rows, columns in self.shapes)
        buffers = [np.zeros(size + self._bias, dtype=np.float32) for size in sizes]
        for buffer in buffers:
            buffer[len(buffer) - self._bias :] = 1
        self._input = buffers[0][:inputs]
        self._normalised = np.zeros(inputs, dtype=np.float64)
        self._sources = buffers[:-1]
        self._targets = [buffer[:size] for buffer, size in zip(buffers[1:], sizes[1:], strict=True)]
        self._mean: Float64 | None = None
        self._scale = self._low = self._high = self._normalised

    @property
    def layer_sizes(self) -> Layers:
        """(outputs, inputs, 1 with biases, else 0) of each layer."""
        return tuple((rows, columns - self._bias, self._bias) for rows, columns in self.shapes)

    def initial_theta(self, rng: np.random.Generator) -> Float32:
        """float32 (d,): incoming weights of norm 1 (hidden) and `init_norm` (output), biases zero."""
        layers = []
        for number, (rows, columns) in enumerate(self.shapes):
            norm = self._init_norm if number == len(self.shapes) - 1 else 1.0
            weights = rng.standard_normal((rows, columns - self._bias))
            weights *= norm / np.sqrt(np.square(weights).sum(axis=1, keepdims=True))
            layers.append(np.concatenate([weights, np.zeros((rows, self._bias))], axis=1).ravel())
        return np.concatenate(layers).astype(np.float32)

    def layers(self, theta: Float32) -> list[Float32]:
        """Views of theta, one (out, in + 1) matrix a layer, the bias in the last column."""
        views, start = [], 0
        for rows, columns in self.shapes:
            views.append(theta[start : start + rows * columns].reshape(rows, columns))
            start += rows * columns
        return views

    def set_parameters(self, theta: Float32) -> None:
        """Act with these parameters from now on; theta is not copied."""
        dots = [weights.dot for weights in self.layers(theta)]
        steps = list(zip(dots, self._sources, self._targets, strict=True))
        self._hidden, self._last = steps[:-1], steps[-1]

    def set_normaliser(self, mean: Float64 | None, scale: Float64 | None, clip: float) -> None:
        """Feed (observation - mean) * scale, clipped to +-clip, to the network; None switches it off."""
        self._mean = mean
        if scale is not None:
            self._scale = scale
        self._high = np.full(self._normalised.shape, clip)
        self._low = -self._high

    def outputs(self, observation: np.ndarray[Any, Any]) -> Float32:
        """The last layer's outputs, float32 (outputs,): a buffer that the next call overwrites."""
        self._take_in(observation)
        activate = self._activate
        for dot, source, target in self._hidden:
            dot(source, target)
            activate(target, target)
        dot, source, target = self._last
        return dot(source, target)

    def _take_in(self, observation: np.ndarray[Any, Any]) -> None:
        """Fill the input buffer, normalised."""
        if self._mean is None:
            self._input[...] = observation
            return
        x = self._normalised
        np.subtract(observation, self._mean, x)
        np.multiply(x, self._scale, x)
        clip(x, self._low, self._high, out=x)
        self._input[...] = x


def grow(old: MLP, old_theta: Float32, new: MLP, new_theta: Float32) -> Float32:
    """Parameters of the larger network that act like the smaller one, float32 (d,).

    New hidden units keep the fresh incoming weights of `new_theta` and start with zero outgoing weights.

    Raises:
        UserError: the new network is not at least as large in every layer.
    """
    fits = len(old.shapes) == len(new.shapes) and old._bias == new._bias and old._activate is new._activate
    ends = [layer[-1] for layer in (old.shapes, new.shapes)]
    fits = fits and old.shapes[0][1] == new.shapes[0][1] and ends[0][0] == ends[1][0]
    if not fits or any(a[0] > b[0] or a[1] > b[1] for a, b in zip(old.shapes, new.shapes, strict=True)):
        raise UserError(
            f"start_from: a policy with layers {old.shapes} does not fit into one with layers {new.shapes}; "
            "choose policy.hidden with as many layers, each at least as large, and the same environment, bins, bias "
            "and nonlinearity"
        )
    theta = new_theta.copy()
    bias = old._bias
    for source, target in zip(old.layers(old_theta), new.layers(theta), strict=True):
        rows, inputs = source.shape[0], source.shape[1] - bias
        target[:rows] = 0
        target[:rows, :inputs] = source[:, :inputs]
        target[:rows, target.shape[1] - bias :] = source[:, inputs:]
    return theta
