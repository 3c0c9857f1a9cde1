"""ARS: its update and its normaliser against float64 computations."""

from __future__ import annotations

import numpy as np
import pytest
from pydantic import TypeAdapter, ValidationError

from raes.algorithms import ARS, ARSSettings
from raes.results import Batch, Moments
from raes.search import noise, running_stats
from raes.search.optimizers import OptimizerSettings
from raes.types import Float32

from .conftest import TABLE_SIZE

PAIRS, D = 12, 7
PLAIN = OptimizerSettings(name="sgd", stepsize=0.02, momentum=0.0, weight_decay=0.0)


def updated(table: Float32, returns: np.ndarray, **changes: object) -> tuple[np.ndarray, np.ndarray]:
    """The step from zero, and eps, float64 (n, d)."""
    ars = ARS(ARSSettings(pairs=PAIRS, **changes), PLAIN, 0, TABLE_SIZE)  # type: ignore[arg-type]
    state = ars.init(np.zeros(D, np.float32), running_stats.init(3))
    genomes = ars.ask(state, 0, PAIRS).genomes.take(slice(0, None, 2))
    lengths = np.arange(2 * PAIRS).reshape(PAIRS, 2)
    batch = Batch(np.arange(PAIRS), genomes, returns, np.sign(returns), lengths, capped_share=0.0)
    state, metrics = ars.step(
        state, batch, lambda index, weights, squared=False: noise.weighted_sum(table, index, weights, D)
    )
    assert "update_ratio" not in metrics  # theta was zero
    return state.theta, np.stack([table[start : start + D] for start in genomes.noise_index]).astype(np.float64)


@pytest.mark.parametrize("best", [None, 1, 5, PAIRS])
def test_the_step_equals_the_float64_computation(table: Float32, best: int | None) -> None:
    returns = np.random.default_rng(0).normal(100.0, 30.0, (PAIRS, 2))
    theta, eps = updated(table, returns, best=best)
    kept = sorted(range(PAIRS), key=lambda i: -max(returns[i]))[: best or PAIRS]
    spread = np.std([returns[i] for i in kept])
    expected = 0.02 / (len(kept) * spread) * sum((returns[i, 0] - returns[i, 1]) * eps[i] for i in kept)
    np.testing.assert_allclose(theta, expected, rtol=1e-5)


def test_the_alive_bonus_is_taken_from_the_fitness_before_the_best_are_chosen(table: Float32) -> None:
    returns = np.random.default_rng(1).normal(0.0, 1.0, (PAIRS, 2))
    lengths = np.arange(2 * PAIRS).reshape(PAIRS, 2)
    ours, _ = updated(table, returns + 5.0 * lengths, best=3, alive_bonus=5.0)
    plain, _ = updated(table, returns, best=3)
    np.testing.assert_allclose(ours, plain, rtol=1e-4)


def test_equal_returns_mean_no_step(table: Float32) -> None:
    theta, _ = updated(table, np.full((PAIRS, 2), 3.0))
    assert not theta.any()


@pytest.mark.parametrize("episodes", [1, 40])
def test_the_normaliser_is_that_of_the_observations_alone_and_leaves_out_what_does_not_vary(episodes: int) -> None:
    """The authors' filter.py has no prior: an input of mean 70 and std 0.001 comes out with mean 0 and std 1."""
    ars = ARS(ARSSettings(), PLAIN, 0, TABLE_SIZE)
    spread = [2.0, 0.0, 0.0, 1e-3, 1e-3]
    rows = np.random.default_rng(0).normal([0.0, 0.0, 1e4 / 3, 0.0, 70.0], spread, (episodes, 250, 5))
    means = rows.mean(axis=1)
    m2 = np.square(rows - means[:, None]).sum(axis=1)
    seen = Moments(np.arange(episodes), np.full(episodes, 250.0), means, m2)
    mean, scale, bound = ars.normalizer(running_stats.merge(running_stats.init(5), seen))
    np.testing.assert_allclose(mean, rows.mean(axis=(0, 1)), rtol=1e-12, atol=1e-12)
    out = (rows - mean) * scale
    np.testing.assert_allclose(out.mean(axis=(0, 1)), 0.0, atol=1e-6)
    np.testing.assert_allclose(out.std(axis=(0, 1)), [1.0, 0.0, 0.0, 1.0, 1.0], atol=1e-6)
    np.testing.assert_array_equal(scale[1:3], 0.0)
    assert bound == np.inf


def test_the_normaliser_changes_nothing_before_the_first_observation() -> None:
    ars = ARS(ARSSettings(), PLAIN, 0, TABLE_SIZE)
    mean, scale, _ = ars.normalizer(running_stats.init(4))
    np.testing.assert_array_equal(mean, 0.0)
    np.testing.assert_array_equal(scale, 1.0)


def test_returns_that_differ_by_rounding_alone_mean_no_step(table: Float32) -> None:
    lengths = np.arange(2 * PAIRS).reshape(PAIRS, 2)
    rewards = np.array([[sum([0.1] * int(length)) for length in pair] for pair in lengths])
    theta, _ = updated(table, rewards, alive_bonus=0.1)
    assert (rewards != 0.1 * lengths).any()
    assert not theta.any()


@pytest.mark.parametrize("best", [0, PAIRS + 1])
def test_best_must_lie_within_the_pairs(best: int) -> None:
    with pytest.raises(ValidationError, match=r"(?s)best.*(greater than or equal to 1|at most pairs)"):
        TypeAdapter(ARSSettings).validate_python({"pairs": PAIRS, "best": best})
