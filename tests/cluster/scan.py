"""Asks every port of a machine without the cluster's secret, and prints the answers; runs on a host or on the laptop.

`python scan.py open ADDRESS` prints the TCP ports that accept a connection; `python scan.py ask ADDRESS PORT ...` calls
each of those ports as HTTP and as gRPC, with methods of all of Ray's services, and prints one JSON object: what each
port replied. Nothing of Ray is imported, so that nothing adds a secret on the way.
"""

from __future__ import annotations

import contextlib
import errno
import http.client
import json
import os
import resource
import select
import socket
import sys
import time

SECONDS = 2.0
"""How long a connection may take; a firewall never answers."""
PATHS = (
    "/",
    "/metrics",
    "/api/version",
    "/api/jobs/",
    "/api/local_raylet_healthz",
    "/nodes?view=summary",
    "/api/authenticate",
)
METHODS = (
    "NodeInfoGcsService/GetAllNodeInfo",  # the GCS
    "InternalKVGcsService/InternalKVKeys",
    "NodeManagerService/GetNodeStats",  # a raylet
    "NodeManagerService/GetResourceLoad",
    "ObjectManagerService/Pull",
    "CoreWorkerService/GetCoreWorkerStats",  # a worker or a driver
    "RayletDriver/ClusterInfo",  # the Ray client's server
    "ReporterService/ReportOCMetrics",  # the dashboard's agent
)


def open_ports(address: str) -> list[int]:
    """The TCP ports that accept a connection."""
    most = min(10_000, resource.getrlimit(resource.RLIMIT_NOFILE)[0] - 100)
    return [port for first in range(1, 65536, most) for port in accepting(address, range(first, first + most))]


def accepting(address: str, ports: range) -> list[int]:
    """The same for some ports, all at once."""
    found, waiting, poll = [], {}, select.epoll()
    for port in ports[: max(0, 65536 - ports.start)]:
        one = socket.socket()
        one.setblocking(False)
        if one.connect_ex((address, port)) == errno.EINPROGRESS:
            waiting[one.fileno()] = (port, one)
            poll.register(one, select.EPOLLOUT | select.EPOLLERR)
    end = time.monotonic() + SECONDS
    while waiting and (left := end - time.monotonic()) > 0:
        for number, _ in poll.poll(left):
            port, one = waiting.pop(number)
            found += [] if one.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) else [port]
            one.close()
    for _, one in waiting.values():
        one.close()
    poll.close()
    return sorted(found)


def ask(address: str, port: int) -> dict[str, str]:
    """What a port answers to each question."""
    answers = {}
    for path in PATHS:
        with contextlib.suppress(OSError, http.client.HTTPException):
            connection = http.client.HTTPConnection(address, port, timeout=SECONDS)
            connection.request("GET", path)
            answers[f"GET {path}"] = str(connection.getresponse().status)
    return answers or call(address, port)


def call(address: str, port: int) -> dict[str, str]:
    """The gRPC status of each method, called with an empty message."""
    import grpc

    answers = {}
    with grpc.insecure_channel(f"{address}:{port}") as channel:
        for method in METHODS:
            function = channel.unary_unary(f"/ray.rpc.{method}")
            try:
                function(b"", timeout=2 * SECONDS)
                answers[method] = "OK"
            except grpc.RpcError as error:
                answers[method] = error.code().name
    return answers


if __name__ == "__main__":
    os.environ["GRPC_VERBOSITY"] = "NONE"
    what, address, *ports = sys.argv[1:]
    found = open_ports(address) if what == "open" else {port: ask(address, int(port)) for port in ports}
    print("SCAN", json.dumps(found))
