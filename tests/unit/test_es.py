"""ES: what it asks for, and its update against a float64 computation."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from raes.algorithms.gradient import GradientState
from raes.results import Batch, Moments
from raes.search import noise
from raes.search.optimizers import OptimizerSettings
from raes.search.schedules import EpisodeCap
from raes.tasks import Tasks
from raes.types import Float32

from .conftest import TABLE_SIZE, SmallES

PAIRS = 40
D = 7


def batch_of(search: SmallES, seed: int = 0, **changes: object) -> Batch:
    rng = np.random.default_rng(seed)
    genomes = search.algorithm.ask(search.state, 0, PAIRS).genomes.take(slice(0, None, 2))
    batch = Batch(
        index=np.arange(PAIRS),
        genomes=genomes,
        returns=rng.integers(-5, 6, (PAIRS, 2)).astype(np.float64),  # with ties
        sign_returns=rng.integers(-3, 4, (PAIRS, 2)).astype(np.float64),
        lengths=rng.integers(1, 30, (PAIRS, 2)),
        capped_share=0.25,
    )
    return dataclasses.replace(batch, **changes)  # type: ignore[arg-type]


def tell(search: SmallES, table: Float32, batch: Batch) -> tuple[GradientState, dict[str, float]]:
    return search.algorithm.step(
        search.state,
        batch,
        lambda index, weights, squared=False: noise.weighted_sum(table, index, weights, D, squared=squared),
    )


def slices(table: Float32, batch: Batch) -> np.ndarray:
    """eps, float64 (n, d)."""
    return np.stack([table[start : start + D] for start in batch.genomes.noise_index]).astype(np.float64)


def float64_ranks(values: np.ndarray) -> np.ndarray:
    flat = values.ravel()
    ranks = [(flat < x).sum() + ((flat == x).sum() - 1) / 2 for x in flat]
    return (np.array(ranks) / (flat.size - 1) - 0.5).reshape(values.shape)


# tell


@pytest.mark.parametrize("shaping", ["centered_ranks", "zscore", "sign", "centered_sign_rank", "identity"])
def test_tell_equals_the_float64_computation(search: type[SmallES], table: Float32, shaping: str) -> None:
    optimizer = OptimizerSettings(stepsize=0.02, weight_decay=0.01, momentum=0.9, beta2=0.99, epsilon=1e-4)
    es = search(D, shaping=shaping, optimizer=optimizer)
    batch = batch_of(es)
    f, signs, theta = batch.returns, batch.sign_returns, es.state.theta.astype(np.float64)
    utilities = {
        "centered_ranks": float64_ranks(f),
        "zscore": (f - f.mean()) / f.std(),
        "sign": signs,
        "centered_sign_rank": float64_ranks(signs),
        "identity": f,
    }[shaping]
    gradient = sum((u[0] - u[1]) * eps for u, eps in zip(utilities, slices(table, batch), strict=True)) / (2 * PAIRS)
    ascent = gradient - 0.01 * theta
    m, v = 0.1 * ascent, 0.01 * ascent**2
    step = 0.02 * np.sqrt(1 - 0.99) / (1 - 0.9) * m / (np.sqrt(v) + 1e-4)

    state, metrics = tell(es, table, batch)
    np.testing.assert_allclose(state.theta, theta + step, rtol=1e-5)
    assert state.theta.dtype == np.float32
    assert state.generation == 1
    np.testing.assert_allclose(state.optimizer.first, m, rtol=1e-4)
    np.testing.assert_allclose(state.optimizer.second, v, rtol=1e-4)
    assert metrics["grad_norm"] == pytest.approx(np.linalg.norm(gradient), rel=1e-5)
    assert metrics["theta_norm"] == pytest.approx(np.linalg.norm(theta), rel=1e-5)
    assert metrics["update_ratio"] == pytest.approx(np.linalg.norm(step) / np.linalg.norm(theta), rel=1e-5)
    assert metrics["stepsize"] == 0.02


def test_the_gradient_has_no_sigma_in_it(search: type[SmallES], table: Float32) -> None:
    small, large = search(D, sigma=0.01), search(D, sigma=10.0)
    batch = batch_of(small)
    np.testing.assert_array_equal(tell(small, table, batch)[0].theta, tell(large, table, batch)[0].theta)


def test_the_search_climbs_towards_better_returns(search: type[SmallES], table: Float32) -> None:
    """Identity shaping and a linear return: the step must point along its slope."""
    es = search(D, shaping="identity", optimizer=OptimizerSettings("sgd", weight_decay=0.0))
    batch = batch_of(es)
    slope = np.arange(1.0, D + 1)
    plus = slices(table, batch) @ slope
    state, _ = tell(es, table, dataclasses.replace(batch, returns=np.stack([plus, -plus], axis=1)))
    assert (state.theta - es.state.theta) @ slope > 0


def test_equal_returns_leave_theta_to_the_weight_decay_alone(search: type[SmallES], table: Float32) -> None:
    es = search(D, optimizer=OptimizerSettings(weight_decay=0.0))
    state, metrics = tell(es, table, batch_of(es, returns=np.full((PAIRS, 2), 3.5)))
    np.testing.assert_array_equal(state.theta, es.state.theta)
    assert metrics["grad_norm"] == 0.0


def test_swapping_plus_and_minus_reverses_the_step(search: type[SmallES], table: Float32) -> None:
    es = search(D, optimizer=OptimizerSettings("sgd", weight_decay=0.0))
    batch = batch_of(es)
    forth = tell(es, table, batch)[0].theta - es.state.theta
    back = tell(es, table, dataclasses.replace(batch, returns=batch.returns[:, ::-1]))[0].theta - es.state.theta
    np.testing.assert_allclose(back, -forth, rtol=1e-4, atol=1e-7)


def test_the_alive_bonus_changes_the_fitness_and_leaves_the_returns(search: type[SmallES], table: Float32) -> None:
    es = search(D, alive_bonus=0.5)
    batch = batch_of(es)
    before = batch.returns.copy()
    shifted = dataclasses.replace(batch, returns=batch.returns - 0.5 * batch.lengths)
    theta = tell(es, table, batch)[0].theta
    np.testing.assert_array_equal(theta, tell(search(D), table, shifted)[0].theta)
    assert not np.array_equal(theta, tell(search(D), table, batch)[0].theta)
    np.testing.assert_array_equal(batch.returns, before)


def test_the_update_ratio_is_absent_where_theta_is_zero(search: type[SmallES], table: Float32) -> None:
    es = search(D)
    es.state = es.algorithm.init(np.zeros(D, np.float32), es.state.conditions.observations)
    _, metrics = tell(es, table, batch_of(es))
    assert "update_ratio" not in metrics
    assert np.isfinite(list(metrics.values())).all()


def test_tell_takes_in_the_observations_and_changes_the_old_state_in_nothing(
    search: type[SmallES], table: Float32
) -> None:
    es = search(D)
    rows = np.random.default_rng(3).standard_normal((50, 3)) + 4
    moments = Moments(
        np.zeros(1, np.int64), np.array([50.0]), rows.mean(0)[None], ((rows - rows.mean(0)) ** 2).sum(0)[None]
    )
    theta_before = es.state.theta.copy()
    state, _ = tell(es, table, batch_of(es, moments=moments))
    np.testing.assert_allclose(state.conditions.observations.mean, rows.sum(0) / 50.01, rtol=1e-12)
    assert state.conditions.observations.count == pytest.approx(50.01)
    np.testing.assert_array_equal(es.state.theta, theta_before)
    assert es.state.generation == 0
    assert es.state.conditions.observations.count == pytest.approx(0.01)


def test_sigma_and_stepsize_decay_with_the_generation_down_to_their_minimum(
    search: type[SmallES], table: Float32
) -> None:
    optimizer = OptimizerSettings(stepsize=0.1, stepsize_decay=0.5, stepsize_min=0.03)
    es = search(D, sigma=0.08, sigma_decay=0.5, sigma_min=0.02, optimizer=optimizer)
    sigmas, stepsizes, asked = [], [], []
    for _ in range(4):
        asked.append(float(es.algorithm.ask(es.state, 0, 1).genomes.scale[0]))
        es.state, metrics = tell(es, table, batch_of(es))
        sigmas.append(metrics["sigma"])
        stepsizes.append(metrics["stepsize"])
    assert sigmas == [0.08, 0.04, 0.02, 0.02]
    assert stepsizes == [0.1, 0.05, 0.03, 0.03]
    assert asked == pytest.approx(sigmas)


def test_the_running_length_follows_the_episodes_and_feeds_the_cap(search: type[SmallES], table: Float32) -> None:
    es = search(D, episode_cap=EpisodeCap("mean", factor=2.0))
    assert es.algorithm.snapshot(es.state).max_steps is None
    es.state, metrics = tell(es, table, batch_of(es, lengths=np.full((PAIRS, 2), 10)))
    assert "episode_cap" not in metrics
    assert es.algorithm.next_round(es.state).expected_length == 10
    assert es.algorithm.snapshot(es.state).max_steps == 20
    es.state, metrics = tell(es, table, batch_of(es, lengths=np.full((PAIRS, 2), 20)))
    assert metrics["episode_cap"] == 20
    assert es.algorithm.next_round(es.state).expected_length == pytest.approx(11)
    assert es.algorithm.snapshot(es.state).max_steps == 22


def test_the_snapshot_has_a_normaliser_only_where_observations_are_normalised(search: type[SmallES]) -> None:
    on, off = search(D, action_noise=0.1), search(D, normalize_observations=False)
    snapshot = on.algorithm.snapshot(on.state)
    np.testing.assert_array_equal(snapshot.obs_mean, np.zeros(3))
    np.testing.assert_array_equal(snapshot.obs_scale, np.ones(3))
    assert (snapshot.action_noise, snapshot.obs_clip) == (0.1, 5.0)
    assert off.algorithm.snapshot(off.state).obs_mean is None
    assert not off.algorithm.ask(off.state, 0, 50).observe.any()


# ask


def columns(tasks: Tasks) -> list[np.ndarray]:
    return [tasks.index, tasks.reset, tasks.observe, tasks.genomes.noise_index, tasks.genomes.scale]


@given(first=st.integers(0, 3000), cuts=st.lists(st.integers(1, 1500), min_size=1, max_size=4))
def test_any_range_of_pairs_is_the_same_as_asking_for_all_at_once(first: int, cuts: list[int]) -> None:
    es = SmallES(D, observation_share=0.3)
    everything = es.algorithm.ask(es.state, 0, first + sum(cuts))
    for count in cuts:
        part = es.algorithm.ask(es.state, first, count)
        expected = everything.take(slice(2 * first, 2 * (first + count)))
        for got, wanted in zip(columns(part), columns(expected), strict=True):
            np.testing.assert_array_equal(got, wanted)
        first += count


@pytest.mark.parametrize("shared", [True, False])
def test_a_pair_mirrors_one_noise_slice_and_may_share_its_reset_seed(search: type[SmallES], shared: bool) -> None:
    es = search(D, sigma=0.05, shared_reset=shared)
    tasks = es.algorithm.ask(es.state, 10, 30)
    assert tasks.index.tolist() == list(range(20, 80))
    assert tasks.genomes.scale.tolist() == [np.float32(0.05), -np.float32(0.05)] * 30
    np.testing.assert_array_equal(tasks.genomes.noise_index[::2], tasks.genomes.noise_index[1::2])
    pairs = tasks.reset.reshape(-1, 2)
    assert (pairs[:, 0] == pairs[:, 1]).all() == shared
    assert len(set(tasks.reset.tolist())) == (30 if shared else 60)


def test_noise_indices_reach_both_ends_of_the_table_and_no_further(search: type[SmallES]) -> None:
    es = search(TABLE_SIZE - 3)
    indices = es.algorithm.ask(es.state, 0, 300).genomes.noise_index
    assert set(indices.tolist()) == {0, 1, 2, 3}


def changed_generation(search: SmallES) -> SmallES:
    search.state = dataclasses.replace(search.state, generation=1)
    return search


@pytest.mark.parametrize("other", [lambda: changed_generation(SmallES(D)), lambda: SmallES(D, seed=1)])
def test_another_generation_or_seed_draws_other_noise(search: type[SmallES], other: Callable[[], SmallES]) -> None:
    es, changed = search(D), other()
    here, there = es.algorithm.ask(es.state, 0, 200), changed.algorithm.ask(changed.state, 0, 200)
    assert (here.genomes.noise_index == there.genomes.noise_index).mean() < 0.05


def test_the_observed_share_of_episodes_is_the_one_asked_for(search: type[SmallES]) -> None:
    for share, low, high in [(0.0, 0.0, 0.0), (0.1, 0.08, 0.12), (1.0, 1.0, 1.0)]:
        es = search(D, observation_share=share)
        observe = es.algorithm.ask(es.state, 0, 2000).observe
        assert observe.dtype == np.bool_
        assert low <= observe.mean() <= high
