"""Whether Ray lives: this node's raylet, and the GCS, which keeps the cluster's state.

Ray itself is silent for a minute when the GCS dies, and ends the process then; where the raylet dies, it prints logs
and starts again what cannot start. Calls that need the GCS wait for it without hearing a signal.
"""

from __future__ import annotations

import atexit
import os
import threading
import time
from contextlib import suppress
from typing import Any

import psutil
import ray

from raes.runtime.gcs_probe import Reply, probe
from raes.types import RunFailedError

LOOK_SECONDS = 1.0
"""Seconds between two looks."""
PATIENCE, PATIENCE_WITH_REDIS = 10.0, 50.0
"""Seconds for which the GCS may not answer; the second where its state is in Redis, so that it may come back."""
ANSWER_SECONDS = 3.0
"""Seconds within which the GCS must answer."""
ENDED = (psutil.STATUS_ZOMBIE, psutil.STATUS_DEAD)
SHUTDOWN_SECONDS = 8.0
"""Seconds that Ray's shutdown may take where Ray is dead."""


class RayLife:
    """Looks whether the Ray that this process is connected to lives."""

    def __init__(self, grace: float = 0.0) -> None:
        """Nothing is asked yet.

        Args:
            grace: seconds of patience besides, where another process looks too and should be the first to know.
        """
        self._patience = grace + (PATIENCE_WITH_REDIS if "RAY_REDIS_ADDRESS" in os.environ else PATIENCE)
        self._raylet = _raylet()
        self._gcs = ray.get_runtime_context().gcs_address
        self._looked = self._answered = time.monotonic()
        self._answers = True

    def check(self) -> bool:
        """Whether it answers; looks at most once per second.

        Raises:
            RunFailedError: Ray is dead.
        """
        status, pid = _status(self._raylet), 0 if self._raylet is None else self._raylet.pid
        if status in ENDED:
            raise RunFailedError(
                f"Ray has died on this machine: its raylet (process {pid}) crashed or was killed, by hand or by the "
                "system when memory ran out"
            )
        if (now := time.monotonic()) - self._looked >= LOOK_SECONDS:
            self._answers = status != psutil.STATUS_STOPPED and gcs_answers()
            self._looked = time.monotonic()
            if self._answers:
                self._answered = self._looked
            elif (silent := now - self._answered) > self._patience:
                if status == psutil.STATUS_STOPPED:
                    raise RunFailedError(f"Ray is stopped on this machine (its raylet, process {pid}): {silent:.0f} s")
                raise RunFailedError(
                    f"Ray has died: its head (the GCS at {self._gcs}) has not answered for {silent:.0f} s"
                )
        return self._answers


def gcs_answers() -> bool:
    """Ask the GCS; takes some seconds where it hangs."""
    host, _, port = ray.get_runtime_context().gcs_address.rpartition(":")
    return probe(host.strip("[]"), int(port), ANSWER_SECONDS) not in (Reply.NOTHING, Reply.SILENCE, Reply.OTHER)


def shut_down() -> None:
    """Disconnect from Ray, and end it where it is this process's own; also a dead one, which Ray itself waits for."""
    node: Any = ray._private.worker._global_node
    if node is None:
        return
    raylet = _raylet()
    if raylet is not None and _status(raylet) != psutil.STATUS_STOPPED and gcs_answers():
        ray.shutdown()
        return
    own = [one.process for processes in node.all_processes.values() for one in processes]  # none of a cluster's
    workers: list[psutil.Process] = []
    if raylet is not None and own:
        with suppress(psutil.Error):
            workers = raylet.children()
            raylet.resume()  # in case that it was stopped: what waits for it may end
    for process in own:
        if raylet is None or process.pid != raylet.pid:  # without a raylet Ray ends this process too
            process.kill()
    ending = threading.Thread(target=ray.shutdown, daemon=True)
    ending.start()
    ending.join(SHUTDOWN_SECONDS)
    if ending.is_alive():
        atexit.unregister(ray.shutdown)  # it would wait for the same at the end of this process
    for process in [*own, *workers]:
        with suppress(psutil.Error, ProcessLookupError):
            process.kill()


def _raylet() -> psutil.Process | None:
    """The raylet of this node; None where it has ended or cannot be seen."""
    node: Any = ray._private.worker._global_node
    option = f"--raylet_socket_name={node.raylet_socket_name}"
    for process in psutil.process_iter(["cmdline"]):
        if option in (process.info["cmdline"] or ()):
            return process
    return None


def _status(process: psutil.Process | None) -> str:
    """What a process does, as psutil has it; of one that cannot be seen nothing is known, and it counts as running."""
    if process is None:
        return str(psutil.STATUS_RUNNING)
    try:
        return str(process.status() if process.is_running() else psutil.STATUS_DEAD)
    except psutil.NoSuchProcess:
        return str(psutil.STATUS_DEAD)
