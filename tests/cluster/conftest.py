"""Fixtures of the tests on real cluster launches: a lab, and a Ray cluster that `ray up` has brought up in it."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from .clusters import CLOUD, CLOUD_VARIABLES, LATE, AwsCluster, LocalCluster
from .lab import PYTHON_ENV, REPOSITORY, Lab, what_is_missing

FILES = (
    "Makefile",
    "README.md",
    "pyproject.toml",
    "constraints.txt",
    "LICENSE",
    ".gitignore",
    "cluster",
    "conf",
    "raes",
    "hydra_plugins",
)
"""What of the project a user's checkout must hold for the commands of cluster/README.md."""


@pytest.fixture(scope="session")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The project's files, with `dist/` as `make wheels` makes it where there is internet."""
    if (missing := what_is_missing()) is not None:
        pytest.skip(missing)
    folder = tmp_path_factory.mktemp("checkout") / "raes"
    folder.mkdir()
    for name in FILES:
        source = REPOSITORY / name
        (shutil.copytree if source.is_dir() else shutil.copy)(source, folder / name)
    subprocess.run(
        ["make", "--silent", "wheels", f"VENV={PYTHON_ENV}", "-o", f"{PYTHON_ENV}/.ready-dev"], cwd=folder, check=True
    )
    return folder


@pytest.fixture(scope="module")
def lab(checkout: Path) -> Iterator[Lab]:
    """A laptop with the project on it, and no hosts yet."""
    with Lab() as lab:
        lab.bring(checkout)
        yield lab


@pytest.fixture(scope="module")
def local_cluster(lab: Lab) -> Iterator[LocalCluster]:
    """Three hosts and a Ray cluster on them, brought up by `ray up cluster/local.yaml`; LATE is still switched off."""
    with LocalCluster(lab, off=(LATE,)) as cluster:
        yield cluster


@pytest.fixture(scope="module")
def aws_cluster(checkout: Path) -> Iterator[AwsCluster]:
    """A cloud of its own in a lab; nothing is up yet."""
    with Lab(**CLOUD, variables=CLOUD_VARIABLES) as lab:
        lab.bring(checkout)
        with AwsCluster(lab) as cluster:
            yield cluster
