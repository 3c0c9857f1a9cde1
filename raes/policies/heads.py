"""Action heads: the last layer's outputs (float32) to an action of the environment's space."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from raes.policies.clip import clip
from raes.types import Float32, Float64, Int64, UserError


@dataclass(frozen=True)
class ActionSpec:
    """An action space in plain numpy, so that policies need no environment library.

    Attributes:
        kind: `box`, `discrete`, `multi_discrete` or `multi_binary`.
        shape: the action's shape, () for discrete.
        dtype: the action's dtype.
        low, high: float64 bounds of a box, of `shape`; may be infinite.
        counts: int64, how many choices each component has (discrete: one component).
        start: int64, the first choice of each component.
    """

    kind: str
    shape: tuple[int, ...]
    dtype: str
    low: Float64 | None = None
    high: Float64 | None = None
    counts: Int64 | None = None
    start: Int64 | None = None


class Head(Protocol):
    """Turns outputs into actions.

    Attributes:
        outputs: how many outputs it reads.
        continuous: whether Gaussian action noise can be added to the outputs.
    """

    outputs: int
    continuous: bool

    def __call__(self, output: Float32) -> Any:
        """The action for float32 `(outputs,)`; always a new object, since environments may keep it."""


class Continuous:
    """Outputs are actions in the space's own units, clipped to its bounds."""

    continuous = True

    def __init__(self, spec: ActionSpec) -> None:
        assert spec.low is not None
        assert spec.high is not None
        self.outputs = int(np.prod(spec.shape))
        self._shape = spec.shape
        self._dtype = np.dtype(spec.dtype)
        self._as_is = self._dtype == np.float32 and len(spec.shape) == 1
        low, high = spec.low.ravel(), spec.high.ravel()
        if self._dtype.kind in "iu":  # the largest integer may round up to a float beyond it
            high = np.minimum(high, np.nextafter(float(np.iinfo(self._dtype).max) + 1, 0))
        precision = np.float32 if self._dtype == np.float32 else np.float64
        self._low, self._high = low.astype(precision), high.astype(precision)

    def __call__(self, output: Float32) -> Any:
        if self._as_is:
            return clip(output, self._low, self._high)
        action = output.astype(self._low.dtype)
        if self._dtype.kind in "iu":
            action = np.rint(action)
        return clip(action, self._low, self._high).reshape(self._shape).astype(self._dtype)


class Binned:
    """Each component takes the bin with the largest output (the paper's 10 bins for Hopper and Swimmer).

    Attributes:
        values: what the bins stand for, (components, bins), of the action's dtype.
    """

    continuous = False

    def __init__(self, spec: ActionSpec, bins: int | tuple[float, ...]) -> None:
        assert spec.low is not None
        assert spec.high is not None
        low, high = spec.low.ravel(), spec.high.ravel()
        if isinstance(bins, int):
            if not (np.isfinite(low).all() and np.isfinite(high).all()):
                raise UserError(
                    f"policy.bins={bins}: uniform bins need a bounded action space; "
                    "give the values themselves, e.g. policy.bins=[-1,0,1], or policy.bins=null"
                )
            self.values = np.linspace(low, high, bins, axis=1)
        else:
            self.values = np.clip(
                np.tile(np.asarray(bins, dtype=np.float64), (low.size, 1)), low[:, None], high[:, None]
            )
        components, count = self.values.shape
        self.outputs = components * count
        self.values = self.values.astype(spec.dtype)
        self._rows = np.arange(components)
        self._grid = (components, count)
        self._shape = spec.shape

    def __call__(self, output: Float32) -> Any:
        return self.values[self._rows, output.reshape(self._grid).argmax(axis=1)].reshape(self._shape)


class Discrete:
    """The choice with the largest output."""

    continuous = False

    def __init__(self, spec: ActionSpec) -> None:
        assert spec.counts is not None
        assert spec.start is not None
        self.outputs = int(spec.counts[0])
        self._type = np.dtype(spec.dtype).type
        self._start = int(spec.start[0])

    def __call__(self, output: Float32) -> Any:
        return self._type(output.argmax() + self._start)  # a NumPy integer, as `sample()` of the space gives


class MultiDiscrete:
    """The largest output of each component's segment."""

    continuous = False

    def __init__(self, spec: ActionSpec) -> None:
        assert spec.counts is not None
        assert spec.start is not None
        ends = np.cumsum(spec.counts)
        self.outputs = int(ends[-1])
        self._segments = [slice(int(end - count), int(end)) for end, count in zip(ends, spec.counts, strict=True)]
        self._start = spec.start
        self._shape = spec.shape
        self._dtype = np.dtype(spec.dtype)

    def __call__(self, output: Float32) -> Any:
        choices = np.array([output[segment].argmax() for segment in self._segments]) + self._start
        return choices.reshape(self._shape).astype(self._dtype)


class MultiBinary:
    """One where the output is positive."""

    continuous = False

    def __init__(self, spec: ActionSpec) -> None:
        self.outputs = int(np.prod(spec.shape))
        self._shape = spec.shape
        self._dtype = np.dtype(spec.dtype)

    def __call__(self, output: Float32) -> Any:
        return (output > 0).reshape(self._shape).astype(self._dtype)


_DISCRETE: dict[str, type[Discrete | MultiDiscrete | MultiBinary]] = {
    "discrete": Discrete,
    "multi_discrete": MultiDiscrete,
    "multi_binary": MultiBinary,
}


def build_head(spec: ActionSpec, bins: int | tuple[float, ...] | None) -> Head:
    """The head that fits the action space.

    Raises:
        UserError: bins for a space that has no continuous components.
    """
    if spec.kind == "box":
        return Continuous(spec) if bins is None else Binned(spec, bins)
    if bins is not None:
        raise UserError(f"policy.bins={bins} does not fit a {spec.kind} action space; remove it (policy.bins=null)")
    return _DISCRETE[spec.kind](spec)
