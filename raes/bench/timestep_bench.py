"""`python -m raes.bench timestep [task=HalfCheetah] [seconds=3] [out=FILE.json]`: where a timestep of each policy goes.

One worker runs episodes as in training while the parts of a timestep are timed: the native step, the network with its
normaliser, and the head, which makes the action. The rest is the loop, the checks, the statistics, and each episode's
share of its parameters and its reset. Low-rank perturbations run side by side: a call of their network serves all
lanes. Wall time of one thread, medians of the rounds; a timer takes about 0.1 us of each part. The row of PyTorch needs
it installed.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from importlib.util import find_spec
from types import SimpleNamespace
from typing import Any

import numpy as np
from threadpoolctl import threadpool_limits

from raes.algorithms import ES, ESSettings
from raes.bench.measurement import BenchReport, TimedArguments
from raes.bench.timing import Timer
from raes.console.tables import Column, Row, Section
from raes.policies import AnyPolicySettings, PolicySettings, TorchSettings
from raes.problems.environment import EnvSettings, make_environment
from raes.problems.episode import EpisodeProblem, EpisodeSpec
from raes.problems.lockstep import LANES
from raes.rng import Purpose, generator
from raes.runtime.worker import Worker, WorkerSpec
from raes.search import noise, running_stats
from raes.search.optimizers import OptimizerSettings
from raes.types import Positive

MAX_STEPS = 200
"""Timesteps of an episode at most."""
MIN_ROUNDS = 3
COLUMNS = (
    Column("policy", "policy"),
    Column("perturbation", "perturbation"),
    Column("step", "native step, us", ".1f"),
    Column("network", "network, us", ".1f"),
    Column("head", "head, us", ".1f"),
    Column("rest", "rest, us", ".1f"),
    Column("all", "all, us", ".1f"),
    Column("rounds", "rounds", "d"),
)


@dataclass(frozen=True)
class TimestepArguments(TimedArguments):
    """The keys.

    Attributes:
        task: one of Gymnasium's MuJoCo v5 tasks, without the version.
    """

    seconds: Positive = 3.0
    task: str = "HalfCheetah"


@contextmanager
def timed(problems: list[EpisodeProblem], network: Any) -> Iterator[dict[str, list[Timer]]]:
    """Timers of the parts, as long as the context lasts.

    Args:
        problems: whose native steps are counted.
        network: whose `outputs` and `head` are counted.
    """
    timers: dict[str, list[Timer]] = {"step": [], "network": [Timer(network, "outputs")], "head": []}
    kept = [problem._native for problem in problems]
    for problem in problems:
        native = problem._native
        assert native is not None
        timers["step"].append(Timer(SimpleNamespace(step=native.step), "step"))
        problem._native = replace(native, step=timers["step"][-1])
        timers["head"].append(Timer(problem.policy, "head"))
    yield timers
    for problem, native in zip(problems, kept, strict=True):
        problem._native = native
    for timer in (*timers["network"], *timers["head"]):
        timer.remove()


def measure(name: str, task: str, policy: AnyPolicySettings, rank: int | None, seconds: float) -> Row:
    """A row."""
    table, settings = noise.make_table(noise.MIN_SIZE), ESSettings()
    spec = EpisodeSpec(EnvSettings(task, f"{task}-v5", native="require"), policy)
    if rank is not None:
        settings = replace(settings, perturbation="low_rank", rank=rank)
    worker = Worker(WorkerSpec(spec, 0), table)
    problem = worker._problem
    assert isinstance(problem, EpisodeProblem)
    search = ES(settings, OptimizerSettings(), 0, table.size, problem.layers)
    theta = problem.initial_theta(generator(0, Purpose.INITIAL_THETA))
    state = search.init(theta, running_stats.init(problem.observation_size))
    snapshot, tasks = replace(search.snapshot(state), max_steps=MAX_STEPS), search.ask(state, 0, LANES)
    tasks = tasks.take(slice(2 * LANES))
    worker.run(tasks, snapshot)  # the first call of anything is slow
    lockstep = worker._lockstep
    problems, network = ([problem], problem.policy) if lockstep is None else (lockstep._problems, lockstep._policy)
    rounds: list[list[float]] = []
    end = time.perf_counter() + seconds
    while len(rounds) < MIN_ROUNDS or time.perf_counter() < end:
        with timed(problems, network) as timers:
            start = time.perf_counter()
            timesteps = int(worker.run(tasks, snapshot).records["length"].sum())
            spent = time.perf_counter() - start
            parts = [sum(timer.total for timer in timers[part]) for part in ("step", "network", "head")]
        rounds.append([1e6 * value / timesteps for value in (*parts, spent - sum(parts), spent)])
    worker.close()
    step, inside, head, rest, whole = np.median(rounds, axis=0).tolist()
    return {
        "policy": name,
        "perturbation": "full" if rank is None else f"rank {rank}",
        **{"step": step, "network": inside, "head": head, "rest": rest, "all": whole},
        "rounds": len(rounds),
    }


def run(arguments: TimestepArguments) -> BenchReport:
    """The table."""
    env = make_environment(EnvSettings(arguments.task, f"{arguments.task}-v5"))
    inputs, outputs = int(np.prod(env.observation_space.shape or ())), int(np.prod(env.action_space.shape or ()))
    env.close()
    cases: list[tuple[str, AnyPolicySettings, int | None]] = [
        ("linear", PolicySettings(name="linear", hidden=()), None),
        ("64-64", PolicySettings(hidden=(64, 64)), None),
        ("256-256", PolicySettings(hidden=(256, 256)), None),
        ("256-256", PolicySettings(hidden=(256, 256)), 1),
        ("1024-1024", PolicySettings(hidden=(1024, 1024)), None),
        ("1024-1024", PolicySettings(hidden=(1024, 1024)), 1),
    ]
    if find_spec("torch") is not None:
        module = "raes.bench.tanh_module:TanhModule"
        sizes = {"inputs": inputs, "outputs": outputs, "hidden": 64}
        cases.append(("64-64, PyTorch", TorchSettings(module=module, kwargs=sizes), None))
    with threadpool_limits(1):
        rows = [measure(name, arguments.task, policy, rank, arguments.seconds) for name, policy, rank in cases]
    return BenchReport("timestep", [Section("rows", f"Where a timestep of {arguments.task} goes", COLUMNS, rows)])
