"""The worker that holds a model: only updates reach it, and with its results it reports on its weights."""

from __future__ import annotations

import os
import platform
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import numpy as np

from raes.models.engine import Direction
from raes.models.model_problem import ModelProblem, ModelSpec
from raes.models.tensor_noise import quantiles
from raes.problems.problem import EpisodeError, EpisodeOutcome
from raes.results import Results, WeightsReport
from raes.rng import Purpose
from raes.runtime.digests import place
from raes.runtime.worker import Worker, WorkerSpec
from raes.search.noise import fingerprint
from raes.tasks import Snapshot, Tasks
from raes.types import Float32


class ModelWorker(Worker):
    """Evaluates perturbations of the model in its own problem."""

    _problem: ModelProblem

    def __init__(self, spec: WorkerSpec, table: Float32, fetch: Callable[[Any], Any]) -> None:
        super().__init__(spec, table)
        self._problem.fetch = fetch
        self._name = f"{platform.node()} (process {os.getpid()})"

    def run(self, tasks: Tasks, snapshot: Snapshot) -> Results:
        """All episodes of the block, with a report on the weights; of purpose WEIGHTS, these parts of a snapshot."""
        saving = tasks.purpose == Purpose.WEIGHTS
        results = self._save(tasks, snapshot) if saving else super().run(tasks, snapshot)
        problem = self._problem
        report = WeightsReport(self._name, problem.updates, problem.digest, tuple(problem.repairs), problem.seconds)
        problem.repairs, problem.seconds = [], 0.0
        return replace(results, weights=(report,))

    def digest(self) -> str:
        """A digest of the noise and of the weights that the run begins with, which must be equal among workers."""
        return f"{self._problem.first}{fingerprint(quantiles())[:4]} {place()}"

    def _save(self, tasks: Tasks, snapshot: Snapshot) -> Results:
        self._problem.use(snapshot)
        results = Results.failed(tasks, "")
        results.records["return"], results.records["fault"] = 0.0, False
        parts = [(part, np.frombuffer(self._problem.save(part), np.uint8)) for part in tasks.index.tolist()]
        return replace(results, faults=(), parts=tuple(parts))

    def _one_by_one(self, tasks: Tasks, snapshot: Snapshot) -> Iterator[tuple[EpisodeOutcome | EpisodeError, float]]:
        self._problem.use(snapshot)
        for row in range(len(tasks)):
            start = time.perf_counter()
            scale = float(tasks.genomes.scale[row])
            direction = Direction(tasks.generation, int(tasks.genomes.noise_index[row]), scale) if scale else None
            answer: EpisodeOutcome | EpisodeError
            try:
                answer = self._problem.evaluate_direction(direction, self._episode(tasks, snapshot, row))
            except EpisodeError as error:
                answer = error
            yield answer, time.perf_counter() - start


def make_worker(spec: WorkerSpec, table: Float32, fetch: Callable[[Any], Any] = lambda part: part) -> Worker:
    """The worker for a recipe.

    Args:
        spec: the recipe.
        table: the shared noise.
        fetch: gives what a reference in a snapshot refers to.
    """
    return ModelWorker(spec, table, fetch) if isinstance(spec.problem, ModelSpec) else Worker(spec, table)
