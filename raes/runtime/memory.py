"""Whether the noise table and the pool fit, before anything is started."""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import psutil

from raes.types import UserError

STORE_MARGIN = 1 << 28
"""Bytes of the object store besides the noise table: snapshots and results."""
STORE_SHARE, MEMORY_SHARE = 0.9, 0.8
"""What a noise table may take of an object store that is there already, and of free memory."""
WORKER_BYTES = 150 << 20
"""Private memory of a rollout actor, in bytes: Python, Ray and a small environment."""
CGROUP = Path("/sys/fs/cgroup")
GIB = float(1 << 30)


@dataclass(frozen=True)
class Room:
    """What a machine has for a noise table, in bytes; None for what does not count there, or is not known.

    Attributes:
        memory: free memory.
        copies: how many tables it must hold at once: 2 while one is copied into Ray's object store.
        shm_free: of /dev/shm, where an embedded Ray makes an object store as large as the table wants it.
        store: the object store of a Ray that runs already.
        shm_total: of /dev/shm, in which such a store lies.
    """

    memory: int | None = None
    copies: int = 2
    shm_free: int | None = None
    store: int | None = None
    shm_total: int | None = None


@dataclass(frozen=True)
class Misfit:
    """What a noise table does not fit into: which part of the room, with the sizes, and the cure."""

    part: Literal["memory", "store"]
    text: str
    cure: str


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


def misfits(table_bytes: int, room: Room) -> list[Misfit]:
    """What of a machine a noise table does not fit into: the one rule of training, `raes.minimize` and `raes.doctor`.

    Args:
        table_bytes: the table's size.
        room: the machine's.
    """
    needs = f"the noise table needs {table_bytes / GIB:,.2f} GiB (noise.size={table_bytes // 4} floats)"
    smaller = "choose a smaller policy (policy.hidden) or set noise.size to fewer floats"
    found, wanted = [], store_bytes(table_bytes)
    if room.memory is not None and room.copies * table_bytes > MEMORY_SHARE * room.memory:
        twice = ", twice for a moment" if room.copies > 1 else ""
        found.append(Misfit("memory", f"{needs}{twice}, and {room.memory / GIB:.1f} GiB of memory are free", smaller))
    if room.shm_free is not None and wanted > room.shm_free:
        text = (
            f"{needs} and {STORE_MARGIN / GIB:.2f} GiB for results, and /dev/shm has {room.shm_free / GIB:.2f} GiB free"
        )
        found.append(Misfit("store", text, f"{enlarge(wanted)}, use runtime=serial, or {smaller}"))
    if room.store is not None and table_bytes > STORE_SHARE * room.store:
        text, cure = f"{needs}, and its object store holds {room.store / GIB:.2f} GiB", ""
        if room.shm_total is not None and room.shm_total < wanted:
            text += f" (/dev/shm there has {room.shm_total / GIB:.2f} GiB)"
            cure = f"{enlarge(wanted)} and "
        found.append(Misfit("store", text, f"{cure}start Ray there with --object-store-memory={wanted}, or {smaller}"))
    return found


def enlarge(size: int) -> str:
    """How /dev/shm gets so many bytes."""
    mib = -(-size // (1 << 20))
    return f"enlarge it with `mount -o remount,size={mib}m /dev/shm` (in a container: --shm-size={mib}m)"


def check_table(table_bytes: int, room: Room, host: str = "this machine") -> None:
    """Refuse a noise table that a machine cannot hold.

    Raises:
        UserError: with the sizes and the keys to change.
    """
    for one in misfits(table_bytes, room):
        raise UserError(f"{host}: {one.text}; {one.cure}")


def check_memory(table_bytes: int, copies: int) -> None:
    """Refuse a noise table that the free memory of this machine cannot hold so many times; raises as `check_table`."""
    check_table(table_bytes, Room(free_memory(), copies))


def check_shared_memory(table_bytes: int) -> None:
    """Refuse a noise table that an embedded Ray cannot keep in /dev/shm; raises as `check_table`."""
    check_table(table_bytes, Room(shm_free=shutil.disk_usage("/dev/shm").free if os.path.isdir("/dev/shm") else None))


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


def check_model(model_bytes: int) -> None:
    """Refuse workers that hold a model, where this machine has no memory for one of them.

    Args:
        model_bytes: that a worker needs for the model, its copy and the optimiser's state.

    Raises:
        UserError: with the sizes and what to use instead.
    """
    free = free_memory()
    if model_bytes > MEMORY_SHARE * free:
        raise UserError(
            f"a worker needs {model_bytes / GIB:,.2f} GiB for the model, its copy and the optimiser's state, and there "
            f"are {free / GIB:.1f} GiB of free memory; use optimizer=plain, a shorter dtype, or fewer env.parameters"
        )


def check_state(name: str, state_bytes: int, num_params: int) -> None:
    """Refuse a search whose own state does not fit, such as a covariance matrix of many parameters.

    Raises:
        UserError: with the sizes and what to use instead.
    """
    free = free_memory()
    if state_bytes > MEMORY_SHARE * free:
        raise UserError(
            f"algorithm={name} needs {state_bytes / 2**30:,.1f} GiB for {num_params} parameters, and there are "
            f"{free / 2**30:.1f} GiB of free memory; use a method without a full covariance matrix, such as snes or es"
        )
