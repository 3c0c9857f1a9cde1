"""Mean, standard deviation and interval of returns, for training, evaluation and reports."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from scipy.special import stdtrit

from raes.types import Float64


@dataclass(frozen=True)
class Summary:
    """Mean, sample standard deviation, and the 95 % interval of the mean (Student's t); None where one value is all."""

    mean: float
    std: float | None
    ci_low: float | None
    ci_high: float | None


def summarize(values: Float64) -> Summary:
    """The summary of float64 (n,), n >= 1; the spread of a single value is not known."""
    mean = float(values.mean())
    if values.size < 2:
        return Summary(mean, None, None, None)
    std = float(np.std(values, ddof=1))
    half = float(stdtrit(values.size - 1, 0.975)) * std / math.sqrt(values.size)
    return Summary(mean, std, mean - half, mean + half)
