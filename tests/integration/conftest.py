"""Fixtures of the integration tests: commands in a folder of their own, with a Ray of their own."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from .helpers import Commands, commands_in


@pytest.fixture(scope="session")
def ray_folder() -> Iterator[Path]:
    """Where embedded Rays keep their sessions; short, since sockets lie below it."""
    folder = Path(tempfile.mkdtemp(prefix="raes-", dir="/tmp"))
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def commands(tmp_path: Path, ray_folder: Path) -> Iterator[Commands]:
    """Runs commands in tmp_path."""
    with commands_in(tmp_path, {"RAY_TMPDIR": str(ray_folder), "RAY_worker_niceness": "0"}) as started:
        yield started


@pytest.fixture(scope="module")
def module_commands(tmp_path_factory: pytest.TempPathFactory, ray_folder: Path) -> Iterator[Commands]:
    """Runs commands whose runs several tests of a file read."""
    with commands_in(
        tmp_path_factory.mktemp("runs"), {"RAY_TMPDIR": str(ray_folder), "RAY_worker_niceness": "0"}
    ) as started:
        yield started
