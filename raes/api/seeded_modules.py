"""`raes.train_module(..., noise="seeds")`: the module lies in the workers, and only seeds and weights travel."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from raes.algorithms import ESSettings, SeededES
from raes.api.keyword_arguments import warn_caller
from raes.api.module_workers import executor
from raes.api.notices import Notices
from raes.models.model_problem import ModelSpec
from raes.models.settings import ModuleSettings
from raes.problems.problem import Episode, EpisodeError
from raes.rng import Purpose
from raes.runtime.executor import Executor
from raes.runtime.rounds import FinishedRound, RoundRunner
from raes.runtime.weights_agreement import WeightsAgreement
from raes.runtime.worker import WorkerSpec
from raes.search import running_stats
from raes.search.optimizers import OptimizerSettings
from raes.search.spread import SpreadWatch
from raes.tasks import Round, evaluation_tasks
from raes.text import one_line
from raes.types import RunFailedError, UserError

if TYPE_CHECKING:
    import torch


LOOK = "check that reward uses the module that it is called with, which is a copy, or give a larger sigma"
"""Where the user may find why rewards do not differ."""
SNAPSHOT_EVERY = 50
"""Iterations between snapshots for workers that join."""


@dataclass(frozen=True)
class Copies:
    """Gives a copy of a module each time; picklable where the module is."""

    module: Any

    def __call__(self) -> Any:
        """A copy with the same weights."""
        return copy.deepcopy(self.module)


class SeededTraining:
    """The rounds of such a training; `step` is one iteration, `test` the reward without noise."""

    def __init__(
        self,
        module: torch.nn.Module,
        reward: Callable[..., float],
        keys: dict[str, Any],
        optimizer: OptimizerSettings,
        seed: int,
        tasks: Sequence[Any] | None,
        parameters: Sequence[str],
        rank: int | None,
        workers: int,
        stack: ExitStack,
    ) -> None:
        """Copy the module, call its reward once, and start the workers, which `stack` ends.

        Args:
            module: to be trained.
            reward: of the module, or of the module and a task.
            keys: of `ESSettings`.
            optimizer: with its stepsize.
            seed: of the noise.
            tasks: see `raes.train_module`, as of the following.
            parameters: patterns.
            rank: of the noise.
            workers: processes.
            stack: where the workers are entered.

        Raises:
            UserError: the module cannot be trained, or the reward fails for it as it is.
        """
        device = next((str(one.device) for one in module.parameters()), "cpu")
        if workers > 1 and device != "cpu":
            raise UserError(
                f"workers={workers}: this module lies on {device}; use env=module with runtime.gpus_per_worker"
            )
        model = ModuleSettings(
            build=":module", reward=":reward", held_out_share=0.0, parameters=tuple(parameters), device=device
        )
        spec = ModelSpec(model, seed, optimizer, rank, device, None, 1, Copies(module), reward, tasks)
        problem = spec.build()
        try:
            problem.evaluate(np.zeros(0, np.float32), Episode(0, True, False, None))
        except EpisodeError as error:
            raise UserError(f"the reward of the module as it is fails: {one_line(error)}") from error
        settings = ESSettings(normalize_observations=False, **keys)
        self._parts, self._module = problem.parts, module
        self._algorithm = SeededES(settings, optimizer, seed, 1, same_tasks=True)
        self._state = self._algorithm.init(np.zeros(0, np.float32), running_stats.init(0))
        self._spread = SpreadWatch(settings, LOOK)
        worker = WorkerSpec(replace(spec, first=problem.first, parts=problem.parts), seed)
        self._evaluator = stack.enter_context(executor(worker, 1, workers))
        self._runner = RoundRunner(self._evaluator, _Agreement(self._evaluator))

    def step(self) -> None:
        """One generation.

        Raises:
            RunFailedError: the reward fails for a whole population.
        """
        upcoming = self._algorithm.next_round(self._state)
        finished = self._run(upcoming)
        if finished.batch is None:
            raise RunFailedError(f"the reward fails everywhere; the first reason: {finished.first_reason}")
        if (warning := self._spread.after(finished.batch)) is not None:
            warn_caller(warning)
        self._state, _ = self._algorithm.tell(self._state, upcoming, finished.batch, _no_sum)
        if self._state.generation % SNAPSHOT_EVERY == 0:
            self.fetch()  # so that no worker that joins needs all updates from the first on

    def test(self) -> float:
        """The reward without noise; NaN where it fails."""
        tasks = evaluation_tasks(Purpose.EVALUATION, self._state.generation, 1)
        finished = self._run(self._round(tasks, Purpose.EVALUATION))
        record = finished.evaluation[0]
        return math.nan if record["fault"] else float(record["return"])

    def fetch(self) -> None:
        """Copy the weights into the module."""
        from raes.models.torch_engine import load_into

        tasks = evaluation_tasks(Purpose.WEIGHTS, self._state.generation, self._parts)
        finished = self._run(self._round(tasks, Purpose.WEIGHTS))
        if len(finished.parts) < self._parts:
            raise RunFailedError(f"the weights cannot be fetched: {finished.first_reason}")
        parts = [finished.parts[number] for number in range(self._parts)]
        load_into(self._module, parts)
        self._evaluator.share_weights(self._state.generation, parts)

    def _round(self, tasks: Any, purpose: Purpose) -> Round:
        return Round(self._algorithm.snapshot(self._state), evaluation=tasks, purpose=purpose)

    def _run(self, upcoming: Round) -> FinishedRound:
        self._runner.open(upcoming)
        finished = self._runner.collect()
        assert finished is not None
        return finished


class _Agreement(Notices):
    """Repeats a round whose workers disagree on the weights."""

    def __init__(self, pool: Executor) -> None:
        super().__init__(pool)
        self._agreement = WeightsAgreement()

    def repeated(self, finished: FinishedRound) -> Round | None:
        again = self._agreement.repeated(finished)
        return None if again is None else again[0]


def _no_sum(noise_index: Any, weights: Any, squared: bool = False) -> Any:
    raise AssertionError("the sum over the noise is the workers' own")
