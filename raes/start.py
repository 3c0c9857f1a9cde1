"""What a search starts with: its first parameters, and the executor that the configuration names."""

from __future__ import annotations

from typing import Any

from raes.config import Config
from raes.problems.episode import EpisodeSpec
from raes.resume import earlier_policy
from raes.rng import Purpose, generator
from raes.runtime.decisions import Size
from raes.runtime.executor import Executor
from raes.runtime.worker import WorkerSpec
from raes.search import running_stats


def first_theta(config: Config, spec: EpisodeSpec, fresh: bool = True) -> tuple[Any, running_stats.RunningStats]:
    """Parameters, float32 (d,), and observation statistics that a new search starts from."""
    problem = spec.build()
    try:
        theta = problem.initial_theta(generator(config.seed, Purpose.INITIAL_THETA))
        if config.start_from is not None and fresh:
            return earlier_policy(config.start_from, problem, theta, config.algorithm.normalize_observations)
        return theta, running_stats.init(problem.observation_size)
    finally:
        problem.close()


def make_executor(config: Config, spec: WorkerSpec, embedded: bool = True) -> Executor:
    """The executor that `runtime` names.

    Args:
        config: its `runtime`, `workers` and `noise.size` count here.
        spec: what each worker is made from.
        embedded: whether Ray is this command's own, on this machine alone; then `runtime.relays=auto` means none.
    """
    assert config.noise.size is not None
    runtime = config.runtime
    if runtime.name == "serial":
        from raes.runtime.serial import SerialExecutor

        return SerialExecutor(spec, config.noise.size)
    from raes.runtime.cluster import RayExecutor

    relays = not embedded if runtime.relays == "auto" else runtime.relays
    deadline = None if runtime.deadline == "auto" else float(runtime.deadline)
    return RayExecutor(spec, config.noise.size, Size.of(config.workers), relays, deadline)
