"""How a command begins: which Ray it finds or starts, what it shows meanwhile, and that it can be interrupted."""

from __future__ import annotations

import signal
import socket
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest

from raes.runtime.gcs_probe import Reply, probe
from raes.runtime.session import split_address

from .helpers import CARTPOLE, SERIAL, Command, Commands, generations_of
from .shared_ray import SharedRay

AT = ("ray.address=auto", "generations=1")


@contextmanager
def listening() -> Iterator[str]:
    """An address that accepts connections and never answers."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        yield f"127.0.0.1:{listener.getsockname()[1]}"


def test_a_cluster_answers_and_its_other_ports_are_told_apart(shared_ray: SharedRay) -> None:
    endpoint = split_address(shared_ray.address)
    assert endpoint is not None
    assert probe(*endpoint) is Reply.RAY
    [raylet] = [one for one in psutil.Process(shared_ray._process.pid).children() if one.name() == "raylet"]
    ports = [one.laddr.port for one in raylet.net_connections() if one.status == "LISTEN"]
    assert ports
    for port in ports:
        assert probe(endpoint[0], port) in (Reply.OTHER, Reply.HTTP)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_address_that_never_answers_can_be_interrupted(number: signal.Signals, commands: Commands) -> None:
    with listening() as address:
        command = commands.start(*CARTPOLE, *AT, RAY_ADDRESS=address)
        command.wait_for(lambda: f"Ray cluster at {address}: connecting ..." in command.out)
        command.process.send_signal(number)
        before = time.monotonic()
        command.wait(130)
        assert time.monotonic() - before < 5
        assert command.err == "raes: interrupted\n"


def test_an_address_that_never_answers_is_left_within_seconds(commands: Commands) -> None:
    with listening() as address:
        command = commands.start(*CARTPOLE, *AT, RAY_ADDRESS=address)
        command.wait_for(lambda: f"Ray cluster at {address}: connecting ..." in command.out)
        before = time.monotonic()
        command.wait(2)
        assert time.monotonic() - before < 15
        assert command.err.startswith(f"raes: RAY_ADDRESS={address}: something listens there")
        assert command.err.count("\n") == 1


def test_a_ray_whose_sockets_have_long_names_is_one_message(commands: Commands, tmp_path: Path) -> None:
    folder = tmp_path / ("x" * 90)
    folder.mkdir()
    command = commands.run(*CARTPOLE, "generations=1", code=2, RAY_TMPDIR=str(folder))
    assert command.out == "embedded Ray: starting Ray on this machine ...\n"
    assert command.err.startswith(f"raes: RAY_TMPDIR={folder}: Ray cannot start")
    assert command.err.count("\n") == 1


@pytest.mark.slow
def test_a_raylet_that_dies_is_one_message(commands: Commands) -> None:
    command = commands.start(*CARTPOLE, "generations=1")

    def kill() -> bool:
        found = [process for process in command.relatives() if process.name() == "raylet"]
        for process in found:
            process.kill()
        return bool(found)

    command.wait_for(kill)
    command.wait(2)
    assert "raes: Ray cannot start on this machine (" in command.err
    assert "Traceback" not in command.err


def test_an_output_that_fails_ends_no_run_and_is_an_error_of_other_commands(commands: Commands) -> None:
    def shell(line: str) -> Command:
        return commands._begin(("bash", "-o", "pipefail", "-c", f'"$0" -m {line}', sys.executable), None, {})

    piped = shell(f"raes.train {' '.join(SERIAL)} generations=30 run_dir=run | head -3").wait()
    assert piped.out.splitlines()[2].startswith("gen ")
    assert generations_of(commands.cwd / "run") == list(range(31))
    assert piped.err == ""
    evaluated = shell("raes.evaluate run_dir=run runtime=serial episodes=2 out=figures.json >/dev/full").wait(1)
    assert evaluated.err.startswith("raes: the output cannot be written (No space left on device)")
    assert (commands.cwd / "figures.json").exists()
