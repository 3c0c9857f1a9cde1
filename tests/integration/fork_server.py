"""A process that has imported what commands need and forks them: `python -m MODULE` without the seconds of its imports.

    python fork_server.py DESCRIPTOR

It reads requests from the socket DESCRIPTOR, one JSON object per line (`Request`). It answers the first one with
`{"request": 0, "pid": ...}`, and sends `{"request": 0, "status": ...}` when that process has ended, with the status of
`os.waitpid`. When the other end of the socket is closed, it kills what still runs and ends.

A forked command is a real process with its own session, folder, environment and files, Python's own signal handlers,
and the exit code of the interpreter. What differs was decided before the fork: most modules are in memory, the seed of
Python's hashes is the server's, and /proc/PID/environ shows the server's variables. `forked.py` is the other end, and
knows which commands have to be started instead.
"""

from __future__ import annotations

import gc
import importlib
import json
import os
import pkgutil
import random
import runpy
import selectors
import signal
import socket
import sys
import threading
from collections.abc import Iterable
from contextlib import suppress
from typing import TypedDict

PRELOADED = (
    "gymnasium.envs.classic_control.cartpole", "gymnasium.envs.mujoco.hopper_v5", "hydra._internal.hydra",
    "hydra._internal.utils", "pydantic.dataclasses", "s3fs", "tensorboardX.event_file_writer",
    "tensorboardX.proto.api_pb2", "tensorboardX.proto.plugin_hparams_pb2",
)  # fmt: skip
"""What commands import sooner or later, besides the modules of RAES."""
NEVER = ("ray", "torch", "matplotlib", "pygame")
"""They start threads, or decide at their import what a command decides."""


class Request(TypedDict):
    """What to run.

    Attributes:
        module: as after `python -m`.
        words: its arguments.
        cwd: its working directory.
        environment: all of its environment variables.
        out: a file for its standard output.
        err: a file for its standard error; its standard input is empty.
    """

    module: str
    words: list[str]
    cwd: str
    environment: dict[str, str]
    out: str
    err: str


def preload() -> None:
    """Import everything, and make sure that this process may be forked."""
    for name in NEVER:
        sys.modules[name] = None  # type: ignore[assignment]  # the modules that need it are left out
    modules = [module.name for module in pkgutil.walk_packages(importlib.import_module("raes").__path__, "raes.")]
    for name in [*modules, *PRELOADED]:
        try:
            importlib.import_module(name)
        except ModuleNotFoundError as error:
            if str(error.name).partition(".")[0] not in NEVER:
                raise
    importlib.import_module("hydra.core.plugins").Plugins.instance()  # which imports all of Hydra's plugins
    for name in NEVER:
        del sys.modules[name]
    assert threading.active_count() == 1, threading.enumerate()
    if os.path.isdir("/proc/self/task"):
        assert len(os.listdir("/proc/self/task")) == 1, "a library has started a thread"
    gc.collect()
    gc.freeze()  # so that forked processes share these objects to their end


def serve(channel: socket.socket) -> Request:
    """Fork a process for every request; returns in the forked ones only, with what to run."""
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    signal.set_wakeup_fd(writer)
    signal.signal(signal.SIGCHLD, lambda number, frame: None)
    running: dict[int, int] = {}
    unread, number = b"", 0
    with selectors.DefaultSelector() as selector:
        selector.register(channel, selectors.EVENT_READ)
        selector.register(reader, selectors.EVENT_READ)
        while True:
            ready = {key.fileobj for key, _ in selector.select()}
            if reader in ready:
                os.read(reader, 4096)
                _report_ended(channel, running)
            if channel not in ready:
                continue
            content = channel.recv(1 << 16)
            if not content:
                _end(running)
            *lines, unread = (unread + content).split(b"\n")
            for line in lines:
                pid = os.fork()
                if pid == 0:
                    signal.set_wakeup_fd(-1)
                    os.close(reader)
                    os.close(writer)
                    channel.close()
                    request: Request = json.loads(line)
                    return request
                running[pid] = number
                _send(channel, {"request": number, "pid": pid})
                number += 1


def _report_ended(channel: socket.socket, running: dict[int, int]) -> None:
    for pid in list(running):
        ended, status = os.waitpid(pid, os.WNOHANG)
        if ended:
            _send(channel, {"request": running.pop(pid), "status": status})


def _send(channel: socket.socket, message: dict[str, int]) -> None:
    with suppress(BrokenPipeError, ConnectionResetError):
        channel.sendall(json.dumps(message).encode() + b"\n")


def _end(running: Iterable[int]) -> None:
    for pid in running:
        with suppress(ProcessLookupError):
            os.killpg(pid, signal.SIGKILL)
    os._exit(0)


def become(request: Request) -> None:
    """Make a forked process what a started one is."""
    os.setsid()
    for number in (signal.SIGCHLD, signal.SIGTERM):
        signal.signal(number, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    os.environ.clear()
    os.environ.update(request["environment"])
    os.chdir(request["cwd"])
    append = os.O_WRONLY | os.O_APPEND
    files = (os.devnull, os.O_RDONLY), (request["out"], append), (request["err"], append)
    for descriptor, (path, flags) in enumerate(files):
        opened = os.open(path, flags)
        os.dup2(opened, descriptor)
        os.close(opened)
    sys.path[0] = request["cwd"]  # in the place of this file's folder
    importlib.invalidate_caches()
    random.seed()
    importlib.import_module("numpy.random").seed()
    sys.argv = [request["module"], *request["words"]]
    for name in (request["module"], f"{request['module']}.__main__"):
        if not hasattr(sys.modules.get(name), "__path__"):  # it will be `__main__`
            sys.modules.pop(name, None)


if __name__ == "__main__":
    preload()
    wanted = serve(socket.socket(fileno=int(sys.argv[1])))
    become(wanted)
    runpy.run_module(wanted["module"], run_name="__main__", alter_sys=True)
