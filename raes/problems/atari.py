"""Atari 2600 games from pixels, preprocessed as in Mnih et al. 2015 and 2016, through ale-py's basic interface.

An episode depends on its seed and its actions only. The emulator is started once, and each episode restores that state,
since the emulator's own reset lets earlier episodes leak into later ones (BeamRider, Tennis) and a new start takes a
tenth of a second.

`raes.bench.atari_bench` compares it with ale-py's vector environment, which preprocesses in C++.
"""

from __future__ import annotations

import difflib
from dataclasses import dataclass
from typing import Annotated, Any

import gymnasium
import numpy as np
from annotated_types import Ge, Le, Lt
from gymnasium import spaces

from raes.problems.resize import AreaResize
from raes.text import one_line
from raes.types import SETTINGS, Count, Natural, UInt8, UserError

MEMORY = 128
"""Bytes of an Atari 2600's memory."""
SCREENS = 16
"""Screens of the buffer besides the stack, so that the stack is moved only once in so many timesteps."""
TWO_PLAYERS = ("combat", "joust", "maze_craze", "warlords")
"""ROMs of ale-py that need two players."""


@dataclass(frozen=True)
class AtariSettings:
    """Configuration group `env`, option `atari`.

    Attributes:
        name: its name in runs and messages.
        game: a ROM of ale-py, e.g. `pong` or `montezuma_revenge`.
        frame_skip: frames that each action is held for; one timestep.
        max_pool: whether an observation is the pixelwise maximum of the last two frames, against flicker.
        size: rows and columns of an observation.
        stack: observations that a policy sees together, newest last.
        noops: an episode begins with 1 to this many frames without action; 0 for none.
        sticky: probability, at each frame, that the last action is held on in the place of the new one (Machado et al.
            2018: 0.25).
        full_actions: all 18 actions in the place of those that do something in this game.
        life_loss: whether a training episode ends with the first life; never an evaluation's.
        max_frames: after so many an episode is cut off, the first ones without action included.
    """

    __pydantic_config__ = SETTINGS

    name: str = "atari"
    game: str = ""
    frame_skip: Count = 4
    max_pool: bool = True
    size: Annotated[int, Ge(8), Le(160)] = 84
    stack: Count = 4
    noops: Natural = 30
    sticky: Annotated[float, Ge(0), Lt(1)] = 0.0
    full_actions: bool = False
    life_loss: bool = False
    max_frames: Count = 108_000

    def __post_init__(self) -> None:
        if not self.game:
            raise ValueError("game is empty; name a ROM, e.g. env=atari env.game=pong")

    @property
    def id(self) -> str:
        """Its name in messages."""
        return self.game

    @property
    def rebuild(self) -> bool:
        """False: no episode affects a later one."""
        return False

    def reset_options(self, training: bool) -> dict[str, Any]:
        """Options of the environment's reset, besides the seed."""
        return {"life_loss": self.life_loss and training}


class AtariEnvironment(gymnasium.Env[UInt8, int]):
    """One emulator. Observations are uint8 (stack, size, size), newest last: views that later timesteps overwrite.

    Attributes:
        ale: ale-py's interface.
    """

    def __init__(self, settings: AtariSettings) -> None:
        """Start the emulator.

        Raises:
            UserError: there is no such game, or not for one player.
        """
        self.ale, self._settings = _start_emulator(settings), settings
        self._actions = self.ale.getLegalActionSet() if settings.full_actions else self.ale.getMinimalActionSet()
        self._boot = self.ale.cloneState()
        self._first_screen: UInt8 = self.ale.getScreenGrayscale()
        shape = (settings.stack, settings.size, settings.size)
        self.observation_space = spaces.Box(0, 255, shape, np.uint8)
        self.action_space = spaces.Discrete(len(self._actions))  # type: ignore[assignment]
        self._before, self._now = np.empty_like(self._first_screen), np.empty_like(self._first_screen)
        self._resize = AreaResize(self._now.shape, shape[1:])
        self._screens = np.empty((settings.stack - 1 + SCREENS, *shape[1:]), np.uint8)
        self._memory = np.empty((settings.max_frames // settings.frame_skip + 2, MEMORY), np.uint8)
        self._pooled = settings.frame_skip - 2 if settings.max_pool else -1
        self._timestep, self._newest, self._lives = 0, 0, 0
        self._held, self._rng = self._actions[0], np.random.default_rng(0)

    @property
    def memory(self) -> UInt8:
        """The emulator's memory at the start of the episode and after each timestep so far, uint8 (t + 1, 128)."""
        return self._memory[: self._timestep + 1]

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[UInt8, dict[str, Any]]:
        """Begin an episode, as Gymnasium's preprocessing does with the same seed.

        Args:
            seed: decides the frames without action, and where actions stick.
            options: `life_loss`: whether the episode ends with the first life.
        """
        assert seed is not None
        ale, settings = self.ale, self._settings
        ale.restoreState(self._boot)
        words = np.random.SeedSequence(seed).generate_state(2)  # Gymnasium's: the second one is for the emulator
        noops = int(np.random.default_rng(int(words[0])).integers(1, settings.noops + 1)) if settings.noops else 0
        self._rng, self._held = np.random.default_rng(words), self._actions[0]
        for _ in range(noops):
            ale.act(0)
        self._lives = ale.lives() if (options or {}).get("life_loss") else 0
        if noops:
            ale.getScreenGrayscale(self._now)
        else:
            np.copyto(self._now, self._first_screen)  # the restored state has no screen yet
        self._resize(self._now, self._screens[0])
        self._newest = self._settings.stack - 1
        self._screens[1 : self._newest + 1] = self._screens[0]
        self._timestep = 0
        ale.getRAM(self._memory[0])
        return self._observation(), {}

    def step(self, action: int) -> tuple[UInt8, float, bool, bool, dict[str, Any]]:
        """Hold an action, a number below `action_space.n`, for `frame_skip` frames; one timestep."""
        ale, settings = self.ale, self._settings
        wanted, reward, ended = self._actions[action], 0, False
        for frame in range(settings.frame_skip):
            if not settings.sticky or self._rng.random() >= settings.sticky:
                self._held = wanted
            reward += ale.act(self._held)
            ended = ale.game_over() or ale.lives() < self._lives
            if ended:
                break
            if frame == self._pooled:
                ale.getScreenGrayscale(self._before)
        ale.getScreenGrayscale(self._now)
        if self._pooled >= 0 and not ended:
            np.maximum(self._before, self._now, out=self._now)
        self._make_room()
        self._resize(self._now, self._screens[self._newest])
        self._timestep += 1
        ale.getRAM(self._memory[self._timestep])
        truncated = ended and ale.game_truncated()
        return self._observation(), float(reward), ended and not truncated, truncated, {}

    def render(self) -> UInt8:
        """The screen in colour, uint8 (rows, columns, 3)."""
        screen: UInt8 = self.ale.getScreenRGB()
        return screen

    def _observation(self) -> UInt8:
        return self._screens[self._newest - self._settings.stack + 1 : self._newest + 1]

    def _make_room(self) -> None:
        """Advance to the next screen of the buffer; at its end the stack moves to the front."""
        self._newest += 1
        if self._newest == len(self._screens):
            older = self._settings.stack - 1
            self._screens[:older] = self._screens[len(self._screens) - older :]
            self._newest = older


def game_named(name: str) -> str | None:
    """The ROM of a game as ale-py's ids name it, `SpaceInvaders`; None where it has none."""
    from ale_py import roms

    return next((game for game in roms.get_all_rom_ids() if game.replace("_", "") == name.lower()), None)


def _start_emulator(settings: AtariSettings) -> Any:
    """ale-py's interface with the game started.

    Raises:
        UserError: there is no such game, or not for one player.
    """
    from ale_py import ALEInterface, LoggerMode, roms

    game, games = settings.game, roms.get_all_rom_ids()
    if game in TWO_PLAYERS:
        raise UserError(f"env.game={game}: ale-py plays it with two players only; choose another game")
    if game not in games:
        close = difflib.get_close_matches(game.lower(), games, n=3)
        meant = f"; did you mean {' or '.join(close)}?" if close else ""
        raise UserError(f"env.game={game}: ale-py ships no such ROM{meant}; there are {', '.join(sorted(games))}")
    ALEInterface.setLoggerMode(LoggerMode.Error)
    ale = ALEInterface()
    ale.setFloat("repeat_action_probability", 0.0)
    ale.setInt("max_num_frames_per_episode", settings.max_frames)
    try:
        path = roms.get_rom_path(game)
        assert path is not None
        path.stat()
    except OSError as error:
        raise UserError(
            f"env.game={game}: its ROM is not where ale-py has it ({one_line(error)}); install ale-py again"
        ) from error
    ale.loadROM(path)
    ale.reset_game()
    return ale
