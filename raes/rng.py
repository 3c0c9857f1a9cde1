"""Every random number of a run comes from here: (run seed, purpose, generation, index) -> generator.

Randomness belongs to the task, never to the actor, so the same seed gives the same bits on any number of workers.
"""

from __future__ import annotations

import hashlib
import struct
from enum import IntEnum

import numpy as np


class Purpose(IntEnum):
    """What a stream of random numbers is for. The numbers are part of the format: never reuse one."""

    INITIAL_THETA = 0
    NOISE_INDEX = 1
    TRAINING = 2
    ACTION_NOISE = 3
    OBSERVE = 4
    EVALUATION = 5
    HELD_OUT = 6
    PROBE = 7
    SELECTION = 8
    SAMPLE = 9
    REFERENCE = 10


def _key(seed: int, purpose: int, generation: int, index: int) -> int:
    packed = struct.pack("<QQQQ", seed, purpose, generation, index)
    return int.from_bytes(hashlib.blake2b(packed, digest_size=16).digest(), "little")


def generator(seed: int, purpose: Purpose, generation: int = 0, index: int = 0) -> np.random.Generator:
    """An independent stream for these four numbers (a counter-based generator keyed by their hash)."""
    return np.random.Generator(np.random.Philox(key=_key(seed, purpose, generation, index)))


def reset_seed(seed: int, purpose: Purpose, generation: int, index: int) -> int:
    """What an environment is reset with: in [0, 2**31), or above for HELD_OUT, which shares none with the others."""
    offset = 1 << 31 if purpose is Purpose.HELD_OUT else 0
    return offset + (_key(seed, purpose, generation, index) & 0x7FFF_FFFF)


def seed_generation(purpose: Purpose, generation: int) -> int:
    """The generation that an episode's seeds depend on: evaluations have the same episodes in every generation."""
    return generation if purpose in (Purpose.TRAINING, Purpose.PROBE) else 0
