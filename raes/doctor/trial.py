"""Tries out a worker of a configuration on this host; called on every node."""

from __future__ import annotations

import os
import sys
import time
from contextlib import closing
from dataclasses import dataclass, replace

import numpy as np
from threadpoolctl import threadpool_limits

from raes.config.schema import Config
from raes.problems.episode import EpisodeSpec
from raes.problems.problem import ProblemSpec
from raes.problems.renderer import VARIABLE, choose
from raes.runtime.memory import free_memory
from raes.runtime.packages import MODULES
from raes.runtime.worker import Worker, WorkerSpec
from raes.search import noise
from raes.storage import tree
from raes.tasks import Snapshot, Tasks
from raes.training.build import build_algorithm, problem_spec
from raes.training.prepare import fit_to_problem
from raes.training.resume import first_policy
from raes.types import UserError

SECONDS = 1.0
"""CPU seconds of episodes in a trial, about."""
MAX_EPISODES = 64
LONGEST = 2000
"""Timesteps at which an episode of the trial is cut."""
CORES_SECONDS = 0.1
TABLE_FACTOR = 4
"""The trial's own noise table, in vectors of parameters: it needs no large one."""


@dataclass(frozen=True)
class Trial:
    """The measurements of a trial.

    Attributes:
        num_params: d.
        table_size: floats of the run's noise table.
        state_bytes: of the search's state, as a checkpoint holds it.
        digest: see `Worker.digest`.
        lengths: timesteps of the trial's episodes, of the first policy.
        step_seconds: CPU seconds per timestep.
        cores: how many cores a matrix product keeps busy in a worker.
        memory_free: bytes that may still be used.
        used: packages that the worker has loaded.
        fault: why the first episode failed; empty where it did not.
        undrawn: why no video can be made; empty where one can.
    """

    num_params: int
    table_size: int
    state_bytes: int
    digest: str
    lengths: tuple[int, ...]
    step_seconds: float
    cores: float
    memory_free: int
    used: tuple[str, ...]
    fault: str
    undrawn: str


def try_out(config: Config) -> Trial | str:
    """Run the trial; or why no worker of this configuration could start here, with the fix."""
    threadpool_limits(1)  # as the rollout actor does
    try:
        return _try_out(replace(config, start_from=None))
    except UserError as error:
        return str(error)


def _try_out(config: Config) -> Trial:
    spec = problem_spec(config)
    with closing(spec.check()) as problem:
        config = fit_to_problem(config, problem)
        theta, observations = first_policy(config, problem)
    size = config.noise.size
    assert size is not None
    small = max(noise.MIN_SIZE // 16, TABLE_FACTOR * problem.num_params) if size else 0
    algorithm = build_algorithm(replace(config, noise=replace(config.noise, size=small)))
    state = algorithm.init(theta, observations)
    table = noise.make_table(small)
    worker = Worker(WorkerSpec(spec, config.seed), table)
    digest = worker.digest()
    upcoming = algorithm.next_round(state)
    assert upcoming.ask is not None
    lengths, seconds, fault = _episodes(worker, upcoming.snapshot, upcoming.ask(0, MAX_EPISODES))
    worker.close()
    arrays, _ = tree.flatten(state)
    return Trial(
        num_params=problem.num_params,
        table_size=size,
        state_bytes=sum(array.nbytes for array in arrays.values()),
        digest=digest,
        lengths=tuple(lengths),
        step_seconds=seconds / max(1, sum(lengths)),
        cores=_cores(),
        memory_free=free_memory(),
        used=tuple(name for name, module in MODULES.items() if module in sys.modules),
        fault=fault,
        undrawn=_undrawn(spec),
    )


def _undrawn(spec: ProblemSpec) -> str:
    """Why nothing on this host renders the environment; empty where something does."""
    if not isinstance(spec, EpisodeSpec):
        return ""
    before = os.environ.get(VARIABLE)
    try:
        choose(spec)
    except UserError as error:
        return str(error)
    finally:
        os.environ.pop(VARIABLE, None)
        if before is not None:
            os.environ[VARIABLE] = before
    return ""


def _episodes(worker: Worker, snapshot: Snapshot, tasks: Tasks) -> tuple[list[int], float, str]:
    """Episodes one after the other, for about a second: their lengths, CPU seconds, and why one failed."""
    cap = LONGEST if snapshot.max_steps is None else min(LONGEST, snapshot.max_steps)
    snapshot = replace(snapshot, max_steps=cap)
    worker.run(tasks.take(slice(1)), snapshot)  # the first call of anything is slow
    lengths: list[int] = []
    began = time.process_time()
    for number in range(min(MAX_EPISODES, len(tasks))):
        results = worker.run(tasks.take(slice(number, number + 1)), snapshot)
        if results.faults:
            return lengths, time.process_time() - began, results.faults[0].reason
        lengths += results.records["length"].tolist()
        if time.process_time() - began > SECONDS:
            break
    return lengths, time.process_time() - began, ""


def _cores() -> float:
    """CPU seconds per second of a matrix product, in this process: the cores that it keeps busy."""
    square = np.ones((512, 512), np.float32)
    square @ square
    wall, cpu = time.perf_counter(), time.process_time()
    while time.perf_counter() - wall < CORES_SECONDS:
        square @ square
    return (time.process_time() - cpu) / (time.perf_counter() - wall)


@dataclass(frozen=True)
class Disk:
    """The disk on which the run directory would be.

    Attributes:
        path: the nearest folder that exists.
        free: bytes there; None where it is no folder of this machine.
        writable: whether this user may write there.
    """

    path: str
    free: int | None
    writable: bool
