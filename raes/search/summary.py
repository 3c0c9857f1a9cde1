"""Mean, standard deviation and interval of returns, for training, evaluation and reports."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from scipy.special import stdtrit

from raes.types import Float64


@dataclass(frozen=True)
class Summary:
    """Mean, sample standard deviation, and the 95 % interval of the mean (Student's t).

    None where one value is all, or where the values are so large that there is no such number.
    """

    mean: float | None
    std: float | None
    ci_low: float | None
    ci_high: float | None


@np.errstate(over="ignore", invalid="ignore")
def summarize(values: Float64) -> Summary:
    """The summary of float64 (n,), n >= 1, finite; the spread of a single value is not known."""
    mean, std, half = float(values.mean()), math.nan, math.nan
    if values.size > 1:
        std = float(np.std(values, ddof=1))
        half = float(stdtrit(values.size - 1, 0.975)) * std / math.sqrt(values.size)
    return Summary(*(number if math.isfinite(number) else None for number in (mean, std, mean - half, mean + half)))
