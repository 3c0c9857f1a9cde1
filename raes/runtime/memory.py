"""Whether the noise table and the pool fit, before anything is started."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import psutil

from raes.types import UserError

STORE_MARGIN = 1 << 28
"""Bytes of the object store besides the noise table: snapshots and results."""
WORKER_BYTES = 150 << 20
"""Private memory of a rollout actor, in bytes: Python, Ray and a small environment."""
CGROUP = Path("/sys/fs/cgroup")


def free_memory() -> int:
    """Bytes that may still be used, a container's limit included."""
    free = int(psutil.virtual_memory().available)
    try:
        limit, used = ((CGROUP / name).read_text().strip() for name in ("memory.max", "memory.current"))
        return free if limit == "max" else min(free, int(limit) - int(used))
    except (OSError, ValueError):
        return free


def store_bytes(table_bytes: int) -> int:
    """Size of an object store that holds a noise table: Ray starts to spill to disk where it is 80 % full."""
    return table_bytes * 4 // 3 + STORE_MARGIN


def check_memory(table_bytes: int, copies: int) -> None:
    """Refuse a noise table that this machine cannot hold.

    Args:
        table_bytes: the table's size.
        copies: how many there are at once: 2 while it is copied into Ray's object store.

    Raises:
        UserError: with the sizes and the keys to change.
    """
    free = free_memory()
    if copies * table_bytes > 0.8 * free:
        raise UserError(
            f"{_table(table_bytes)} and this machine has {free / 2**30:.1f} GiB of free memory"
            f"{', which must hold it twice for a moment' if copies > 1 else ''}; {_CURE}"
        )


def check_shared_memory(table_bytes: int) -> None:
    """Refuse a noise table that /dev/shm cannot hold, where an embedded Ray keeps it.

    Raises:
        UserError: with the sizes and the keys to change.
    """
    if not os.path.isdir("/dev/shm"):
        return
    free = shutil.disk_usage("/dev/shm").free
    if store_bytes(table_bytes) > free:
        raise UserError(
            f"{_table(table_bytes)} and /dev/shm has {free / 2**30:.1f} GiB free; {_CURE}, enlarge /dev/shm, or use "
            "runtime=serial"
        )


def check_workers(workers: int) -> None:
    """Refuse more actors than an embedded Ray can hold on this machine.

    Raises:
        UserError: with the number and the memory.
    """
    free = free_memory()
    if workers * WORKER_BYTES > free:
        raise UserError(
            f"workers={workers} need about {workers * WORKER_BYTES / 2**30:.0f} GiB and this machine has "
            f"{free / 2**30:.1f} GiB of free memory; use workers=auto or a smaller number"
        )


def check_sizes(key: str, number: int, episodes: int) -> None:
    """Refuse generations whose bookkeeping alone does not fit.

    Args:
        key: what sets their size.
        number: its value.
        episodes: that it means.

    Raises:
        UserError: with the key, the number and the memory.
    """
    free = free_memory()
    if 256 * episodes > free:
        raise UserError(
            f"{key}={number}: the results of {episodes} episodes do not fit into the {free / 2**30:.1f} GiB of free "
            "memory; choose a smaller number"
        )


def check_state(name: str, state_bytes: int, num_params: int) -> None:
    """Refuse a search whose own state does not fit, such as a covariance matrix of many parameters.

    Raises:
        UserError: with the sizes and what to use instead.
    """
    free = free_memory()
    if state_bytes > 0.8 * free:
        raise UserError(
            f"algorithm={name} needs {state_bytes / 2**30:,.1f} GiB for {num_params} parameters, and there are "
            f"{free / 2**30:.1f} GiB of free memory; use a method without a full covariance matrix, such as snes or es"
        )


_CURE = "choose a smaller policy (policy.hidden) or set noise.size to fewer floats"


def _table(table_bytes: int) -> str:
    return f"the noise table needs {table_bytes / 2**30:.1f} GiB (noise.size={table_bytes // 4} floats)"
