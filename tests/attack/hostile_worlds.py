"""Environments that do to a run what no environment should; the keyword `bad` names what, and `at` when.

Commands find this module in the folder they run in: `env=gymnasium env.id=hostile_worlds:Hostile-v0`.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
import warnings
from collections.abc import Callable
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any, NoReturn

import gymnasium
import numpy as np
from gymnasium import spaces

START_SEEDS = 5
"""Resets of a process that are left alone at the start, where RAES itself tries the environment."""


class UnprintableError(Exception):
    """An exception that cannot say what it is."""

    def __str__(self) -> NoReturn:
        raise RuntimeError("no text for you")

    __repr__ = __str__


def _raise(text: str) -> NoReturn:
    raise RuntimeError(text)


def _unprintable() -> NoReturn:
    raise UnprintableError


class PanicError(BaseException):
    """As bindings to Rust raise it: no `Exception`."""


def _panic() -> NoReturn:
    raise PanicError("a panic of another language")


def _endless() -> NoReturn:
    while True:
        time.sleep(0.05)


def _print_much() -> None:
    for number in range(200):
        print(f"print {number}", "x" * 1000)


def _close_stdout() -> None:
    sys.stdout.close()


@cache
def _close_descriptors() -> None:
    for descriptor in (0, 1, 2):
        with suppress(OSError):
            os.close(descriptor)


def _child_stays() -> None:
    subprocess.Popen(["sleep", "3"], stdin=subprocess.DEVNULL)


def _change_folder() -> None:
    os.chdir(tempfile.mkdtemp())


def _folder_is_gone() -> None:
    folder = Path(tempfile.mkdtemp())
    os.chdir(folder)
    folder.rmdir()


def _change_signals() -> None:
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        if threading.current_thread() is threading.main_thread():
            signal.signal(number, signal.SIG_DFL)


def _strict_numpy() -> None:
    np.seterr(all="raise")


def _warn() -> None:
    for number in range(2000):
        warnings.warn(f"warning {number} \x1b[31mred\x1b[0m", stacklevel=1)


def _no_variables() -> None:
    os.environ.clear()


def _replace_print() -> None:
    import builtins

    builtins.print = _raise  # type: ignore[assignment]


ACTIONS: dict[str, Callable[[], Any]] = {
    "raise": lambda: _raise("the joint came off"),
    "escape": lambda: _raise("\x1b]0;owned\x07\x1b[2J\x1b[31mred\x9b1m \u202eevil"),
    "forge": lambda: _raise("bad\r\n2026-01-01 00:00:00 generation 9: all is well\nraes: done\x85x\u2028y"),
    "huge": lambda: _raise("ab " * (5_000_000 // 3)),
    "surrogate": lambda: _raise("caf\udce9 \ud800"),
    "nul": lambda: _raise("before\0after"),
    "unprintable": _unprintable,
    "exit": lambda: sys.exit(0),
    "exit_text": lambda: sys.exit("bye\x1b[2J"),
    "generator_exit": lambda: (_ for _ in ()).throw(GeneratorExit),
    "panic": _panic,
    "stop_iteration": lambda: next(iter(())),
    "memory": lambda: (_ for _ in ()).throw(MemoryError()),
    "recursion": lambda: ACTIONS["recursion"](),
    "endless": _endless,
    "print": _print_much,
    "print_escape": lambda: print("\x1b]0;owned\x07" * 3, flush=True),
    "close_stdout": _close_stdout,
    "close_descriptors": _close_descriptors,
    "child": _child_stays,
    "folder": _change_folder,
    "no_folder": _folder_is_gone,
    "signals": _change_signals,
    "numpy": _strict_numpy,
    "warn": _warn,
    "variables": _no_variables,
    "no_print": _replace_print,
}  # fmt: skip
VALUES: dict[str, Any] = {
    "nan": np.full(2, np.nan), "inf": np.full(2, np.inf), "shape": np.zeros(3), "text": "observation", "none": None,
    "object": np.array([object(), object()]), "complex": np.array([1j, 1j]), "ragged": [[1], [1, 2]],
}  # fmt: skip
REWARDS: dict[str, Any] = {
    "nan": float("nan"), "inf": float("inf"), "text": "reward", "none": None, "array": np.zeros(2), "huge": 10**400,
}  # fmt: skip


class Hostile(gymnasium.Env[Any, Any]):
    """Five steps; what is bad begins after the first episodes, which RAES itself tries, unless `early`."""

    observation_space = spaces.Box(-np.inf, np.inf, (2,), np.float64)
    action_space = spaces.Box(-1.0, 1.0, (1,), np.float32)
    resets = 0

    def __init__(self, bad: str = "", at: str = "step", early: bool = False) -> None:
        """Nothing is bad without `bad`.

        Args:
            bad: a key of `ACTIONS`, or `observation:` or `reward:` with a key of `VALUES` or `REWARDS`.
            at: `step`, `reset`, `close` or `constructor`.
            early: whether from the start.
        """
        self._bad, self._at, self._early = bad, at, early
        self._time = 0
        if self._due("constructor"):
            ACTIONS[bad]()

    def _due(self, at: str) -> bool:
        return bool(self._bad) and self._at == at and (self._early or Hostile.resets > START_SEEDS)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> Any:
        super().reset(seed=seed)
        Hostile.resets += 1
        self._time = 0
        if self._due("reset") and self._bad in ACTIONS:
            ACTIONS[self._bad]()
        return self._observation("reset"), {}

    def step(self, action: Any) -> Any:
        self._time += 1
        due = self._due("step") and self._time == 3
        if due and self._bad in ACTIONS:
            ACTIONS[self._bad]()
        kind, _, which = self._bad.partition(":")
        reward = REWARDS[which] if due and kind == "reward" else -abs(float(action[0]) - self._wanted)
        return self._observation("step" if due else ""), reward, self._time == 5, False, {}

    def close(self) -> None:
        if self._due("close"):
            ACTIONS[self._bad]()

    def _observation(self, at: str) -> Any:
        self._wanted = float(self.np_random.uniform(-1.0, 1.0))
        kind, _, which = self._bad.partition(":")
        if kind == "observation" and self._due(at):
            return VALUES[which]
        return np.array([self._wanted, -self._wanted])


gymnasium.register("Hostile-v0", entry_point=Hostile, disable_env_checker=True)
