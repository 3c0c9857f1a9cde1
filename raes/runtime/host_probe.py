"""The probe that reads a host's packages, limits, shared memory and clock.

Imports the standard library and `packages` only: both modules are sent to the host whole, so that hosts with another
RAES, or with none, can answer too.
"""

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
    """What a host reports of itself.

    Attributes:
        host: its name.
        packages: Python and packages -> versions, as `packages.installed` finds them.
        shm_total, shm_free: bytes of /dev/shm; None on a host without it.
        open_files: how many files a process that Ray starts may have open at once.
    """

    host: str
    packages: Mapping[str, str]
    shm_total: int | None
    shm_free: int | None
    open_files: int


class HostProbe:
    """Inspects its host; as a Ray actor there, or as an object of this process."""

    def now(self) -> float:
        """The host's clock, in seconds."""
        return time.time()

    def info(self) -> HostInfo:
        """Packages, shared memory and limits of the host."""
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
        """The result of a function on the host, which imports it by its name."""
        return function(*arguments)
