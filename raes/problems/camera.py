"""Pictures of an environment while a policy acts in it.

No rollout worker imports this. `EpisodeProblem` runs the episode as without a camera, so its return is the same.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import gymnasium
import numpy as np

from raes.problems.atari import AtariEnvironment, AtariSettings
from raes.problems.environment import EnvSettings
from raes.problems.episode import EpisodeProblem, EpisodeSpec
from raes.problems.picture import to_rgb
from raes.problems.registration import register
from raes.types import UInt8

USUAL_RATE = 30.0
"""Pictures per second of an environment without `render_fps` in its metadata."""
HIGHEST_RATE = 60.0
"""Pictures per second that players and screens can show; of faster videos some pictures are left out."""
MORE_GROUND = 25.0
"""Factor on the width of MuJoCo's ground planes."""
ATARI_RATE = 60.0
"""Frames per second of an Atari 2600."""

CAMERAS = {"camera_id", "camera_name", "default_camera_config"}
"""Keyword arguments by which a user chooses MuJoCo's camera."""


@dataclass(frozen=True)
class Shot:
    """What a camera shows after a timestep.

    Attributes:
        screens: uint8 (rows, columns, 3), rendered pictures, one or more, in order.
        observation: uint8 (rows, columns), the newest picture that the agent sees, where it sees pictures.
        timestep: how many have been taken.
        total: the return so far.
        ended: whether the episode is over.
        rate: pictures per second at the wanted speed.
    """

    screens: Sequence[UInt8]
    observation: UInt8 | None
    timestep: int
    total: float
    ended: bool
    rate: float


Show = Callable[[Shot], bool]
"""Called with each shot; returns whether to go on."""


class Camera(gymnasium.Wrapper[Any, Any, Any, Any]):
    """Shows an environment's pictures after its reset and after each timestep."""

    def __init__(self, env: gymnasium.Env[Any, Any], show: Show, speed: float) -> None:
        """Nothing is shown before the first reset.

        Args:
            env: made from settings that `with_pictures` returned.
            show: called with each shot; where it returns False, the episode is cut off.
            speed: 1 for the environment's own speed.
        """
        super().__init__(env)
        self._show = show
        self._game = _Screens(env) if isinstance(env, AtariEnvironment) else None
        rate = ATARI_RATE if self._game is not None else float(env.metadata.get("render_fps") or USUAL_RATE)
        self._every = max(1, math.ceil(rate * speed / HIGHEST_RATE))
        self._rate = rate * speed / self._every
        self._pictures, self._timestep, self._total = 0, 0, 0.0

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        """Begin an episode."""
        observation, info = self.env.reset(seed=seed, options=options)
        self._pictures, self._timestep, self._total = 0, 0, 0.0
        if self._game is not None:
            self._game.take()  # the frames without action, before the agent sees anything
        else:
            self._show_new(observation, False)
        return observation, info

    def step(self, action: Any) -> tuple[Any, Any, bool, bool, dict[str, Any]]:
        """One timestep."""
        observation, reward, terminated, truncated, info = self.env.step(action)
        self._timestep += 1
        self._total += float(reward)
        wanted = self._show_new(observation, terminated or truncated)
        return observation, reward, terminated, truncated or not wanted, info

    def _show_new(self, observation: Any, ended: bool) -> bool:
        """Show the pictures that are due since the last call, if any; whether to go on."""
        count = len(self._game) if self._game is not None else 1
        due = [number for number in range(count) if (self._pictures + number) % self._every == 0]
        self._pictures += count
        if ended and not due:
            due = [count - 1]
        if self._game is not None:
            frames = self._game.take()
            screens, seen = [frames[number] for number in due], np.array(observation[-1])
        else:
            screens, seen = [self._picture()] if due else [], None
        return not screens or self._show(Shot(screens, seen, self._timestep, self._total, ended, self._rate))

    def _picture(self) -> UInt8:
        return to_rgb(self.env.render())


class _Screens:
    """Records every frame of an emulator, since sprites that flicker are on every second one only."""

    def __init__(self, env: AtariEnvironment) -> None:
        self._ale, self._screens = env.ale, list[UInt8]()
        env.ale = self

    def __len__(self) -> int:
        return len(self._screens)

    def take(self) -> list[UInt8]:
        """Remove and return the recorded frames."""
        screens, self._screens = self._screens, []
        return screens

    def act(self, action: Any) -> Any:
        reward = self._ale.act(action)
        self._screens.append(self._ale.getScreenRGB())
        return reward

    def __getattr__(self, name: str) -> Any:
        return getattr(self._ale, name)


@dataclass(frozen=True)
class FilmedSpec:
    """The recipe of an `EpisodeProblem` whose environment has a camera; for one episode.

    Attributes:
        spec: of the problem without a camera.
        show: called with each shot, as by `Camera`.
        speed: 1 for the environment's own speed.
    """

    spec: EpisodeSpec
    show: Show
    speed: float = 1.0

    def build(self) -> EpisodeProblem:
        """Make the problem."""
        register(self.spec.registered)
        problem = EpisodeProblem(replace(self.spec, env=with_pictures(self.spec.env)))
        if not set(self.spec.env.kwargs if isinstance(self.spec.env, EnvSettings) else ()) & CAMERAS:
            _follow(problem.env)
        problem.env = Camera(problem.env, self.show, self.speed)
        return problem

    def check(self) -> EpisodeProblem:
        """Make the problem."""
        return self.build()


def with_pictures(settings: EnvSettings | AtariSettings) -> EnvSettings | AtariSettings:
    """The settings of the same environment with pictures, which its own step draws."""
    if isinstance(settings, AtariSettings):
        return settings
    return replace(settings, kwargs={**settings.kwargs, "render_mode": "rgb_array"}, native="never")


def _follow(env: gymnasium.Env[Any, Any]) -> None:
    """Use MuJoCo's camera that follows the body, where the model has one, and enlarge the ground for a whole episode.

    Gymnasium's default camera (1.4) stands still, so that the body leaves the picture after a few seconds, and its
    planes end after 40 metres. The size of a plane is visual only: bodies stand on it everywhere.
    """
    renderer = getattr(env.unwrapped, "mujoco_renderer", None)
    if renderer is None or not hasattr(renderer, "camera_id"):
        return
    import mujoco

    track = mujoco.mj_name2id(renderer.model, mujoco.mjtObj.mjOBJ_CAMERA, "track")
    if track >= 0:
        renderer.camera_id, model = track, renderer.model
        planes = np.flatnonzero(model.geom_type == mujoco.mjtGeom.mjGEOM_PLANE)
        model.geom_size[planes, :2] *= MORE_GROUND
        for material in set(model.geom_matid[planes].tolist()) - {-1}:
            if not model.mat_texuniform[material]:
                model.mat_texrepeat[material] *= MORE_GROUND  # squares of the same size
