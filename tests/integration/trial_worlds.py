"""Environments that stand still, fail, or tell what happens to them; environment variables say when.

Commands find this module in the folder they run in: `env=gymnasium env.id=trial_worlds:NAME-v0`.
"""

from __future__ import annotations

import inspect
import os
import signal
import subprocess
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces
from gymnasium.envs.mujoco.hopper_v5 import HopperEnv


def _stand_still(gate: str | None) -> None:
    """While the gate names a run whose newest checkpoint is of generation 2 or later and GATE.open is not there."""
    while gate and _generation(Path(gate)) >= 2 and not Path(f"{gate}.open").exists():
        time.sleep(0.02)


def _generation(run_dir: Path) -> int:
    try:
        return int((run_dir / "checkpoints" / "latest").read_text().strip().removeprefix("gen_"))
    except (OSError, ValueError):
        return -1


class GatedHopper(HopperEnv):  # type: ignore[misc]
    """Hopper, whose episodes do not begin while its gate is shut; a keyword or the variable GATE names it."""

    def __init__(self, gate: str | None = None, **keywords: Any) -> None:
        self._gate = gate or os.environ.get("GATE")
        super().__init__(**keywords)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> Any:
        _stand_still(self._gate)
        return super().reset(seed=seed, options=options)


class Line(gymnasium.Env[Any, Any]):
    """Ten steps; the reward is the action's closeness to the first observed number, and observations lie around OFFSET.

    Variables, of the process or in the keyword `variables`, which also reaches the nodes of a cluster: SEEDS, a file to
    which reset seeds are added; BAD_SEEDS, a list of seeds, or `all`, at which BAD happens, or of SEED:BAD: `raise`,
    `nan_reward`, `nan_observation`, `die`, `segfault`, `exit`, `hang` or `hang_in_child`; PULSE, a file that grows
    while an episode hangs; ACTORS_CANNOT: `raise` or `die`, in the constructor of rollout actors only; STEP_SECONDS,
    the time of a step; SLEEP_ONCE, a file: who comes first makes it and sleeps for SLEEP_SECONDS.
    """

    observation_space = spaces.Box(-np.inf, np.inf, (2,), np.float64)
    action_space = spaces.Box(-1.0, 1.0, (1,), np.float32)

    def __init__(self, variables: dict[str, str] | None = None) -> None:
        self._variables = {**os.environ, **(variables or {})}
        cannot = self._variables.get("ACTORS_CANNOT")
        if cannot and any(frame.filename.endswith("runtime/rollout_actor.py") for frame in inspect.stack()):
            if cannot == "die":
                os.kill(os.getpid(), signal.SIGKILL)
            raise RuntimeError("the licence server does not answer")
        self._offset = float(self._variables.get("OFFSET", "0"))
        self._step_seconds = float(self._variables.get("STEP_SECONDS", "0"))
        self._time, self._bad = 0, ""

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> Any:
        super().reset(seed=seed)
        _stand_still(self._variables.get("GATE"))
        if "SEEDS" in self._variables:
            with Path(self._variables["SEEDS"]).open("a") as file:
                file.write(f"{seed}\n")
        bad = {word.partition(":")[0]: word.partition(":")[2] for word in self._variables.get("BAD_SEEDS", "").split()}
        kind = bad.get("all", bad.get(str(seed)))
        self._bad = "" if kind is None else kind or self._variables["BAD"]
        if self._bad == "die":
            os.kill(os.getpid(), signal.SIGKILL)
        if "SLEEP_ONCE" in self._variables and seed:  # not in a worker's first, which is its digest's
            with suppress(FileExistsError):
                Path(self._variables["SLEEP_ONCE"]).touch(exist_ok=False)
                time.sleep(float(self._variables["SLEEP_SECONDS"]))
        self._time = 0
        return self._observe(), {}

    def step(self, action: Any) -> Any:
        time.sleep(self._step_seconds)
        self._time += 1
        bad = self._bad if self._time == 5 else ""
        if bad == "raise":
            raise RuntimeError("the joint came off")
        if bad == "segfault":
            os.kill(os.getpid(), signal.SIGSEGV)
        if bad == "exit":
            os._exit(7)
        while bad == "hang":
            time.sleep(0.05)
            with Path(self._variables.get("PULSE", os.devnull)).open("a") as file:
                file.write(".")
        if bad == "hang_in_child":
            subprocess.run(["sleep", "1000"], check=True)
        reward = float("nan") if bad == "nan_reward" else 1.0 - abs(float(action[0]) - self._wanted)
        return self._observe(), reward, False, self._time == 10 or bad == "nan_observation", {}

    def _observe(self) -> np.ndarray[Any, Any]:
        self._wanted = float(self.np_random.uniform(-1.0, 1.0))
        observation = self._offset + np.array([self._wanted, -self._wanted])
        return observation * (np.nan if self._bad == "nan_observation" and self._time == 5 else 1)


class Late(gymnasium.Wrapper[Any, Any, Any, Any]):
    """Hopper whose rewards are all paid at the end of the episode."""

    def __init__(self) -> None:
        super().__init__(gymnasium.make("Hopper-v5", max_episode_steps=1000))
        self._earned = 0.0

    def reset(self, **how: Any) -> Any:
        self._earned = 0.0
        return self.env.reset(**how)

    def step(self, action: Any) -> Any:
        observation, reward, terminated, truncated, info = self.env.step(action)
        self._earned += float(reward)
        paid = self._earned if terminated or truncated else 0.0
        return observation, paid, terminated, truncated, info


gymnasium.register("LateHopper-v0", entry_point=Late)
gymnasium.register("GatedHopper-v0", entry_point=GatedHopper, max_episode_steps=1000)
gymnasium.register("Line-v0", entry_point=Line)
