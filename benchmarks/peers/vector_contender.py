"""A vector environment in worker processes, as Stable-Baselines3 has it, with the policies in the main process.

Each of its environments runs the candidates of the population one after the other; the main process computes all
actions with NumPy, and steps all environments at once.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import gymnasium
import numpy as np

from benchmarks.peers.contender import Case, serve
from benchmarks.peers.numpy_policy import Moments, Policy


def start(case: Case) -> Callable[[], int]:
    """Start the processes."""
    make = partial(gymnasium.make, case.task)
    with make() as env:
        policy = Policy(env, case.hidden)
    vector = gymnasium.vector.AsyncVectorEnv(
        [make] * case.workers, autoreset_mode=gymnasium.vector.AutoresetMode.DISABLED
    )
    rng = np.random.default_rng(0)
    theta = np.zeros(policy.size, np.float32)
    moments = Moments(len(policy.mean))

    def generation() -> int:
        nonlocal theta
        policy.mean, policy.scale = moments.normaliser
        noise = rng.standard_normal((case.population // 2, policy.size), dtype=np.float32)
        noise = np.concatenate([noise, -noise])
        returns, timesteps = np.zeros(case.population), 0
        waiting = list(range(case.population))
        running = np.array([waiting.pop() for _ in range(case.workers)])
        layers = [policy.layers(theta + case.sigma * noise[one]) for one in running]
        alive = np.ones(case.workers, bool)
        observations, _ = vector.reset(seed=int(rng.integers(1 << 31)))
        while alive.any():
            moments.add(int(alive.sum()), observations[alive].sum(axis=0), np.square(observations[alive]).sum(axis=0))
            actions = np.stack(
                [policy(one, observation) for one, observation in zip(layers, observations, strict=True)]
            )
            observations, rewards, terminated, truncated, _ = vector.step(actions)
            returns[running[alive]] += rewards[alive]
            timesteps += int(alive.sum())
            ended = terminated | truncated
            if not ended.any():
                continue
            for row in np.flatnonzero(ended & alive):
                if waiting:
                    running[row] = waiting.pop()
                    layers[row] = policy.layers(theta + case.sigma * noise[running[row]])
                else:
                    alive[row] = False
            observations, _ = vector.reset(options={"reset_mask": ended})
        ranks = returns.argsort().argsort() / (case.population - 1) - 0.5
        theta = theta + (0.01 / (case.population * case.sigma) * ranks @ noise).astype(np.float32)
        return timesteps

    return generation


if __name__ == "__main__":
    serve(start)
