"""Ray dies during training: one message with the cause and the command that goes on, exit code 1, within 30 seconds."""

from __future__ import annotations

import os
import re
import shlex
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil
import pytest
from integration.helpers import CARTPOLE, Command, Commands, generations_of, latest_generation, wait_for

pytestmark = pytest.mark.attack

SECONDS = 30.0
"""In which the command must have printed it, and ended."""
WORDS = (*CARTPOLE, "workers=1", "run_dir=run", "console=plain", "checkpoint.every=1")
RAYLET, GCS = "raylet", "gcs_server"


def process_of(name: str, among: list[psutil.Process]) -> psutil.Process:
    """The one whose program has this name."""
    (found,) = [one for one in among if one.name() == name]
    return found


@contextmanager
def head(folder: Path) -> Iterator[tuple[str, psutil.Process]]:
    """A cluster of this machine, as `ray start --head` makes it: its address, and the command."""
    kept = {key: value for key, value in os.environ.items() if not key.startswith("RAY_")}
    program = Path(sys.executable).with_name("ray")
    command = subprocess.Popen(
        [program, "start", "--head", "--block", "--port=0", "--num-cpus=1", "--include-dashboard=false",
         f"--temp-dir={tempfile.mkdtemp(dir=folder)}", "--object-store-memory=300000000"],
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True,
        env=kept | {"RAY_USAGE_STATS_ENABLED": "0", "RAY_worker_niceness": "0", "RAY_AUTH_MODE": "disabled"},
    )  # fmt: skip
    assert command.stdout is not None
    processes: list[psutil.Process] = []
    try:
        found = None
        while found is None and (line := command.stdout.readline()):
            found = re.search(r"--address='(\S+?)'", line)
        assert found is not None, "the cluster has not started"
        tree = psutil.Process(command.pid)
        processes = [tree, *tree.children(recursive=True)]
        yield found[1], tree
    finally:
        with suppress(psutil.Error):
            processes += psutil.Process(command.pid).children(recursive=True)
        for process in processes:
            with suppress(psutil.Error):
                process.kill()
        command.communicate()


def assert_said(command: Command, killed_at: float, cause: str) -> None:
    """One message with the cause, and the command that goes on."""
    command.process.wait(SECONDS + 10)
    assert time.monotonic() - killed_at < SECONDS, str(command)
    assert command.code == 1, str(command)
    text = command.out + command.err
    messages = [line for line in text.splitlines() if line.startswith(("raes: ", "failed: "))]
    assert len(messages) == 1, str(command)
    assert cause in messages[0], str(command)
    assert re.search(r"raes train .*run_dir=run resume=auto", text), str(command)
    for dump in ("Traceback", "state-dump", "(raylet)", "core_worker", "11 times"):
        assert dump not in text, f"{dump}: {command}"


@pytest.mark.parametrize(
    ("name", "number", "cause"),
    [
        (RAYLET, signal.SIGKILL, "its raylet"),
        (GCS, signal.SIGKILL, "has not answered"),
        (RAYLET, signal.SIGSTOP, "is stopped"),
    ],
)
def test_an_embedded_ray_that_dies_is_said_and_leaves_nothing(
    commands: Commands, name: str, number: int, cause: str
) -> None:
    command = commands.start(*WORDS)
    command.wait_for(lambda: latest_generation(commands.cwd / "run") >= 2)
    process_of(name, command.relatives()).send_signal(number)
    assert_said(command, time.monotonic(), cause)
    command.wait(1)
    if (name, number) != (RAYLET, signal.SIGKILL):  # once is enough for the command that goes on
        return
    words = re.search(r"raes train (.* resume=auto)", command.out + command.err)
    assert words is not None
    done = len(generations_of(commands.cwd / "run"))
    commands.run(*shlex.split(words[1]), f"generations={done + 2}")
    assert generations_of(commands.cwd / "run") == list(range(done + 3))


def test_an_evaluation_does_not_wait_for_a_dead_ray(commands: Commands) -> None:
    commands.run(*CARTPOLE, "runtime=serial", "generations=1", "run_dir=run")
    words = ("run_dir=run", "episodes=1000000", "ray.address=local", "workers=1")
    command = commands.start(*words, module="raes.evaluate")
    command.wait_for(lambda: re.search(r"evaluated [1-9]", command.err))
    process_of(GCS, command.relatives()).kill()
    command.process.wait(SECONDS)
    assert command.code == 1, str(command)
    assert "raes: Ray has died" in command.err
    assert "Traceback" not in command.err
    command.wait(1)


@pytest.mark.parametrize("name", [RAYLET, GCS])
def test_a_cluster_that_dies_is_said(commands: Commands, ray_folder: Path, name: str) -> None:
    with head(ray_folder) as (address, tree):
        command = commands.start(*WORDS, f"ray.address={address}", RAY_AUTH_MODE="disabled")
        command.wait_for(lambda: latest_generation(commands.cwd / "run") >= 2)
        process_of(name, tree.children(recursive=True)).kill()
        assert_said(command, time.monotonic(), "Ray has died")
        wait_for(lambda: not command.actors("RolloutActor"), 90, lambda: f"left over: {command.relatives()}")
