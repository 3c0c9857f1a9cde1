"""A cluster whose nodes come, leave and die while a run goes on; relays, speculation, deadlines. The bits stay."""

from __future__ import annotations

import json
import re
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from benchmarks.killer import processes

from .clusters import Machines
from .helpers import Command, Commands, latest_generation, records_of, theta_of

pytestmark = pytest.mark.cluster
RUN = ("env=gymnasium", "env.id=trial_worlds:Line-v0", "policy=linear", "algorithm.pairs=20", "noise.size=50000",
       "evaluation.every=3", "evaluation.episodes=2", "checkpoint.every=1", "generations=6")  # fmt: skip
SLOW = {"STEP_SECONDS": "0.02"}
"""Ten steps per episode, so a generation of 40 takes 8 worker seconds."""


@pytest.fixture(scope="module")
def reference(module_commands: Commands) -> Path:
    """The undisturbed run."""
    module_commands.run(*RUN, "runtime=serial", "run_dir=reference")
    return module_commands.cwd / "reference"


@pytest.fixture(scope="module")
def machines(ray_folder: Path) -> Iterator[Machines]:
    """One cluster for all tests of this file; each adds the nodes that it needs and takes them away."""
    cluster = Machines()
    yield cluster
    cluster.close()


@pytest.fixture
def node(machines: Machines) -> Iterator[Any]:
    """A node with 2 CPUs that stays until the end of the test."""
    added = machines.add(2)
    yield added
    machines.kill(added)


def start(commands: Commands, machines: Machines, name: str, *words: str, **variables: str) -> Command:
    """Start a run on the cluster; variables reach the nodes by way of the environment's keywords."""
    values = ",".join(f'{key}:"{value}"' for key, value in variables.items())
    kwargs = f"env.kwargs={{variables:{{{values}}}}}" if variables else "env.rebuild=false"
    return commands.start(*RUN, f"ray.address={machines.address}", f"run_dir={name}", kwargs, *words)


def check(commands: Commands, name: str, reference: Path) -> list[dict[str, Any]]:
    """The same theta, bit for bit; the records."""
    assert theta_of(commands.cwd / name).tobytes() == theta_of(reference).tobytes()
    return records_of(commands.cwd / name)


@pytest.mark.parametrize("relays", ["true", "false"])
def test_relays_change_no_bit(commands: Commands, machines: Machines, node: Any, reference: Path, relays: str) -> None:
    start(commands, machines, "run", f"runtime.relays={relays}").wait()
    assert check(commands, "run", reference)[-1]["pool/actors"] == 2


def test_a_node_that_joins_gets_work_in_the_middle_of_a_generation(
    commands: Commands, machines: Machines, node: Any, reference: Path
) -> None:
    words = ("algorithm.pairs=60", "generations=2", "evaluation.every=0")
    commands.run(*RUN, *words, "runtime=serial", "run_dir=alone")
    command = start(commands, machines, "run", *words, **SLOW)
    command.wait_for(lambda: "2 CPUs" in command.out)
    late = machines.add(2)
    try:
        command.wait()
        first = next(record for record in records_of(commands.cwd / "run") if record["progress/generation"] == 0)
        assert first["pool/actors"] == 4
        assert theta_of(commands.cwd / "run").tobytes() == theta_of(commands.cwd / "alone").tobytes()
    finally:
        machines.kill(late)


@pytest.mark.parametrize("relays", ["true", "false"])
def test_a_node_that_dies_takes_nothing_with_it(
    commands: Commands, machines: Machines, node: Any, reference: Path, relays: str
) -> None:
    victim = machines.add(1)
    command = start(commands, machines, "run", f"runtime.relays={relays}", **SLOW)
    try:
        command.wait_for(lambda: latest_generation(commands.cwd / "run") >= 1)
        command.wait_for(lambda: len(processes("ray::RolloutActor.run")) == 3)  # also the one that will be lost
    finally:
        machines.kill(victim)
    command.wait()
    last = check(commands, "run", reference)[-1]
    assert last["faults/actors_lost"] >= 1
    assert last["faults/episodes_quarantined"] == 0
    assert last["pool/actors"] == 2
    assert "died" in command.out


@pytest.mark.parametrize("relays", ["true", "false"])
def test_a_run_outlives_all_of_its_nodes(commands: Commands, machines: Machines, reference: Path, relays: str) -> None:
    victim = machines.add(2)
    command = start(commands, machines, "run", f"runtime.relays={relays}", **SLOW)
    try:
        command.wait_for(lambda: latest_generation(commands.cwd / "run") >= 1)
    finally:
        machines.kill(victim)
    command.wait_for(lambda: "waiting until one joins" in command.out)
    late = machines.add(2)
    try:
        command.wait()
        assert check(commands, "run", reference)[-1]["pool/actors"] == 2
        assert command.out.count("was lost") <= 4
    finally:
        machines.kill(late)


def test_a_node_that_will_be_taken_away_ends_what_it_has_and_gets_no_more(
    commands: Commands, machines: Machines, node: Any, reference: Path
) -> None:
    spot = machines.add(1)
    command = start(commands, machines, "run", **SLOW)
    command.wait_for(lambda: latest_generation(commands.cwd / "run") >= 1)
    machines.drain(spot, 60)
    command.wait()
    last = check(commands, "run", reference)[-1]
    assert (last["faults/actors_lost"], last["faults/tasks_reissued"]) == (0, 0)
    assert last["pool/actors"] == 2
    assert "will be taken away" in command.out


def test_the_autoscaler_is_asked_and_the_request_taken_back(
    commands: Commands, machines: Machines, node: Any, reference: Path
) -> None:
    command = start(commands, machines, "run", "workers=1..6", **SLOW)
    command.wait_for(lambda: latest_generation(commands.cwd / "run") >= 1)
    assert machines.asked_for() == [{"CPU": 1}] * 6
    command.wait()
    assert machines.asked_for() == []
    check(commands, "run", reference)
    command = start(commands, machines, "stopped", "workers=1..6", **SLOW)
    command.wait_for(lambda: latest_generation(commands.cwd / "stopped") >= 1)
    command.process.send_signal(signal.SIGINT)
    command.wait(130)
    assert machines.asked_for() == []


def test_a_run_waits_for_the_least_number_of_workers(
    commands: Commands, machines: Machines, node: Any, reference: Path
) -> None:
    command = start(commands, machines, "run", "workers=3..4")
    command.wait_for(lambda: "waiting" in command.out)
    assert latest_generation(commands.cwd / "run") == -1
    late = machines.add(2)
    try:
        command.wait()
        assert check(commands, "run", reference)[-1]["pool/actors"] == 4
    finally:
        machines.kill(late)


@pytest.mark.parametrize("relays", ["true", "false"])
def test_an_episode_that_hangs_is_left_out_and_stays_left_out(
    commands: Commands, machines: Machines, node: Any, relays: str
) -> None:
    commands.run(*RUN, "runtime=serial", "run_dir=seeds", "generations=3", SEEDS=str(commands.cwd / "seeds.txt"))
    seeds = (commands.cwd / "seeds.txt").read_text().split()
    words = (f"runtime.relays={relays}", "runtime.deadline=1.5", "generations=3", "faults.max_share=0.2")
    bad = {"BAD": "hang", "BAD_SEEDS": seeds[-20]}
    command = start(commands, machines, "run", *words, **bad).wait()
    assert "deadline of 1.5 s" in command.out
    assert "python -m raes.replay" in command.out
    last = records_of(commands.cwd / "run")[-1]
    assert last["faults/episodes_quarantined"] in (1, 2)  # both episodes of a pair share the seed
    index = int(re.findall(r"index=(\d+)\)", command.out)[0])
    # The quarantine is in the checkpoint: a run that goes on from there does not try the episode again.
    before = commands.cwd / "run" / "checkpoints" / "gen_000002"
    quarantine = [record["index"] for record in json.loads((before / "quarantine.json").read_text())["records"]]
    assert index in quarantine


def test_a_slow_worker_is_helped_out(commands: Commands, machines: Machines, node: Any) -> None:
    """One episode sleeps once, in whichever worker has it first; an idle one answers for it."""
    words = ("generations=2", "evaluation.every=0", "runtime.relays=false")
    commands.run(*RUN, *words, "runtime=serial", "run_dir=alone")
    start(commands, machines, "run", *words, SLEEP_ONCE=str(commands.cwd / "slept"), SLEEP_SECONDS="20").wait()
    assert (commands.cwd / "slept").exists()
    records = records_of(commands.cwd / "run")
    assert theta_of(commands.cwd / "run").tobytes() == theta_of(commands.cwd / "alone").tobytes()
    assert records[-1]["faults/tasks_copied"] >= 1
    assert records[-1]["progress/seconds"] < 20
