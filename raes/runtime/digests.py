"""Whether all workers of a run compute the same bits."""

from __future__ import annotations

import hashlib
import platform

import numpy as np
import scipy

from raes.runtime.packages import CURE

DRIVER = "the driver's "
"""What the driver's digest begins with."""
SIZE = 48
"""Rows of the driver's fixed matrices; enough for a BLAS to use all parts of its kernels."""


def driver_digest() -> str:
    """A digest of what updates are made of: products and a decomposition by BLAS, and functions of NumPy."""
    numbers = np.arange(SIZE * SIZE, dtype=np.float64).reshape(SIZE, SIZE)
    waves = np.sin(numbers)  # of NumPy's own code, which depends on the processor too
    single = waves.astype(np.float32)
    values, vectors = np.linalg.eigh(waves @ waves.T)
    results = (waves, single @ single, single[0] @ single[1], np.exp(single), values, vectors)
    digest = hashlib.blake2b(b"".join(result.tobytes() for result in results), digest_size=8)
    return f"{DRIVER}{digest.hexdigest()} {place()}"


def place() -> str:
    """The machine and the libraries of this process, for a digest."""
    return f"on {platform.node()} ({platform.machine()}, numpy {np.__version__}, scipy {scipy.__version__})"


def kind_of(digest: str) -> str:
    """What of a digest depends on arithmetic and libraries, and not on the machine's name."""
    bits, _, rest = digest.partition(" on ")
    return f"{bits} {rest.partition('(')[2]}"


class Digests:
    """The different digests of the workers' arithmetic, as `Worker.digest` computes them at a worker's start."""

    def __init__(self) -> None:
        self._known: dict[str, str] = {}

    @property
    def seen(self) -> tuple[str, ...]:
        """One digest of each kind, with the machine that first reported it."""
        return tuple(self._known.values())

    def add(self, digest: str) -> str | None:
        """Record a worker's digest; a warning where it differs from the ones before."""
        bits, kind = digest.partition(" ")[0], kind_of(digest)
        if kind in self._known:
            return None
        others, same_bits = ", ".join(self._known.values()), any(bits == known.split()[0] for known in self._known)
        self._known[kind] = digest
        if not others:
            return None
        if same_bits:
            return (
                "warning: the workers have different libraries. They agreed on a short episode, but other results may "
                f"depend on which worker runs them: {digest} against {others}; {CURE}"
            )
        return (
            "warning: the workers compute different bits, so the result depends on which worker runs an episode: "
            f"{digest} against {others}; use nodes of one CPU type with the same packages, and an "
            "environment that draws its random numbers from self.np_random"
        )
