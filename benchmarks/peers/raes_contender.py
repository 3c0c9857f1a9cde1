"""RAES: ES on Ray, as a training runs it, without evaluations, metrics and checkpoints."""

from __future__ import annotations

import os
from collections.abc import Callable

from benchmarks.peers.contender import Case, serve
from raes.algorithms import ES, ESSettings
from raes.policies import PolicySettings
from raes.problems.environment import EnvSettings
from raes.problems.episode import EpisodeSpec
from raes.rng import Purpose, generator
from raes.runtime.ray_executor import RayExecutor
from raes.runtime.rounds import RoundRunner
from raes.runtime.scheduling import Size
from raes.runtime.session import connect
from raes.runtime.worker import WorkerSpec
from raes.search import noise, running_stats
from raes.search.optimizers import OptimizerSettings


def start(case: Case) -> Callable[[], int]:
    """Start the workers."""
    os.environ.setdefault("RAY_worker_niceness", "0")  # as the others' workers
    name = case.task.partition("-")[0]
    spec = EpisodeSpec(EnvSettings(name, case.task), PolicySettings("mlp", case.hidden))
    problem = spec.check()
    size = noise.table_size(problem.num_params)
    connect("local", case.workers, 4 * size)
    executor = RayExecutor(WorkerSpec(spec, 0), size, Size(case.workers, case.workers), relays=False, deadline=None)
    settings = ESSettings(pairs=case.population // 2, sigma=case.sigma)
    algorithm = ES(settings, OptimizerSettings(), 0, size, problem.layers)
    theta = problem.initial_theta(generator(0, Purpose.INITIAL_THETA))
    state = algorithm.init(theta, running_stats.init(problem.observation_size))
    runner = RoundRunner(executor)

    def generation() -> int:
        nonlocal state
        runner.open(algorithm.next_round(state))
        finished = runner.collect()
        assert finished is not None
        assert finished.batch is not None
        state, _ = algorithm.tell(state, finished.round, finished.batch, executor.weighted_noise_sum)
        return int(finished.batch.lengths.sum())

    return generation


if __name__ == "__main__":
    serve(start)
