"""`python -m benchmarks low_rank [out=FILE.json] [seconds=8] [tasks=[HalfCheetah,Walker2d]]
[ranks=[1,4]] [hidden=[256,256,256]] [pairs=100]`: one worker.

The same generation of one network, with perturbations of full rank, one episode after the
other, and of low rank, side by side; and the sum over the noise of the update. All interleaved, in CPU seconds.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace

import numpy as np
from threadpoolctl import threadpool_limits

from raes.algorithms import ES, ESSettings
from raes.bench.measurement import BenchReport, TimedArguments
from raes.bench.timing import cpu_clock, interleave
from raes.console.tables import Column, Row, Section
from raes.policies import PolicySettings
from raes.problems.environment import EnvSettings
from raes.problems.episode import EpisodeSpec
from raes.problems.lockstep import LANES
from raes.rng import Purpose, generator
from raes.runtime.worker import Worker, WorkerSpec
from raes.search import low_rank, noise, running_stats
from raes.search.optimizers import OptimizerSettings
from raes.types import Count, Float32, Positive

SEED = 0
MAX_STEPS = 100
MIN_ROUNDS = 3
BLOCK = 4 * LANES
"""Episodes of a round; lanes become empty only at its end."""
COLUMNS = (
    Column("task", "task"),
    Column("rank", "rank"),
    Column("parameters", "parameters", ",d"),
    Column("noise", "noise", ",d"),
    Column("timesteps_per_second", "steps/s", ",.0f"),
    Column("against_full", "x full", ".2f"),
    Column("sum_milliseconds", "ms/sum", ".2f"),
    Column("sum_against_full", "x full", ".1f"),
    Column("rounds", "rounds", "d"),
)


@dataclass(frozen=True)
class LowRankBenchArguments(TimedArguments):
    """The keys.

    Attributes:
        tasks: names of MuJoCo's environments.
        ranks: besides the full one.
        hidden: units of the network's layers.
        pairs: of the sum.
    """

    seconds: Positive = 8.0
    tasks: list[str] = field(default_factory=lambda: ["HalfCheetah", "Walker2d"])
    ranks: list[Count] = field(default_factory=lambda: [1, 4])
    hidden: tuple[Count, ...] = (256, 256, 256)
    pairs: Count = 100


class Contender:
    """One way to perturb: its episodes and its sum.

    Attributes:
        timesteps: of one pass over the episodes.
        noise: numbers of a perturbation.
        num_params: d.
    """

    def __init__(self, task: str, rank: int | None, arguments: LowRankBenchArguments, table: Float32) -> None:
        pairs = arguments.pairs
        spec = EpisodeSpec(EnvSettings(task, f"{task}-v5"), PolicySettings(name="mlp", hidden=arguments.hidden))
        problem = spec.build()
        settings = ESSettings(pairs=pairs)
        if rank is not None:
            settings = replace(settings, perturbation="low_rank", rank=rank)
        search = ES(settings, OptimizerSettings(), SEED, table.size, problem.layers)
        theta = problem.initial_theta(generator(SEED, Purpose.INITIAL_THETA))
        state = search.init(theta, running_stats.init(problem.observation_size))
        problem.close()
        self._worker, self._table = Worker(WorkerSpec(spec, SEED), table), table
        self._snapshot = replace(search.snapshot(state), max_steps=MAX_STEPS)
        tasks = search.ask(state, 0, pairs)
        self._tasks, self._index = tasks.take(slice(BLOCK)), tasks.genomes.noise_index[::2]
        self._weights = np.linspace(-0.5, 0.5, pairs, dtype=np.float32)
        self.num_params, form = problem.num_params, self._snapshot.low_rank
        self.noise = self.num_params if form is None else form.noise_size
        self.timesteps = int(self._worker.run(self._tasks, self._snapshot).records["length"].sum())

    def episodes(self) -> None:
        """Run a block of episodes."""
        self._worker.run(self._tasks, self._snapshot)

    def sum(self) -> None:
        """Compute the weighted noise sum of an update."""
        if self._snapshot.low_rank is None:
            noise.weighted_sum(self._table, self._index, self._weights, self.num_params)
        else:
            low_rank.weighted_sum(self._snapshot.low_rank, self._table, self._index, self._weights)


def measure(task: str, arguments: LowRankBenchArguments, table: Float32) -> list[Row]:
    """The rows of a task."""
    contenders = {str(rank or "full"): Contender(task, rank, arguments, table) for rank in [None, *arguments.ranks]}
    loops: dict[str, Callable[[], None]] = {f"episodes {name}": one.episodes for name, one in contenders.items()}
    loops |= {f"sum {name}": one.sum for name, one in contenders.items()}
    taken = interleave(loops, arguments.seconds, MIN_ROUNDS, cpu_clock)
    full, full_sum = contenders["full"].timesteps / np.median(taken["episodes full"]), np.median(taken["sum full"])
    rows: list[Row] = []
    for name, one in contenders.items():
        speed, seconds = one.timesteps / np.median(taken[f"episodes {name}"]), np.median(taken[f"sum {name}"])
        rows.append(
            {
                "task": task,
                "rank": name,
                "parameters": one.num_params,
                "noise": one.noise,
                "timesteps_per_second": float(speed),
                "against_full": float(speed / full),
                "sum_milliseconds": 1e3 * float(seconds),
                "sum_against_full": float(full_sum / seconds),
                "rounds": len(taken["sum full"]),
            }
        )
    return rows


def run(arguments: LowRankBenchArguments) -> BenchReport:
    """All rows."""
    table = noise.make_table(1 << 26)
    with threadpool_limits(1):
        rows = [row for task in arguments.tasks for row in measure(task, arguments, table)]
    network = "-".join(map(str, arguments.hidden))
    title = f"A network of {network}: episodes of one worker, and the update's sum; CPU seconds"
    return BenchReport("low_rank", [Section("rows", title, COLUMNS, rows)])
