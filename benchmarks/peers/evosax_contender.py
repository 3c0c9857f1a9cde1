"""evosax: OpenAI's ES, its candidates evaluated by a pool of processes with Gymnasium and NumPy."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable
from typing import Any

import gymnasium
import numpy as np

from benchmarks.peers.contender import Case, serve
from benchmarks.peers.numpy_policy import Moments, Policy

_worker: tuple[Any, Policy] | None = None
"""Environment and policy of a process of the pool."""


def begin(case: Case) -> None:
    """Prepare a process of the pool."""
    global _worker
    env = gymnasium.make(case.task)
    _worker = env, Policy(env, case.hidden)


def episode(job: tuple[Any, Any, Any, int]) -> tuple[float, int, Any, Any]:
    """Return, timesteps, and the sums of the observations and of their squares."""
    theta, mean, scale, seed = job
    assert _worker is not None
    env, policy = _worker
    policy.mean, policy.scale = mean, scale
    layers = policy.layers(theta)
    observation, _ = env.reset(seed=seed)
    total, timesteps, sums, squares, ended = 0.0, 0, np.zeros_like(mean), np.zeros_like(mean), False
    while not ended:
        sums += observation
        squares += np.square(observation)
        observation, reward, terminated, truncated, _ = env.step(policy(layers, observation))
        total += float(reward)
        timesteps += 1
        ended = terminated or truncated
    return total, timesteps, sums, squares


def start(case: Case) -> Callable[[], int]:
    """Start the processes, and compile."""
    pool = multiprocessing.get_context("spawn").Pool(case.workers, begin, (case,))
    import jax
    import jax.numpy as jnp
    import optax
    from evosax.algorithms import Open_ES

    with gymnasium.make(case.task) as env:
        policy = Policy(env, case.hidden)
    algorithm = Open_ES(
        case.population,
        jnp.zeros(policy.size),
        optimizer=optax.adam(0.01),
        std_schedule=optax.constant_schedule(case.sigma),
    )
    key, parameters = jax.random.key(0), algorithm.default_params
    state = algorithm.init(key, jnp.zeros(policy.size), parameters)
    moments, number = Moments(len(policy.mean)), 0

    def generation() -> int:
        nonlocal key, state, number
        key, asked, answered = jax.random.split(key, 3)
        population, state = algorithm.ask(asked, state, parameters)
        mean, scale = moments.normaliser
        jobs = [
            (theta, mean, scale, number * case.population + row) for row, theta in enumerate(np.asarray(population))
        ]
        number += 1
        done = pool.map(episode, jobs, chunksize=1)
        for _, timesteps, sums, squares in done:
            moments.add(timesteps, sums, squares)
        fitness = -jnp.array([total for total, *_ in done])
        state, _ = algorithm.tell(answered, population, fitness, state, parameters)
        return sum(timesteps for _, timesteps, *_ in done)

    return generation


if __name__ == "__main__":
    serve(start)
