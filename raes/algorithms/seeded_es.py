"""Evolution Strategies for models that workers hold: the state is a log of updates, from which each makes the weights.

The search is `es` (Salimans et al. 2017, algorithm 2); only theta is not here. The number of a pair is its noise's
key, and in the place of the sum over the noise the log gets the pairs with their weights, which workers apply.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from raes.results import Batch
from raes.search.optimizers import OptimizerSettings
from raes.search.running_stats import RunningStats
from raes.search.schedules import exponential
from raes.tasks import ModelVersion, Snapshot, Tasks, UpdateLog
from raes.types import Float32, Int64

from .es import ES, ESSettings
from .protocol import Conditions, WeightedSum


@dataclass(frozen=True)
class SeededState:
    """Everything that the search needs to go on.

    Attributes:
        generation: updates so far.
        theta: float32 (0,): the weights lie in the workers.
        conditions: of the episodes.
        updates: all of them, from the first generation on.
    """

    generation: int
    theta: Float32
    conditions: Conditions
    updates: UpdateLog


class SeededES(ES):
    """`ES` whose parameters lie in the workers; the methods are those of `Algorithm`.

    Args:
        same_tasks: whether all episodes of a generation share their reset seed.
    """

    pipelines = False  # a worker that has made an update cannot go back

    def __init__(
        self, settings: ESSettings, optimizer: OptimizerSettings, seed: int, table_size: int, same_tasks: bool
    ) -> None:
        super().__init__(replace(settings, perturbation="full"), optimizer, seed, table_size)
        self._same_tasks = same_tasks

    def init(self, theta: Float32, observations: RunningStats) -> Any:
        """The state before the first update."""
        return SeededState(0, np.zeros(0, np.float32), self.first_conditions(observations), UpdateLog.empty())

    def snapshot(self, state: Any) -> Snapshot:
        """The version of the weights, from the run's beginning."""
        return replace(super().snapshot(state), model=ModelVersion(0, state.updates))

    def ask(self, state: Any, first: int, count: int) -> Tasks:
        """As `ES`; with `same_tasks` all episodes share their reset seed."""
        tasks = super().ask(state, first, count)
        return replace(tasks, reset=np.zeros_like(tasks.reset)) if self._same_tasks else tasks

    def noise_indices(self, generation: int, num_params: int, first: int, count: int) -> Int64:
        """The pairs' own numbers."""
        return np.arange(first, first + count, dtype=np.int64)

    def step(self, state: Any, batch: Batch, weighted_sum: WeightedSum) -> tuple[Any, dict[str, float]]:
        """The `estimate` of `ES` goes to the log, not summed up."""
        utilities = self._shape(self.fitness(batch), batch.sign_returns)
        kept: list[tuple[Int64, Float32]] = []

        def log(noise_index: Int64, weights: Float32, squared: bool = False) -> Float32:
            kept.append((noise_index, weights / np.float32(utilities.size)))
            return np.zeros(0, np.float32)

        self.estimate(batch, utilities, log)
        (pairs, weights), optimizer = kept[0], self._optimizer
        stepsize = exponential(optimizer.stepsize, optimizer.stepsize_decay, optimizer.stepsize_min, state.generation)
        updates = state.updates.with_update(pairs, weights, stepsize)
        gradient = math.sqrt(float(np.square(weights, dtype=np.float64).sum()))
        metrics = {"sigma": self.sigma(state.generation), "stepsize": stepsize, "grad_rms": gradient}
        conditions = self.next_conditions(state.conditions, batch)
        return SeededState(state.generation + 1, state.theta, conditions, updates), metrics
