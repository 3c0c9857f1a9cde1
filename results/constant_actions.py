"""Scores of Atari games without looking at the screen: every action held throughout, and random actions.

    python results/constant_actions.py GAME [GAME ...] [episodes=30]

Writes results/actions_GAME.json. The episodes are those of `raes.evaluate`: the same environment as in training, no
sticky actions, the same reset seeds. Means are given with the standard error of the mean.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator
from contextlib import closing
from itertools import repeat
from math import sqrt
from pathlib import Path

import numpy as np

from raes.problems.atari import AtariEnvironment, AtariSettings
from raes.rng import Purpose, reset_seed
from raes.storage.provenance import machine, versions

HERE = Path(__file__).parent


def play(env: AtariEnvironment, actions: Iterator[int], seed: int) -> float:
    """The return of one episode."""
    env.reset(seed=seed)
    total, ended = 0.0, False
    while not ended:
        _, reward, terminated, truncated, _ = env.step(next(actions))
        total += reward
        ended = terminated or truncated
    return total


def measure(game: str, episodes: int) -> None:
    """Measure one game and write its file."""
    seeds = [reset_seed(0, Purpose.HELD_OUT, 0, index) for index in range(episodes)]
    rows = []
    with closing(AtariEnvironment(AtariSettings(game=game))) as env:
        rng, count = np.random.default_rng(0), int(env.action_space.n)  # type: ignore[attr-defined]
        policies = {action.name: repeat(number) for number, action in enumerate(env.ale.getMinimalActionSet())}
        for name, actions in ({"random": iter(lambda: int(rng.integers(count)), None)} | policies).items():
            returns = [play(env, actions, seed) for seed in seeds]
            error = float(np.std(returns, ddof=1)) / sqrt(episodes)
            rows.append({"actions": name, "return_mean": float(np.mean(returns)), "standard_error": error})
            print(f"{game:16s} {name:16s} {rows[-1]['return_mean']:10.2f} +- {error:.2f}", flush=True)
    command = f"python results/constant_actions.py {game} episodes={episodes}"
    report = {"game": game, "command": command, "date": time.strftime("%Y-%m-%d"), "episodes": episodes, "rows": rows}
    report |= {"machine": machine(), "versions": versions()}
    (HERE / f"actions_{game}.json").write_text(json.dumps(report, indent=1) + "\n")


def main() -> None:
    """Measure the games that the command line names."""
    arguments = dict(argument.partition("=")[::2] for argument in sys.argv[1:])
    episodes = int(arguments.pop("episodes", "30"))
    for game in arguments:
        measure(game, episodes)


if __name__ == "__main__":
    main()
