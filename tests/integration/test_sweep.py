"""Sweeps: jobs side by side on one Ray that share its CPUs and one noise table; one fails, the others go on."""

from __future__ import annotations

import json
import re
import shlex
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import ray

from raes.rng import Purpose, reset_seed
from raes.runtime.scheduling import Share
from raes.runtime.sweep_resources import SharedTables, SweepResources, start_sweep_resources
from raes.search import noise

from .helpers import CARTPOLE, SERIAL, Commands, latest_generation, records_of, theta_of, variables
from .shared_ray import SharedRay

LINE = ("env=gymnasium", "env.id=trial_worlds:Line-v0", "policy=linear", "noise.size=50000", "evaluation.episodes=2",
        "ray.address=local", "faults.max_share=0")  # fmt: skip
FAILING = {"BAD": "raise", "BAD_SEEDS": str(reset_seed(1, Purpose.TRAINING, 1, 0))}
"""The first episode of seed 1's second generation fails, and of no other run."""


@pytest.fixture
def joined(shared_ray: SharedRay) -> Iterator[None]:
    ray.init(address=shared_ray.address, log_to_driver=False)
    yield
    ray.shutdown()


@pytest.mark.usefixtures("joined")
def test_the_jobs_of_a_sweep_read_one_table_and_share_the_cpus() -> None:
    shared, handle = start_sweep_resources(jobs=2)
    one, other = (SharedTables(SweepResources(shared.name, job), 100_000) for job in (0, 1))
    assert one.on(one.node) == other.on(one.node), "each job has a table of its own"
    assert one.fingerprint == noise.fingerprint(noise.make_table(100_000))
    np.testing.assert_array_equal(one.local, noise.make_table(100_000))
    assert SweepResources(shared.name, 1).share() == Share(1, 2)
    ray.get(handle.leave.remote(0))
    assert SweepResources(shared.name, 1).share() == Share(0, 1)


def test_one_job_fails_and_the_others_go_on_to_the_bits_that_they_have_alone(
    commands: Commands, shared_ray: SharedRay
) -> None:
    words = (*LINE, "algorithm.pairs=3", "generations=3", variables(**FAILING))
    sweep = commands.run(
        "-m", *words, *shared_ray.words(), "seed=0,1,2", "run_dir=sweep", "hydra.launcher.parallel=2", "workers=1",
        code=1,
    )  # fmt: skip
    assert "2 of 3 jobs are done" in sweep.out
    assert "exit code 1, failed: " in sweep.out
    assert "the joint came off" in sweep.out
    folders = {int(path.name.rpartition("seed-")[2]): path for path in (commands.cwd / "sweep").glob("*seed*")}
    assert folders.keys() == {0, 1, 2}
    for seed in (0, 2):
        commands.run(*words, f"seed={seed}", f"run_dir=alone{seed}", "runtime=serial")
        np.testing.assert_array_equal(theta_of(folders[seed]), theta_of(commands.cwd / f"alone{seed}"))
    report = commands.run("sweep", module="raes.report")
    left_out = json.loads((commands.cwd / "report" / "report.json").read_text())["left_out"]["rows"]
    assert [(row["path"], row["status"]) for row in left_out] == [(f"sweep/{folders[1].name}", "failed")]
    assert "Line-v0" in report.out


def test_a_job_that_cannot_begin_leaves_the_others_alone(commands: Commands, shared_ray: SharedRay) -> None:
    words = ("-m", *CARTPOLE, *shared_ray.words(), "generations=1", "run_dir=sweep", "hydra.launcher.parallel=2")
    command = commands.run(*words, "workers=1", "algorithm.sigma=0.1,-1", code=2)
    assert "1 of 2 jobs are done" in command.out
    assert "algorithm.sigma" in command.err
    assert "no_such" in commands.refuse(*words, "algorithm=es,no_such")


def test_ctrl_c_stops_all_jobs_with_checkpoints(commands: Commands, shared_ray: SharedRay) -> None:
    command = commands.start(
        "-m", *CARTPOLE, *shared_ray.words(), "generations=100000", "seed=0,1,2", "run_dir=sweep",
        "hydra.launcher.parallel=2", "workers=1", "console=quiet", "checkpoint.every=1",
    )  # fmt: skip
    running: list[Path] = []

    def two_run() -> bool:
        running[:] = [path for path in (commands.cwd / "sweep").glob("*") if latest_generation(path) > 0]
        return len(running) == 2

    command.wait_for(two_run)
    command.process.send_signal(signal.SIGINT)
    command.wait(130)
    assert "0 of 3 jobs are done" in command.out
    assert "not begun" in command.out
    for run in running:
        assert latest_generation(run) == records_of(run)[-1]["progress/generation"] + 1


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_six_jobs_side_by_side_take_hardly_longer_than_their_actor_seconds(commands: Commands) -> None:
    """Episodes sleep; the figures are printed.

    Actor seconds are workers times wall seconds of each job alone on all CPUs, from its first dispatch to its last
    update. Side by side the six jobs, one of which fails, have 1.15 times as many for everything, Ray's start included.
    """
    words = (*LINE, "algorithm.pairs=10", "generations=60", "evaluation.every=0", "console=quiet")
    slow = FAILING | {"STEP_SECONDS": "0.008"}
    busy = total = 0.0
    for seed in range(6):
        commands.run(*words, f"seed={seed}", f"run_dir=alone/{seed}", code=int(seed == 1), **slow)
        for record in records_of(commands.cwd / f"alone/{seed}"):
            seconds = record["pool/actors"] * record["speed/generation_seconds"]
            total, busy = total + seconds, busy + seconds * record["speed/worker_busy_fraction"]
    started = time.perf_counter()
    command = commands.start("-m", *words, "seed=0,1,2,3,4,5", "run_dir=sweep", "hydra.launcher.parallel=2", **slow)
    command.wait(code=1, timeout=900)
    wall = time.perf_counter() - started
    assert "5 of 6 jobs are done" in command.out
    shared = wall * int(re.findall(r"which share (\d+) CPUs", command.out)[0])
    print(
        f"\nactor seconds alone {total:.1f}, of them in episodes {busy:.1f}; CPU seconds of the sweep {shared:.1f}: "
        f"{shared / total:.3f} of the actor seconds, {shared / busy:.3f} of those in episodes"
    )
    assert shared <= 1.15 * total


def test_the_folders_of_a_sweep_are_told_apart_by_what_is_computed(commands: Commands) -> None:
    commands.run("-m", *CARTPOLE, "seed=0,1", "generations=1", "runtime=serial", "workers=1", "run_dir=sweep")
    folders = sorted(path for path in (commands.cwd / "sweep").iterdir() if path.is_dir())
    names = [path.name for path in folders]
    assert [name.rpartition("__")[2] for name in names] == ["seed-0", "seed-1"]
    assert not any("workers" in name or "runtime" in name or "generations" in name for name in names)
    assert (commands.cwd / "sweep" / "multirun.yaml").exists()
    # Each of them can be given to every command.
    commands.run(*SERIAL, f"start_from=sweep/{names[0]}", "run_dir=branch", "generations=1")
    commands.run(f"run_dir=sweep/{names[0]}", "runtime=serial", "episodes=2", module="raes.evaluate")


def test_sweeps_without_a_run_dir_keep_their_records_apart(commands: Commands) -> None:
    words = ("-m", *SERIAL, "seed=0,1", "algorithm.sigma=-1")  # no job can begin
    commands.run(*words, code=2)
    first = [path.read_text() for path in commands.cwd.glob("runs/sweeps/*/multirun.yaml")]
    assert len(first) == 1
    assert not (commands.cwd / "runs" / "multirun.yaml").exists()


def test_a_folder_of_any_name_is_a_run_directory_for_every_command(commands: Commands) -> None:
    """Such as sweeps made them before, and such as schedulers and people choose."""
    former = "seed=0,algorithm.sigma=0.1"
    commands.run(*SERIAL, f"run_dir={former}", "generations=1")
    commands.run(*SERIAL, f"run_dir={former}", "generations=2", "resume=auto")
    for number, key in enumerate(("start_from", "resume")):
        name = ("123", "a: b")[number]
        done = commands.run(*SERIAL, f"{key}={former}", f"run_dir={name}", "generations=3")
        [printed] = re.findall(r"evaluate it +(\S*raes evaluate .*)", done.out)
        [word] = shlex.split(printed)[2:]
        assert word == name
        commands.run(word, "runtime=serial", "episodes=2", module="raes.evaluate")
    sweep = commands.run("-m", *SERIAL, f"start_from={former}", "seed=0,1", "run_dir=läufe", "generations=1")
    assert "2 of 2 jobs are done" in sweep.out
    assert len(list((commands.cwd / "läufe").glob("*/config.yaml"))) == 2
