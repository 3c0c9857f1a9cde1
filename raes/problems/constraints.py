"""The constraints of a function: by how much a point violates them."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import ArrayLike

from raes.text import described
from raes.types import Float64, UserError, check_fault
from raes.validation import plain

NO_VALUE = 1e100
"""What a constraint is violated by that is NaN or infinite."""


class Violation:
    """How much points violate the constraints."""

    def __init__(self, constraints: Callable[[Float64], ArrayLike], name: str = "constraints") -> None:
        """Call these constraints.

        Args:
            constraints: takes x, float64 (d,), and returns one number or several, which must be at most 0.
            name: in messages.
        """
        self._constraints, self._name = constraints, name

    def __call__(self, points: Float64) -> Float64:
        """The sum of what is above 0, float64 (n,); a very large number where a constraint has no value.

        Raises:
            UserError: the constraints give no numbers.
        """
        total = np.empty(len(points))
        for row, point in enumerate(points.copy()):
            try:
                values = np.atleast_1d(plain(self._constraints(point)).astype(np.float64))
            except BaseException as error:
                check_fault(error)
                raise UserError(f"{self._name} fails at x={point.tolist()}: {described(error)}") from error
            total[row] = np.maximum(np.nan_to_num(values, nan=NO_VALUE, posinf=NO_VALUE, neginf=0.0), 0.0).sum()
        return np.minimum(total, NO_VALUE)
