"""`python -m raes.bench rollout [out=FILE.json] [seconds=8] [tasks=[HalfCheetah,...]]`: one worker, one thread.

The same episodes run four ways, interleaved: by the worker as in training (observation statistics and normaliser on);
as a bare loop of env.step, with the same seeds and actions, on the environment as gymnasium.make returns it; as a bare
loop of the native step; as a bare loop of mujoco.mj_step from the same states. "Against bare" is bare env.step seconds
over worker seconds, the median of the rounds and its quartiles; above 1 the worker, network included, is faster than
the environment alone. "Of mj_step" is the share of mj_step's seconds in the worker's. "us outside the step" is what the
worker takes besides the native step: the network, the normaliser, the action, the checks, the statistics. Loops are
timed in CPU seconds, so that other work on the machine counts little.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from typing import Any

import gymnasium
import mujoco
import numpy as np
from threadpoolctl import threadpool_limits

from raes.algorithms import ES, ESSettings
from raes.bench.measurement import BAR_COLUMNS, BenchReport, TimedArguments, against_bar
from raes.bench.timing import cpu_clock, interleave, median_ratio, seconds_of
from raes.console.tables import Column, Row, Section
from raes.policies import PolicySettings
from raes.problems.environment import EnvSettings
from raes.problems.episode import EpisodeProblem, EpisodeSpec
from raes.rng import Purpose, generator
from raes.runtime.worker import Worker, WorkerSpec
from raes.search import noise, running_stats
from raes.search.optimizers import OptimizerSettings
from raes.tasks import Tasks
from raes.text import one_line
from raes.types import Float32, Float64, Positive, RunFailedError

TASKS = ("HalfCheetah", "Hopper", "Walker2d", "Swimmer", "Ant", "Humanoid")
HIDDEN = ((), (64, 64), (256, 256))
LINEAR = ("HalfCheetah", "Humanoid")
"""Tasks that are measured with the linear policy too."""
BARS = {
    ("HalfCheetah", ()): 1.05,
    ("HalfCheetah", (64, 64)): 1.00,
    ("Hopper", (64, 64)): 1.10,
    ("Walker2d", (64, 64)): 1.10,
    ("Ant", (64, 64)): 1.10,
    ("Humanoid", ()): 1.20,
    ("Humanoid", (64, 64)): 1.15,
    ("Humanoid", (256, 256)): 1.05,
}
"""The least speed of (task, hidden layers) as a multiple of the bare environment's."""
MJ_STEP_BARS = {("Humanoid", ()): 0.85}
"""The least share of mj_step; a row meets its bar where it meets this one too."""
SEED = 0
ROUND_SECONDS = 0.02
"""About how long the worker runs in a round."""
MAX_EPISODES = 1024
MAX_STEPS = 1000
"""Timesteps of an episode at most. Shorter ones would give the cost of a reset more weight than in training."""
MIN_ROUNDS = 3
COLUMNS = (
    Column("task", "task"),
    Column("policy", "policy"),
    Column("worker_timesteps_per_second", "worker steps/s", ",.0f"),
    Column("env_step_per_second", "env.step/s", ",.0f"),
    Column("mj_step_per_second", "mj_step/s", ",.0f"),
    Column("against_bare", "against bare", ".3f"),
    Column("against_bare_low", "25 %", ".3f"),
    Column("against_bare_high", "75 %", ".3f"),
    *BAR_COLUMNS,
    Column("of_mj_step", "of mj_step", ".3f"),
    Column("microseconds_outside", "us outside the step", ".1f"),
    Column("episode_length", "mean length", ",.0f"),
    Column("rounds", "rounds", "d"),
)


@dataclass(frozen=True)
class RolloutBenchArguments(TimedArguments):
    """The keys.

    Attributes:
        tasks: names out of TASKS.
    """

    seconds: Positive = 8.0
    tasks: tuple[str, ...] = TASKS

    def __post_init__(self) -> None:
        if unknown := [name for name in self.tasks if name not in TASKS]:
            raise ValueError(f"tasks: there is no {', '.join(unknown)}; choose from {', '.join(TASKS)}")


def _mujoco(env: gymnasium.Env[Any, Any]) -> Any:
    """The environment itself, which has the simulator's `model`, `data` and `frame_skip`."""
    return env.unwrapped


@dataclass
class Recorded:
    """One episode: what it started from, its actions, float32 (action,) each, and the positions it ended in."""

    seed: int
    positions: Float64
    velocities: Float64
    actions: list[Float32] = field(default_factory=list)
    last_positions: Float64 = field(default_factory=lambda: np.zeros(0))


class ActionRecorder(gymnasium.Wrapper[Any, Any, Any, Any]):
    """Records the episodes of a MuJoCo environment."""

    def __init__(self, env: gymnasium.Env[Any, Any]) -> None:
        super().__init__(env)
        self.episodes: list[Recorded] = []

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        """Begin another episode."""
        assert seed is not None
        answer = self.env.reset(seed=seed, options=options)
        data = _mujoco(self.env).data
        self.episodes.append(Recorded(seed, data.qpos.copy(), data.qvel.copy()))
        return answer

    def step(self, action: Any) -> tuple[Any, Any, bool, bool, dict[str, Any]]:
        """Record the action and the positions after it."""
        answer = self.env.step(action)
        self.episodes[-1].actions.append(action)
        self.episodes[-1].last_positions = _mujoco(self.env).data.qpos.copy()
        return answer


@dataclass(frozen=True)
class _Ready:
    """The recipe of a problem that exists already, so that its environment can be swapped for a recorder."""

    problem: EpisodeProblem

    def build(self) -> EpisodeProblem:
        return self.problem

    check = build


class RolloutContest:
    """One task with one policy: the worker's episodes, and the same ones without the worker.

    Attributes:
        episodes: as the worker runs them.
    """

    def __init__(self, task: str, hidden: tuple[int, ...], table: Float32, seconds: float) -> None:
        policy = PolicySettings(name="mlp" if hidden else "linear", hidden=hidden)
        self._problem = EpisodeProblem(EpisodeSpec(EnvSettings(task, f"{task}-v5", native="require"), policy))
        self._worker = Worker(WorkerSpec(_Ready(self._problem), SEED), table)
        self._bare = gymnasium.make(f"{task}-v5", disable_env_checker=True)
        algorithm = ES(ESSettings(), OptimizerSettings(), SEED, table.size)
        theta = self._problem.initial_theta(generator(SEED, Purpose.INITIAL_THETA))
        state = algorithm.init(theta, running_stats.init(self._problem.observation_size))
        self._snapshot = replace(algorithm.snapshot(state), max_steps=MAX_STEPS)
        tasks = algorithm.ask(state, 0, MAX_EPISODES // 2)
        self._tasks: Tasks = tasks.take(slice(2))
        self.worker_loop()  # the first call of anything is slow
        episodes = 2 * seconds / seconds_of(self.worker_loop, cpu_clock)
        self._tasks = tasks.take(slice(int(np.clip(np.ceil(episodes), 1, MAX_EPISODES))))
        self.episodes = self._record()
        self._check(self.step_loop, self._bare)
        self._check(self.physics_loop, self._bare)
        self._check(self.native_loop, self._problem.env)

    @property
    def timesteps(self) -> int:
        """Timesteps of all episodes."""
        return sum(len(episode.actions) for episode in self.episodes)

    def worker_loop(self) -> None:
        """The episodes as in training."""
        self._worker.run(self._tasks, self._snapshot)

    def step_loop(self, episodes: list[Recorded] | None = None) -> None:
        """The episodes as bare calls of the environment."""
        env, step = self._bare, self._bare.step
        for episode in self.episodes if episodes is None else episodes:
            env.reset(seed=episode.seed)
            for action in episode.actions:
                step(action)

    def native_loop(self, episodes: list[Recorded] | None = None) -> None:
        """The episodes as bare calls of the native step."""
        native, row = self._problem.native, np.empty(self._problem.observation_size)
        assert native is not None
        reset, step = native.reset, native.step
        for episode in self.episodes if episodes is None else episodes:
            reset(episode.seed)
            for action in episode.actions:
                step(action, row)

    def physics_loop(self, episodes: list[Recorded] | None = None) -> None:
        """The episodes as bare calls of the simulator."""
        env = _mujoco(self._bare)
        model, data, steps, mj_step = env.model, env.data, env.frame_skip, mujoco.mj_step
        control = data.ctrl
        for episode in self.episodes if episodes is None else episodes:
            mujoco.mj_resetData(model, data)
            data.qpos[:], data.qvel[:] = episode.positions, episode.velocities
            mujoco.mj_forward(model, data)
            for action in episode.actions:
                control[:] = action
                mj_step(model, data, nstep=steps)

    def close(self) -> None:
        """Close both environments."""
        self._worker.close()
        self._bare.close()

    def _record(self) -> list[Recorded]:
        env = self._problem.env
        recorder = ActionRecorder(env)
        self._problem.env = recorder
        results = self._worker.run(self._tasks, self._snapshot)
        self._problem.env = env
        if results.faults:
            raise RunFailedError(f"an episode failed: {one_line(results.faults[0].reason)}")
        return recorder.episodes

    def _check(self, loop: Callable[[list[Recorded]], None], env: gymnasium.Env[Any, Any]) -> None:
        """Refuse to compare what is not the same physics."""
        for episode in self.episodes[:2]:
            loop([episode])
            if not np.array_equal(_mujoco(env).data.qpos, episode.last_positions):
                raise RunFailedError(f"{self._bare.spec}: a replayed episode does not end where the worker's did")


def measure(task: str, hidden: tuple[int, ...], table: Float32, seconds: float) -> Row:
    """One row of the table."""
    contest = RolloutContest(task, hidden, table, min(ROUND_SECONDS, seconds))
    loops = {
        "worker": contest.worker_loop,
        "step": contest.step_loop,
        "native": contest.native_loop,
        "physics": contest.physics_loop,
    }
    taken = interleave(loops, seconds, MIN_ROUNDS, cpu_clock)
    contest.close()
    timesteps = contest.timesteps
    median = {name: float(np.median(values)) for name, values in taken.items()}
    low, against_bare, high = np.quantile(taken["step"] / taken["worker"], (0.25, 0.5, 0.75)).tolist()
    of_mj_step, case = median_ratio(taken["physics"], taken["worker"]), (task, hidden)
    bars = against_bar(against_bare, BARS.get(case))
    if case in MJ_STEP_BARS:
        bars = bars | {"met": bars["met"] and of_mj_step >= MJ_STEP_BARS[case]}
    return {
        "task": task,
        "policy": "-".join(map(str, hidden)) or "linear",
        "worker_timesteps_per_second": timesteps / median["worker"],
        "env_step_per_second": timesteps / median["step"],
        "native_step_per_second": timesteps / median["native"],
        "mj_step_per_second": timesteps / median["physics"],
        "against_bare": against_bare,
        "against_bare_low": low,
        "against_bare_high": high,
        **bars,
        "of_mj_step": of_mj_step,
        "microseconds_outside": 1e6 * float(np.median(taken["worker"] - taken["native"])) / timesteps,
        "episode_length": timesteps / len(contest.episodes),
        "episodes": len(contest.episodes),
        "rounds": len(taken["worker"]),
    }


def cases(tasks: Iterable[str]) -> list[tuple[str, tuple[int, ...]]]:
    """(task, hidden layers) of each row."""
    return [(task, hidden) for task in tasks for hidden in HIDDEN if hidden or task in LINEAR]


def run(arguments: RolloutBenchArguments) -> BenchReport:
    """All rows."""
    table = noise.make_table(noise.MIN_SIZE)
    with threadpool_limits(1):
        rows = [measure(task, hidden, table, arguments.seconds) for task, hidden in cases(arguments.tasks)]
    title = "One worker against the bare environment and the bare simulator, the same episodes; CPU seconds"
    return BenchReport("rollout", [Section("rows", title, COLUMNS, rows)])
