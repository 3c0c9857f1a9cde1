"""A loop of `raes.Optimizer`: the quadratic of OpenAI's blog on evolution strategies, solution [0.5, 0.1, -0.3].

    python examples/quadratic.py

Population 50, sigma 0.1, alpha 0.001, 300 iterations, standardised rewards. The blog's step alpha / (n sigma) * sum F
eps contains 1/sigma and RAES's stepsize does not, so alpha = 0.001 is a stepsize of 0.001 / 0.1 = 0.01.

It shows a search whose loop is your own: `ask` for points, compute their values, `tell` them. Every 20 iterations it
prints the point and its reward, and at the end the solution next to the point that was found.
"""

from __future__ import annotations

import numpy as np

import raes
from raes.search.optimizers import OptimizerSettings

SOLUTION = np.array([0.5, 0.1, -0.3])


def reward(x: np.ndarray) -> float:
    """0 at the solution, negative elsewhere."""
    return -float(np.square(SOLUTION - x).sum())


def main() -> None:
    """Run the search and print its progress."""
    plain = OptimizerSettings(name="sgd", stepsize=0.01, momentum=0.0, weight_decay=0.0)
    start = np.random.default_rng(0).standard_normal(3)
    search = raes.Optimizer(
        "es", start, optimizer=plain, pairs=25, mirrored=False, sigma=0.1, sigma_decay=1.0, shaping="zscore"
    )
    for iteration in range(300):
        if iteration % 20 == 0:
            print(f"iteration {iteration:3d}  x {np.round(search.theta, 3)}  reward {reward(search.theta):.6f}")
        search.tell([reward(x) for x in search.ask()])
    print(f"solution {SOLUTION}, found {np.round(search.theta, 3)}")


if __name__ == "__main__":
    main()
