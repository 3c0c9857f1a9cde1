"""Noisy functions: what comes back is an estimate."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import raes
from raes.api.reevaluation import chosen, reserved
from raes.search.endings import TREND
from raes.types import UserError


def noisy_sphere(std: float, seed: int) -> Any:
    rng = np.random.default_rng(seed)
    return lambda x: float(np.square(x - 1).sum()) + std * rng.standard_normal()


def true_value(x: np.ndarray) -> float:
    return float(np.square(x - 1).sum())


@pytest.mark.parametrize("algorithm", ["cma_es", "snes"])
def test_the_value_is_an_estimate_with_its_error_and_not_the_luckiest_draw(algorithm: str) -> None:
    scores, lucky = [], []
    for seed in range(5):
        keys: dict[str, Any] = {"algorithm": algorithm, "budget": 1500, "seed": seed}
        found = raes.minimize(noisy_sphere(0.5, seed), np.zeros(5), noisy=True, **keys)
        plain = raes.minimize(noisy_sphere(0.5, seed), np.zeros(5), **keys)
        assert found.nfev <= 1500
        assert found.error is not None
        assert plain.error is None
        scores.append((found.fun - true_value(found.x)) / found.error)
        lucky.append(plain.fun - true_value(plain.x))
    assert np.abs(scores).mean() < 2.0
    assert np.mean(lucky) < -1.0


def test_the_budget_holds_the_further_evaluations() -> None:
    assert [reserved(budget) for budget in (1, 10, 100, 10_000)] == [0, 5, 20, 1000]
    calls = []

    def counted(x: np.ndarray) -> float:
        calls.append(x)
        return true_value(x)

    for budget in (1, 2, 7, 50, 500):
        calls.clear()
        found = raes.minimize(counted, np.zeros(2), budget=budget, noisy=True)
        assert len(calls) == found.nfev <= budget
        assert found.fun == pytest.approx(true_value(found.x))


def test_halving_finds_the_best_candidate() -> None:
    rng = np.random.default_rng(0)
    candidates = [np.full(2, value) for value in (0.0, 3.0, 1.1, 2.0, 0.9)]
    counts = []

    def fitness(points: np.ndarray) -> np.ndarray:
        counts.append(len(points))
        return -np.square(points - 1).sum(axis=1) + 0.05 * rng.standard_normal(len(points))

    x, mean, error = chosen(candidates, fitness, 400)
    assert x[0] in (1.1, 0.9)
    assert abs(mean + 0.02) < 4 * error
    assert sum(counts) <= 400
    x, mean, _ = chosen([np.zeros(1), np.ones(1)], lambda points: np.where(points[:, 0] > 0, np.nan, -5.0), 20)
    assert (x[0], mean) == (0.0, -5.0)


def test_a_target_is_refused() -> None:
    with pytest.raises(UserError, match=r"target=1\.0: one value of a noisy function means little"):
        raes.minimize(true_value, [0.0], noisy=True, target=1.0)


def test_the_population_grows_where_noise_hides_the_progress_and_not_before() -> None:
    def sizes(std: float) -> list[int]:
        search, rng, found = raes.Optimizer("cma_es", np.full(5, 3.0), noisy=True), np.random.default_rng(0), []
        for _ in range(60):
            points = search.ask()
            found.append(len(points))
            search.tell([-true_value(x) - std * rng.standard_normal() for x in points])
        return found

    exact, noisy = sizes(0.0), sizes(1.0)
    assert set(exact) == {16}
    assert noisy[:TREND] == [16] * TREND
    assert noisy == sorted(noisy)
    assert noisy[-1] > 50


def test_a_noisy_search_comes_closer_than_one_that_knows_of_no_noise() -> None:
    weights = 100.0 ** np.linspace(0, 1, 5)

    def exact(x: np.ndarray) -> float:
        return float((weights * np.square(x - 1)).sum())

    def found(seed: int, noisy: bool) -> float:
        rng = np.random.default_rng(seed)
        result = raes.minimize(
            lambda x: exact(x) * np.exp(rng.standard_normal()) + 2 * rng.standard_normal(), np.full(5, -2.0),
            noisy=noisy, budget=4000, seed=seed,
        )  # fmt: skip
        return exact(result.x)

    ratios = [np.log(found(seed, True) / found(seed, False)) for seed in range(8)]
    assert np.mean(ratios) < np.log(0.5)


def test_methods_without_standard_deviations_of_their_own_take_noise_too() -> None:
    found = raes.minimize(noisy_sphere(0.1, 0), np.zeros(3), algorithm="es", noisy=True, budget=600)
    assert found.error is not None
