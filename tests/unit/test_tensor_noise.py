"""Noise from counters: the same bits from any position, on any device's path, and normal as far as 16 bits allow."""

from __future__ import annotations

import hashlib
import itertools

import numpy as np
import pytest
import torch
from scipy import stats

from raes.models.tensor_noise import NormalStream, Stream, TensorNoise, quantiles, stream_key, thin_shape
from raes.rng import Purpose

CPU = torch.device("cpu")
KEY = stream_key(5, Purpose.MODEL_NOISE, 3, 7, "layers.0.weight")


def made(rank: int | None, shape: tuple[int, ...], cuts: list[int]) -> torch.Tensor:
    """A perturbation, made part by part."""
    noise, whole = TensorNoise(KEY, shape, rank, CPU), torch.empty(int(np.prod(shape)))
    for start, stop in itertools.pairwise([0, *cuts, whole.numel()]):
        noise.fill(whole[start:stop], start)
    return whole


def test_the_quantiles_are_those_of_every_machine() -> None:
    digest = hashlib.blake2b(quantiles().tobytes(), digest_size=8).hexdigest()
    assert digest == "7070796d47f40ca8"


def test_the_numbers_are_normal() -> None:
    numbers = made(None, (1 << 20,), []).numpy().astype(np.float64)
    assert abs(numbers.mean()) < 4e-3
    assert abs(numbers.var() - 1) < 6e-3
    assert stats.kstest(numbers[:100_000], "norm").pvalue > 1e-3
    assert abs(stats.kurtosis(numbers)) < 0.02


@pytest.mark.parametrize("start", [0, 1600, 2**40])
def test_integers_of_pytorch_give_what_numpy_gives(start: int) -> None:
    in_numpy = Stream(KEY).halves(start, 5000)
    assert np.array_equal(in_numpy, Stream(KEY, CPU).halves(start, 5000).numpy())


def test_numpy_s_philox_is_the_reference() -> None:
    words = np.random.Philox(key=np.array(KEY, np.uint64)).random_raw(64)
    assert np.array_equal(Stream(KEY).halves(0, 256), words.view("<u2"))


@pytest.mark.parametrize("rank", [None, 1, 3])
@pytest.mark.parametrize("cuts", [[16], [4096, 8192, 8208], [64 * number for number in range(1, 100)]])
def test_no_bit_depends_on_the_parts(rank: int | None, cuts: list[int]) -> None:
    shape = (100, 123)
    assert torch.equal(made(rank, shape, cuts), made(rank, shape, []))


def test_parts_may_be_made_in_any_order_and_by_any_number_of_threads() -> None:
    stream, whole = NormalStream(KEY, CPU), made(None, (8192,), [])
    before = torch.get_num_threads()
    try:
        for threads, start in ((2, 4096), (1, 0), (2, 4096)):
            torch.set_num_threads(threads)
            part = torch.empty(4096)
            assert torch.equal(stream.fill(part, start), whole[start : start + 4096])
    finally:
        torch.set_num_threads(before)


def test_other_keys_give_other_numbers() -> None:
    keys = [
        stream_key(seed, purpose, generation, pair, name)
        for seed in (0, 1)
        for purpose in (Purpose.MODEL_NOISE, Purpose.ROUNDING)
        for generation in (0, 1)
        for pair in (0, 1)
        for name in ("a", "b")
    ]
    first = {tuple(Stream(key).halves(0, 16).tolist()) for key in keys}
    assert len(first) == len(keys)


@pytest.mark.parametrize("rank", [1, 4])
def test_low_rank_noise_has_its_rank_and_variance_one(rank: int) -> None:
    matrix = made(rank, (200, 300), []).view(200, 300).double()
    assert int(torch.linalg.matrix_rank(matrix, rtol=1e-5)) == rank
    squares = np.mean([
        float(TensorNoise(stream_key(0, Purpose.MODEL_NOISE, 0, pair, "w"), (40, 50), rank, CPU)
              .fill(torch.empty(2000), 0).square().mean())
        for pair in range(300)
    ])  # fmt: skip
    assert squares == pytest.approx(1.0, abs=0.05)


def test_vectors_and_small_matrices_have_full_rank() -> None:
    assert thin_shape((100,), 1) is None
    assert thin_shape((3, 4), 2) is None
    assert thin_shape((30, 4, 5), 2) == (30, 20)
