"""`python -m raes.bench workers [workers=2] [turns=3] [cases=[[HalfCheetah,[]],...]] [out=FILE.json]`: one and several.

Trainings with ES on an embedded Ray, update, statistics, curves and checkpoints included, in turns: with one worker and
with several. "x one" is what several have of the timesteps per second of one, the median of the turns. "Machine x one"
is the same of as many processes that run a worker's episodes on their own, without Ray or a driver: below the number of
processes where they share caches, memory, or the two threads of a core. Seconds are of the wall clock, and Ray gives
its workers a low priority, so the machine should have nothing else to do.
"""

from __future__ import annotations

import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from raes.algorithms import ES, ESSettings
from raes.bench.at_once import Measure, speed_at_once
from raes.bench.measurement import BAR_COLUMNS, BenchReport, TimedArguments, against_bar
from raes.bench.trainings import mean, prepare_run, records_of
from raes.console.tables import Column, Row, Section
from raes.policies import PolicySettings
from raes.problems.environment import EnvSettings
from raes.problems.episode import EpisodeSpec
from raes.rng import Purpose, generator
from raes.runtime.worker import Worker, WorkerSpec
from raes.search import noise, running_stats
from raes.search.optimizers import OptimizerSettings
from raes.storage.metrics import Record
from raes.storage.provenance import machine
from raes.training.events import EventLog
from raes.training.limits import StopSignal
from raes.training.start import drive
from raes.types import Count, Positive, RunFailedError

CASES: tuple[tuple[str, tuple[int, ...]], ...] = (("HalfCheetah", ()), ("Humanoid", (256, 256)))
"""(task, hidden layers)."""
BAR = 0.925
"""The least speed of several workers, as a share of as many times one's."""
BLOCK = 4
"""Episodes between two looks at the clock."""
COLUMNS = (
    Column("task", "task"),
    Column("policy", "policy"),
    Column("workers", "workers", "d"),
    Column("one", "one, steps/s", ",.0f"),
    Column("several", "all, steps/s", ",.0f"),
    Column("times_one", "x one", ".2f"),
    *BAR_COLUMNS,
    Column("machine", "machine x one", ".2f"),
    Column("busy", "workers busy", ".3f"),
    Column("driver_busy", "driver busy", ".3f"),
    Column("turns", "turns", "d"),
)


@dataclass(frozen=True)
class WorkersArguments(TimedArguments):
    """The keys.

    Attributes:
        seconds: of the machine's own loops, in a turn.
        workers: several; None for as many as the machine has cores.
        turns: of both trainings.
        generations: that are measured in a training, besides the first, which holds the actors' start, and the last.
        pairs: of a generation.
        timesteps: of a generation at least.
        cases: (task, hidden layers) of each row.
    """

    seconds: Positive = 4.0
    workers: Count | None = None
    turns: Count = 3
    generations: Count = 3
    pairs: Count = 20
    timesteps: Count = 20_000
    cases: tuple[tuple[str, tuple[int, ...]], ...] = CASES


def worker_loop(task: str, hidden: tuple[int, ...]) -> Measure:
    """A worker's episodes of a first generation, without Ray."""
    policy = PolicySettings(name="mlp" if hidden else "linear", hidden=hidden)
    problem = EpisodeSpec(EnvSettings(task, f"{task}-v5"), policy)
    table = noise.make_table(noise.MIN_SIZE)
    worker = Worker(WorkerSpec(problem, 0), table)
    built = problem.build()
    algorithm = ES(ESSettings(), OptimizerSettings(), 0, table.size)
    state = algorithm.init(
        built.initial_theta(generator(0, Purpose.INITIAL_THETA)), running_stats.init(built.observation_size)
    )
    snapshot, tasks = algorithm.snapshot(state), algorithm.ask(state, 0, 512)

    def measure(seconds: float) -> float:
        start, timesteps, first = time.perf_counter(), 0, 0
        while (spent := time.perf_counter() - start) < seconds:
            results = worker.run(tasks.take(slice(first, first + BLOCK)), snapshot)
            timesteps += int(results.records["length"].sum())
            first = (first + BLOCK) % len(tasks)
        return timesteps / spent

    return measure


def training(task: str, hidden: tuple[int, ...], workers: int, arguments: WorkersArguments) -> list[Record]:
    """The records of a training's generations that are measured.

    Raises:
        RunFailedError: it ends early.
    """
    policy = [f"policy.hidden=[{','.join(map(str, hidden))}]"] if hidden else []
    words = [f"env={task}", "algorithm=es", f"policy={'mlp' if hidden else 'linear'}", *policy, f"workers={workers}"]
    sizes = [f"algorithm.pairs={arguments.pairs}", f"algorithm.min_timesteps={arguments.timesteps}"]
    limits = [f"generations={arguments.generations + 2}", "evaluation.every=0", "evaluation.episodes=1"]
    with tempfile.TemporaryDirectory() as folder:
        run_dir = Path(folder) / "run"
        run = prepare_run(run_dir, *words, *sizes, *limits, "ray.address=local")
        outcome = drive(run, StopSignal(), EventLog())
        if outcome.code:
            raise RunFailedError(outcome.reason)
        return records_of(run_dir)[1:-1]


def measure(task: str, hidden: tuple[int, ...], workers: int, arguments: WorkersArguments) -> Row:
    """A row."""
    speeds: dict[int, list[float]] = {1: [], workers: []}
    machines: dict[int, list[float]] = {1: [], workers: []}
    records: list[Record] = []
    for turn in range(arguments.turns):
        for count in (1, workers) if turn % 2 else (workers, 1):
            records = training(task, hidden, count, arguments)
            speeds[count].append(mean(records, "speed/timesteps_per_second"))
            machines[count].append(speed_at_once(count, arguments.seconds, worker_loop, task, hidden))
    times_one = float(np.median(np.array(speeds[workers]) / speeds[1]))
    return {
        "task": task,
        "policy": "-".join(map(str, hidden)) or "linear",
        "workers": workers,
        "one": float(np.median(speeds[1])),
        "several": float(np.median(speeds[workers])),
        "times_one": times_one,
        **against_bar(times_one, BAR * workers),
        "machine": float(np.median(np.array(machines[workers]) / machines[1])),
        "busy": mean(records, "speed/worker_busy_fraction"),
        "driver_busy": mean(records, "speed/driver_busy_fraction"),
        "turns": arguments.turns,
    }


def run(arguments: WorkersArguments) -> BenchReport:
    """All rows."""
    workers = arguments.workers or machine()["cores"]
    rows = [measure(*case, workers, arguments) for case in arguments.cases]
    return BenchReport("workers", [Section("rows", "Trainings with one worker and with several", COLUMNS, rows)])
