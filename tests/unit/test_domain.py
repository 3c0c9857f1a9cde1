"""Domains of functions: bounds, log scales, whole numbers, categories and constraints."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import raes
from raes import Category, Interval
from raes.search.domain import UNITS, Domain, domain_of
from raes.types import UserError

ADAPTIVE = ["cma_es", "snes", "xnes", "cem", "pgpe", "es", "ga", "random_search"]


@st.composite
def intervals(draw: Any) -> Interval:
    integer, log = draw(st.booleans()), draw(st.booleans())
    low = draw(st.integers(1 if log else -50, 50))
    high = low + draw(st.integers(1, 100))
    if integer:
        return Interval(low, high, log, integer)
    ends = draw(st.sampled_from(["both", "low", "high", "none"]))
    if log or ends == "both":
        return Interval(low - 0.25, high + 0.5, log)
    return Interval(low if ends == "low" else -np.inf, high if ends == "high" else np.inf)


@given(st.lists(intervals() | st.integers(2, 5).map(Category), min_size=1, max_size=5), st.integers(0, 99))
@settings(max_examples=200, deadline=None)
def test_every_z_means_a_point_of_the_domain_and_every_point_has_a_z(parts: list[Any], seed: int) -> None:
    domain, rng = Domain(parts), np.random.default_rng(seed)
    x = domain.x(rng.standard_normal((20, domain.dim)) * 10 ** rng.uniform(-3, 3, (20, 1)))
    assert x.shape == (20, len(parts))
    for part, column in zip(parts, x.T, strict=True):
        if isinstance(part, Category):
            assert set(column.tolist()) <= set(range(part.count))
            continue
        assert (column >= part.low).all()
        assert (column <= part.high).all()
        assert not part.integer or (column == np.round(column)).all()
    for row in x:
        np.testing.assert_allclose(domain.x(domain.z(row)[None])[0], row, rtol=1e-9, atol=1e-9)


def test_a_range_is_mirrored_at_its_ends_and_has_the_same_width_on_every_scale() -> None:
    domain = Domain([Interval(2, 6), Interval(1e-4, 1e4, log=True), Interval(0, np.inf), Interval(-np.inf, 3)])
    middle = domain.x(np.full((1, 4), UNITS / 2))[0]
    np.testing.assert_allclose(middle[:2], [4.0, 1.0])
    for away in (0.3, 1.7):
        below, above = domain.x(np.array([[-away] * 4, [away] * 4]))
        np.testing.assert_allclose(below[:3], above[:3])
        outside, inside = domain.x(np.array([[UNITS + away] * 4, [UNITS - away] * 4]))
        np.testing.assert_allclose(outside[:2], inside[:2])
    np.testing.assert_allclose(domain.x(np.full((1, 4), 3.5))[0, 3], 2.5)


def test_points_of_the_middle_and_of_restarts_lie_within() -> None:
    points: list[np.ndarray] = []

    def bumpy(x: np.ndarray) -> float:
        points.append(x)
        return float(np.cos(5 * x).sum())

    found = raes.minimize(bumpy, bounds=[(1, 2), (10, 30), (-5, -4)], budget=6000)
    assert found.restarts > 0
    np.testing.assert_allclose(points[0], [1.5, 20, -4.5])
    assert (np.array(points) >= [1, 10, -5]).all()
    assert (np.array(points) <= [2, 30, -4]).all()
    spread = np.ptp(np.array(points), axis=0)
    assert (spread > 0.9 * np.array([1, 20, 1])).all()
    assert found.std is not None
    assert found.covariance is not None


@pytest.mark.parametrize("algorithm", ADAPTIVE)
def test_an_optimum_at_an_end_is_found(algorithm: str) -> None:
    found = [
        raes.minimize(
            lambda x: float(x.sum()), bounds=[(1, 2), (1, None)], x0=[2, 3], algorithm=algorithm, budget=4000, seed=seed
        ).fun
        for seed in range(3)
    ]
    assert found[0] < 2.2 if algorithm == "random_search" else np.median(found) < 2.01


@pytest.mark.parametrize("algorithm", ["cma_es", "snes", "pgpe", "cem"])
def test_log_scales_whole_numbers_and_categories_are_solved_together(algorithm: str) -> None:
    def mixed(x: np.ndarray) -> float:
        return float((np.log10(x[0]) + 3) ** 2 + abs(x[1] - 7) + (x[2] != 2) + (x[3] - 0.25) ** 2)

    parts = [Interval(1e-6, 1, log=True), Interval(0, 20, integer=True), Category(4), (0, 1)]
    found = raes.minimize(mixed, bounds=parts, algorithm=algorithm, budget=8000, target=1e-2)
    assert found.status == 0
    assert found.x[1:3].tolist() == [7, 2]


def test_whole_numbers_are_solved_in_many_dimensions_where_rounding_alone_gets_stuck() -> None:
    target = np.arange(-10, 10)
    solved = [
        raes.minimize(
            lambda x: float(np.square(x - target).sum()), bounds=[Interval(-100, 100, integer=True)] * 20,
            budget=8000, target=0.0, seed=seed,
        ).status == 0
        for seed in range(5)
    ]  # fmt: skip
    assert all(solved)


def test_sigma_is_a_share_of_the_range() -> None:
    points = raes.Optimizer("cma_es", None, bounds=[(0, 1), (0, 1000)], sigma=0.01, population=400).ask()
    np.testing.assert_allclose(points.std(axis=0), [0.01, 10], rtol=0.15)
    points = raes.Optimizer("cma_es", None, bounds=[(0, 1)], population=400).ask()
    assert 0.2 < points.std() < 0.3


def test_bounds_are_read_in_several_forms() -> None:
    def ends(domain: Domain) -> list[list[float]]:
        return domain.x(np.array([[0.0] * domain.dim, [UNITS] * domain.dim])).tolist()

    assert ends(domain_of((0, 1), 2)) == [[0, 0], [1, 1]]
    assert ends(domain_of(np.array([[0, 1], [0, 2]]), None)) == [[0, 0], [1, 2]]
    assert ends(domain_of(SimpleNamespace(lb=0, ub=[1, 2]), 2)) == [[0, 0], [1, 2]]
    assert ends(domain_of([(0, 1), Interval(0, 3)], 2)) == [[0, 0], [1, 3]]


@pytest.mark.parametrize("algorithm", ["cma_es", "snes", "pgpe"])
def test_the_best_point_keeps_the_constraints_and_the_function_is_called_nowhere_else(algorithm: str) -> None:
    called = []

    def function(x: np.ndarray) -> float:
        called.append(x)
        return float(np.square(x - 2).sum())

    found = raes.minimize(
        function, [5.0] * 4, constraints=lambda x: [x @ x - 1, -x[0]], algorithm=algorithm, budget=6000
    )
    assert all(x @ x <= 1 and x[0] >= 0 for x in called)
    assert found.nfev == len(called) < 6000
    assert found.fun < (np.sqrt(16) - 1) ** 2 + (1e-6 if algorithm == "cma_es" else 0.2)


@pytest.mark.filterwarnings("ignore:nothing to learn from")
def test_where_no_point_keeps_the_constraints_there_is_no_value() -> None:
    found = raes.minimize(lambda x: 1.0, [0.0], constraints=lambda x: 1.0, budget=300)
    assert found.status == raes.Status.NOT_FINITE
    assert found.nfev == 0
    assert np.isnan(found.fun)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({}, "x0 is needed where there are no bounds"),
        ({"bounds": [(0, 1)], "x0": [0.5, 0.5]}, "bounds has 1 entries, and x0 has 2 numbers"),
        ({"bounds": [(1, 0)]}, r"low=1.0 must be below high=0.0"),
        ({"bounds": (0, 1)}, r"bounds=\(0, 1\) is for every coordinate, and without x0 nobody knows how many"),
        ({"bounds": [(0, None)]}, r"x0 is needed, since bounds\[0\]=\(0, inf\) has no middle"),
        ({"bounds": [(0, 1)], "x0": [2.0]}, r"x0\[0\]=2 must be a number from 0 to 1"),
        ({"bounds": 3}, r"bounds must hold \(low, high\) for each coordinate, got 3"),
        ({"bounds": [1, 2, 3]}, r"each entry must be \(low, high\), an Interval or a Category, got 1"),
        ({"bounds": [("a", 1)]}, "bounds: low must be a finite number, got 'a'"),
        ({"bounds": [(np.nan, 1)]}, "bounds: low must be a finite number, got nan"),
        ({"x0": [1.0], "constraints": 3}, "constraints must be callable, got 3"),
        ({"x0": [1.0], "constraints": lambda x: 1 / 0}, r"constraints fails at x=\[1.0\]: ZeroDivisionError"),
    ],
)
def test_a_wrong_domain_is_named(arguments: dict[str, Any], words: str) -> None:
    with pytest.raises(UserError, match=words):
        raes.minimize(lambda x: 0.0, **arguments)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: Interval(0, 1, log=True), "low=0 must be positive on a logarithmic scale"),
        (lambda: Interval(0.5, 2, integer=True), "low=0.5 and high=2 must be whole numbers"),
        (lambda: Category(1), "bounds: count of a category must be a whole number of at least 2, got 1"),
    ],
)
def test_a_wrong_coordinate_is_named(make: Any, words: str) -> None:
    with pytest.raises(UserError, match=words):
        make()
