"""EvoTorch: PGPE on `GymNE` with Ray actors, as in its documentation."""

from __future__ import annotations

import itertools
from collections.abc import Callable

from benchmarks.peers.contender import Case, serve


def start(case: Case) -> Callable[[], int]:
    """Start the actors."""
    import torch
    from evotorch.algorithms import PGPE
    from evotorch.neuroevolution import GymNE

    torch.set_num_threads(1)
    sizes = ["obs_length", *map(str, case.hidden), "act_length"]
    layers = [f"Linear({into}, {out})" for into, out in itertools.pairwise(sizes)]
    problem = GymNE(
        case.task,
        " >> Tanh() >> ".join(layers),
        observation_normalization=True,
        num_actors=case.workers,
    )
    searcher = PGPE(
        problem,
        popsize=case.population,
        center_learning_rate=0.01,
        stdev_learning_rate=0.1,
        stdev_init=case.sigma,
        distributed=False,
    )
    counted = 0

    def generation() -> int:
        nonlocal counted
        searcher.step()
        before, counted = counted, int(problem.status["total_interaction_count"])
        return counted - before

    return generation


if __name__ == "__main__":
    serve(start)
