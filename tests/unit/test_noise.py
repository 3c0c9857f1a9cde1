"""The shared noise table, the decoder and the weighted sum over its slices."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from raes.runtime.scheduling import shares
from raes.search import noise
from raes.search.noise import (
    FILL_CHUNK,
    SUM_SLICE,
    fingerprint,
    join_slices,
    make_table,
    num_slices,
    parameters_of,
    table_size,
    weighted_sum,
)
from raes.search.perturbation import Decoder
from raes.tasks import Genomes, Lineages, Snapshot
from raes.types import Float32


def test_the_table_is_float32_standard_normal_and_always_the_same() -> None:
    table = make_table(1 << 18)
    assert table.dtype == np.float32
    assert abs(float(table.mean(dtype=np.float64))) < 0.01
    assert abs(float(table.std(dtype=np.float64)) - 1) < 0.01
    np.testing.assert_array_equal(table, make_table(1 << 18))


def test_a_smaller_table_is_the_beginning_of_a_larger_one_and_no_chunk_repeats() -> None:
    large = make_table(2 * FILL_CHUNK + 5000)
    np.testing.assert_array_equal(make_table(FILL_CHUNK + 777), large[: FILL_CHUNK + 777])
    assert (large[:5000] != large[FILL_CHUNK : FILL_CHUNK + 5000]).mean() > 0.99
    assert (large[FILL_CHUNK : FILL_CHUNK + 5000] != large[2 * FILL_CHUNK :]).mean() > 0.99


def test_filling_the_table_never_holds_more_than_the_table() -> None:
    size = 4 * FILL_CHUNK
    tracemalloc.start()
    try:
        make_table(size)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert 4 * size <= peak < 1.2 * 4 * size


def test_the_fingerprint_tells_sizes_and_contents_apart(table: Float32) -> None:
    other = table.copy()
    other[0] += 1
    assert fingerprint(table) == fingerprint(table.copy())
    assert len({fingerprint(table), fingerprint(other), fingerprint(table[:-1]), fingerprint(table[: 1 << 12])}) == 4


@pytest.mark.parametrize(
    ("num_params", "size"),
    [
        (1, 1 << 24),
        (65_536, 1 << 24),
        (65_537, 1 << 25),
        (131_072, 1 << 25),
        (166_673, 1 << 26),
        (1 << 20, 1 << 28),
        (50_000_000, 1 << 28),
        (1 << 27, 1 << 28),
        ((1 << 27) + 1, 1 << 29),
    ],
)
def test_the_table_size_depends_on_the_number_of_parameters_alone(num_params: int, size: int) -> None:
    assert table_size(num_params) == size


@given(st.integers(1, 1 << 28))
def test_a_table_always_has_room_for_two_policies(num_params: int) -> None:
    assert table_size(num_params) >= 2 * num_params
    assert table_size(num_params) & (table_size(num_params) - 1) == 0


def test_decoding_gives_theta_plus_scaled_noise_in_the_buffer(table: Float32) -> None:
    theta = np.linspace(-1, 1, 11, dtype=np.float32)
    genomes = Genomes(np.array([5, 5, 9_989, 123]), np.array([0.02, -0.02, 3.0, 0.0], np.float32))
    decode, snapshot = Decoder(table, 11), Snapshot(0, theta)
    for row, (start, scale) in enumerate(zip(genomes.noise_index, genomes.scale, strict=True)):
        out = decode(snapshot, genomes, row)
        expected = theta.astype(np.float64) + float(scale) * table[start : start + 11].astype(np.float64)
        np.testing.assert_allclose(out, expected, rtol=1e-6, atol=1e-7)
    np.testing.assert_array_equal(out, theta)  # the last has scale 0
    assert not np.shares_memory(out, theta)


def test_decoding_spreads_the_noise_and_takes_vectors_as_they_are(table: Float32) -> None:
    theta, spread = np.linspace(-1, 1, 11, dtype=np.float32), np.linspace(0.1, 2, 11, dtype=np.float32)
    decode = Decoder(table, 11)
    out = decode(Snapshot(0, theta, spread=spread), Genomes(np.array([7]), np.array([-1.0], np.float32)), 0)
    np.testing.assert_allclose(out, theta - spread * table[7:18], rtol=1e-6, atol=1e-7)
    vector = np.arange(11, dtype=np.float32)[None]
    genomes = Genomes(np.zeros(1, np.int64), np.ones(1, np.float32), vectors=vector)
    np.testing.assert_array_equal(decode(Snapshot(0, theta), genomes, 0), vector[0])


def test_a_chain_has_the_same_bits_whatever_was_decoded_before(table: Float32) -> None:
    roots = np.linspace(-1, 1, 11, dtype=np.float32)[None]
    links = np.random.default_rng(0).integers(0, table.size - 11, 1000)
    zero = np.zeros(1, np.int64)

    def member(length: int) -> Snapshot:
        return Snapshot(0, roots[0], lineages=Lineages(roots, zero, np.array([length]), links[:length], 0.02))

    genomes = Genomes(zero, np.zeros(1, np.float32), parent=zero)
    step_by_step, at_once = Decoder(table, 11), Decoder(table, 11)
    for length in range(1001):
        last = step_by_step(member(length), genomes, 0).copy()
    assert last.tobytes() == at_once(member(1000), genomes, 0).tobytes()
    exact = roots[0] + np.float32(0.02) * sum(table[start : start + 11].astype(np.float64) for start in links)
    np.testing.assert_allclose(last, exact, rtol=1e-3, atol=1e-4)
    assert links.nbytes < 10_000  # what a member of 1,000 generations takes in a checkpoint


@pytest.mark.parametrize("num_params", [1, 1000, SUM_SLICE, SUM_SLICE + 1, 2 * SUM_SLICE + 12_345])
@pytest.mark.parametrize("pairs", [0, 1, noise.SUM_PAIRS + 1])
def test_the_weighted_sum_equals_the_float64_sum(big_table: Float32, num_params: int, pairs: int) -> None:
    rng = np.random.default_rng(pairs)
    index = rng.integers(0, big_table.size - num_params + 1, pairs)
    weights = rng.standard_normal(pairs).astype(np.float32)
    total = weighted_sum(big_table, index, weights, num_params)
    assert total.dtype == np.float32
    assert total.shape == (num_params,)
    places = np.unique(np.r_[:3, num_params // 2, SUM_SLICE - 1, SUM_SLICE, num_params - 3 : num_params])
    places = places[(places >= 0) & (places < num_params)]
    exact = np.zeros(len(places))
    for start, weight in zip(index, weights, strict=True):
        exact += np.float64(weight) * big_table[start + places]
    np.testing.assert_allclose(total[places], exact, rtol=1e-5, atol=1e-5 * np.sqrt(pairs + 1))


@pytest.fixture(scope="module")
def big_table() -> Float32:
    return make_table(1 << 20)


@pytest.mark.kernels
def test_the_sum_of_squares_equals_the_float64_one(big_table: Float32) -> None:
    num_params, rng = SUM_SLICE + 5, np.random.default_rng(0)
    index = rng.integers(0, big_table.size - num_params + 1, 40)
    weights = rng.standard_normal(40).astype(np.float32)
    exact = sum(
        float(weight) * big_table[start : start + num_params].astype(np.float64) ** 2
        for start, weight in zip(index, weights, strict=True)
    )
    whole = weighted_sum(big_table, index, weights, num_params, squared=True)
    np.testing.assert_allclose(whole, exact, rtol=1e-4, atol=1e-4)
    parts = {
        range(number, number + 1): weighted_sum(
            big_table, index, weights, num_params, range(number, number + 1), squared=True
        )
        for number in range(noise.num_slices(num_params))
    }
    assert noise.join_slices(parts, num_params).tobytes() == whole.tobytes()


@pytest.mark.kernels
def test_the_weighted_sum_has_the_same_bits_wherever_the_table_lies(big_table: Float32) -> None:
    """A table in the object store is read-only, and aligned in another way than one of this process."""
    rng = np.random.default_rng(0)
    num_params, pairs = 10_001, 300
    index, weights = rng.integers(0, 1 << 19, pairs), rng.standard_normal(pairs).astype(np.float32)
    expected = weighted_sum(big_table, index, weights, num_params)
    before = big_table[:1000].copy()
    for shift in (1, 3, 16):
        moved = np.empty(big_table.size + shift, np.float32)[shift:]
        moved[:] = big_table
        moved.setflags(write=False)
        assert weighted_sum(moved, index, weights, num_params).tobytes() == expected.tobytes()
    np.testing.assert_array_equal(big_table[:1000], before)


@given(st.integers(1, 1 << 28))
def test_slices_cover_the_parameters_and_more_than_one_are_even_in_number(num_params: int) -> None:
    count = num_slices(num_params)
    ends = [parameters_of(range(number, number + 1), num_params) for number in (0, 1, count - 2, count - 1)]
    length = ends[0].stop
    assert count == 1 or count % 2 == 0
    assert ends[0].start == 0
    assert ends[-1].stop == num_params
    assert length <= SUM_SLICE
    assert 0 < ends[-1].stop - ends[-1].start <= length
    if count > 1:
        assert length % 16 == 0
        assert ends[1].start == length
        assert ends[2].stop == ends[3].start


@pytest.mark.kernels
@pytest.mark.parametrize("num_params", [5000, SUM_SLICE + 1, 5 * SUM_SLICE + 12_345])
@pytest.mark.parametrize("stride", [7, 1000])
def test_a_range_of_slices_has_the_bits_of_the_whole(big_table: Float32, num_params: int, stride: int) -> None:
    """Whether neighbours overlap, so that they walk side by side, or lie apart."""
    index = np.arange(300) * stride % (big_table.size - num_params)
    weights = np.linspace(-1, 1, 300).astype(np.float32)
    whole = weighted_sum(big_table, index, weights, num_params)
    count = num_slices(num_params)
    for processes in {1, 2, 3, count}:
        parts = {
            share: weighted_sum(big_table, index, weights, num_params, share)
            for share in shares(count, processes)
            if share
        }
        assert join_slices(parts, num_params).tobytes() == whole.tobytes()


@pytest.mark.kernels
def test_the_speed_of_the_sum_is_no_part_of_its_plan(big_table: Float32, monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(4)
    num_params = 5 * SUM_SLICE
    index, weights = rng.integers(0, 200_000, 600), rng.standard_normal(600).astype(np.float32)
    expected = weighted_sum(big_table, index, weights, num_params)
    for strip, group in ((1, 1), (2, 3), (8, 256)):
        monkeypatch.setattr(noise, "SUM_STRIP", strip)
        monkeypatch.setattr(noise, "SUM_GROUP", group)
        assert weighted_sum(big_table, index, weights, num_params).tobytes() == expected.tobytes()


def test_the_order_of_the_pairs_changes_no_bit(big_table: Float32) -> None:
    rng = np.random.default_rng(5)
    index = rng.permutation(1 << 19)[:600]
    weights = rng.standard_normal(600).astype(np.float32)
    order = rng.permutation(600)
    expected = weighted_sum(big_table, index, weights, 1000)
    assert weighted_sum(big_table, index[order], weights[order], 1000).tobytes() == expected.tobytes()
