"""`python -m raes.doctor`, on this machine and on a cluster one of whose nodes has another package and lacks a ROM."""

from __future__ import annotations

import json
import os
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import ale_py
import pytest

from raes.config.cli import ending
from raes.doctor.__main__ import main

from .clusters import Machines
from .helpers import Command, Commands

TASK = ("env=InvertedPendulum", "algorithm.pairs=8")
COPIED = {"trial_worlds.py", "__pycache__"}
CLUSTER = pytest.mark.cluster


def doctor(commands: Commands, *words: str, code: int = 0, **variables: str) -> tuple[Command, dict[str, Any]]:
    """What it prints, and what it writes."""
    command = commands.run(*words, "out=doctor.json", module="raes.doctor", code=code, **variables)
    report: dict[str, Any] = json.loads((commands.cwd / "doctor.json").read_text())
    assert report["healthy"] is (code == 0)
    return command, report


@pytest.mark.parametrize("words", [("ray.address=local",), ("runtime=serial",)])
def test_this_machine_is_healthy(commands: Commands, words: tuple[str, ...]) -> None:
    command, report = doctor(commands, *TASK, *words)
    assert command.out.splitlines()[-1].startswith("healthy")
    assert "InvertedPendulum: es, 16 episodes per generation" in command.out
    (node,) = report["nodes"]
    assert node["answer"]["step_seconds"] < 0.01
    assert node["answer"]["cores"] < 1.5
    written = {path.name for path in commands.cwd.iterdir() if not path.name.startswith("command-")}
    assert written - COPIED == {"doctor.json"}


def test_a_pool_that_this_machine_cannot_hold_is_a_fault(commands: Commands) -> None:
    command, _ = doctor(commands, *TASK, "ray.address=local", "workers=14400", code=1)
    assert "FAULT" in command.out
    assert "14400 workers need about" in command.out
    assert not (commands.cwd / "runs").exists()


@pytest.mark.parametrize(
    ("words", "report"),
    [
        (("env=Nothing",), "env=Nothing: there is no such preset"),
        (("algorithm.pears=3",), "algorithm.pears"),
        (("env=gymnasium", "env.id=Nothing-v0"), "env.id=Nothing-v0"),
        (("resume=auto",), "resume=auto needs run_dir"),
        (("out=nowhere/file.json",), "out=nowhere/file.json: name a file in a folder that exists"),
        (("-m", "seed=1,2"), "--multirun"),
    ],
)
def test_bad_input_is_refused_as_the_training_command_refuses_it(
    words: tuple[str, ...], report: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    """In this process."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["raes.doctor", *words])
    assert ending(main) == 2
    assert report in capsys.readouterr().err


def test_a_command_that_is_refused_prints_one_message(commands: Commands) -> None:
    assert "algorithm.pears" in commands.refuse("algorithm.pears=3", module="raes.doctor")


@pytest.fixture(scope="module")
def machines(ray_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machines]:
    """A healthy node, and one that seems to have another MuJoCo, and an ale-py without Pong."""
    other = tmp_path_factory.mktemp("other")
    (other / "mujoco-3.3.0.dist-info").mkdir()
    (other / "mujoco-3.3.0.dist-info" / "METADATA").write_text("Metadata-Version: 2.1\nName: mujoco\nVersion: 3.3.0\n")
    real = Path(ale_py.__file__).parent
    for path in [*real.iterdir(), *(real / "roms").iterdir()]:
        if path.name not in ("roms", "pong.bin", "__pycache__"):
            link = other / "ale_py" / path.relative_to(real)
            link.parent.mkdir(parents=True, exist_ok=True)
            link.symlink_to(path)
    if (libraries := real.with_name("ale_py.libs")).exists():  # which the links' own folder is searched for
        (other / "ale_py.libs").symlink_to(libraries)
    cluster = Machines()
    try:
        cluster.add(1)
        cluster.add(1, variables={"PYTHONPATH": f"{other}{os.pathsep}{Path(__file__).parents[2]}"})
        yield cluster
    finally:
        cluster.close()


@CLUSTER
def test_a_node_with_another_package_is_named(commands: Commands, machines: Machines) -> None:
    address = f"ray.address={machines.address}"
    command, report = doctor(commands, *TASK, address, code=1)
    assert len(report["nodes"]) == 3
    (fault,) = [one for one in report["findings"] if one["level"] == "fault"]
    assert fault["text"].startswith("has mujoco 3.3.0;")
    assert "constraints.txt" in fault["cure"]
    assert "mujoco 3.3.0" in command.out
    # What does not use MuJoCo may run there.
    doctor(commands, "env=CartPole", address, "noise.size=10000000")


@CLUSTER
def test_a_run_leaves_such_a_node_out_and_says_so_once(commands: Commands, machines: Machines) -> None:
    words = (*TASK, f"ray.address={machines.address}", "generations=3", "run_dir=run", "evaluation.every=0")
    out = commands.run(*words, "goal.return_mean=1e9").out
    report = re.findall(r".*has mujoco 3\.3\.0, not .* as the driver on .*", out)
    assert len(report) == 1
    assert "finished: generation limit (3) reached" in out


@CLUSTER
def test_a_node_without_the_rom_is_named(commands: Commands, machines: Machines) -> None:
    words = ("env=Pong", "policy=a3c", "policy.reference=0", "noise.size=10000000")
    _, report = doctor(commands, *words, f"ray.address={machines.address}", code=1)
    (fault,) = [one for one in report["findings"] if one["level"] == "fault"]
    assert fault["text"].startswith("env.game=pong: its ROM is not where ale-py has it")
    assert "it works on" in fault["cure"]


@CLUSTER
def test_a_small_object_store_is_named(commands: Commands, machines: Machines) -> None:
    _, report = doctor(commands, "env=CartPole", f"ray.address={machines.address}", "noise.size=30000000", code=1)
    faults = [one for one in report["findings"] if one["level"] == "fault"]
    assert len(faults) == 3  # 120 MB into each of three stores of 100 MiB
    assert all("object store holds 0.10 GiB" in one["text"] for one in faults)
    refused = commands.refuse("env=CartPole", f"ray.address={machines.address}", "noise.size=30000000", "run_dir=no")
    assert faults[0]["text"] in refused
    assert "--object-store-memory=" in refused
