"""The worker, which evaluates blocks of tasks; the serial executor and the Ray actor both use it."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from raes.problems.episode import EpisodeProblem
from raes.problems.lockstep import Lockstep
from raes.problems.problem import Episode, EpisodeError, EpisodeOutcome, Problem, ProblemSpec
from raes.results import RESULT_DTYPE, Behaviors, Fault, Moments, Results
from raes.rng import Purpose, generator, reset_seed, seed_generation
from raes.runtime.digests import place
from raes.runtime.packages import Origin
from raes.search.drawn_noise import DrawnNoise
from raes.search.noise import fingerprint
from raes.search.perturbation import Decoder
from raes.tasks import Snapshot, Tasks
from raes.text import KEPT, one_line
from raes.types import Float32


@dataclass(frozen=True)
class WorkerSpec:
    """The recipe of a worker, the same for all workers of a run.

    Attributes:
        problem: the recipe of the problem.
        seed: the run's seed.
        origin: the driver's host and packages, where the driver is another process.
    """

    problem: ProblemSpec
    seed: int
    origin: Origin | None = None


class Worker:
    """Evaluates tasks, one after the other, in its own problem."""

    def __init__(self, spec: WorkerSpec, table: Float32) -> None:
        self._problem: Problem = spec.problem.build()
        self._seed = spec.seed
        self._table = table
        self._decode = Decoder(table if table.size else DrawnNoise(spec.seed), self._problem.num_params)
        self._lockstep: Lockstep | None = None

    def run(self, tasks: Tasks, snapshot: Snapshot) -> Results:
        """All episodes of the block, in order; an episode that fails is a fault among the results."""
        records = np.zeros(len(tasks), dtype=RESULT_DTYPE)
        faults: list[Fault] = []
        outcomes: list[tuple[int, EpisodeOutcome]] = []
        answers = self._one_by_one if snapshot.low_rank is None else self._side_by_side
        for row, (answer, seconds) in enumerate(answers(tasks, snapshot)):
            index = int(tasks.index[row])
            if isinstance(answer, EpisodeError):
                records[row] = (index, np.nan, 0, 0, seconds, False, True)
                faults.append(Fault(index, one_line(answer, KEPT)))
                continue
            outcomes.append((index, answer))
            if answer.violation:
                records[row] = (index, answer.violation, 0, answer.length, seconds, False, True)
                continue
            records[row] = (index, answer.total, answer.sign_total, answer.length, seconds, answer.capped, False)
        moments, behaviors = _moments(outcomes), _behaviors(outcomes)
        return Results(tasks.purpose, tasks.generation, records, moments, tuple(faults), behaviors)

    def digest(self) -> str:
        """A digest of the noise and of a fixed short episode, which must be equal among the workers of a pool."""
        theta = self._problem.initial_theta(generator(0, Purpose.INITIAL_THETA))
        snapshot = Snapshot(0, theta, max_steps=20)
        self._problem.use(snapshot)
        digest = hashlib.blake2b(fingerprint(self._table).encode(), digest_size=8)
        try:
            outcome = self._problem.evaluate(theta, Episode(0, training=True, observe=False, noise_rng=None))
            digest.update(repr((outcome.total, outcome.length)).encode())
        except EpisodeError as error:
            digest.update(one_line(error, KEPT).encode())
        return f"{digest.hexdigest()} {place()}"

    def watch(self, watch: Callable[[int], None] | None) -> None:
        """Have this called with the timesteps of an episode so far, before each one; it may raise `EpisodeStopped`."""
        self._problem.watch = watch

    def close(self) -> None:
        """Close the problem."""
        if self._lockstep is not None:
            self._lockstep.close()
        self._problem.close()

    def _one_by_one(self, tasks: Tasks, snapshot: Snapshot) -> Iterator[tuple[EpisodeOutcome | EpisodeError, float]]:
        """Each episode's outcome, or why it has none, and its seconds."""
        self._problem.use(snapshot)
        for row in range(len(tasks)):
            start = time.perf_counter()
            answer: EpisodeOutcome | EpisodeError
            try:
                theta = self._decode(snapshot, tasks.genomes, row)
                answer = self._problem.evaluate(theta, self._episode(tasks, snapshot, row))
            except EpisodeError as error:
                answer = error
            yield answer, time.perf_counter() - start

    def _side_by_side(self, tasks: Tasks, snapshot: Snapshot) -> list[tuple[EpisodeOutcome | EpisodeError, float]]:
        """As `_one_by_one`, for low-rank perturbations of a network, which run in lockstep."""
        assert snapshot.low_rank is not None
        assert isinstance(self._problem, EpisodeProblem)
        if self._lockstep is None:
            self._lockstep = Lockstep(self._problem, snapshot.low_rank, self._table)
        episodes = [self._episode(tasks, snapshot, row) for row in range(len(tasks))]
        return self._lockstep.run(snapshot, tasks.genomes, episodes)

    def _episode(self, tasks: Tasks, snapshot: Snapshot, row: int) -> Episode:
        purpose = Purpose(tasks.purpose)
        training = purpose is Purpose.TRAINING
        generation = seed_generation(purpose, tasks.generation)
        noise_rng = None
        if training and snapshot.action_noise > 0:
            noise_rng = generator(self._seed, Purpose.ACTION_NOISE, generation, int(tasks.index[row]))
        seed = reset_seed(self._seed, purpose, generation, int(tasks.reset[row]))
        return Episode(seed, training, bool(tasks.observe[row]), noise_rng)


def _moments(outcomes: list[tuple[int, EpisodeOutcome]]) -> Moments | None:
    observed = [(index, outcome.observations) for index, outcome in outcomes if outcome.observations is not None]
    if not observed:
        return None
    return Moments(
        index=np.array([index for index, _ in observed], dtype=np.int64),
        count=np.array([stats.count for _, stats in observed]),
        mean=np.stack([stats.mean for _, stats in observed]),
        m2=np.stack([stats.m2 for _, stats in observed]),
    )


def _behaviors(outcomes: list[tuple[int, EpisodeOutcome]]) -> Behaviors | None:
    described = [(index, outcome.behavior) for index, outcome in outcomes if outcome.behavior is not None]
    if not described:
        return None
    index = np.array([index for index, _ in described], dtype=np.int64)
    return Behaviors(index, np.stack([values for _, values in described]))
