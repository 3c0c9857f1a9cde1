"""The domain of a function: bounds, log scales, whole numbers, categories, and the coordinates in which it is searched.

A search moves in z, float64 (n,), without bounds; the function is called with x. A coordinate with a range is `UNITS`
wide in z. What leaves a range is mirrored at its ends, so that every z means an x and an optimum at an end is one in z.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from raes.types import Float64, UserError
from raes.validation import no_such, real, whole

UNITS = 8.0
"""The width of a range in z: the default sigma of 2 is a quarter of it. A coordinate without a range has the unit 1."""
INTERVAL = ("low", "high", "log", "integer")
"""The keys of an `Interval`."""
LEAST_STEP = 0.2
"""The least standard deviation of a whole number, in x, so that the search can still change it."""


@dataclass(frozen=True)
class Interval:
    """One coordinate: a number between bounds, either of which may be infinite.

    Attributes:
        low: the least value.
        high: the largest one.
        log: whether it is searched on a logarithmic scale; `low` must be positive then.
        integer: whether it is a whole number.
    """

    low: float = -math.inf
    high: float = math.inf
    log: bool = False
    integer: bool = False

    def __post_init__(self) -> None:
        low, high = float(self.low), float(self.high)
        if not low < high or math.isnan(low) or math.isnan(high):
            raise UserError(f"bounds: low={self.low} must be below high={self.high}")
        if self.log and low <= 0:
            raise UserError(f"bounds: low={self.low} must be positive on a logarithmic scale")
        if self.integer and any(math.isfinite(end) and end != round(end) for end in (low, high)):
            raise UserError(
                f"bounds: low={self.low} and high={self.high} must be whole numbers, as integer=True has it"
            )


@dataclass(frozen=True)
class Category:
    """One coordinate that is one of several things without an order; x holds its number, from 0 on.

    Attributes:
        count: how many there are.
    """

    count: int

    def __post_init__(self) -> None:
        whole("bounds: count of a category", self.count, 2)


class Domain:
    """The map from z to x.

    Attributes:
        size: numbers in x.
        dim: numbers in z: one for each number in x, and `count` for a category, the largest of which decides.
        unit: float64 (size,), the width of 1 in z, on the scale of x or ln x.
        ranged: bool (size,), whether a coordinate has two ends.
        finite: float64 (2, n), where runs may begin in z; NaN where a coordinate has no range.
        least_spread: float64 (n,), the least standard deviation in z; 0 for none. None where all are 0.
    """

    def __init__(self, parts: Iterable[Interval | Category], scale: Float64 | None = None) -> None:
        """Make the map.

        Args:
            parts: one for each number in x.
            scale: float64 (size,), by how much wider the units of z are, so that a search with the same standard
                deviation in all of z has another one in each number of x; None: 1. Categories have no width.
        """
        self._parts, self._scale = tuple(parts), scale
        self.size = len(self._parts)
        widths = [part.count if isinstance(part, Category) else 1 for part in self._parts]
        self._first = np.cumsum([0, *widths[:-1]])
        self.dim = sum(widths)
        ends = np.array([_ends(part) if isinstance(part, Interval) else (-np.inf, np.inf) for part in self._parts])
        self._low, self._high = ends.T
        both = np.isfinite(self._low) & np.isfinite(self._high)
        factor = np.ones(self.size) if scale is None else scale
        self.unit = np.where(both, (self._high - self._low) / UNITS, 1.0) * factor
        self.ranged = both
        self._log = np.array([isinstance(part, Interval) and part.log for part in self._parts])
        self._whole = np.array([isinstance(part, Interval) and part.integer for part in self._parts])
        self._categories = [(row, part.count) for row, part in enumerate(self._parts) if isinstance(part, Category)]
        self.finite = np.full((2, self.dim), np.nan)
        self.finite[:, self._first[both]] = np.stack([np.zeros(int(both.sum())), UNITS / factor[both]])
        for row, count in self._categories:
            self.finite[:, self._first[row] : self._first[row] + count] = [[-1.0], [1.0]]
        least = np.zeros(self.dim)
        linear = self._whole & ~self._log
        least[self._first[linear]] = LEAST_STEP / self.unit[linear]
        logarithmic = self._whole & self._log
        widest = np.array([_last_step(part) for part in self._parts])
        least[self._first[logarithmic]] = LEAST_STEP * widest[logarithmic] / self.unit[logarithmic]
        self.least_spread = least if least.any() else None

    def __repr__(self) -> str:
        return f"Domain({self._parts})" if self._scale is None else f"Domain({self._parts}, {self._scale.tolist()})"

    def x(self, z: Float64) -> Float64:
        """The points, float64 (k, size), that z, float64 (k, dim), mean."""
        single = z[:, self._first]
        low, high = self._low, self._high
        scaled = np.where(self.ranged, low, 0.0) + single * self.unit
        with np.errstate(invalid="ignore"):
            span = np.where(self.ranged, high - low, 1.0)
            turned = np.abs((scaled - low) % (2 * span))
            inside = low + np.where(turned > span, 2 * span - turned, turned)
            above = low + np.abs(scaled - low)
            below = high - np.abs(high - scaled)
        x = np.where(self.ranged, inside, scaled)
        x = np.where(~self.ranged & np.isfinite(low), above, x)
        x = np.where(~self.ranged & np.isfinite(high), below, x)
        if self._log.any():
            x[:, self._log] = np.exp(x[:, self._log])
        for row, part in enumerate(self._parts):
            if isinstance(part, Interval):
                column = np.round(x[:, row]) if part.integer else x[:, row]
                x[:, row] = np.clip(column, part.low, part.high)
        for row, count in self._categories:
            x[:, row] = z[:, self._first[row] : self._first[row] + count].argmax(axis=1)
        return x

    def z(self, x: Float64) -> Float64:
        """What means a point x, float64 (size,), float64 (dim,).

        Raises:
            UserError: it lies outside, or is no whole number.
        """
        z = np.zeros(self.dim)
        for row, part in enumerate(self._parts):
            value, first = float(x[row]), int(self._first[row])
            if isinstance(part, Category):
                if value not in range(part.count):
                    raise UserError(f"x0[{row}]={value:g} must be the number of a category, 0 to {part.count - 1}")
                z[first + int(value)] = 1.0
                continue
            if not part.low <= value <= part.high or (part.integer and value != round(value)):
                what = "a whole number" if part.integer else "a number"
                raise UserError(
                    f"x0[{row}]={value:g} must be {what} from {part.low:g} to {part.high:g}, as bounds have it"
                )
            scaled = math.log(value) if part.log else value
            z[first] = (scaled - (self._low[row] if self.ranged[row] else 0.0)) / self.unit[row]
        return z

    def center(self) -> Float64:
        """The middle of the ranges, float64 (dim,); of categories none is preferred.

        Raises:
            UserError: a coordinate has no range.
        """
        for row, part in enumerate(self._parts):
            if isinstance(part, Interval) and not self.ranged[row]:
                raise UserError(f"x0 is needed, since bounds[{row}]=({part.low:g}, {part.high:g}) has no middle")
        center: Float64 = np.nan_to_num(self.finite.mean(axis=0))
        return center

    def std(self, spread: Float64) -> Float64:
        """Standard deviations of x, float64 (size,), from those of z; on a log scale of ln x, of categories NaN."""
        std: Float64 = np.array(spread[self._first] * self.unit)
        for row, _ in self._categories:
            std[row] = np.nan
        return std

    def covariance(self, inner: Float64) -> Float64 | None:
        """The covariance of x from that of z, full or a diagonal, in the units of `std`; None where there is a
        category."""
        if self._categories:
            return None
        covariance: Float64 = inner * (np.square(self.unit) if inner.ndim == 1 else np.outer(self.unit, self.unit))
        return covariance


def domain_of(bounds: Any, size: int | None, scale: Float64 | None = None) -> Domain:
    """The domain that `bounds=` describes.

    Args:
        bounds: one entry for each coordinate: (low, high), None for an infinite end, an `Interval` or a `Category`, or
            the keys of one of these; a single (low, high) is that of all of `size` coordinates; or an object with `lb`
            and `ub`, as SciPy has it.
        size: of x0; None where there is none.
        scale: see `Domain`; one number for each entry.

    Raises:
        UserError: it describes none, or another number of coordinates.
    """
    if hasattr(bounds, "lb") and hasattr(bounds, "ub"):
        low, high = np.atleast_1d(bounds.lb), np.atleast_1d(bounds.ub)
        count = max(len(low), len(high), size or 1)
        bounds = list(zip(np.broadcast_to(low, count), np.broadcast_to(high, count), strict=True))
    try:
        entries = list(bounds)
    except TypeError as error:
        raise UserError(f"bounds must hold (low, high) for each coordinate, got {bounds!r}") from error
    if len(entries) == 2 and not any(
        isinstance(one, Interval | Category | Mapping | tuple | list | np.ndarray) for one in entries
    ):
        if size is None:
            raise UserError(
                f"bounds={bounds!r} is for every coordinate, and without x0 nobody knows how many there are"
            )
        entries = [tuple(entries)] * size
    if not entries:
        raise UserError("bounds is empty; give (low, high) for each coordinate, or leave it out")
    if size is not None and len(entries) != size:
        raise UserError(f"bounds has {len(entries)} entries, and x0 has {size} numbers; give one entry for each number")
    return Domain(map(_part, entries), scale)


def _part(entry: Any) -> Interval | Category:
    if isinstance(entry, Interval | Category):
        return entry
    if isinstance(entry, Mapping):
        return _part_of_keys(entry)
    try:
        low, high = entry
    except (TypeError, ValueError) as error:
        raise UserError(f"bounds: each entry must be (low, high), an Interval or a Category, got {entry!r}") from error
    return Interval(_end("low", low, -math.inf), _end("high", high, math.inf))


def _part_of_keys(entry: Mapping[str, Any]) -> Interval | Category:
    """As the command line has it: `{low: 1, high: 20, integer: true}`, `{count: 3}`.

    Raises:
        UserError: a key or a value is wrong.
    """
    if "count" in entry and len(entry) == 1:
        return Category(entry["count"])
    for key, value in entry.items():
        if key not in INTERVAL:
            raise UserError(f"bounds: {dict(entry)}: {no_such('key', key, (*INTERVAL, 'count (alone)'))}")
        if key in ("log", "integer") and not isinstance(value, bool):
            raise UserError(f"bounds: {key}={value!r} must be true or false")
    ends = _end("low", entry.get("low"), -math.inf), _end("high", entry.get("high"), math.inf)
    return Interval(*ends, bool(entry.get("log", False)), bool(entry.get("integer", False)))


def _end(name: str, value: Any, open_end: float) -> float:
    if value is None or (isinstance(value, float) and value == open_end):
        return open_end
    return real(f"bounds: {name}", value)


def _ends(part: Interval) -> tuple[float, float]:
    """The ends on the scale of the search; those of a whole number lie half a step further out."""
    low, high = float(part.low), float(part.high)
    if part.integer:
        low, high = low - 0.5, high + 0.5
    return (math.log(low), math.log(high)) if part.log else (low, high)


def _last_step(part: Interval | Category) -> float:
    """The smallest step between two whole numbers on a logarithmic scale; 1 elsewhere."""
    if isinstance(part, Category) or not (part.integer and part.log) or math.isinf(part.high):
        return 1.0
    return math.log((part.high + 0.5) / (part.high - 0.5))
