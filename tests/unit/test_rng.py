"""Every stream of random numbers belongs to (seed, purpose, generation, index)."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from raes.rng import Purpose, generator, reset_seed

GOLDEN = ("522b29a3908f6e66", "77c0eb6b499c1a9e", 1306532593, 34396655)
KEYS = list(itertools.product((0, 1, 2**63 - 1), Purpose, (0, 1, 2), (0, 1, 2)))


def test_a_stream_is_the_same_each_time() -> None:
    first, second = (generator(3, Purpose.TRAINING, 5, 7).standard_normal(10) for _ in range(2))
    np.testing.assert_array_equal(first, second)


def test_any_other_seed_purpose_generation_or_index_is_another_stream() -> None:
    assert len({generator(*key).bytes(16) for key in KEYS}) == len(KEYS)
    assert len({reset_seed(*key) for key in KEYS}) == len(KEYS)


def test_streams_of_neighbouring_keys_are_uncorrelated() -> None:
    rows = np.stack(
        [generator(0, purpose, 0, index).standard_normal(4000) for purpose in Purpose for index in range(3)]
    )
    correlations = np.corrcoef(rows)[np.triu_indices(len(rows), 1)]
    assert np.abs(correlations).max() < 0.08  # five standard errors


def test_seed_zero_is_a_seed_like_any_other() -> None:
    np.testing.assert_array_equal(generator(0, Purpose.TRAINING).random(3), generator(0, Purpose.TRAINING).random(3))
    assert reset_seed(0, Purpose.EVALUATION, 0, 0) == reset_seed(0, Purpose.EVALUATION, 0, 0)


def test_reset_seeds_are_what_an_environment_takes() -> None:
    seeds = [reset_seed(*key) for key in KEYS if key[1] != Purpose.HELD_OUT]
    assert all(type(seed) is int and 0 <= seed < 2**31 for seed in seeds)
    assert min(seeds) < 2**28
    assert max(seeds) > 2**30


def test_held_out_seeds_are_shared_with_no_other_purpose() -> None:
    seeds = [reset_seed(seed, Purpose.HELD_OUT, 0, index) for seed in range(3) for index in range(100)]
    assert all(2**31 <= seed < 2**32 for seed in seeds)


def test_the_numbers_of_the_purposes_never_change() -> None:
    assert {purpose.name: int(purpose) for purpose in Purpose}.items() >= {
        "INITIAL_THETA": 0, "NOISE_INDEX": 1, "TRAINING": 2, "ACTION_NOISE": 3,
        "OBSERVE": 4, "EVALUATION": 5, "HELD_OUT": 6,
    }.items()  # fmt: skip


def test_the_streams_never_change_from_version_to_version() -> None:
    """Checkpoints and seeds in messages rely on these bits."""
    assert generator(0, Purpose.NOISE_INDEX).bytes(8).hex() == GOLDEN[0]
    assert generator(42, Purpose.TRAINING, 3, 11).bytes(8).hex() == GOLDEN[1]
    assert reset_seed(0, Purpose.TRAINING, 0, 0) == GOLDEN[2]
    assert reset_seed(42, Purpose.EVALUATION, 0, 9) == GOLDEN[3]


@pytest.mark.parametrize("key", [(-1, Purpose.TRAINING, 0, 0), (2**64, Purpose.TRAINING, 0, 0)])
def test_a_key_that_does_not_fit_is_an_error_and_no_silent_wrap(key: tuple) -> None:
    with pytest.raises(Exception, match=r"argument|range|format"):
        generator(*key)
