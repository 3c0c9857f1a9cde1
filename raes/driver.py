"""The driver: the loop of the search, from ask to tell, with evaluation, records and checkpoints around it."""

from __future__ import annotations

import threading
import time
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from raes.algorithms import ALGORITHMS
from raes.config import Config, save
from raes.journal import Events, Journal
from raes.problems.episode import EpisodeSpec
from raes.progress import Progress
from raes.resume import check_theta, earlier_policy, starting_point
from raes.rng import Purpose, generator
from raes.runtime.collector import Collector
from raes.runtime.executor import Executor
from raes.runtime.worker import WorkerSpec
from raes.search import running_stats
from raes.search.statistics import summarize
from raes.storage import tree
from raes.storage.checkpoint import CheckpointStore
from raes.storage.faults import report
from raes.storage.lock import RunLock
from raes.storage.metrics import Record
from raes.types import Batch, Fault, Genomes, RunFailedError, Tasks, UserError

CHECKPOINT_SHARE = 0.02
"""checkpoint.every=auto: writing costs at most this share of the time."""
COLLECT_SECONDS = 0.5
"""How long the driver waits for results before it looks whether it was told to stop."""


@dataclass(frozen=True)
class Outcome:
    """How a run ended: exit code and reason."""

    code: int
    reason: str


@dataclass
class _Clock:
    """Where a generation's time went, from its first dispatch to the next one's."""

    busy_before: float
    start: float = field(default_factory=time.perf_counter)
    waited: float = 0.0
    phases: dict[str, float] = field(default_factory=dict)


def drive(config: Config, workers: int, stop: threading.Event, events: Events, restarted: bool = False) -> Outcome:
    """Search until a limit, the goal, a fault or a stop.

    Args:
        config: prepared by `raes.prepare.prepare`.
        workers: size of the pool.
        stop: set by whoever wants the run to end soon; a checkpoint is written.
        events: what happens is told here.
        restarted: whether an earlier driver of the same command died; then go on from its newest checkpoint.
    """
    try:
        if restarted and (config.resume == "never" or CheckpointStore(Path(str(config.run_dir))).names()):
            config = replace(config, resume="auto")
        driver = Driver(config, workers, stop, events)
    except UserError as error:
        return Outcome(2, str(error))
    try:
        return driver.run()
    finally:
        driver.close()


class Driver:
    """One run of one search."""

    def __init__(self, config: Config, workers: int, stop: threading.Event, events: Events) -> None:
        assert config.run_dir is not None
        assert config.noise.size is not None
        self._started = time.perf_counter()
        self._config, self._stop = config, stop
        run_dir = Path(config.run_dir)
        self._lock = RunLock(run_dir)
        checkpoint, passed_over = starting_point(config)
        spec = EpisodeSpec(config.env, config.policy)
        algorithm, _ = ALGORITHMS[config.algorithm.name]
        self._algorithm = algorithm(config.algorithm, config.optimizer, config.seed, config.noise.size)
        self._state = self._algorithm.init(*first_theta(config, spec, fresh=checkpoint is None))
        self._executor = make_executor(config, WorkerSpec(spec, config.seed), workers)
        self._store = CheckpointStore(run_dir, config.checkpoint.keep)
        self._progress, self._seconds_before = Progress(), 0.0
        self._faults_before: dict[str, int] = {}
        if checkpoint is not None:
            check_theta(checkpoint, self._state.theta.size, self._executor.table_fingerprint)
            self._state = tree.restore(self._state, checkpoint.arrays, checkpoint.state["search"])
            self._progress = Progress.from_json(checkpoint.state["progress"])
            self._seconds_before = checkpoint.state["seconds"]
            self._faults_before = checkpoint.state["faults"]
        self._store.rewind(self._state.generation)
        if self._store.pointed("best") is None:  # a branch, or its folder is gone: the next best must be kept
            self._progress = replace(self._progress, best_return=None)
        self._settled = self._progress  # as of the last finished generation: what a checkpoint must hold
        save(config, run_dir / "config.yaml")
        self._journal = Journal(run_dir, config.as_dict(), self._state.generation, events)
        for text in passed_over:
            self._note(text)
        if checkpoint is not None:
            self._note(f"going on from {checkpoint.path}, generation {self._state.generation}")
        self._record: Record = {}
        self._clock = _Clock(0.0)
        self._saved_generation, self._save_cost, self._saved_at = -1, 0.0, time.perf_counter()
        if checkpoint is not None:
            self._save()  # a branch has none of its own yet; elsewhere only the pointer is written

    def run(self) -> Outcome:
        """The search, from the first generation to the last checkpoint."""
        try:
            return self._run()
        except OSError as error:
            return Outcome(1, f"{type(error).__name__}: {error}; if the disk is full, make room and use resume=auto")

    def _run(self) -> Outcome:
        try:
            reason = self._search()
            self._write_record()
            if not self._stop.is_set():
                self._evaluate_only()
        except RunFailedError as error:
            self._note(f"the run stops: {error}")
            self._write_record()
            self._save()
            return Outcome(1, str(error))
        self._save()
        if reason is None:
            return Outcome(130, f"stopped after {self._state.generation} generations")
        return Outcome(0, reason)

    def close(self) -> None:
        """Stop the workers and close the files."""
        self._executor.close()
        self._journal.close()
        self._lock.close()

    # The loop.

    def _search(self) -> str | None:
        """Generations until there is a reason to end; None where a stop came first."""
        while not self._stop.is_set():
            reason = self._progress.limit_reached(self._config, self._state.generation, self._seconds())
            if reason is not None:
                return reason
            batch = self._generation()
            if batch is not None:
                self._update(batch)
        return None

    def _generation(self) -> Batch | None:
        """Perturb theta and gather the returns; None where a stop came in between."""
        generation, every = self._state.generation, self._config.evaluation.every
        evaluation = self._evaluation_tasks() if every and generation % every == 0 else None
        algorithm, state = self._algorithm, self._state
        collector = Collector(
            ask=lambda first, count: algorithm.ask(state, first, count),
            min_pairs=algorithm.min_pairs,
            min_timesteps=algorithm.min_timesteps,
            expected_length=algorithm.expected_length(state),
            evaluation=evaluation,
        )
        self._executor.publish(algorithm.snapshot(state))
        if evaluation is not None:
            self._executor.submit(evaluation)
        self._executor.submit(collector.start())
        clock = _Clock(self._executor.counters.busy_seconds)
        self._write_record()  # of the last generation, and its checkpoint: the workers are busy meanwhile
        self._clock = clock
        self._save_if_due()
        if not self._collect(collector):
            return None
        return self._account(collector)

    def _collect(self, collector: Collector) -> bool:
        """Gather results until the collector has all; False where a stop came in between."""
        while not collector.complete:
            if self._stop.is_set():
                return False
            started = time.perf_counter()
            finished = self._executor.collect(COLLECT_SECONDS)
            self._clock.waited += time.perf_counter() - started
            for results in finished:
                collector.add(results)
            for text in self._executor.notices:
                self._note(text)
            self._executor.notices.clear()
            if (further := collector.more()) is not None:
                self._executor.submit(further)
        return True

    def _update(self, batch: Batch) -> None:
        """One step of the algorithm."""
        started = time.perf_counter()
        self._state, figures = self._algorithm.tell(self._state, batch, self._executor.weighted_noise_sum)
        self._clock.phases["update"] = time.perf_counter() - started
        self._record |= {f"search/{key}": value for key, value in figures.items()}
        self._settled = self._progress

    def _evaluate_only(self) -> None:
        """A run ends with an evaluation of its last theta."""
        tasks = self._evaluation_tasks()
        collector = Collector(ask=None, min_pairs=0, min_timesteps=0, expected_length=0.0, evaluation=tasks)
        self._executor.publish(self._algorithm.snapshot(self._state))
        self._executor.submit(tasks)
        self._clock = _Clock(self._executor.counters.busy_seconds)
        if self._collect(collector):
            faults = len(self._name_faults(collector))
            self._progress = replace(self._progress, quarantined=self._progress.quarantined + faults)
            self._record = {"progress/generation": self._state.generation} | self._evaluation_figures(collector)
            self._write_record()

    def _evaluation_tasks(self) -> Tasks:
        return evaluation_tasks(Purpose.EVALUATION, self._state.generation, self._config.evaluation.episodes)

    # Figures.

    def _account(self, collector: Collector) -> Batch:
        """Count the generation, name its faults, and stop the run where there are too many."""
        batch, faults = collector.batch(), self._name_faults(collector)
        first_reason = faults[0][1].reason if faults else "unknown"
        if batch is None:
            raise RunFailedError(
                f"every pair of generation {self._state.generation} failed; the first reason: {first_reason}"
            )
        self._progress = self._progress.with_generation(batch.returns.size, int(batch.lengths.sum()), len(faults))
        self._record = {"progress/generation": self._state.generation} | training_figures(batch)
        self._record["episode/surplus"] = collector.surplus
        if (reason := self._progress.too_many_faults(self._config.faults.max_share)) is not None:
            raise RunFailedError(f"{reason}; the first reason of the last generation: {first_reason}")
        self._record |= self._evaluation_figures(collector)
        return batch

    def _name_faults(self, collector: Collector) -> list[tuple[int, Fault]]:
        """Keep the episodes that have no result, and say which they are."""
        run_dir, snapshot = Path(str(self._config.run_dir)), self._algorithm.snapshot(self._state)
        for text in report(run_dir, self._config.seed, snapshot, collector.failed_tasks()):
            self._note(text)
        return collector.faults

    def _evaluation_figures(self, collector: Collector) -> Record:
        """The figures of the evaluation, if there was one; a new best is kept at once."""
        records = collector.evaluation[~collector.evaluation["fault"]]
        if not records.size:
            return {}
        returns = summarize(records["return"])
        self._progress = self._progress.with_evaluation(returns.mean, self._config.goal.return_mean)
        if self._progress.best_return == returns.mean:
            self._save(best=True)
        return {
            "eval/return_mean": returns.mean,
            "eval/return_std": returns.std,
            "eval/return_ci_low": returns.ci_low,
            "eval/return_ci_high": returns.ci_high,
            "eval/length_mean": float(records["length"].mean()),
            "eval/episodes": int(records.size),
        }

    def _write_record(self) -> None:
        """Complete the last generation's record with its counts and times, and write it down."""
        if not self._record:
            return
        counters, clock, actors = self._executor.counters, self._clock, self._executor.workers
        wall = max(time.perf_counter() - clock.start, 1e-9)
        record = self._record | {
            "progress/episodes": self._progress.episodes,
            "progress/timesteps": self._progress.timesteps,
            "progress/seconds": self._seconds(),
            "speed/worker_busy_fraction": (counters.busy_seconds - clock.busy_before) / (wall * max(1, actors)),
            "speed/driver_busy_fraction": (wall - clock.waited) / wall,
            "speed/generation_seconds": wall,
            "speed/bytes_per_episode": counters.payload_bytes / max(1, counters.episodes),
            "speed/statistics_bytes_per_episode": counters.statistics_bytes / max(1, counters.episodes),
            **{f"faults/{name}": count for name, count in self._fault_counts().items()},
            "faults/episodes_quarantined": self._progress.quarantined,
            "pool/actors": actors,
        }
        if "episode/timesteps" in record:
            record["speed/timesteps_per_second"] = record["episode/timesteps"] / wall
        record |= {f"speed/{name}_seconds": seconds for name, seconds in clock.phases.items()}
        self._journal.record(record)
        self._record = {}

    def _fault_counts(self) -> dict[str, int]:
        """System faults since the run's beginning, resumes included."""
        counters, before = self._executor.counters, self._faults_before
        names = ("actors_lost", "tasks_reissued", "results_discarded")
        return {name: before.get(name, 0) + int(getattr(counters, name)) for name in names}

    def _seconds(self) -> float:
        return float(self._seconds_before + time.perf_counter() - self._started)

    def _note(self, text: str) -> None:
        self._journal.note(self._state.generation, text)

    # Checkpoints.

    def _save_if_due(self) -> None:
        every, generation = self._config.checkpoint.every, self._state.generation
        if every == "auto":
            due = self._save_cost <= CHECKPOINT_SHARE * (time.perf_counter() - self._saved_at)
        else:
            due = generation % every == 0
        if due and generation:
            self._save()

    def _save(self, best: bool = False) -> None:
        """Write the state as it stands between two generations (best: the state whose theta was evaluated)."""
        if self._saved_generation == self._state.generation and not best:
            return
        started = time.perf_counter()
        self._journal.flush()
        arrays, scalars = tree.flatten(self._state)
        state: dict[str, Any] = {
            "generation": self._state.generation,
            "config": self._config.as_dict(),
            "noise_fingerprint": self._executor.table_fingerprint,
            "search": scalars,
            # The streak as of the generation; the best of all that was ever evaluated, a stop's evaluation included.
            "progress": asdict(replace(self._settled, best_return=self._progress.best_return)),
            "seconds": self._seconds(),
            "faults": self._fault_counts(),
        }
        self._store.save(state, arrays, best)
        self._saved_at = time.perf_counter()
        if not best:
            self._saved_generation = self._state.generation
            self._save_cost = self._saved_at - started


def first_theta(config: Config, spec: EpisodeSpec, fresh: bool = True) -> tuple[Any, running_stats.RunningStats]:
    """Parameters, float32 (d,), and observation statistics that a new search starts from."""
    problem = spec.build()
    try:
        theta = problem.initial_theta(generator(config.seed, Purpose.INITIAL_THETA))
        if config.start_from is not None and fresh:
            return earlier_policy(config.start_from, problem, theta, config.algorithm.normalize_observations)
        return theta, running_stats.init(problem.observation_size)
    finally:
        problem.close()


def training_figures(batch: Batch) -> Record:
    """Returns and lengths of a generation."""
    return {
        "returns/mean": float(batch.returns.mean()),
        "returns/std": float(batch.returns.std()),
        "returns/min": float(batch.returns.min()),
        "returns/max": float(batch.returns.max()),
        "episode/length_mean": float(batch.lengths.mean()),
        "episode/length_min": int(batch.lengths.min()),
        "episode/length_max": int(batch.lengths.max()),
        "episode/capped_share": batch.capped_share,
        "episode/timesteps": int(batch.lengths.sum()),
        "episode/pairs": len(batch.returns),
    }


def evaluation_tasks(purpose: Purpose, generation: int, episodes: int) -> Tasks:
    """Noiseless episodes of theta itself on the reset seeds 0, 1, ... of a purpose, the same in every generation."""
    index = np.arange(episodes)
    none = np.zeros(episodes, dtype=bool)
    genomes = Genomes(np.zeros(episodes, dtype=np.int64), np.zeros(episodes, dtype=np.float32))
    return Tasks(purpose, generation, index, index, none, genomes)


def make_executor(config: Config, spec: WorkerSpec, workers: int) -> Executor:
    """The executor that `runtime` names."""
    assert config.noise.size is not None
    if config.runtime.name == "serial":
        from raes.runtime.serial import SerialExecutor

        return SerialExecutor(spec, config.noise.size)
    from raes.runtime.pool import RayPool

    return RayPool(spec, config.noise.size, workers)
