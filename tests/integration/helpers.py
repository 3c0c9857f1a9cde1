"""Commands run as a user runs them, with a limit on their time, and readers of what they leave behind."""

from __future__ import annotations

import io
import json
import os
import re
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest

from raes.config.compose import compose
from raes.training.prepare import prepare
from raes.types import UserError

from .forked import ForkedProcess, ForkServer

TIMEOUT = 240.0
"""Seconds a command may take; a busy machine of 2 cores is the measure."""
LEFTOVER_SECONDS = 60.0
"""How long Ray's processes may outlive their command."""
SET_HERE = ("RAY_", "HYDRA_", "PYTHONBREAKPOINT")
"""What the variables begin with that Ray and Hydra set in this process; with Ray's no command would be forked."""
AGENTS = ("ray::DashboardAgent", "ray::RuntimeEnvAgent")
"""Ray's processes that look for a head that was killed for a minute before they end."""
WORLDS = "trial_worlds"
"""The module of environments next to this file; `Commands` copies it to the folder that commands run in."""
CARTPOLE = ("env=gymnasium", "env.id=CartPole-v1", "policy=linear", "algorithm.pairs=3", "noise.size=50000",
            "evaluation.episodes=2", "ray.address=local")  # fmt: skip
"""A short command; `env=CartPole` would take a preset, which is none of these tests' business."""
SERIAL = (*CARTPOLE, "runtime=serial")
SLOW_WORLD = """
import time
import gymnasium, numpy as np
from trial_worlds import Line

class Slow(Line):
    metadata = {"render_modes": ["rgb_array"]}
    def __init__(self, render_mode=None):
        super().__init__()
        self.render_mode = render_mode
    def render(self):
        time.sleep(PAUSE)
        return np.zeros((8, 8, 3), np.uint8)

gymnasium.register("Slow-v0", entry_point=Slow)
"""
"""A module with a world of which a picture takes PAUSE seconds."""
DETERMINISTIC = ("returns/", "episode/", "eval/", "search/", "progress/")


class Command:
    """A running command in a session of its own.

    Attributes:
        out, err: what it has printed so far.
        code: how it ended; None while it runs.
    """

    def __init__(
        self, words: tuple[str, ...], cwd: Path, environment: Mapping[str, str], server: ForkServer | None = None
    ) -> None:
        """Start it.

        Args:
            words: the program and its arguments.
            cwd: its working directory.
            environment: variables besides this process's own.
            server: forks it, where it is `python -m` of a module that may be forked.
        """
        self.token = uuid.uuid4().hex
        self._out_path = cwd / f"command-{self.token}.out"
        self._err_path = cwd / f"command-{self.token}.err"
        kept = {key: value for key, value in os.environ.items() if not key.startswith(SET_HERE)}
        kept |= {"RAES_TEST_TOKEN": self.token, "RAY_USAGE_STATS_ENABLED": "0", **environment}
        self.process: subprocess.Popen[bytes] | ForkedProcess
        with self._out_path.open("wb") as out, self._err_path.open("wb") as err:
            if server is not None and words[:2] == (sys.executable, "-m") and server.can(words[2], kept):
                self.process = server.fork({
                    "module": words[2], "words": list(words[3:]), "cwd": str(cwd), "environment": kept,
                    "out": str(self._out_path), "err": str(self._err_path),
                })  # fmt: skip
            else:
                self.process = subprocess.Popen(
                    words, cwd=cwd, env=kept, stdin=subprocess.DEVNULL, stdout=out, stderr=err, start_new_session=True
                )

    @property
    def out(self) -> str:
        return self._out_path.read_text()

    @property
    def err(self) -> str:
        return self._err_path.read_text()

    @property
    def code(self) -> int | None:
        return self.process.poll()

    def __str__(self) -> str:
        return f"{' '.join(map(str, self.process.args))}\nexit code {self.code}\n{self.out}\n{self.err}"  # type: ignore[arg-type]

    def relatives(self) -> list[psutil.Process]:
        """All processes that this command has started, Ray's among them, also after its own end.

        They are in its session (a forked process shows the environment of the one that it was forked from), or have
        its environment.
        """
        found: dict[int, psutil.Process] = {}
        for process in psutil.process_iter():
            with suppress(psutil.Error, ProcessLookupError):
                if os.getsid(process.pid) == self.process.pid or process.environ().get("RAES_TEST_TOKEN") == self.token:
                    found[process.pid] = process
        for process in list(found.values()):
            with suppress(psutil.Error):
                found |= {child.pid: child for child in process.children(recursive=True)}
        return [process for process in found.values() if not ended(process)]

    def actors(self, name: str) -> list[psutil.Process]:
        """The processes of its Ray actors of a class."""
        return [process for process in self.relatives() if _title(process).startswith(f"ray::{name}")]

    def wait(self, code: int | None = 0, timeout: float = TIMEOUT) -> Command:
        """Until it ends by itself, with this exit code, and has taken all its processes with it."""
        try:
            self.process.wait(timeout)
        except subprocess.TimeoutExpired:
            self.kill()
            raise AssertionError(f"still running after {timeout} seconds: {self}") from None
        if code is not None:
            assert self.code == code, str(self)
        wait_for(lambda: not self.left_over(), LEFTOVER_SECONDS, lambda: f"left over: {self.left_over()}")
        return self

    def left_over(self) -> list[psutil.Process]:
        """What it should have taken with it."""
        return [process for process in self.relatives() if not _title(process).startswith(AGENTS)]

    def wait_for(self, condition: Callable[[], Any], timeout: float = TIMEOUT) -> Any:
        """Until the condition holds; the command must not end before."""

        def holds() -> Any:
            result = condition()
            assert result or self.code is None, f"ended too early: {self}"
            return result

        return wait_for(holds, timeout, lambda: f"timed out waiting: {self}")

    def kill(self) -> None:
        """SIGKILL to the command and to all that it has started."""
        relatives = self.relatives()
        with suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        for process in [*relatives, *self.relatives()]:
            with suppress(psutil.Error):
                process.kill()
        self.process.wait(30)


class Commands:
    """Starts commands in one folder.

    Attributes:
        cwd: the folder; run directories lie in it.
    """

    def __init__(self, cwd: Path, environment: Mapping[str, str], server: ForkServer | None = None) -> None:
        self.cwd = cwd
        self._environment, self._server = dict(environment), server
        self._started: list[Command] = []
        source = Path(__file__).with_name(f"{WORLDS}.py")
        (cwd / source.name).write_text(source.read_text())

    def start(self, *words: str, module: str = "raes.train", fork: bool = True, **environment: str) -> Command:
        """Start `python -m module words...`; `fork=False` where a new interpreter makes a difference."""
        server = self._server if fork else None
        return self._begin((sys.executable, "-m", module, *words), server, environment)

    def script(self, *words: str, **environment: str) -> Command:
        """Start `python words...`."""
        return self._begin((sys.executable, *words), None, environment)

    def _begin(self, words: tuple[str, ...], server: ForkServer | None, environment: Mapping[str, str]) -> Command:
        command = Command(words, self.cwd, self._environment | environment, server)
        self._started.append(command)
        return command

    def run(
        self, *words: str, module: str = "raes.train", code: int | None = 0, fork: bool = True, **environment: str
    ) -> Command:
        """Run it to its end."""
        return self.start(*words, module=module, fork=fork, **environment).wait(code)

    def refuse(self, *words: str, module: str = "raes.train", fork: bool = True, **environment: str) -> str:
        """Run what must be refused with exit code 2 and one message, which is returned."""
        command = self.run(*words, module=module, code=2, fork=fork, **environment)
        text = command.out + command.err
        assert "Traceback" not in text, str(command)
        assert not re.search(r"embedded Ray|this process, 1 worker", text), f"something started: {command}"
        messages = re.findall(r"^raes: ", text, re.MULTILINE)
        assert len(messages) == 1, f"{len(messages)} messages: {command}"
        assert command.err.startswith("raes: "), f"the message is not all that is printed: {command}"
        return command.err

    def close(self) -> None:
        """Kill what still runs."""
        for command in self._started:
            if command.code is None or command.relatives():
                command.kill()


@contextmanager
def commands_in(cwd: Path, environment: Mapping[str, str], server: ForkServer | None = None) -> Iterator[Commands]:
    """Commands that are gone afterwards, whatever happens."""
    commands = Commands(cwd, environment, server)
    try:
        yield commands
    finally:
        commands.close()


def wait_for(condition: Callable[[], Any], timeout: float, message: Callable[[], str]) -> Any:
    """Look every 50 ms until the condition holds."""
    end = time.monotonic() + timeout
    while True:
        result = condition()
        if result:
            return result
        assert time.monotonic() < end, message()
        time.sleep(0.05)


def variables(**values: str) -> str:
    """The word that hands variables to `trial_worlds:Line-v0` on a Ray whose processes have not the command's own."""
    pairs = ",".join(f'{key}:"{value}"' for key, value in values.items())
    return f"env.kwargs={{variables:{{{pairs}}}}}"


def refused(*words: str) -> str:
    """What `python -m raes.train WORDS` prints when it refuses them; in this process, by the calls that it makes."""
    with pytest.raises(UserError) as caught:
        prepare(compose(words))
    return str(caught.value)


def records_of(run_dir: Path) -> list[dict[str, Any]]:
    """metrics.jsonl, every line of which must be whole."""
    return [json.loads(line) for line in (run_dir / "metrics.jsonl").read_text().splitlines()]


def deterministic(run_dir: Path) -> list[dict[str, Any]]:
    """What metrics.jsonl holds of the search itself: neither time nor faults."""
    return [
        {key: value for key, value in record.items() if key.startswith(DETERMINISTIC) and key != "progress/seconds"}
        for record in records_of(run_dir)
    ]


def latest(run_dir: Path, which: str = "latest") -> Path:
    """The checkpoint's folder that a pointer names."""
    return run_dir / "checkpoints" / (run_dir / "checkpoints" / which).read_text().strip()


def latest_generation(run_dir: Path) -> int:
    """The generation of the newest checkpoint, -1 where there is none."""
    try:
        return int(latest(run_dir).name.removeprefix("gen_"))
    except OSError:
        return -1


def arrays_of(checkpoint: Path) -> dict[str, np.ndarray[Any, Any]]:
    """arrays.npz, which must hold no pickled object."""
    with np.load(io.BytesIO((checkpoint / "arrays.npz").read_bytes()), allow_pickle=False) as archive:
        return {name: archive[name] for name in archive.files}


def state_of(checkpoint: Path) -> dict[str, Any]:
    """state.json."""
    state: dict[str, Any] = json.loads((checkpoint / "state.json").read_text())
    return state


def theta_of(run_dir: Path, which: str = "latest") -> np.ndarray[Any, Any]:
    """theta of a run's newest checkpoint."""
    return arrays_of(latest(run_dir, which))["theta"]


def generations_of(run_dir: Path) -> list[int]:
    """The generations that metrics.jsonl tells of, in its order."""
    return [record["progress/generation"] for record in records_of(run_dir)]


def _title(process: psutil.Process) -> str:
    with suppress(psutil.Error):
        return " ".join(process.cmdline())
    return ""


def ended(process: psutil.Process) -> bool:
    """Whether it is gone, or a zombie that nobody has waited for."""
    try:
        return not process.is_running() or bool(process.status() == psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:  # it ended between the two questions
        return True
