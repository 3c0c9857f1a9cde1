"""What a host says of itself. Standard library and `packages` only: Ray gets both modules whole, so that hosts with
another RAES, or with none, can answer too."""

from __future__ import annotations

import os
import platform
import resource
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from raes.runtime.packages import installed

RENDERERS = ("egl", "osmesa")
DRAW = "import mujoco; context = mujoco.GLContext(16, 16); context.make_current(); print('drawn', flush=True)"
DRAW_SECONDS = 60.0


@dataclass(frozen=True)
class Statement:
    """A host on itself.

    Attributes:
        host: its name.
        packages: Python and packages -> versions; see `packages.installed`.
        shm_total, shm_free: bytes of /dev/shm; None where there is none.
        open_files: what a process that Ray starts may have open at once.
        renderers: what can draw MuJoCo there without a window; None where there is no MuJoCo.
    """

    host: str
    packages: Mapping[str, str]
    shm_total: int | None
    shm_free: int | None
    open_files: int
    renderers: tuple[str, ...] | None


class Witness:
    """An actor, or an object of this process, that looks at its host."""

    def now(self) -> float:
        """The host's clock, in seconds."""
        return time.time()

    def look(self) -> Statement:
        """See `Statement`."""
        packages = installed()
        shm = shutil.disk_usage("/dev/shm") if os.path.isdir("/dev/shm") else None
        files, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
        return Statement(
            host=platform.node(),
            packages=packages,
            shm_total=shm and shm.total,
            shm_free=shm and shm.free,
            open_files=sys.maxsize if files == resource.RLIM_INFINITY else files,
            renderers=_renderers() if "mujoco" in packages else None,
        )

    def call(self, function: Callable[..., Any], *arguments: Any) -> Any:
        """What a function says there; it is imported by its name."""
        return function(*arguments)


def _renderers() -> tuple[str, ...]:
    """Those that work, each tried in a process of its own, which a broken driver may end."""
    trials = {
        name: subprocess.Popen(
            [sys.executable, "-c", DRAW],
            env=os.environ | {"MUJOCO_GL": name},
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        for name in RENDERERS
    }
    able = []
    for name, trial in trials.items():
        try:
            if "drawn" in trial.communicate(timeout=DRAW_SECONDS)[0]:
                able.append(name)
        except subprocess.TimeoutExpired:
            trial.kill()
    return tuple(able)
