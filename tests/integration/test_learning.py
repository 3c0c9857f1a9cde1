"""It learns: presets reach their thresholds. Held-out episodes decide, not those that chose the best."""

from __future__ import annotations

import json

import pytest

from .helpers import Commands, records_of


def learned(commands: Commands, env: str, *words: str, episodes: int = 50, timeout: float) -> float:
    """The best policy's mean return on held-out seeds."""
    command = commands.start(f"env={env}", "runtime=serial", "run_dir=run", *words)
    command.wait(timeout=timeout)
    words = ("run_dir=run", f"episodes={episodes}", "runtime=serial", "out=figures.json")
    commands.run(*words, module="raes.evaluate")
    figures = json.loads((commands.cwd / "figures.json").read_text())
    assert figures["episodes"] == episodes
    return float(figures["return_mean"])


def test_cartpole(commands: Commands) -> None:
    mean = learned(commands, "CartPole", "goal.consecutive=2", "max_timesteps=2000000", episodes=20, timeout=240)
    assert records_of(commands.cwd / "run")[-1]["eval/return_mean"] >= 490
    assert mean >= 490


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_inverted_pendulum(commands: Commands) -> None:
    words = ("goal.return_mean=1000", "goal.consecutive=2", "max_timesteps=5000000")
    assert learned(commands, "InvertedPendulum", *words, timeout=1500) >= 990


@pytest.mark.slow
@pytest.mark.timeout(2400)
def test_swimmer(commands: Commands) -> None:
    words = ("goal.return_mean=300", "goal.consecutive=1", "max_timesteps=4000000")
    assert learned(commands, "Swimmer", *words, episodes=10, timeout=2100) >= 280


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_it_is_the_search_that_learns(commands: Commands) -> None:
    """With a step of next to nothing CartPole stays unlearned in the generations that the preset needs."""
    words = ("optimizer.stepsize=1e-9", "optimizer.stepsize_min=0", "generations=20", "goal.return_mean=null")
    assert learned(commands, "CartPole", *words, timeout=600) < 200
