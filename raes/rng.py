"""Every random number of a run comes from here: (run seed, purpose, generation, index) -> generator.

Randomness belongs to the task, never to the actor, so the same seed gives the same bits on any number of workers.
"""

from __future__ import annotations

import hashlib
import random
import struct
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from enum import IntEnum
from typing import Any

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
    MODEL_NOISE = 11
    RESTART = 12
    MODEL_TASKS = 13
    WEIGHTS = 14
    DRAWN_NOISE = 15
    ROUNDING = 16
    PARALLEL_RUN = 17


def _key(seed: int, purpose: int, generation: int, index: int) -> int:
    packed = struct.pack("<QQQQ", seed, purpose, generation, index)
    return int.from_bytes(hashlib.blake2b(packed, digest_size=16).digest(), "little")


def generator(seed: int, purpose: Purpose, generation: int = 0, index: int = 0) -> np.random.Generator:
    """An independent stream for these four numbers (a counter-based generator keyed by their hash)."""
    return np.random.Generator(np.random.Philox(key=_key(seed, purpose, generation, index)))


def run_seed(seed: int, run: int) -> int:
    """The seed of one of several runs side by side, in [0, 2**63); the first one's is that of the search."""
    return seed if run == 0 else _key(seed, Purpose.PARALLEL_RUN, 0, run) & 0x7FFF_FFFF_FFFF_FFFF


def reset_seed(seed: int, purpose: Purpose, generation: int, index: int) -> int:
    """What an environment is reset with: in [0, 2**31), or above for HELD_OUT, which shares none with the others."""
    offset = 1 << 31 if purpose is Purpose.HELD_OUT else 0
    return offset + (_key(seed, purpose, generation, index) & 0x7FFF_FFFF)


def seed_generation(purpose: Purpose, generation: int) -> int:
    """The generation that an episode's seeds depend on: evaluations have the same episodes in every generation."""
    return generation if purpose in (Purpose.TRAINING, Purpose.PROBE) else 0


def seed_global_generators(seed: int) -> None:
    """Seed the generators that all code of this process shares: Python's, NumPy's, and PyTorch's where it is loaded.

    RAES draws nothing from them. A user's environment or module may, and each of its episodes begins alike then.
    """
    random.seed(seed)
    np.random.seed(seed & 0xFFFF_FFFF)  # noqa: NPY002  # the one that others draw from
    if (torch := _torch()) is not None:
        torch.default_generator.manual_seed(seed)


@contextmanager
def global_generators_kept() -> Iterator[None]:
    """Leave the shared generators as they were, for a program that calls RAES and draws from them too."""
    python, numpy = random.getstate(), np.random.get_state()  # noqa: NPY002
    torch = _torch()
    of_torch = None if torch is None else torch.default_generator.get_state()
    try:
        yield
    finally:
        random.setstate(python)
        np.random.set_state(numpy)  # noqa: NPY002
        if torch is not None:
            torch.default_generator.set_state(of_torch)


def _torch() -> Any:
    """PyTorch, where some code of this process has imported it."""
    return sys.modules.get("torch")
