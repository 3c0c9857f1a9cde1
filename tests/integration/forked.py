"""The other end of `fork_server.py`: forked commands, with what `subprocess.Popen` has of a started one."""

from __future__ import annotations

import json
import os
import select
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path

from .fork_server import Request

START_SECONDS = 120.0
"""How long the server may take to import everything, on a busy machine."""
MODULES = ("raes.train", "raes.evaluate", "raes.export", "raes.replay", "raes.report", "raes.doctor")
"""Commands that may be forked: none that draws, since the libraries of that decide at their import."""
READ_AT_START = ("PYTHON", "MUJOCO_GL", "PYOPENGL", "OMP_", "OPENBLAS_", "MKL_", "MALLOC_", "LD_", "LANG", "LC_", "TZ")
"""What the variables begin with that Python or a library reads before the first line of a command."""


class ForkServer:
    """The process that forks commands, one per test process."""

    def __init__(self) -> None:
        self._environment = dict(os.environ)
        self._channel, theirs = socket.socketpair()
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, str(Path(__file__).with_name("fork_server.py")), str(theirs.fileno())],
                pass_fds=[theirs.fileno()], stdin=subprocess.DEVNULL, start_new_session=True,
                env=self._environment | {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"},
            )  # fmt: skip
        self._unread, self._requests = b"", 0
        self._pids: dict[int, int] = {}
        self._statuses: dict[int, int] = {}

    def can(self, module: str, environment: Mapping[str, str]) -> bool:
        """Whether a forked command would be what a started one is."""
        changed = {key for key, _ in environment.items() ^ self._environment.items()}
        return module in MODULES and not any(key.startswith(READ_AT_START) for key in changed)

    def fork(self, request: Request) -> ForkedProcess:
        """Run a command."""
        number, self._requests = self._requests, self._requests + 1
        self._channel.sendall(json.dumps(request).encode() + b"\n")
        end = time.monotonic() + START_SECONDS
        while number not in self._pids:
            assert time.monotonic() < end, "the fork server does not answer"
            self._read(1.0)
        args = (sys.executable, "-m", request["module"], *request["words"])
        return ForkedProcess(self, number, self._pids[number], args)

    def status(self, number: int, seconds: float) -> int | None:
        """How the process of a request ended, as `os.waitpid` has it; None where it still runs after the seconds."""
        end = time.monotonic() + seconds
        while number not in self._statuses:
            if not self._read(max(0.0, end - time.monotonic())):
                return None
        return self._statuses[number]

    def _read(self, seconds: float) -> bool:
        """Take what the server sends within so many seconds; whether it was anything."""
        if not select.select([self._channel], [], [], seconds)[0]:
            return False
        content = self._channel.recv(1 << 16)
        assert content, f"the fork server has ended with {self._process.wait(30)}"
        *lines, self._unread = (self._unread + content).split(b"\n")
        for line in lines:
            message = json.loads(line)
            if "pid" in message:
                self._pids[message["request"]] = message["pid"]
            else:
                self._statuses[message["request"]] = message["status"]
        return True

    def close(self) -> None:
        """End it, and what it has forked."""
        self._channel.close()
        self._process.wait(30)


class ForkedProcess:
    """A forked command.

    Attributes:
        pid: its process, and its session.
        args: what a started one would have been called with.
        returncode: its exit code, the negative number of the signal that ended it, or None as far as is known.
    """

    def __init__(self, server: ForkServer, number: int, pid: int, args: tuple[str, ...]) -> None:
        self._server, self._number, self.pid, self.args = server, number, pid, args
        self.returncode: int | None = None

    def poll(self) -> int | None:
        """The exit code; None while it runs."""
        self._look(0.0)
        return self.returncode

    def wait(self, timeout: float) -> int:
        """Its exit code, when it has ended.

        Raises:
            subprocess.TimeoutExpired: it has not, after so many seconds.
        """
        self._look(timeout)
        if self.returncode is None:
            raise subprocess.TimeoutExpired(self.args, timeout)
        return self.returncode

    def send_signal(self, number: int) -> None:
        """Send it a signal, unless it has ended."""
        if self.poll() is None:
            os.kill(self.pid, number)

    def kill(self) -> None:
        """SIGKILL."""
        self.send_signal(signal.SIGKILL)

    def _look(self, seconds: float) -> None:
        if self.returncode is None and (status := self._server.status(self._number, seconds)) is not None:
            self.returncode = os.waitstatus_to_exitcode(status)
