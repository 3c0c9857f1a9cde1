"""Which Ray this command uses: a given cluster, the one this machine belongs to, or an embedded one."""

from __future__ import annotations

import logging
import os
import socket
from dataclasses import dataclass

import ray
from ray._private.utils import read_ray_address

from raes.runtime.memory import STORE_MARGIN, check_memory
from raes.types import UserError


@dataclass(frozen=True)
class Session:
    """A connection to Ray.

    Attributes:
        text: the first line for the user: which Ray this is.
        cpus: CPUs that Ray has in all.
        embedded: whether it ends with this process.
    """

    text: str
    cpus: int
    embedded: bool


def connect(address: str, workers: int | None, table_bytes: int) -> Session:
    """Connect to Ray as `ray.address` says.

    Args:
        address: `auto`: RAY_ADDRESS, else a live cluster that this machine belongs to, else embedded; `local`:
            embedded; anything else: that address.
        workers: how many CPUs an embedded Ray must offer; None for the machine's.
        table_bytes: what the object store must hold beside results.

    Raises:
        UserError: there is no cluster at the address, or the noise table does not fit.
    """
    given = os.environ.get("RAY_ADDRESS", "") if address == "auto" else "" if address == "local" else address
    if given in ("", "local"):
        found = _live_cluster() if address == "auto" and not given else None
        if found is not None:
            try:
                return _join(found, table_bytes)
            except (ConnectionError, RuntimeError):
                ray.shutdown()
        return _embed(workers, table_bytes)
    try:
        return _join(given, table_bytes)
    except (ConnectionError, RuntimeError, ValueError) as error:
        key = "ray.address" if address != "auto" else "RAY_ADDRESS"
        raise UserError(
            f"{key}={given}: no Ray cluster answers there ({str(error).splitlines()[0]}); "
            "start one with `ray start --head`, or use ray.address=local"
        ) from error


def _live_cluster() -> str | None:
    """The cluster that `ray start` joined this machine to, if it still answers."""
    address = read_ray_address()
    if not address:
        return None
    host, _, port = address.rpartition(":")
    try:
        with socket.create_connection((host, int(port)), timeout=2):
            return str(address)
    except (OSError, ValueError):
        return None


def _join(address: str, table_bytes: int) -> Session:
    ray.init(address=address, log_to_driver=False, logging_level=logging.ERROR)
    resources = ray.cluster_resources()
    store = resources.get("object_store_memory", 0.0)
    if table_bytes > 0.9 * store / max(1, len(ray.nodes())):
        ray.shutdown()
        raise UserError(
            f"the noise table needs {table_bytes / 2**30:.1f} GiB and the cluster's object stores hold "
            f"{store / 2**30:.1f} GiB in all; start Ray with a larger --object-store-memory or reduce policy.hidden"
        )
    cpus = int(resources.get("CPU", 0))
    nodes = len([node for node in ray.nodes() if node["Alive"]])
    return Session(f"Ray cluster at {address}: {nodes} nodes, {cpus} CPUs", cpus, embedded=False)


def _embed(workers: int | None, table_bytes: int) -> Session:
    check_memory(table_bytes, shared=True)
    cpus = max(workers or 0, len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1)
    ray.init(
        address="local",
        num_cpus=cpus,
        num_gpus=0,
        object_store_memory=table_bytes + STORE_MARGIN,
        include_dashboard=False,
        log_to_driver=False,
        logging_level=logging.ERROR,
    )
    return Session(f"embedded Ray: this machine, {cpus} CPUs", cpus, embedded=True)
