"""Observation statistics: any chunking and any grouping gives numpy's mean and variance."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from raes.results import Moments
from raes.search import running_stats
from raes.search.running_stats import EpisodeObservations, RunningStats, merge

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
    kept = EpisodeObservations(SIZE, chunk)
    for rows in episodes:  # one object for all: begin() must forget the last episode
        stats, *finite = gathered(kept, rows)
        assert stats is not None
        assert_close(stats, merge(NOTHING, of(rows)))
        assert finite == [True, True]


def gathered(
    kept: EpisodeObservations, rows: np.ndarray, summed: bool = True
) -> tuple[RunningStats | None, bool, bool]:
    """An episode with these observations, and a last one that is not part of the statistics."""
    kept.begin(summed)
    for row in [*rows, np.full(SIZE, 1e9)]:
        kept.next()[:] = row
    return kept.end()


@given(st.integers(1, 600), st.integers(0, 599), st.booleans(), st.sampled_from([np.nan, np.inf, -np.inf]))
def test_a_number_that_is_not_finite_is_found_wherever_it_is(
    length: int, where: int, summed: bool, value: float
) -> None:
    rows, kept = np.zeros((length, SIZE)), EpisodeObservations(SIZE)
    rows[where % length, 1] = value
    with np.errstate(invalid="ignore"):
        stats, *finite = gathered(kept, rows, summed)
        assert finite == [False, True]
        assert (stats is not None) == summed
        kept.begin(summed)
        for row in rows[: where % length + 1]:
            kept.next()[:] = row
        assert kept.end()[1:] == (True, False)
    assert gathered(kept, np.zeros((length, SIZE)), summed)[1:] == (True, True)


def test_precision_survives_a_long_run_far_from_zero() -> None:
    """In float32 a mean of 1e6 leaves nothing of a variance of 1."""
    rng = np.random.default_rng(0)
    stats, kept = NOTHING, EpisodeObservations(SIZE)
    everything = [1e6 + rng.standard_normal((500, SIZE)) for _ in range(40)]
    for rows in everything:
        of_episode, *_ = gathered(kept, rows)
        assert of_episode is not None
        stats = merge(stats, as_moments(of_episode))
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
