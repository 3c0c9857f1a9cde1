"""Mean, standard deviation and interval of returns, for training, evaluation and reports."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from scipy.special import stdtrit

from raes.types import Float64


@dataclass(frozen=True)
class Summary:
    """Mean, sample standard deviation, and the 95 % interval of the mean (Student's t)."""

    mean: float
    std: float
    ci_low: float
    ci_high: float


def summarize(values: Float64) -> Summary:
    """The summary of float64 (n,), n >= 1; one value has no spread."""
    mean = float(values.mean())
    if values.size < 2:
        return Summary(mean, 0.0, mean, mean)
    std = float(np.std(values, ddof=1))
    half = float(stdtrit(values.size - 1, 0.975)) * std / math.sqrt(values.size)
    return Summary(mean, std, mean - half, mean + half)
