"""How a search of a function begins: where, how widely in each coordinate, and with which correlations.

A search moves in z with one standard deviation for all of it. What differs between coordinates is in the units of the
`Domain`, so that every method has it and restarts keep it; correlations are for the methods that can hold them.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from raes.algorithms import ALGORITHMS
from raes.algorithms.function_defaults import FUNCTION_KEYS, default_algorithm
from raes.api.optimum import Optimum
from raes.search.domain import UNITS, Domain, Interval, domain_of
from raes.types import Float64, UserError
from raes.validation import no_such, plain, real, vector

SPREADS = ("sigma", "radius")
"""Keys of the methods for the first standard deviation; a share of a range where there are bounds."""
LEAST_EIGENVALUE = 1e-14
"""Of correlations: below, they are rounding errors."""


@dataclass(frozen=True)
class Beginning:
    """How a search begins.

    Attributes:
        algorithm: its name.
        settings: keys of its configuration that were given.
        domain: None where x is what the search moves in.
        theta: float64 (n,), where it starts in z.
        correlation: float64 (n, n), of the first points; None: there is none.
    """

    algorithm: str
    settings: dict[str, Any]
    domain: Domain | None
    theta: Float64
    correlation: Float64 | None

    @staticmethod
    def of(
        algorithm: str | None,
        x0: ArrayLike | None,
        bounds: Any,
        settings: dict[str, Any],
        cov: ArrayLike | None,
        warm_start: Optimum | None,
    ) -> Beginning:
        """From the arguments of `raes.Optimizer`.

        Raises:
            UserError: they do not fit each other, or the method has no use for them.
        """
        if warm_start is not None and not isinstance(warm_start, Optimum):
            raise UserError(f"warm_start must be the result of an earlier search, got {warm_start!r}")
        if warm_start is not None and cov is not None:
            raise UserError("cov and warm_start both say how the first points are spread; give one of them")
        if warm_start is not None and x0 is None:
            x0 = warm_start.center
        start = None if x0 is None else vector("x0", x0)
        if start is None and bounds is None:
            raise UserError("x0 is needed where there are no bounds: where the search starts, a vector")
        size = None if start is None else start.size
        domain = None if bounds is None else domain_of(bounds, size)
        if algorithm is None:
            algorithm, keys = default_algorithm(_dimension(domain, start))
            settings = keys | settings
        if not isinstance(algorithm, str) or algorithm not in ALGORITHMS:
            raise UserError(f"algorithm={algorithm!r}: {no_such('algorithm', algorithm, ALGORITHMS)}")
        key = _spread_key(algorithm)
        given, widths, correlation = settings.get(key), None, None
        if cov is not None:
            widths, correlation = _of_covariance(cov, given, domain, start)
        elif warm_start is not None:
            widths, correlation = _of_result(warm_start, domain, start)
        elif given is not None and np.ndim(plain(given)):
            widths = _of_vector(key, given, domain, start)
        if correlation is not None and not _holds_correlations(algorithm, settings):
            if cov is not None:
                raise UserError(
                    f"cov: algorithm={algorithm} has no covariance that is full; give the variances alone, (d,), or "
                    "algorithm=cma_es or xnes"
                )
            correlation = None
        if widths is not None and warm_start is None:
            factor = math.sqrt(widths.size) if key == "radius" and cov is not None else 1.0
            settings = settings | {key: factor * float(widths.max())}
        elif domain is not None and given is not None:
            settings = settings | {key: UNITS * real(key, given, positive=True)}
        if widths is not None:
            everything = [Interval()] * widths.size
            domain = domain_of(everything if bounds is None else bounds, size, widths / float(widths.max()))
        if domain is None:
            assert start is not None
            theta = start
        else:
            theta = domain.center() if start is None else domain.z(start)
        return Beginning(algorithm, settings, domain, theta, correlation)


def _dimension(domain: Domain | None, start: Float64 | None) -> int:
    """Numbers in z."""
    return domain.dim if domain is not None else 0 if start is None else start.size


def _units(domain: Domain | None, start: Float64 | None) -> Float64:
    """The width of 1 in z, for each coordinate of x, float64 (size,)."""
    if domain is not None:
        return domain.unit
    assert start is not None
    return np.ones(start.size)


def _spread_key(algorithm: str) -> str:
    names = {field.name for field in fields(ALGORITHMS[algorithm][1])}
    return next((key for key in SPREADS if key in names), SPREADS[0])


def _holds_correlations(algorithm: str, settings: dict[str, Any]) -> bool:
    full = (FUNCTION_KEYS.get(algorithm, {}) | settings).get("covariance", "full") == "full"
    return full and hasattr(ALGORITHMS[algorithm][0], "correlated")


def _of_vector(key: str, value: Any, domain: Domain | None, start: Float64 | None) -> Float64:
    """Standard deviations of z, float64 (size,), from those of x, or shares of ranges.

    Raises:
        UserError: they are not positive, or too many or too few.
    """
    numbers, size = vector(key, value), len(_units(domain, start))
    if numbers.size != size:
        raise UserError(f"{key} has {numbers.size} numbers, and x has {size}; give one number, or one for each")
    if (numbers <= 0).any():
        raise UserError(f"{key} must be positive, got {value!r}")
    return numbers if domain is None else np.where(domain.ranged, UNITS * numbers, numbers)


def _of_covariance(
    cov: ArrayLike, sigma: Any, domain: Domain | None, start: Float64 | None
) -> tuple[Float64, Float64 | None]:
    """Standard deviations of z, float64 (size,), and correlations, of points with the covariance sigma^2 cov.

    Raises:
        UserError: it is no covariance of x.
    """
    units = _units(domain, start)
    size = len(units)
    try:
        matrix = plain(cov).astype(np.float64)
    except (TypeError, ValueError) as error:
        raise UserError(f"cov must be a matrix of numbers, got {cov!r}") from error
    if matrix.shape not in ((size,), (size, size)):
        raise UserError(f"cov has the shape {matrix.shape}, and x has {size} numbers; give ({size}, {size})")
    variances = matrix if matrix.ndim == 1 else matrix.diagonal()
    symmetric = matrix.ndim == 1 or np.allclose(matrix, matrix.T, rtol=1e-6, atol=0.0)
    if not (np.isfinite(matrix).all() and (variances > 0).all() and symmetric):
        raise UserError("cov must be a covariance: symmetric, with positive numbers on the diagonal")
    if _dimension(domain, start) != size:
        raise UserError("cov: there are bounds with a category, which has none; give sigma alone")
    factor = 1.0 if sigma is None else real("sigma", sigma, positive=True)
    widths = factor * np.sqrt(variances) / units
    return widths, None if matrix.ndim == 1 else _correlation(matrix)


def _of_result(result: Optimum, domain: Domain | None, start: Float64 | None) -> tuple[Float64, Float64 | None]:
    """Standard deviations of z up to a factor, float64 (size,), and correlations, of an earlier search's last points.

    Raises:
        UserError: it had none, or another number of coordinates.
    """
    if result.std is None:
        raise UserError(
            f"warm_start: algorithm={result.algorithm} adapts no standard deviations; give x0=result.x in its place"
        )
    units = _units(domain, start)
    if result.std.size != len(units):
        raise UserError(f"warm_start is of {result.std.size} numbers, and x has {len(units)}; give one that fits")
    widths = result.std / units
    known = np.isfinite(widths) & (widths > 0)  # a category has none
    if not known.any():
        raise UserError("warm_start has no finite standard deviation; give x0=result.x in its place")
    widths = np.where(known, widths, widths[known].max())
    full = result.covariance is not None and result.covariance.ndim == 2 and np.isfinite(result.covariance).all()
    return widths, _correlation(result.covariance) if full and _dimension(domain, start) == len(units) else None


def _correlation(covariance: Any) -> Float64:
    """Correlations, float64 (d, d).

    Raises:
        UserError: the matrix is not positive definite.
    """
    widths = np.sqrt(covariance.diagonal())
    correlation: Float64 = (covariance + covariance.T) / (2 * np.outer(widths, widths))
    if np.linalg.eigvalsh(correlation).min() < LEAST_EIGENVALUE:
        raise UserError("cov: the covariance is not positive definite; add a small number to its diagonal")
    return correlation
