"""Which Ray this command uses: a given cluster, the one this machine belongs to, or an embedded one."""

from __future__ import annotations

import logging
import os
import platform
import re
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import ray
from ray._private import worker as ray_worker
from ray._private.utils import read_ray_address

from raes.runtime.gcs_probe import ANSWER_SECONDS, Reply, probe
from raes.runtime.memory import Room, check_shared_memory, check_table, check_workers, store_bytes
from raes.runtime.packages import CURE
from raes.runtime.privacy import on_loopback, protect_token
from raes.runtime.process_groups import groups_of_their_own
from raes.runtime.ray_life import shut_down
from raes.text import one_line
from raes.types import Interrupted, UserError

EMBEDS = ("local", "", "auto")
"""Addresses that name no cluster."""
ELSEWHERE = "start one there with `ray start --head`, or use ray.address=local"
"""What to do about an address where no cluster is."""
REPLIES = {
    Reply.NOTHING: "nothing answers there; {cure}",
    Reply.SILENCE: f"something listens there and has not answered for {ANSWER_SECONDS:g} seconds; see whether the "
    "cluster hangs (`ray status`), or use ray.address=local",
    Reply.LOCKED: "the cluster there wants a token; set RAY_AUTH_MODE=token, and RAY_AUTH_TOKEN to the head's token "
    "(or copy its ~/.ray/auth_token), or use ray.address=local",
    Reply.HTTP: "a web server answers there, not a cluster. Perhaps it is the cluster's dashboard, where jobs are "
    "submitted: `ray job submit --address http://{given} -- COMMAND`. The cluster itself has another port: "
    "HOST:6379, unless it was started with --port",
    Reply.OTHER: "something else than a Ray cluster answers there; a cluster's own port is 6379, unless it was "
    "started with --port; {cure}",
}
"""What is wrong with an address, by what answers there."""


def _ignore(text: str) -> None:
    """Shows nothing."""


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


def connect(address: str, workers: int | None, table_bytes: int, notify: Callable[[str], None] = _ignore) -> Session:
    """Connect to the Ray that `ray.address` names.

    Args:
        address: `auto`: RAY_ADDRESS, else a live cluster that this machine belongs to, else embedded; `local`:
            embedded; anything else: that address.
        workers: how many CPUs an embedded Ray offers; None for what Ray finds.
        table_bytes: size of the noise table, which the object store must hold besides results.
        notify: called with a line about what will take seconds.

    Raises:
        UserError: there is no cluster at the address, Ray cannot start, or the noise table does not fit.
    """
    key, given = _resolve_address(address)
    if (exposed := protect_token(create=False)) is not None:
        notify(exposed)
    if given in EMBEDS:
        found = _live_cluster(given)
        if found is None:
            return _embed(workers, table_bytes, notify)
        notify(
            f"Ray cluster at {found}, which this machine belongs to (ray.address=local leaves it alone): connecting ..."
        )
    else:
        found, endpoint = given, _endpoint(key, given)
        notify(f"Ray cluster at {found}: connecting ...")
        if (reply := probe(*endpoint)) is not Reply.RAY:
            raise UserError(f"{key}={given}: {REPLIES[reply].format(given=given, cure=ELSEWHERE)}")
    try:
        return _join(found, workers, table_bytes)
    except (ConnectionError, RuntimeError, ValueError) as error:
        if isinstance(error, UserError):
            raise
        reason = one_line(next(iter(str(error).splitlines()), type(error).__name__))
        raise UserError(f"{key}={found}: no Ray cluster answers there ({reason}); {ELSEWHERE}") from error


def _endpoint(key: str, given: str) -> tuple[str, int]:
    """Host and port of a cluster's address.

    Raises:
        UserError: it is the address of something else.
    """
    scheme, separator, rest = given.partition("://")
    if given.startswith("ray://"):
        raise UserError(
            f"{key}={given}: a Ray client has no place for run_dir; run the command on a node of the cluster, or "
            "use `ray job submit`"
        )
    if scheme in ("http", "https"):
        host = rest.partition("/")[0].rpartition(":")[0] or rest.partition("/")[0]
        raise UserError(
            f"{key}={given}: this is the address of the jobs API, where commands are submitted: `ray job submit "
            f"--address {given} -- python -m raes.train ...`. The cluster's own address is {host}:6379, unless it was "
            "started with --port"
        )
    endpoint = None if separator else split_address(given)
    if endpoint is None:
        raise UserError(f"{key}={given}: give HOST:PORT of a cluster, such as 10.0.0.1:6379, or auto, or local")
    return endpoint


def split_address(address: str) -> tuple[str, int] | None:
    """Host and port of HOST:PORT, where an IPv6 address may stand in brackets; None where it is none."""
    found = re.fullmatch(r"(\[[0-9a-fA-F:.]+\]|[^\s:/\[\]]+):([0-9]{1,5})", address)
    if found is None or not 0 < int(found[2]) < 2**16:
        return None
    return found[1].strip("[]"), int(found[2])


def embeds(address: str) -> bool:
    """Whether `connect` would start an embedded Ray for this `ray.address`."""
    _, given = _resolve_address(address)
    return given in EMBEDS and _live_cluster(given) is None


def _resolve_address(address: str) -> tuple[str, str]:
    """The key that decides which Ray is used, and its value."""
    return ("RAY_ADDRESS", os.environ.get("RAY_ADDRESS", "auto")) if address == "auto" else ("ray.address", address)


@contextmanager
def attached(
    address: str, workers: int | None, table_bytes: int, notify: Callable[[str], None] = _ignore
) -> Iterator[Session]:
    """The Ray that this process uses already, which stays; else one from `connect`, which is shut down afterwards.

    Raises:
        UserError: as `connect`.
    """
    if ray.is_initialized():
        session = _joined("the Ray of this process", workers, table_bytes)
        alone = len([node for node in ray.nodes() if node["Alive"]]) == 1
        yield replace(session, embedded=alone)
        return
    session = connect(address, workers, table_bytes, notify)
    try:
        yield session
    finally:
        shut_down()


def _live_cluster(given: str) -> str | None:
    """The cluster that `ray start` joined this machine to, if it still answers and is not ruled out by `local`.

    Raises:
        UserError: it hangs, or does not let this command in.
    """
    address = None if given == "local" else read_ray_address()
    endpoint = split_address(str(address))
    if endpoint is None:
        return None
    reply = probe(*endpoint)
    if reply in (Reply.SILENCE, Reply.LOCKED):
        raise UserError(f"this machine belongs to the Ray cluster at {address}: {REPLIES[reply]}")
    return str(address) if reply is Reply.RAY else None


def _init(**options: Any) -> None:
    """`ray.init`, which leaves nothing behind where it fails, and leaves SIGTERM to those who handled it before."""
    main = threading.current_thread() is threading.main_thread()
    before = signal.getsignal(signal.SIGTERM)
    # Ray's thread that prints what went wrong anywhere, with logs; what concerns a run is reported by its pool.
    listen, ray_worker.listen_error_messages = ray_worker.listen_error_messages, lambda *_: None
    try:
        with groups_of_their_own():
            ray.init(log_to_driver=False, logging_level=logging.ERROR, **options)
    except SystemExit as error:  # by Ray's own handler of SIGTERM
        ray.shutdown()
        raise Interrupted from error
    except BaseException:
        ray.shutdown()
        raise
    finally:
        ray_worker.listen_error_messages = listen
        if main and before is not None:
            signal.signal(signal.SIGTERM, before)


def _join(address: str, workers: int | None, table_bytes: int) -> Session:
    try:
        _init(address=address)
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


def _embed(workers: int | None, table_bytes: int, notify: Callable[[str], None]) -> Session:
    check_shared_memory(table_bytes)
    check_workers(workers or 1)
    notify("embedded Ray: starting Ray on this machine ...")
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # the user has not been asked
    protect_token(create=True)
    try:
        with on_loopback():
            _init(
                address="local",
                num_cpus=workers,
                num_gpus=0,
                object_store_memory=store_bytes(table_bytes),
                include_dashboard=False,
            )
    except Exception as error:  # Ray raises bare ones
        raise UserError(_why_not_started(error)) from error
    cpus = int(ray.cluster_resources().get("CPU", 0))
    return Session(f"embedded Ray: this machine, {cpus} CPUs", cpus, embedded=True)


def _why_not_started(error: Exception) -> str:
    """One message about an embedded Ray that has not started, with the cure."""
    key = "RAY_TMPDIR" if "RAY_TMPDIR" in os.environ else "TMPDIR"
    folder = os.environ.get(key, "/tmp")
    reason = one_line(next(iter(str(error).splitlines()), type(error).__name__))
    if "AF_UNIX path" in reason:
        return (
            f"{key}={folder}: Ray cannot start, since the sockets that it makes there would have names of more letters "
            "than the system allows; set RAY_TMPDIR to a short folder, such as RAY_TMPDIR=/tmp, or use "
            "runtime=serial, which needs no Ray"
        )
    if isinstance(error, OSError):
        return (
            f"Ray cannot start in {folder} ({reason}); set RAY_TMPDIR to a short folder that can be written and has "
            "room, or use runtime=serial, which needs no Ray"
        )
    return (
        f"Ray cannot start on this machine ({reason}); see its logs in {folder}/ray/session_latest/logs, try again if "
        "the machine was busy, or use runtime=serial, which needs no Ray"
    )
