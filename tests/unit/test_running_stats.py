"""Observation statistics: any chunking and any grouping gives numpy's mean and variance."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from raes.results import Moments
from raes.search import running_stats
from raes.search.running_stats import EpisodeMoments, RunningStats, merge

SIZE = 2
NOTHING = RunningStats(0.0, np.zeros(SIZE), np.zeros(SIZE))
EPISODES = st.lists(
    st.integers(1, 20).flatmap(lambda rows: arrays(np.float64, (rows, SIZE), elements=st.floats(-1e3, 1e3, width=32))),
    min_size=1,
    max_size=6,
)


def of(*episodes: np.ndarray) -> Moments:
    """The moments of whole episodes, by numpy."""
    return Moments(
        np.arange(len(episodes)),
        np.array([float(len(rows)) for rows in episodes]),
        np.stack([rows.mean(axis=0) for rows in episodes]),
        np.stack([np.square(rows - rows.mean(axis=0)).sum(axis=0) for rows in episodes]),
    )


def as_moments(stats: RunningStats) -> Moments:
    return Moments(np.zeros(1, np.int64), np.array([stats.count]), stats.mean[None], stats.m2[None])


def assert_close(stats: RunningStats, other: RunningStats) -> None:
    assert stats.count == other.count
    np.testing.assert_allclose(stats.mean, other.mean, rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose(stats.m2, other.m2, rtol=1e-9, atol=1e-6)


@given(EPISODES)
def test_merged_episodes_have_the_mean_and_variance_of_all_observations(episodes: list[np.ndarray]) -> None:
    rows = np.concatenate(episodes)
    stats = merge(NOTHING, of(*episodes))
    assert stats.count == len(rows)
    np.testing.assert_allclose(stats.mean, rows.mean(axis=0), rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose(stats.m2 / stats.count, rows.var(axis=0), rtol=1e-9, atol=1e-6)


@given(EPISODES, st.data())
def test_merging_is_associative(episodes: list[np.ndarray], data: st.DataObject) -> None:
    cut = data.draw(st.integers(0, len(episodes) - 1))
    left, right = episodes[:cut], episodes[cut:]
    together = merge(NOTHING, of(*episodes))
    one_by_one = merge(merge(NOTHING, of(*left)), of(*right)) if left else merge(NOTHING, of(*right))
    groups_first = merge(merge(NOTHING, of(*left)) if left else NOTHING, as_moments(merge(NOTHING, of(*right))))
    assert_close(together, one_by_one)
    assert_close(together, groups_first)


@given(EPISODES, st.integers(1, 30))
def test_an_episodes_moments_are_the_same_for_every_chunk_length(episodes: list[np.ndarray], chunk: int) -> None:
    gatherer = EpisodeMoments(SIZE, chunk)
    for rows in episodes:  # one gatherer for all: clear() must forget the last episode
        gatherer.clear()
        buffer = np.empty(SIZE)
        for row in rows:
            buffer[:] = row  # an environment may hand out one buffer again and again
            gatherer.add(buffer)
        assert_close(gatherer.result(), merge(NOTHING, of(rows)))


def test_precision_survives_a_long_run_far_from_zero() -> None:
    """In float32 a mean of 1e6 leaves nothing of a variance of 1."""
    rng = np.random.default_rng(0)
    stats, gatherer = NOTHING, EpisodeMoments(SIZE)
    everything = [1e6 + rng.standard_normal((500, SIZE)) for _ in range(40)]
    for rows in everything:
        gatherer.clear()
        for row in rows:
            gatherer.add(row)
        stats = merge(stats, as_moments(gatherer.result()))
    np.testing.assert_allclose(stats.m2 / stats.count, np.concatenate(everything).var(axis=0), rtol=1e-6)


def test_the_prior_is_mean_zero_and_variance_one_worth_a_hundredth_of_an_observation() -> None:
    stats = running_stats.init(3)
    assert stats.count == 1e-2
    np.testing.assert_array_equal(stats.mean, 0)
    np.testing.assert_array_equal(stats.scale(), 1)


def test_the_scale_is_one_over_the_std_with_a_floor_under_the_variance() -> None:
    stats = RunningStats(10.0, np.zeros(3), np.array([40.0, 0.0, 1e-3]))
    np.testing.assert_allclose(stats.scale(), [0.5, 10.0, 10.0])
    np.testing.assert_allclose(stats.scale(min_variance=1e-6), [0.5, 1000.0, 100.0])


@given(EPISODES)
def test_without_the_prior_there_are_the_observations_alone(episodes: list[np.ndarray]) -> None:
    rows = np.concatenate(episodes)
    seen = merge(running_stats.init(SIZE), of(*episodes)).without_prior()
    np.testing.assert_allclose(seen.count, len(rows), rtol=1e-12)
    np.testing.assert_allclose(seen.mean, rows.mean(axis=0), rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose(seen.m2 / seen.count, rows.var(axis=0), rtol=1e-9, atol=1e-6)
