"""`python -m benchmarks pool [out=FILE.json] [seconds=10] [pairs=200] [generations=3] [results=10000]`: on Ray.

The first table shows the cost of the pool itself, with a problem that takes no time; the second how busy workers and
driver are while ES trains Humanoid, update and checkpoint included.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Annotated

import numpy as np
from annotated_types import Ge

from raes.algorithms import ES, ESSettings
from raes.bench.measurement import BAR_COLUMNS, BenchReport, TimedArguments, against_bar
from raes.bench.timing import interleave, wall_clock
from raes.bench.trainings import mean, prepare_run, records_of
from raes.console.tables import Column, Row, Section
from raes.problems.problem import Episode, EpisodeOutcome
from raes.runtime.executor import Executor
from raes.runtime.rounds import RoundRunner
from raes.runtime.scheduling import Size
from raes.runtime.worker import WorkerSpec
from raes.search import noise, running_stats
from raes.search.optimizers import OptimizerSettings
from raes.storage.metrics import Record
from raes.tasks import Layers, Snapshot
from raes.training.events import EventLog
from raes.training.limits import StopSignal
from raes.training.prepare import PreparedRun
from raes.training.start import drive
from raes.types import Count, Float32, Float64, Positive, RunFailedError

WORKERS = (1, 2)
CASES: tuple[tuple[int, int, float | None], ...] = ((1, 0, None), (2, 0, 0.95), (2, 1, 0.98))
"""(workers, runtime.pipeline, the least share of their time that workers spend inside episodes)."""
TRIVIAL_TABLE = 1 << 16
MIN_ROUNDS = 3
OVERHEAD_COLUMNS = (
    Column("workers", "workers", "d"),
    Column("results_per_second", "results/s", ",.0f"),
    Column("microseconds_per_result", "us/result", ".1f"),
    Column("bytes_per_result", "bytes/result", ".0f"),
    Column("rounds", "rounds", "d"),
)
BUSY_COLUMNS = (
    Column("workers", "workers", "d"),
    Column("pipeline", "pipeline", "d"),
    Column("worker_busy_fraction", "workers busy", ".3f"),
    *BAR_COLUMNS,
    Column("driver_busy_fraction", "driver busy", ".3f"),
    Column("timesteps_per_second", "steps/s", ",.0f"),
    Column("generation_seconds", "s/generation", ".2f"),
    Column("update_seconds", "s/update", ".4f"),
    Column("generations", "generations", "d"),
)


@dataclass(frozen=True)
class PoolBenchArguments(TimedArguments):
    """The keys.

    Attributes:
        results: of the problem that takes no time, in a round.
        pairs: of a generation of Humanoid.
        generations: that are measured, besides a first and a last one.
    """

    seconds: Positive = 10.0
    results: Annotated[int, Ge(2)] = 10_000
    pairs: Count = 200
    generations: Count = 3


class Trivial:
    """A problem that takes no time: the sum of two parameters."""

    num_params = 2
    observation_size = 0
    layers: Layers = ()
    continuous = False
    remarks: tuple[str, ...] = ()
    watch: Callable[[int], None] | None = None

    def initial_theta(self, rng: np.random.Generator) -> Float32:
        """Zeros, float32 (2,)."""
        return np.zeros(2, dtype=np.float32)

    def use(self, snapshot: Snapshot) -> None:
        """Nothing to do."""

    def evaluate(self, theta: Float32, episode: Episode) -> EpisodeOutcome:
        """One timestep."""
        return EpisodeOutcome(float(theta[0] + theta[1]), 0, 1, False)

    def close(self) -> None:
        """Nothing to close."""


@dataclass(frozen=True)
class TrivialSpec:
    """The recipe of `Trivial`."""

    def build(self) -> Trivial:
        """Make it."""
        return Trivial()

    check = build


def generation(executor: Executor, pairs: int) -> None:
    """Run one generation of trivial episodes."""
    settings = ESSettings(pairs=pairs, normalize_observations=False)
    algorithm = ES(settings, OptimizerSettings(), 0, TRIVIAL_TABLE)
    state = algorithm.init(np.zeros(2, dtype=np.float32), running_stats.init(0))
    runner = RoundRunner(executor)
    runner.open(algorithm.next_round(state))
    runner.collect()


def measure_overhead(seconds: float, pairs: int) -> list[Row]:
    """Results per second of pools with different numbers of workers, measured in turns."""
    from raes.runtime.ray_executor import RayExecutor

    spec = WorkerSpec(TrivialSpec(), 0)
    pools = {
        workers: RayExecutor(spec, TRIVIAL_TABLE, Size(workers, workers), relays=False, deadline=None)
        for workers in WORKERS
    }
    try:
        for pool in pools.values():
            generation(pool, pairs)  # the actors start
        loops = {str(workers): partial(generation, pool, pairs) for workers, pool in pools.items()}
        taken = interleave(loops, seconds, MIN_ROUNDS, wall_clock)
        return [_overhead_row(workers, taken[str(workers)] / (2 * pairs), pool) for workers, pool in pools.items()]
    finally:
        for pool in pools.values():
            pool.close()


def _overhead_row(workers: int, seconds_each: Float64, pool: Executor) -> Row:
    each = float(np.median(seconds_each))
    return {
        "workers": workers,
        "results_per_second": 1 / each,
        "microseconds_per_result": 1e6 * each,
        "bytes_per_result": pool.counters.payload_bytes / max(1, pool.counters.episodes),
        "rounds": len(seconds_each),
    }


def humanoid(run_dir: Path, workers: int, pipeline: int, arguments: PoolBenchArguments) -> PreparedRun:
    """The preset of ES, with the sizes of the benchmark and no evaluation on the way."""
    return prepare_run(
        run_dir,
        "env=Humanoid",
        "algorithm=es",
        "policy=linear",
        f"workers={workers}",
        f"runtime.pipeline={pipeline}",
        f"algorithm.pairs={arguments.pairs}",
        f"generations={arguments.generations + 2}",
        "evaluation.every=0",
        "evaluation.episodes=1",
    )


def measure_busy(workers: int, pipeline: int, bar: float | None, arguments: PoolBenchArguments) -> Row:
    """One row: a run of ES on Humanoid."""
    with tempfile.TemporaryDirectory() as folder:
        run_dir = Path(folder) / "run"
        outcome = drive(humanoid(run_dir, workers, pipeline, arguments), StopSignal(), EventLog())
        if outcome.code:
            raise RunFailedError(outcome.reason)
        records = records_of(run_dir)
    # The first generation holds the actors' start; the last one has no dispatch of another after it.
    row = summarize(records[1 : arguments.generations + 1])
    return {"workers": workers, "pipeline": pipeline, **row, **against_bar(row["worker_busy_fraction"], bar)}


def summarize(records: Sequence[Record]) -> Row:
    """The figures of several generations, each weighted by its time."""
    return {
        "worker_busy_fraction": mean(records, "speed/worker_busy_fraction"),
        "driver_busy_fraction": mean(records, "speed/driver_busy_fraction"),
        "timesteps_per_second": mean(records, "speed/timesteps_per_second"),
        "generation_seconds": float(np.mean([record["speed/generation_seconds"] for record in records])),
        "update_seconds": float(np.mean([record["speed/update_seconds"] for record in records])),
        "generations": len(records),
    }


def run(arguments: PoolBenchArguments) -> BenchReport:
    """Both tables."""
    import ray

    from raes.runtime.session import connect

    session = connect("local", sum(WORKERS), 2 * 4 * noise.MIN_SIZE)
    print(session.text, flush=True)
    try:
        overhead = measure_overhead(arguments.seconds, arguments.results // 2)
        busy = [measure_busy(*case, arguments) for case in CASES]
    finally:
        ray.shutdown()
    title = f"ES on Humanoid, {arguments.pairs} pairs per generation, from dispatch to dispatch"
    return BenchReport(
        "pool",
        [
            Section("overhead", "A problem that takes no time", OVERHEAD_COLUMNS, overhead),
            Section("busy", title, BUSY_COLUMNS, busy),
        ],
    )
