"""The driver dies ten times, at random moments and in the middle of writing a checkpoint; no bit of the run changes."""

from __future__ import annotations

import random
import signal
import time
from pathlib import Path

import numpy as np
import psutil
import pytest

from raes.storage.checkpoint import read
from raes.training.launch import MAX_RESTARTS

from .helpers import Command, Commands, deterministic, ended, generations_of, latest, latest_generation, theta_of

pytestmark = pytest.mark.cluster

STEP = 3
"""Generations between two kills."""
GENERATIONS = 3 * STEP * (MAX_RESTARTS + 1)
"""More than a fast machine comes to before the last kill."""
WORDS = (
    "env=gymnasium", "env.id=HalfCheetah-v5", "policy=mlp", "policy.hidden=[256,256]", "seed=5", "noise.size=2000000",
    "algorithm.pairs=4", "algorithm.episode_cap.kind=fixed", "algorithm.episode_cap.steps=200", "checkpoint.every=1",
    "evaluation.every=5", "evaluation.episodes=2", "ray.address=local", f"generations={GENERATIONS}",
)  # fmt: skip


def kill(command: Command, run_dir: Path, driver: psutil.Process, writing: bool, delay: float) -> bool:
    """SIGKILL after a delay, or as soon as a checkpoint is being written; whether one was half written then."""
    end = time.monotonic() + (60.0 if writing else delay)
    while time.monotonic() < end and not (writing and list(run_dir.glob("checkpoints/.writing_gen_*"))):
        time.sleep(0 if writing else 0.01)
    driver.send_signal(signal.SIGKILL)
    command.wait_for(lambda: ended(driver))
    return bool(list(run_dir.glob("checkpoints/.writing_gen_*")))


@pytest.mark.timeout(600)
def test_a_driver_that_dies_ten_times_ends_with_the_same_bits(commands: Commands) -> None:
    commands.run(*WORDS, "run_dir=reference", "runtime=serial")
    run_dir, reference = commands.cwd / "killed", commands.cwd / "reference"
    command = commands.start(*WORDS, "run_dir=killed", "workers=2")
    chance, half_written, killed = random.Random(0), 0, set[int]()
    for number in range(MAX_RESTARTS):
        moment = STEP * number + chance.randrange(STEP)
        command.wait_for(lambda moment=moment: latest_generation(run_dir) >= moment)
        [driver] = command.wait_for(
            lambda: [one for one in command.actors("DriverActor") if one.pid not in killed and one.is_running()]
        )
        killed.add(driver.pid)
        half_written += kill(command, run_dir, driver, writing=number % 2 == 1, delay=chance.uniform(0.0, 0.5))
        assert read(latest(run_dir)).state["generation"] >= moment  # what the next one goes on from is complete
    command.wait()
    assert half_written >= MAX_RESTARTS // 2 - 1
    assert "resumes from its newest checkpoint" in command.out
    assert latest_generation(run_dir) == GENERATIONS
    assert np.array_equal(theta_of(run_dir).view(np.uint8), theta_of(reference).view(np.uint8))
    assert deterministic(run_dir) == deterministic(reference)
    assert generations_of(run_dir) == list(range(GENERATIONS + 1))
