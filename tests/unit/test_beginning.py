"""How a search of a function begins: standard deviations of each coordinate, a covariance, an earlier result."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import raes
from raes.types import UserError

ADAPTIVE = ["cma_es", "xnes", "snes", "gaussian_es", "cem"]
MATRIX = np.array([[4.0, -1.5], [-1.5, 1.0]])


def ellipsoid(shift: float, dim: int = 20) -> Any:
    """A quadratic of condition 1e6 along rotated axes, whose optimum is `shift` in each coordinate."""
    axes = np.linalg.qr(np.random.default_rng(0).standard_normal((dim, dim)))[0]
    weights = 1e6 ** (np.arange(dim) / (dim - 1))
    return lambda x: float((weights * np.square(axes @ (x - shift))).sum())


def first_points(algorithm: str, x0: Any, **keys: Any) -> np.ndarray:
    size = {"pairs": 4000} if algorithm in ("pgpe", "es") else {"population": 8000}
    return raes.Optimizer(algorithm, x0, **size, **keys).ask()


@pytest.mark.parametrize("algorithm", [*ADAPTIVE, "es", "ga"])
def test_sigma_may_be_another_one_in_each_coordinate(algorithm: str) -> None:
    points = first_points(algorithm, [1.0, 2.0, 3.0], sigma=[0.1, 10.0, 1.0])
    np.testing.assert_allclose(points.std(axis=0), [0.1, 10.0, 1.0], rtol=0.05)
    np.testing.assert_allclose(points.mean(axis=0), [1, 2, 3], atol=0.5)


def test_of_pgpe_it_is_the_radius() -> None:
    points = first_points("pgpe", [0.0] * 4, radius=[2.0, 20.0, 2.0, 2.0])
    np.testing.assert_allclose(points.std(axis=0), [1, 10, 1, 1], rtol=0.05)


def test_of_a_range_it_is_a_share() -> None:
    points = first_points("cma_es", [50.0, 0.0], bounds=[(0, 100), (None, None)], sigma=[0.01, 3.0])
    np.testing.assert_allclose(points.std(axis=0), [1.0, 3.0], rtol=0.05)


def test_equal_standard_deviations_are_one_number() -> None:
    def values(**keys: Any) -> Any:
        return raes.minimize(ellipsoid(1.0, 4), np.zeros(4), budget=400, **keys).history[1]

    np.testing.assert_allclose(values(sigma=[0.5] * 4), values(sigma=0.5), rtol=1e-6)


@pytest.mark.parametrize("algorithm", ["cma_es", "xnes"])
@pytest.mark.parametrize("bounds", [None, [(-100, 100), (-1000, None)]])
def test_the_first_points_have_the_covariance(algorithm: str, bounds: Any) -> None:
    points = first_points(algorithm, [0.0, 0.0], cov=MATRIX, bounds=bounds)
    np.testing.assert_allclose(np.cov(points.T), MATRIX, rtol=0.1)
    search = raes.Optimizer(algorithm, [0.0, 0.0], cov=MATRIX, sigma=3.0, bounds=bounds)
    np.testing.assert_allclose(search.covariance, 9 * MATRIX, rtol=1e-9)
    np.testing.assert_allclose(search.std, [6.0, 3.0], rtol=1e-9)


@pytest.mark.parametrize("algorithm", ADAPTIVE)
def test_variances_are_for_every_method(algorithm: str) -> None:
    points = first_points(algorithm, [0.0, 0.0], cov=[4.0, 0.01])
    np.testing.assert_allclose(points.std(axis=0), [2.0, 0.1], rtol=0.05)


def test_a_search_that_knows_the_shape_needs_far_fewer_evaluations() -> None:
    earlier = raes.minimize(ellipsoid(0.0), np.ones(20), budget=100_000, target=1e-10)
    keys: dict[str, Any] = {"budget": 100_000, "target": 1e-10, "seed": 3}
    cold = raes.minimize(ellipsoid(0.7), earlier.center, **keys)
    warm = raes.minimize(ellipsoid(0.7), warm_start=earlier, **keys)
    assert cold.success
    assert warm.success
    assert warm.nfev < 0.55 * cold.nfev


def test_what_is_given_beside_an_earlier_result_counts() -> None:
    earlier = raes.minimize(ellipsoid(0.0, 3), np.ones(3), budget=3000, target=1e-8)
    search = raes.Optimizer("cma_es", None, warm_start=earlier)
    np.testing.assert_array_equal(search.theta, earlier.center)
    assert search.std is not None
    assert search.std.max() == pytest.approx(2.0)
    assert earlier.std is not None
    np.testing.assert_allclose(search.std / search.std.max(), earlier.std / earlier.std.max(), rtol=1e-9)
    other = raes.Optimizer("cma_es", [5.0, 5.0, 5.0], warm_start=earlier, sigma=0.1)
    np.testing.assert_array_equal(other.theta, [5.0, 5.0, 5.0])
    assert other.std is not None
    assert other.std.max() == pytest.approx(0.1)
    ratio = other.covariance / search.covariance
    np.testing.assert_allclose(ratio, ratio[0, 0], rtol=1e-6)


def test_a_method_without_a_covariance_takes_the_standard_deviations() -> None:
    earlier = raes.minimize(ellipsoid(0.0, 3), np.ones(3), budget=3000, target=1e-8)
    search = raes.Optimizer("snes", None, warm_start=earlier)
    assert search.std is not None
    assert earlier.std is not None
    np.testing.assert_allclose(search.std / search.std.max(), earlier.std / earlier.std.max(), rtol=1e-9)


def test_an_earlier_search_with_bounds_and_categories() -> None:
    bounds = [raes.Interval(1e-3, 10, log=True), (0, 1), raes.Category(2)]
    earlier = raes.minimize(lambda x: float(x[:2].sum() + x[2]), bounds=bounds, budget=400)
    assert earlier.covariance is None
    search = raes.Optimizer("cma_es", None, bounds=bounds, warm_start=earlier, sigma=0.1)
    assert search.std is not None
    assert earlier.std is not None
    np.testing.assert_allclose((search.std / earlier.std)[:2], (search.std / earlier.std)[0], rtol=1e-9)
    plain = raes.minimize(lambda x: float(x[:2].sum()), bounds=bounds[:2], budget=400)
    assert plain.covariance is not None
    np.testing.assert_allclose(np.sqrt(plain.covariance.diagonal()), plain.std, rtol=1e-9)


def test_the_same_bits_with_workers_and_after_a_stop(tmp_path: Any) -> None:
    keys: dict[str, Any] = {"cov": MATRIX, "seed": 1, "algorithm": "cma_es"}
    whole = raes.minimize(ellipsoid(1.0, 2), np.zeros(2), budget=300, **keys)

    def stops(result: raes.Optimum) -> bool:
        return result.nfev > 100

    function = ellipsoid(1.0, 2)
    first = raes.minimize(function, np.zeros(2), budget=300, run_dir=tmp_path / "run", callback=stops, **keys)
    assert first.nfev < 300
    again = raes.minimize(function, np.zeros(2), budget=300, run_dir=tmp_path / "run", resume="auto", **keys)
    assert again.x.tobytes() == whole.x.tobytes()
    with pytest.raises(UserError, match="was made with other arguments"):
        raes.minimize(function, np.zeros(2), run_dir=tmp_path / "run", resume="auto", **(keys | {"cov": 2 * MATRIX}))


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"sigma": [1.0]}, "sigma has 1 numbers, and x has 2; give one number, or one for each"),
        ({"sigma": [1.0, -1.0]}, r"sigma must be positive, got \[1.0, -1.0\]"),
        ({"sigma": [1.0, np.nan]}, "sigma must be a vector of finite numbers"),
        ({"cov": np.eye(3)}, r"cov has the shape \(3, 3\), and x has 2 numbers; give \(2, 2\)"),
        ({"cov": [[1.0, 0.5], [0.0, 1.0]]}, "cov must be a covariance: symmetric"),
        ({"cov": [[1.0, 2.0], [2.0, 1.0]]}, "cov: the covariance is not positive definite"),
        ({"cov": "a"}, "cov must be a matrix of numbers, got 'a'"),
        ({"cov": MATRIX, "sigma": [1.0, 1.0]}, "sigma must be a positive number"),
        ({"cov": MATRIX, "algorithm": "snes"}, "cov: algorithm=snes has no covariance that is full"),
        ({"cov": MATRIX, "algorithm": "cma_es", "covariance": "diagonal"}, "has no covariance that is full"),
        ({"warm_start": 3}, "warm_start must be the result of an earlier search, got 3"),
    ],
)
def test_a_wrong_beginning_is_named(arguments: dict[str, Any], words: str) -> None:
    with pytest.raises(UserError, match=words):
        raes.minimize(lambda x: float(x @ x), [0.0, 0.0], **arguments)


def test_an_earlier_result_that_does_not_fit_is_named() -> None:
    of_es = raes.minimize(lambda x: float(x @ x), [0.0, 0.0], algorithm="es", budget=100)
    with pytest.raises(UserError, match="warm_start: algorithm=es adapts no standard deviations; give x0=result"):
        raes.Optimizer("cma_es", None, warm_start=of_es)
    earlier = raes.minimize(lambda x: float(x @ x), [0.0, 0.0], budget=100)
    with pytest.raises(UserError, match="warm_start is of 2 numbers, and x has 3"):
        raes.Optimizer("cma_es", [0.0] * 3, warm_start=earlier)
    with pytest.raises(UserError, match="cov and warm_start both say"):
        raes.Optimizer("cma_es", None, warm_start=earlier, cov=np.eye(2))
