"""Fixtures of the integration tests: commands in a folder of their own, with a Ray of their own or a shared one."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from .forked import ForkServer
from .helpers import LEFTOVER_SECONDS, Commands, commands_in, wait_for
from .shared_ray import SharedRay

shared: list[SharedRay] = []
"""The one of this process, as soon as a test has asked for it."""


@pytest.fixture(scope="session")
def ray_folder() -> Iterator[Path]:
    """Where embedded Rays keep their sessions; short, since sockets lie below it."""
    folder = Path(tempfile.mkdtemp(prefix="raes-", dir="/tmp"))
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session")
def fork_server() -> Iterator[ForkServer]:
    """Forks the commands of all tests of this process."""
    server = ForkServer()
    yield server
    server.close()


@pytest.fixture(scope="session")
def shared_ray(ray_folder: Path) -> Iterator[SharedRay]:
    """A Ray for all tests of this process that are not about the start or the end of Ray."""
    shared.append(SharedRay(ray_folder))
    yield shared[0]
    shared.pop().close()


@pytest.fixture(autouse=True)
def _nothing_is_left_on_the_shared_ray() -> Iterator[None]:
    """A test leaves no actor behind, and its CPUs for the next one."""
    before = {actor.pid for ray in shared for actor in ray.actors()}  # of a fixture for several tests
    yield
    for ray in shared:
        wait_for(
            lambda ray=ray: {actor.pid for actor in ray.actors()} <= before,
            LEFTOVER_SECONDS,
            lambda ray=ray: f"left over: {ray.actors()}",
        )


@pytest.fixture
def commands(tmp_path: Path, ray_folder: Path, fork_server: ForkServer) -> Iterator[Commands]:
    """Runs commands in tmp_path."""
    with commands_in(tmp_path, {"RAY_TMPDIR": str(ray_folder), "RAY_worker_niceness": "0"}, fork_server) as started:
        yield started


@pytest.fixture(scope="module")
def module_commands(
    tmp_path_factory: pytest.TempPathFactory, ray_folder: Path, fork_server: ForkServer
) -> Iterator[Commands]:
    """Runs commands whose runs several tests of a file read."""
    environment = {"RAY_TMPDIR": str(ray_folder), "RAY_worker_niceness": "0"}
    with commands_in(tmp_path_factory.mktemp("runs"), environment, fork_server) as started:
        yield started
