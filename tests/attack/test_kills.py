"""Workers that are killed or stopped from outside while they run one episode: no bit changes, or the command warns."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from pathlib import Path

import numpy as np
import psutil
import pytest
from integration.helpers import Commands, records_of, theta_of

from raes.rng import Purpose, reset_seed
from raes.runtime.pending import MAX_KILLS

pytestmark = pytest.mark.attack

WORLD = """
import os, time
from pathlib import Path
import gymnasium
from trial_worlds import Line

class Held(Line):
    '''An episode with a certain seed waits, while there is a file `held`; its processes are added to a file `pids`.'''
    def reset(self, *, seed=None, options=None):
        if seed == SEED and Path("held").exists():
            with Path("pids").open("a") as file:
                file.write(f"{os.getpid()}\\n")
            while Path("held").exists():
                time.sleep(0.02)
        return super().reset(seed=seed, options=options)

gymnasium.register("Held-v0", entry_point=Held)
"""
WORDS = ("env=gymnasium", "env.id=held_world:Held-v0", "policy=linear", "algorithm.pairs=3", "noise.size=50000",
         "algorithm.shared_reset=false", "evaluation.every=0", "generations=3", "console=plain",
         "run_dir=run")  # fmt: skip
SEED = reset_seed(0, Purpose.TRAINING, 1, 3)


@pytest.fixture(autouse=True)
def _world(commands: Commands) -> None:
    (commands.cwd / "held_world.py").write_text(f"SEED = {SEED}\n{WORLD}")


def while_held(commands: Commands, *words: str, times: int, strike: Callable[[int], None]) -> str:
    """Train while each worker that runs the episode is struck, so many times; what the command has printed."""
    held, pids = commands.cwd / "held", commands.cwd / "pids"
    held.touch()
    command = commands.start(*WORDS, *words, "ray.address=local", "workers=1")
    for number in range(times):
        command.wait_for(lambda number=number: pids.exists() and len(pids.read_text().splitlines()) > number)
        strike(int(pids.read_text().splitlines()[number]))
    held.unlink()
    command.wait()
    for line in pids.read_text().split():
        assert not psutil.pid_exists(int(line))
    return command.out


def kill(process: int) -> None:
    os.kill(process, signal.SIGKILL)


def stop(process: int) -> None:
    os.kill(process, signal.SIGSTOP)


def last_faults(run_dir: Path) -> dict[str, float]:
    last = records_of(run_dir)[-1]
    return {key.removeprefix("faults/"): value for key, value in last.items() if key.startswith("faults/")}


@pytest.mark.parametrize(
    ("strike", "times", "words"), [(kill, 4, ()), (stop, 4, ("runtime.deadline=1",))], ids=["killed", "stopped"]
)
def test_an_innocent_episode_is_not_left_out(
    commands: Commands, strike: Callable[[int], None], times: int, words: tuple[str, ...]
) -> None:
    text = while_held(commands, *words, times=times, strike=strike)
    commands.run(*WORDS, "runtime=serial", "run_dir=alone")
    np.testing.assert_array_equal(theta_of(commands.cwd / "run"), theta_of(commands.cwd / "alone"))
    faults = last_faults(commands.cwd / "run")
    assert (faults["episodes_quarantined"], faults["may_differ"]) == (0, 0)
    assert faults["actors_lost"] >= times
    assert text.count("from outside") >= times
    assert "bits may differ" not in text


def test_what_is_killed_each_time_is_left_out_at_last_with_a_warning(commands: Commands) -> None:
    text = while_held(commands, times=MAX_KILLS + 1, strike=kill)  # the first time it was in a block
    faults = last_faults(commands.cwd / "run")
    assert (faults["episodes_quarantined"], faults["may_differ"]) == (1, 1)
    assert f"its worker was lost {MAX_KILLS} times while it ran nothing else; the last: its process was killed" in text
    assert "the bits may differ" in (commands.cwd / "run" / "log.txt").read_text()
    assert text.splitlines()[-1].startswith("  bits may differ   from another run's with this seed: once"), text
