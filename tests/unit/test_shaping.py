"""Fitness shaping: hand-computed numbers and the invariances the method promises."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from raes.search.shaping import SHAPINGS, average_ranks, centered_ranks, openai_ranks, zscore

RETURNS = np.array([[3.0, 1.0], [3.0, 7.0], [-2.0, 3.0]])
SIGNS = np.array([[2.0, 2.0], [-1.0, 5.0], [5.0, 0.0]])
BY_RANK = ["centered_ranks", "centered_sign_rank"]

whole_numbers = st.integers(1, 8).flatmap(
    lambda pairs: arrays(np.float64, (pairs, 2), elements=st.integers(-6, 6).map(float))
)


def test_tied_ranks_are_averaged() -> None:
    assert average_ranks(np.array([3.0, 1.0, 3.0, 7.0, -2.0, 3.0])).tolist() == [3.0, 1.0, 3.0, 5.0, 0.0, 3.0]


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("centered_ranks", [[0.1, -0.3], [0.1, 0.5], [-0.5, 0.1]]),
        ("identity", [[3.0, 1.0], [3.0, 7.0], [-2.0, 3.0]]),
        # mean 2.5, deviations 0.5 -1.5 0.5 4.5 -4.5 0.5, mean square 43.5 / 6 = 7.25
        ("zscore", np.array([[0.5, -1.5], [0.5, 4.5], [-4.5, 0.5]]) / 7.25**0.5),
        ("sign", [[2.0, 2.0], [-1.0, 5.0], [5.0, 0.0]]),
        # ranks of the signs: 2 2 -> (2 + 3) / 2, -1 -> 0, 5 5 -> (4 + 5) / 2, 0 -> 1; divided by 5
        ("centered_sign_rank", [[0.0, 0.0], [-0.5, 0.4], [0.4, -0.3]]),
    ],
)
def test_a_shaping_gives_the_numbers_worked_out_by_hand(name: str, expected: object) -> None:
    np.testing.assert_allclose(SHAPINGS[name](RETURNS, SIGNS), expected, rtol=0, atol=1e-12)


def test_the_references_ranks_break_ties_and_keep_the_values_of_distinct_returns() -> None:
    distinct = np.array([[0.3, -1.0], [2.0, 0.9]])
    np.testing.assert_array_equal(openai_ranks(distinct), centered_ranks(distinct))
    assert sorted(openai_ranks(np.zeros((2, 2))).ravel()) == pytest.approx([-0.5, -1 / 6, 1 / 6, 0.5])


@pytest.mark.parametrize("value", [0.0, -7.25, 0.1, 1e-300, 1e12, 123456.789])
@pytest.mark.parametrize("pairs", [1, 3, 50])
@pytest.mark.parametrize("name", ["centered_ranks", "zscore", "centered_sign_rank"])
def test_equal_returns_give_no_weight_at_all(name: str, pairs: int, value: float) -> None:
    equal = np.full((pairs, 2), value)
    utilities = SHAPINGS[name](equal, equal)
    assert utilities.shape == (pairs, 2)
    np.testing.assert_allclose(utilities, 0.0, rtol=0, atol=1e-15)


@given(whole_numbers, st.sampled_from([np.exp, np.arctan, lambda x: 5 * x - 3, lambda x: x**3]))
def test_ranks_do_not_change_under_an_increasing_transformation(returns: np.ndarray, transform: object) -> None:
    for name in BY_RANK:
        transformed = transform(returns)  # type: ignore[operator]
        np.testing.assert_array_equal(SHAPINGS[name](transformed, transformed), SHAPINGS[name](returns, returns))


@given(whole_numbers, st.floats(0.01, 1000), st.floats(-1000, 1000))
def test_zscore_does_not_change_under_scale_and_shift(returns: np.ndarray, scale: float, shift: float) -> None:
    np.testing.assert_allclose(zscore(scale * returns + shift), zscore(returns), rtol=0, atol=1e-6)


@given(whole_numbers)
def test_swapping_plus_and_minus_negates_the_weights(returns: np.ndarray) -> None:
    for name in ["centered_ranks", "zscore", "identity", "sign", "centered_sign_rank"]:
        utilities = SHAPINGS[name](returns, returns)
        swapped = SHAPINGS[name](returns[:, ::-1], returns[:, ::-1])
        np.testing.assert_allclose(
            swapped[:, 0] - swapped[:, 1], -(utilities[:, 0] - utilities[:, 1]), rtol=0, atol=1e-12
        )


@given(whole_numbers)
def test_ranks_are_centred_and_negating_the_returns_negates_them(returns: np.ndarray) -> None:
    ranks = centered_ranks(returns)
    assert abs(ranks.sum()) < 1e-9
    assert ranks.min() >= -0.5
    assert ranks.max() <= 0.5
    np.testing.assert_allclose(centered_ranks(-returns), -ranks, rtol=0, atol=1e-12)
