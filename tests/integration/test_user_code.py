"""What a user's environment does to a run: it never ends, it exits, it cannot be closed."""

from __future__ import annotations

import signal

import pytest

from .helpers import Commands, generations_of, latest_generation
from .shared_ray import SharedRay

MODULE = """
import sys
import gymnasium, numpy as np
from gymnasium import spaces

class Mine(gymnasium.Env):
    observation_space, action_space = spaces.Box(-1, 1, (2,), np.float64), spaces.Box(-1, 1, (1,), np.float32)
    def __init__(self, exits=False):
        self.exits = exits
    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.time, self.bad = 0, self.exits and seed % 5 == 0 and seed > 0
        return self.np_random.uniform(-1, 1, 2), {}
    def step(self, action):
        self.time += 1
        if self.bad and self.time == 6:
            sys.exit("the simulator has lost its licence")
        return self.np_random.uniform(-1, 1, 2), float(action[0]), False, False, {}
    def close(self):
        raise RuntimeError("the window is gone")

gymnasium.register("Mine-v0", entry_point=Mine)
"""
WORDS = ("env=gymnasium", "env.id=mine:Mine-v0", "policy=linear", "algorithm.pairs=10", "noise.size=50000",
         "evaluation.episodes=2", "run_dir=run", "console=plain")  # fmt: skip
EXITS = (*WORDS, "env.kwargs={exits:true,max_episode_steps:10}", "generations=2", "faults.max_share=0.9")


@pytest.fixture(autouse=True)
def _module(commands: Commands) -> None:
    (commands.cwd / "mine.py").write_text(MODULE)


def test_an_endless_episode_hears_the_first_ctrl_c(commands: Commands) -> None:
    command = commands.start(*WORDS, "runtime=serial")
    command.wait_for(lambda: "env.kwargs.max_episode_steps=1000 sets a limit" in command.out)
    command.wait_for(lambda: "timesteps so far" in command.out)
    command.process.send_signal(signal.SIGINT)
    command.wait(130)
    assert "stopped after 0 generations" in command.out
    assert latest_generation(commands.cwd / "run") == 0


def test_an_environment_that_exits_is_a_fault_of_its_episodes(commands: Commands, shared_ray: SharedRay) -> None:
    serial = commands.run(*EXITS, "runtime=serial")
    on_ray = commands.run(*EXITS, *shared_ray.words(), "workers=2", "run_dir=on_ray")
    for command, folder in ((serial, "run"), (on_ray, "on_ray")):
        assert "SystemExit: the simulator has lost its licence" in command.out
        assert "Traceback" not in command.out + command.err
        assert generations_of(commands.cwd / folder) == [0, 1, 2]
    for text in ("can start", "wait for CPUs", "was lost"):
        assert text not in on_ray.out
