"""Which Ray this command uses: a given cluster, the one this machine belongs to, or an embedded one."""

from __future__ import annotations

import logging
import os
import platform
import re
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace

import ray
from ray._private.utils import read_ray_address

from raes.runtime.memory import Room, check_shared_memory, check_table, check_workers, store_bytes
from raes.runtime.packages import CURE
from raes.types import UserError

EMBEDS = ("local", "", "auto")
"""Addresses that name no cluster."""
CONNECT_SECONDS = 3.0
"""How long a cluster's address may take to answer."""


@dataclass(frozen=True)
class Session:
    """A connection to Ray.

    Attributes:
        text: the first line for the user: which Ray this is.
        cpus: CPUs that Ray has in all.
        embedded: whether this command started it.
    """

    text: str
    cpus: int
    embedded: bool


def connect(address: str, workers: int | None, table_bytes: int) -> Session:
    """Connect to the Ray that `ray.address` names.

    Args:
        address: `auto`: RAY_ADDRESS, else a live cluster that this machine belongs to, else embedded; `local`:
            embedded; anything else: that address.
        workers: how many CPUs an embedded Ray offers; None for what Ray finds.
        table_bytes: size of the noise table, which the object store must hold besides results.

    Raises:
        UserError: there is no cluster at the address, or the noise table does not fit.
    """
    key, given = _resolve_address(address)
    if given in EMBEDS:
        found = _live_cluster(given)
        return _embed(workers, table_bytes) if found is None else _join(found, workers, table_bytes)
    if given.startswith("ray://"):
        raise UserError(
            f"{key}={given}: a Ray client has no place for run_dir; run the command on a node of the cluster, or "
            "use `ray job submit`"
        )
    cure = "start one there with `ray start --head`, or use ray.address=local"
    if not _answers(given):
        raise UserError(f"{key}={given}: nothing answers there; {cure}")
    try:
        return _join(given, workers, table_bytes)
    except (ConnectionError, RuntimeError, ValueError) as error:
        if isinstance(error, UserError):
            raise
        raise UserError(
            f"{key}={given}: no Ray cluster answers there ({str(error).splitlines()[0]}); {cure}"
        ) from error


def embeds(address: str) -> bool:
    """Whether `connect` would start an embedded Ray for this `ray.address`."""
    _, given = _resolve_address(address)
    return given in EMBEDS and _live_cluster(given) is None


def _resolve_address(address: str) -> tuple[str, str]:
    """The key that decides which Ray is used, and its value."""
    return ("RAY_ADDRESS", os.environ.get("RAY_ADDRESS", "auto")) if address == "auto" else ("ray.address", address)


@contextmanager
def attached(address: str, workers: int | None, table_bytes: int) -> Iterator[Session]:
    """The Ray that this process uses already, which stays; else one from `connect`, which is shut down afterwards.

    Raises:
        UserError: as `connect`.
    """
    if ray.is_initialized():
        session = _joined("the Ray of this process", workers, table_bytes)
        alone = len([node for node in ray.nodes() if node["Alive"]]) == 1
        yield replace(session, embedded=alone)
        return
    session = connect(address, workers, table_bytes)
    try:
        yield session
    finally:
        ray.shutdown()


def _live_cluster(given: str) -> str | None:
    """The cluster that `ray start` joined this machine to, if it still answers and is not ruled out by `local`."""
    address = None if given == "local" else read_ray_address()
    return str(address) if address and _answers(address) else None


def _answers(address: str) -> bool:
    """Whether something listens at host:port; Ray itself tries for minutes before it fails."""
    host, colon, port = address.rpartition(":")
    if not colon or not port.isdecimal():
        return True  # a name that only Ray can resolve
    try:
        with socket.create_connection((host, int(port)), timeout=CONNECT_SECONDS):
            return True
    except OSError:
        return False


def _join(address: str, workers: int | None, table_bytes: int) -> Session:
    try:
        ray.init(address=address, log_to_driver=False, logging_level=logging.ERROR)
    except RuntimeError as error:
        if (versions := re.findall(r"(?:Ray|Python): (\S+)", str(error))) and "Version mismatch" in str(error):
            ray_there, python_there, ray_here, python_here = versions
            raise UserError(
                f"the Ray cluster at {address} has Ray {ray_there} and Python {python_there}, and "
                f"{platform.node()} has Ray {ray_here} and Python {python_here}; {CURE}"
            ) from error
        raise
    try:
        return _joined(f"Ray cluster at {address}", workers, table_bytes)
    except UserError:
        ray.shutdown()
        raise


def _joined(name: str, workers: int | None, table_bytes: int) -> Session:
    """The session of the Ray that this process is connected to, if it can do the work."""
    nodes = [node for node in ray.nodes() if node["Alive"]]
    own = ray.get_runtime_context().get_node_id()
    for node in nodes:
        if node["Resources"].get("CPU") or node["NodeID"] == own:  # others get no table
            store = int(node["Resources"].get("object_store_memory", 0))
            check_table(table_bytes, Room(store=store), f"node {node['NodeManagerAddress']}")
    cpus = int(ray.cluster_resources().get("CPU", 0))
    if not cpus and workers is None:
        raise UserError(
            f"{name} has no CPUs to run episodes on; add a node that has, or let workers=1..N "
            "ask the autoscaler for some"
        )
    count = f"{len(nodes)} node{'s' if len(nodes) != 1 else ''}"
    return Session(f"{name}: {count}, {cpus} CPUs", cpus, embedded=False)


def _embed(workers: int | None, table_bytes: int) -> Session:
    check_shared_memory(table_bytes)
    check_workers(workers or 1)
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # the user has not been asked
    ray.init(
        address="local",
        num_cpus=workers,
        num_gpus=0,
        object_store_memory=store_bytes(table_bytes),
        include_dashboard=False,
        log_to_driver=False,
        logging_level=logging.ERROR,
    )
    cpus = int(ray.cluster_resources().get("CPU", 0))
    return Session(f"embedded Ray: this machine, {cpus} CPUs", cpus, embedded=True)
