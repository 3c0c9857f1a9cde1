"""Convolutional networks for stacks of grey frames, with virtual batch normalisation.

`policy=a3c` is the feed-forward network of Mnih et al. 2016 (arXiv 1602.01783, section 5.1) and Salimans et al. 2017,
`policy=nature` that of Mnih et al. 2015.

Virtual batch normalisation (Salimans et al. 2016, arXiv 1606.03498, section 3.4): a hidden layer's outputs x become
gain * (x - mean) / sqrt(variance + 0.001) + shift, with mean and variance of each unit over a fixed reference batch,
which runs through the network once for every theta. They are then folded into weights and shifts, so that an episode's
timesteps cost no more than without.

theta holds, layer after layer, the weights (units, inputs), the shifts (units,) and, where a layer is normalised, the
gains (units,).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np

from raes.policies.conv_layers import ACTIVATIONS, FrameConvolution, Layer, MapConvolution
from raes.policies.dense_layers import Dense, MapDense
from raes.policies.heads import Head
from raes.policies.reference_batch import DistinctWindows, distinct_windows
from raes.tasks import Layers
from raes.types import SETTINGS, Count, Float32, Float64, Natural, NotNegative, UInt8, UserError

VARIANCE_FLOOR = 1e-3
"""Added to variances, for units that give the same for the whole batch."""


@dataclass(frozen=True)
class ConvSettings:
    """Configuration group `policy`, options `a3c` and `nature`.

    Attributes:
        convolutions: (filters, rows and columns of a window, stride) of each layer.
        hidden: units of each layer between them and the outputs.
        nonlinearity: `relu`, `elu` or `tanh`.
        reference: observations in the reference batch; 0 for no virtual batch normalisation.
        init_norm: norm of the incoming weights of each output unit at the start (hidden units: 1).
        bins: None, or bins per action component, as of the other policies.
    """

    __pydantic_config__ = SETTINGS

    name: Literal["conv"] = "conv"
    convolutions: tuple[tuple[Count, Count, Count], ...] = ((16, 8, 4), (32, 4, 2))
    hidden: tuple[Count, ...] = (256,)
    nonlinearity: str = "relu"
    reference: Natural = 128
    init_norm: NotNegative = 0.01
    bins: int | tuple[float, ...] | None = None

    def __post_init__(self) -> None:
        if not self.convolutions:
            raise ValueError("convolutions=[]: must be at least one layer")
        _, kernel, stride = self.convolutions[0]
        if stride not in (1, 2, 4, 8) or kernel % stride:
            raise ValueError(
                f"convolutions={self._listed}: the first layer's stride must be 1, 2, 4 or 8 and divide its window"
            )
        if self.nonlinearity not in ACTIVATIONS:
            raise ValueError(f"nonlinearity must be one of {', '.join(ACTIVATIONS)}, got {self.nonlinearity!r}")
        if self.reference == 1:
            raise ValueError(f"reference must be 0 or at least 2, got {self.reference}")

    @property
    def _listed(self) -> list[list[int]]:
        return [list(layer) for layer in self.convolutions]


class ConvPolicy:
    """A network that sees the observations of one episode after another; see `MLP` for the methods.

    Attributes:
        num_params: d.
        head: the action head.
        reference: observations that `set_reference` needs, 0 for none.
    """

    def __init__(self, shape: tuple[int, ...], head: Head, settings: ConvSettings) -> None:
        """Set up.

        Args:
            shape: of an observation: frames in the stack, rows, columns.
            head: of the actions.
            settings: of the network.

        Raises:
            UserError: the layers do not fit the frames.
        """
        self.head, self.reference, self._settings = head, settings.reference, settings
        kind, (filters, kernel, stride) = settings.nonlinearity, settings.convolutions[0]
        _check_sizes(shape, settings)
        self._first = FrameConvolution(shape, filters, kernel, stride, kind)  # type: ignore[arg-type]
        self._further: list[MapConvolution | Dense] = []
        last: FrameConvolution | MapConvolution = self._first
        for filters, kernel, stride in settings.convolutions[1:]:
            last = MapConvolution(last, filters, kernel, stride, kind)
            self._further.append(last)
        source = last.output
        for units in settings.hidden:
            self._further.append((MapDense if source.ndim > 1 else Dense)(source, units, kind))
            source = self._further[-1].output
        self._further.append(Dense(source, head.outputs, None))
        self._layers: list[Layer] = [self._first, *self._further]
        self._forwards = [layer.forward for layer in self._further]
        gains = sum(layer.units for layer in self._layers[:-1]) if self.reference else 0
        self.num_params = sum(layer.units * (layer.inputs + 1) for layer in self._layers) + gains
        self._activation = ACTIVATIONS[kind]
        self._seen: list[DistinctWindows] = []

    @property
    def layer_sizes(self) -> Layers:
        """Its layers are no plain matrices: none."""
        return ()

    def initial_theta(self, rng: np.random.Generator) -> Float32:
        """float32 (d,): incoming weights of norm 1 (hidden) and `init_norm` (output), shifts 0, gains 1."""
        theta = np.empty(self.num_params, np.float32)
        for layer, weights, shift, gain in self._parts(theta):
            drawn = rng.standard_normal(weights.shape)
            norm = self._settings.init_norm if layer is self._layers[-1] else 1.0
            weights[:] = drawn * (norm / np.sqrt(np.square(drawn).sum(axis=1, keepdims=True)))
            shift[:] = 0
            if gain is not None:
                gain[:] = 1
        return theta

    def set_reference(self, batch: UInt8) -> None:
        """Normalise with these observations, uint8 (n, stack, rows, columns)."""
        sizes = [(kernel, stride) for _, kernel, stride in self._settings.convolutions[1:]]
        self._seen = distinct_windows(self._first.cut(batch), sizes, len(self._settings.hidden))

    def set_parameters(self, theta: Float32) -> None:
        """Act with these parameters from now on, in a new episode; theta is not copied."""
        values: Float32 | None = None
        for number, (layer, weights, shift, gain) in enumerate(self._parts(theta)):
            layer.load(weights)
            if gain is None:
                layer.fold(None, shift)
            else:
                values = self._normalise(layer, self._seen[number], values, shift, gain)
        self._first.restart()

    def set_normaliser(self, mean: Float64 | None, scale: Float64 | None, clip: float) -> None:
        """Pixels are taken as they are: there are no observation statistics."""
        assert mean is None or not mean.size

    def outputs(self, observation: UInt8) -> Float32:
        """The last layer's outputs, float32 (outputs,), a buffer; the next observation of an episode, flat."""
        self._first.forward(observation)
        for forward in self._forwards:
            forward()
        return self._layers[-1].output

    def _parts(self, theta: Float32) -> Iterator[tuple[Layer, Float32, Float32, Float32 | None]]:
        """Each layer with views of its weights, shifts and gains, None where there are none."""
        start = 0
        for layer in self._layers:
            ends = np.cumsum([start, layer.units * layer.inputs, layer.units, layer.units]).tolist()
            normalised = bool(self.reference) and layer is not self._layers[-1]
            weights = theta[ends[0] : ends[1]].reshape(layer.units, layer.inputs)
            yield layer, weights, theta[ends[1] : ends[2]], theta[ends[2] : ends[3]] if normalised else None
            start = ends[3] if normalised else ends[2]

    def _normalise(
        self, layer: Layer, seen: DistinctWindows, values: Float32 | None, shift: Float32, gain: Float32
    ) -> Float32:
        """Fold the batch's statistics into a layer; what it makes of its distinct windows, float32 (u, units)."""
        outputs = seen.products(values, layer.matrix)
        mean = seen.shares.dot(outputs)
        outputs -= mean
        scale = gain / np.sqrt(seen.shares.dot(np.square(outputs)) + np.float32(VARIANCE_FLOOR))
        layer.fold(scale, shift - mean * scale)
        outputs *= scale
        outputs += shift
        self._activation(outputs)(outputs)
        return outputs


def _check_sizes(shape: tuple[int, ...], settings: ConvSettings) -> None:
    """Refuse layers that do not fit the frames.

    Raises:
        UserError: with the layer.
    """
    _, size, _ = shape
    stride = settings.convolutions[0][2]
    if size % stride:
        raise UserError(
            f"policy.convolutions: the first layer's stride {stride} does not divide frames of {size} rows; "
            "choose env.size as a multiple of it"
        )
    for filters, kernel, stride in settings.convolutions:
        if kernel > size:
            raise UserError(
                f"policy.convolutions: the layer [{filters}, {kernel}, {stride}] gets maps of {size} rows, fewer than "
                "its window; use fewer or smaller layers"
            )
        size = (size - kernel) // stride + 1
