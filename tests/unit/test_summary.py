"""Mean, spread and interval against scipy's own."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from raes.search.summary import Summary, summarize


@pytest.mark.parametrize("count", [2, 3, 10, 100, 5000])
def test_the_interval_is_students_t(count: int) -> None:
    values = 100 + 7 * np.random.default_rng(count).standard_normal(count)
    summary = summarize(values)
    low, high = stats.t.interval(0.95, count - 1, loc=values.mean(), scale=stats.sem(values))
    assert summary.mean == pytest.approx(values.mean(), rel=1e-12)
    assert summary.std == pytest.approx(np.std(values, ddof=1), rel=1e-12)
    assert (summary.ci_low, summary.ci_high) == pytest.approx((low, high), rel=1e-9)


def test_the_spread_of_one_value_is_not_known_and_that_of_equal_values_is_none() -> None:
    assert summarize(np.array([3.5])) == Summary(3.5, None, None, None)
    assert summarize(np.full(9, -2.0)) == Summary(-2.0, 0.0, -2.0, -2.0)


def test_values_too_large_for_a_sum_have_no_mean() -> None:
    assert summarize(np.array([1e308, 1e308])) == Summary(None, None, None, None)
    assert summarize(np.array([1e200, -1e200])) == Summary(0.0, None, None, None)
