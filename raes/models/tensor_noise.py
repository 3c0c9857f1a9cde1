"""Noise without a table: any number of any tensor's perturbation, from its key and its position alone.

    key = hash(run seed, generation, pair, tensor name);  z[j] = QUANTILES[half-word j of Philox4x64-10(key)]

Philox (Salmon et al. 2011) is a counter-based generator: the numbers from position j on are made without those before.
QUANTILES are the 65,536 midpoint quantiles of N(0, 1), scaled to variance 1; |z| is at most 4.4. Philox and the table
are made of integers, and what is computed with z is made of single additions and multiplications, which IEEE 754
defines to the last bit. So z has the same bits on every processor, with any number of threads, and on a GPU.
"""

from __future__ import annotations

import hashlib
import math
import struct
from functools import cache
from statistics import NormalDist
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from raes.rng import Purpose
from raes.types import Float32

if TYPE_CHECKING:
    import torch

LEVELS = 1 << 16
"""Different values of z."""
GRID = float(1 << 18)
"""The quantiles are multiples of 1 / GRID: the last bit of a logarithm, which libraries differ in, is rounded off."""
PER_COUNT = 16
"""Numbers that one step of Philox's counter gives: 4 words of 64 bits, of 4 numbers each."""
MULTIPLIERS = (0xD2E7470EE14C6C93, 0xCA5A826395121157)
INCREMENTS = (0x9E3779B97F4A7C15, 0xBB67AE8584CAA73B)
ROUNDS = 10
"""Philox4x64-10, as `numpy.random.Philox` has it; for devices that numpy does not reach."""


@cache
def quantiles() -> Float32:
    """float32 (65536,): the values of z, antisymmetric, with mean 0 and variance 1."""
    normal = NormalDist()
    upper = [normal.inv_cdf((LEVELS / 2 + number + 0.5) / LEVELS) for number in range(LEVELS // 2)]
    scale = math.sqrt(LEVELS / 2 / math.fsum(value * value for value in upper))
    half = np.array([round(value * scale * GRID) / GRID for value in upper], dtype=np.float32)
    return np.concatenate([-half[::-1], half])


def stream_key(seed: int, purpose: Purpose, generation: int, pair: int, name: str) -> tuple[int, int]:
    """The key of one tensor's numbers, two words of 64 bits.

    Args:
        seed: of the run.
        purpose: MODEL_NOISE, or another use of such numbers.
        generation: whose perturbation it is.
        pair: its number in the generation.
        name: of the tensor.
    """
    packed = struct.pack("<QQQQ", seed, purpose, generation, pair) + name.encode("utf-8", "surrogatepass")
    return struct.unpack("<QQ", hashlib.blake2b(packed, digest_size=16).digest())


class Stream:
    """The half-words of one key, from any position on; reading on from where it stands is the fastest.

    Args:
        key: as `stream_key` gives it.
        device: where the numbers are needed; None: in numpy, which is also the CPU of PyTorch.
    """

    def __init__(self, key: tuple[int, int], device: torch.device | None = None) -> None:
        self._key, self._device = key, device
        self._at = -1
        self._generator: np.random.Philox | None = None

    def halves(self, start: int, count: int) -> Any:
        """The half-words from `start` on, a multiple of 16: uint16 (count,) in numpy, int32 (count,) on a device."""
        assert start % PER_COUNT == 0
        words = 4 * -(-count // PER_COUNT)
        if self._device is not None:
            return _halves_on(self._device, self._key, start // PER_COUNT, words // 4)[:count]
        if start != self._at:
            key = np.array(self._key, dtype=np.uint64)  # a list of large integers becomes floats
            self._generator = np.random.Philox(key=key, counter=start // PER_COUNT)
        self._at = start + 4 * words
        assert self._generator is not None
        found: NDArray[np.uint16] = self._generator.random_raw(words).astype("<u8", copy=False).view("<u2")
        return found[:count]


def _halves_on(device: torch.device, key: tuple[int, int], first: int, counts: int) -> torch.Tensor:
    """The same by operations of PyTorch on integers; `first` is the counter's start, int32 (16 counts,)."""
    import torch

    counter = torch.arange(first + 1, first + counts + 1, dtype=torch.int64, device=device)
    zero = torch.zeros_like(counter)
    words = [counter, zero, zero, zero]
    k0, k1 = key
    for _ in range(ROUNDS):
        high0, low0 = _multiply(words[0], MULTIPLIERS[0])
        high1, low1 = _multiply(words[2], MULTIPLIERS[1])
        words = [high1 ^ words[1] ^ _signed(k0), low1, high0 ^ words[3] ^ _signed(k1), low0]
        k0, k1 = (k0 + INCREMENTS[0]) % 2**64, (k1 + INCREMENTS[1]) % 2**64
    joined = torch.stack(words, dim=1).reshape(-1)
    parts = [(joined >> shift) & 0xFFFF for shift in (0, 16, 32, 48)]
    return torch.stack(parts, dim=1).reshape(-1).to(torch.int32)


def _multiply(values: torch.Tensor, factor: int) -> tuple[torch.Tensor, torch.Tensor]:
    """The high and the low word of values * factor, all of 64 bits without a sign, kept in int64."""
    low_mask = 0xFFFFFFFF
    a_low, a_high = values & low_mask, (values >> 32) & low_mask
    b_low, b_high = factor & low_mask, factor >> 32
    cross_low, cross_high = a_low * b_low, a_high * b_low
    middle = a_low * b_high + ((cross_low >> 32) & low_mask)  # below 2**64: no carry is lost
    carry = (middle & low_mask) + (cross_high & low_mask)
    high = a_high * b_high + ((middle >> 32) & low_mask) + ((cross_high >> 32) & low_mask)
    high = high + ((carry >> 32) & low_mask)
    return high, values * _signed(factor)


def _signed(word: int) -> int:
    """A word of 64 bits as int64 holds it."""
    return word - 2**64 if word >= 2**63 else word


class NormalStream:
    """z of one key, from any position on."""

    def __init__(self, key: tuple[int, int], device: torch.device) -> None:
        self._device = device
        self._stream = Stream(key, None if device.type == "cpu" else device)

    def fill(self, out: torch.Tensor, start: int) -> torch.Tensor:
        """Overwrite float32 (count,), contiguous, with z[start : start + count]."""
        halves = self._stream.halves(start, out.numel())
        if self._device.type == "cpu":
            quantiles().take(halves, out=out.numpy(), mode="wrap")
            return out
        import torch

        return torch.index_select(_quantiles_on(self._device), 0, halves, out=out)


@cache
def _quantiles_on(device: torch.device) -> torch.Tensor:
    import torch

    return torch.from_numpy(quantiles()).to(device)


class HalfWordStream:
    """Uniform integers in [0, 65536) of one key, from any position on."""

    def __init__(self, key: tuple[int, int], device: torch.device) -> None:
        self._stream = Stream(key, None if device.type == "cpu" else device)

    def fill(self, out: torch.Tensor, start: int) -> torch.Tensor:
        """Overwrite int32 (count,) with the numbers from `start` on, a multiple of 16."""
        halves = self._stream.halves(start, out.numel())
        if isinstance(halves, np.ndarray):
            np.copyto(out.numpy(), halves)
            return out
        return out.copy_(halves)


class TensorNoise:
    """The perturbation of one tensor by one pair, with variance 1 per element, part by part.

    Full rank: element j is z[j]. Rank r, for a tensor of two axes or more, as a matrix (m, k) whose rows are the first
    axis: sum_s A[i, s] B[j, s] / sqrt(r), with A (m, r) the first and B (k, r) the next numbers of z; where these are
    no fewer than m k, full rank.
    """

    def __init__(self, key: tuple[int, int], shape: tuple[int, ...], rank: int | None, device: torch.device) -> None:
        self._normal, self._rank = NormalStream(key, device), rank
        self._columns = 0
        if rank is not None and (thin := thin_shape(shape, rank)) is not None:
            import torch

            rows, self._columns = thin
            numbers = torch.empty(rank * (rows + self._columns), dtype=torch.float32, device=device)
            self._normal.fill(numbers, 0)
            # One row per s, so that each is read in order.
            self._left = numbers[: rank * rows].view(rows, rank).t().contiguous()
            self._left.mul_(1.0 / math.sqrt(rank))
            self._right = numbers[rank * rows :].view(self._columns, rank).t().contiguous()

    def fill(self, out: torch.Tensor, start: int) -> torch.Tensor:
        """Overwrite float32 (count,), contiguous, with the elements from `start` on, a multiple of 16."""
        if not self._columns:
            return self._normal.fill(out, start)
        import torch

        assert self._rank is not None
        stop = start + out.numel()
        first, last = start // self._columns, -(-stop // self._columns)
        rows = torch.mul(self._left[0, first:last, None], self._right[0])
        for rank in range(1, self._rank):
            rows.add_(self._left[rank, first:last, None] * self._right[rank])
        before = start - first * self._columns
        return out.copy_(rows.view(-1)[before : before + out.numel()])


def thin_shape(shape: tuple[int, ...], rank: int) -> tuple[int, int] | None:
    """(m, k) of a tensor that has noise of rank r; None where it has full rank."""
    if len(shape) < 2:
        return None
    rows, columns = shape[0], math.prod(shape[1:])
    return (rows, columns) if rank * (rows + columns) < rows * columns else None
