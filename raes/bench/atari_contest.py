"""One Atari game with one network: a worker's episodes, and the same actions on the bare emulator."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from functools import partial
from typing import Any

import gymnasium
import numpy as np

from raes.bench.timing import Timer, cpu_clock, seconds_of
from raes.policies import ConvPolicy, ConvSettings
from raes.policies.conv_layers import Dense
from raes.problems.atari import AtariEnvironment, AtariSettings
from raes.problems.episode import EpisodeProblem, EpisodeSpec
from raes.problems.problem import Episode
from raes.problems.random_play import random_play
from raes.rng import Purpose, generator
from raes.tasks import Snapshot
from raes.types import Float64, RunFailedError, UInt8

ROUND = 50
"""Timesteps in a round: few, so that few rounds are interrupted."""
EPISODES = (1, 2)
"""Reset seeds."""


class GameRecorder(gymnasium.Wrapper[UInt8, int, UInt8, int]):
    """Records the seed and the actions of each episode."""

    def __init__(self, env: AtariEnvironment) -> None:
        super().__init__(env)
        self.episodes: list[tuple[int, list[int]]] = []

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[UInt8, dict[str, Any]]:
        """Begin another episode."""
        assert seed is not None
        self.episodes.append((seed, []))
        return self.env.reset(seed=seed, options=options)

    def step(self, action: int) -> tuple[UInt8, Any, bool, bool, dict[str, Any]]:
        """Record the action."""
        self.episodes[-1][1].append(action)
        return self.env.step(action)


class AtariContest:
    """One game with one network: the worker's episodes, and the bare emulator's.

    Attributes:
        timesteps: of the episodes.
    """

    def __init__(self, game: str, settings: ConvSettings) -> None:
        self.env_settings = AtariSettings(game=game)
        with closing(AtariEnvironment(self.env_settings)) as env:
            reference = random_play(env, settings.reference, np.random.default_rng(0))
        self.problem = EpisodeProblem(EpisodeSpec(self.env_settings, settings, reference=reference))
        self._bare = AtariEnvironment(self.env_settings)
        self._meanings = self._bare.ale.getMinimalActionSet()
        self._theta = self.problem.initial_theta(generator(0, Purpose.INITIAL_THETA))
        self.problem.use(Snapshot(0, self._theta))
        game_env = self.problem.env
        assert isinstance(game_env, AtariEnvironment)
        self.problem.env = recorder = GameRecorder(game_env)
        self.worker_loop()
        self.problem.env = game_env
        self._episodes, self._memory = recorder.episodes, game_env.memory.copy()
        self.timesteps = sum(len(actions) for _, actions in self._episodes)
        self.bare_loop()
        if not np.array_equal(self._bare.ale.getRAM(), self._memory[-1]):
            raise RunFailedError(f"{game}: a replayed episode does not end where the worker's did")

    def worker_loop(self) -> None:
        """The episodes as in training."""
        for seed in EPISODES:
            self.problem.evaluate(self._theta, Episode(seed, training=True, observe=False, noise_rng=None))

    def bare_loop(self) -> None:
        """The episodes as bare calls of the emulator."""
        for seed, actions in self._episodes:
            self._bare.reset(seed=seed)
            self._act(actions)

    def _act(self, actions: list[int]) -> None:
        act, skip = self._bare.ale.act, range(self.env_settings.frame_skip)
        for action in actions:
            held = self._meanings[action]
            for _ in skip:
                act(held)

    def rounds(self) -> tuple[Float64, Float64]:
        """CPU seconds of each round of all episodes, by the worker and by the bare emulator, float64 (rounds,)."""
        taken: list[tuple[float, float]] = []
        for seed, actions in self._episodes:
            ours: list[float] = []
            bare: list[float] = []
            run = self._begun(seed)
            begun = (
                seconds_of(partial(next, run), cpu_clock),
                seconds_of(partial(self._bare.reset, seed=seed), cpu_clock),
            )
            for first in range(0, len(actions) - ROUND, ROUND):
                ours.append(seconds_of(partial(next, run), cpu_clock))
                bare.append(seconds_of(partial(self._act, actions[first : first + ROUND]), cpu_clock))
            once = [ROUND / len(actions) * seconds for seconds in begun]
            taken += [(a + once[0], b + once[1]) for a, b in zip(ours, bare, strict=True)]
        worker, emulator = np.array(taken).T
        return worker, emulator

    def _begun(self, seed: int) -> Iterator[None]:
        """An episode as the worker runs it: its beginning, then a round at a time."""
        self.problem.policy.set_parameters(self._theta)
        outputs = self.problem.policy.outputs
        rollout = self.problem.rollout(Episode(seed, training=True, observe=False, noise_rng=None))
        observation = next(rollout)
        while True:
            yield
            for _ in range(ROUND):
                observation = rollout.send(outputs(observation))

    def parts(self, act: float) -> dict[str, float]:
        """Microseconds of a timestep, part by part, `act` of them the bare emulator's."""
        policy, env = self.problem.policy, self.problem.env
        assert isinstance(policy, ConvPolicy)
        assert isinstance(env, AtariEnvironment)
        timers = {
            "resize": Timer(env, "_resize"),
            "env.step": Timer(env, "step"),
            "first convolution": Timer(policy._first, "forward"),
        }
        kept = policy._forwards
        policy._forwards = list(kept)
        for number, layer in enumerate(policy._further):
            kind = "output" if number == len(kept) - 1 else "dense" if isinstance(layer, Dense) else "convolution"
            timers[f"{kind} {number + 2}"] = Timer(policy._forwards, number)
        head, batch = Timer(policy, "head"), Timer(policy, "set_parameters")
        self.worker_loop()
        for timer in (*timers.values(), head, batch):
            timer.remove()
        policy._forwards = kept
        found = {name: timer.median for name, timer in timers.items()}
        step, resize = found.pop("env.step"), found.pop("resize")
        inside = {"emulator": act, "screens, stack, memory": step - act - resize, "resize": resize, **found}
        inside |= {"head": head.median, "reference batch": batch.median * len(EPISODES) / self.timesteps}
        return inside

    def close(self) -> None:
        """Close both emulators."""
        self.problem.close()
        self._bare.close()
