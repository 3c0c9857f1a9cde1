"""Environments given as classes and functions: each run keeps its own, under the same name too."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest
from gymnasium import spaces

import raes
from raes.types import UserError

SHORT = {"policy": "linear", "runtime": "serial", "algorithm__pairs": 2, "noise__size": 50_000, "generations": 2,
         "evaluation__episodes": 2, "console": "quiet", "env__kwargs": {"max_episode_steps": 5}}  # fmt: skip


def paying(reward: float) -> Callable[..., Any]:
    """A function without a name of its own that makes an environment of this reward."""

    class Mine(gymnasium.Env[Any, Any]):
        observation_space, action_space = spaces.Box(-1.0, 1.0, (2,), np.float64), spaces.Box(-1.0, 1.0, (1,))

        def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[Any, dict[str, Any]]:
            super().reset(seed=seed)
            return self.np_random.uniform(-1, 1, 2), {}

        def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
            return self.np_random.uniform(-1, 1, 2), reward - float(action[0]) ** 2, False, False, {}

    return lambda: Mine()


def test_each_run_is_evaluated_in_its_own_environment(tmp_path: Path) -> None:
    poor = raes.fit(env=paying(1.0), run_dir=tmp_path / "poor", **SHORT)
    rich = raes.fit(env=paying(100.0), run_dir=tmp_path / "rich", **SHORT)
    assert poor.config["env"]["name"] == rich.config["env"]["name"] == "lambda"
    for run in (poor, raes.load(tmp_path / "poor")):
        assert run.evaluate(episodes=2)["return_mean"] < 6
    for run in (rich, raes.load(tmp_path / "rich")):
        assert run.evaluate(episodes=2)["return_mean"] > 400


def test_a_run_does_not_go_on_in_another_environment(tmp_path: Path) -> None:
    keys = {**SHORT, "run_dir": tmp_path / "run", "resume": "auto"}
    raes.fit(env=paying(1.0), **keys)
    assert raes.fit(env=paying(1.0), **keys | {"generations": 3}).records[-1]["progress/generation"] == 3
    with pytest.raises(UserError, match=r"env\.id.*the environment's code is another one.*start_from="):
        raes.fit(env=paying(2.0), **keys | {"generations": 4})


def test_a_run_of_another_process_needs_its_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = raes.fit(env=paying(1.0), run_dir=tmp_path / "run", **SHORT)
    monkeypatch.delitem(gymnasium.registry, run.config["env"]["id"])
    with pytest.raises(UserError, match=r"lambda was given from Python.*raes\.load\(run_dir, env=lambda\)"):
        raes.load(tmp_path / "run").evaluate(episodes=2)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert raes.load(tmp_path / "run", env=paying(1.0)).evaluate(episodes=2)["return_mean"] < 6
    with pytest.warns(UserWarning, match="has other code"):
        changed = raes.load(tmp_path / "run", env=paying(50.0))
    assert changed.evaluate(episodes=2)["return_mean"] > 200
