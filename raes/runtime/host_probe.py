"""What a host says of itself. Standard library and `packages` only: Ray gets both modules whole, so that hosts with
another RAES, or with none, can answer too."""

from __future__ import annotations

import os
import platform
import resource
import shutil
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from raes.runtime.packages import installed


@dataclass(frozen=True)
class HostInfo:
    """A host on itself.

    Attributes:
        host: its name.
        packages: Python and packages -> versions; see `packages.installed`.
        shm_total, shm_free: bytes of /dev/shm; None where there is none.
        open_files: what a process that Ray starts may have open at once.
    """

    host: str
    packages: Mapping[str, str]
    shm_total: int | None
    shm_free: int | None
    open_files: int


class Witness:
    """An actor, or an object of this process, that looks at its host."""

    def now(self) -> float:
        """The host's clock, in seconds."""
        return time.time()

    def look(self) -> HostInfo:
        """See `HostInfo`."""
        shm = shutil.disk_usage("/dev/shm") if os.path.isdir("/dev/shm") else None
        files, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
        return HostInfo(
            host=platform.node(),
            packages=installed(),
            shm_total=shm and shm.total,
            shm_free=shm and shm.free,
            open_files=sys.maxsize if files == resource.RLIM_INFINITY else files,
        )

    def call(self, function: Callable[..., Any], *arguments: Any) -> Any:
        """What a function says there; it is imported by its name."""
        return function(*arguments)
