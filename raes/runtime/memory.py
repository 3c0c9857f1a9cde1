"""Whether the noise table fits, before anything is started."""

from __future__ import annotations

import os
import shutil

import psutil

from raes.types import UserError

STORE_MARGIN = 1 << 28
"""Object store beside the noise table, in bytes: snapshots and results."""


def check_memory(table_bytes: int, shared: bool) -> None:
    """Refuse a noise table that this machine cannot hold.

    Args:
        table_bytes: the table's size.
        shared: whether it lies in shared memory, as in an embedded Ray.

    Raises:
        UserError: with the sizes and the keys to change.
    """
    free = psutil.virtual_memory().available
    cure = "choose a smaller policy (policy.hidden) or set noise.size to fewer floats"
    if table_bytes > 0.8 * free:
        raise UserError(
            f"the noise table needs {table_bytes / 2**30:.1f} GiB (noise.size={table_bytes // 4} floats) and this "
            f"machine has {free / 2**30:.1f} GiB of free memory; {cure}"
        )
    if shared and os.path.isdir("/dev/shm"):
        free = shutil.disk_usage("/dev/shm").free
        if table_bytes + STORE_MARGIN > free:
            raise UserError(
                f"the noise table needs {table_bytes / 2**30:.1f} GiB (noise.size={table_bytes // 4} floats) and "
                f"/dev/shm has {free / 2**30:.1f} GiB free; {cure}, enlarge /dev/shm, or use runtime=serial"
            )
