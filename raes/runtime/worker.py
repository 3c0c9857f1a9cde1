"""What one worker does with a block of tasks; the serial executor and the Ray actor share it."""

from __future__ import annotations

import hashlib
import platform
import time
from dataclasses import dataclass

import numpy as np

from raes.problems.problem import Episode, EpisodeError, Outcome, Problem, ProblemSpec
from raes.rng import Purpose, generator, reset_seed, seed_generation
from raes.search.noise import fingerprint
from raes.search.perturbation import Decoder
from raes.types import RESULT_DTYPE, Behaviors, Fault, Float32, Moments, Results, Snapshot, Tasks


@dataclass(frozen=True)
class WorkerSpec:
    """What a worker is made from, the same for all workers of a run.

    Attributes:
        problem: the recipe of the problem.
        seed: the run's seed.
    """

    problem: ProblemSpec
    seed: int


class Worker:
    """Evaluates tasks, one after the other, in its own problem."""

    def __init__(self, spec: WorkerSpec, table: Float32) -> None:
        self._problem: Problem = spec.problem.build()
        self._seed = spec.seed
        self._table = table
        self._decode = Decoder(table, self._problem.num_params)

    def run(self, tasks: Tasks, snapshot: Snapshot) -> Results:
        """All episodes of the block, in order; an episode that fails is a fault among the results."""
        self._problem.use(snapshot)
        records = np.zeros(len(tasks), dtype=RESULT_DTYPE)
        faults: list[Fault] = []
        outcomes: list[tuple[int, Outcome]] = []
        for row in range(len(tasks)):
            index = int(tasks.index[row])
            start = time.perf_counter()
            try:
                outcome = self._evaluate(tasks, snapshot, row)
            except EpisodeError as error:
                records[row] = (index, np.nan, 0, 0, time.perf_counter() - start, False, True)
                faults.append(Fault(index, str(error)))
                continue
            outcomes.append((index, outcome))
            seconds = time.perf_counter() - start
            records[row] = (index, outcome.total, outcome.sign_total, outcome.length, seconds, outcome.capped, False)
        moments, behaviors = _moments(outcomes), _behaviors(outcomes)
        return Results(tasks.purpose, tasks.generation, records, moments, tuple(faults), behaviors)

    def digest(self) -> str:
        """What must be equal among the workers of a pool: the noise and the arithmetic of a fixed short episode."""
        theta = self._problem.initial_theta(generator(0, Purpose.INITIAL_THETA))
        snapshot = Snapshot(0, theta, max_steps=20)
        self._problem.use(snapshot)
        digest = hashlib.blake2b(fingerprint(self._table).encode(), digest_size=8)
        try:
            outcome = self._problem.evaluate(theta, Episode(0, training=True, observe=False, noise_rng=None))
            digest.update(repr((outcome.total, outcome.length)).encode())
        except EpisodeError as error:
            digest.update(str(error).encode())
        return f"{digest.hexdigest()} on {platform.node()} ({platform.machine()}, numpy {np.__version__})"

    def close(self) -> None:
        """Let go of the problem."""
        self._problem.close()

    def _evaluate(self, tasks: Tasks, snapshot: Snapshot, row: int) -> Outcome:
        theta = self._decode(snapshot, tasks.genomes, row)
        purpose = Purpose(tasks.purpose)
        training = purpose is Purpose.TRAINING
        generation = seed_generation(purpose, tasks.generation)
        noise_rng = None
        if training and snapshot.action_noise > 0:
            noise_rng = generator(self._seed, Purpose.ACTION_NOISE, generation, int(tasks.index[row]))
        seed = reset_seed(self._seed, purpose, generation, int(tasks.reset[row]))
        return self._problem.evaluate(theta, Episode(seed, training, bool(tasks.observe[row]), noise_rng))


def _moments(outcomes: list[tuple[int, Outcome]]) -> Moments | None:
    observed = [(index, outcome.observations) for index, outcome in outcomes if outcome.observations is not None]
    if not observed:
        return None
    return Moments(
        index=np.array([index for index, _ in observed], dtype=np.int64),
        count=np.array([stats.count for _, stats in observed]),
        mean=np.stack([stats.mean for _, stats in observed]),
        m2=np.stack([stats.m2 for _, stats in observed]),
    )


def _behaviors(outcomes: list[tuple[int, Outcome]]) -> Behaviors | None:
    described = [(index, outcome.behavior) for index, outcome in outcomes if outcome.behavior is not None]
    if not described:
        return None
    index = np.array([index for index, _ in described], dtype=np.int64)
    return Behaviors(index, np.stack([values for _, values in described]))
