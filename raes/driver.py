"""The driver: the loop of the search, from ask to tell, with evaluation, records and checkpoints around it."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from raes.algorithms import ALGORITHMS
from raes.config import Config, save
from raes.problems.episode import EpisodeSpec
from raes.resume import check_theta, earlier_policy, starting_point
from raes.rng import Purpose, generator
from raes.runtime.collector import Collector
from raes.runtime.executor import Executor
from raes.runtime.worker import WorkerSpec
from raes.search import running_stats
from raes.storage import tree
from raes.storage.checkpoint import CheckpointStore
from raes.storage.metrics import MetricsWriter, Record
from raes.storage.statistics import summarize
from raes.types import Batch, Genomes, RunFailed, Tasks, UserError

Event = tuple[str, Any]
"""("record", Record) or ("notice", text), for whoever shows the run."""

FAULT_WINDOW = 1000
"""Episodes over which the share of faults is taken, where a generation has fewer."""
CHECKPOINT_SHARE = 0.02
"""checkpoint.every=auto: writing costs at most this share of the time."""
COLLECT_SECONDS = 0.5
"""How long the driver waits for results before it looks whether it was told to stop."""


@dataclass(frozen=True)
class Progress:
    """What the driver remembers beside the search state; counted from the run's beginning, resumes included."""

    episodes: int = 0
    timesteps: int = 0
    seconds: float = 0.0
    best_return: float | None = None
    goal_streak: int = 0
    quarantined: int = 0
    fault_history: tuple[tuple[int, int], ...] = ()


@dataclass(frozen=True)
class Outcome:
    """How a run ended: exit code and reason."""

    code: int
    reason: str


@dataclass
class _Clock:
    """Where a generation's time went, from its first dispatch to the next one's."""

    start: float
    busy_seconds: float
    waited: float = 0.0
    phases: dict[str, float] = field(default_factory=dict)


class Driver:
    """Runs a search to its end. Plain Python: the command makes it a Ray actor, or runs it in its own process."""

    def __init__(self, config: Config) -> None:
        self._config = config
        self._events: deque[tuple[int, Event]] = deque(maxlen=10_000)
        self._sequence = 0
        self._stop = threading.Event()
        self._incarnation = time.time_ns()

    # What the command calls while the loop runs.

    def stop(self) -> None:
        """End soon: give up the generation in flight, write a checkpoint."""
        self._stop.set()

    def poll(self, after: int) -> tuple[int, list[tuple[int, Event]]]:
        """This driver's number (another one after a restart) and the events after a sequence number."""
        return self._incarnation, [event for event in list(self._events) if event[0] > after]

    def run(self, restarted: bool, workers: int, report: Callable[[Event], None] | None = None) -> Outcome:
        """Search until a limit, the goal, a fault or a stop.

        Args:
            restarted: whether an earlier driver of the same command died; then go on from its newest checkpoint.
            workers: size of the pool.
            report: called with every event, where the caller is in the same process.
        """
        self._report = report
        try:
            self._open(restarted, workers)
        except UserError as error:
            return Outcome(2, str(error))
        try:
            return self._search()
        except RunFailed as error:
            self._note(f"the run stops: {error}")
            self._write_record()
            self._save()
            return Outcome(1, str(error))
        except UserError as error:
            return Outcome(2, str(error))
        finally:
            self._executor.close()
            self._metrics.close()
            self._log.close()

    # The loop.

    def _search(self) -> Outcome:
        while (outcome := self._finished()) is None:
            batch = self._generation()
            if batch is None:
                continue
            started = time.perf_counter()
            self._state, figures = self._algorithm.tell(self._state, batch, self._executor.weighted_noise_sum)
            self._clock.phases["update"] = time.perf_counter() - started
            self._settled = self._progress
            self._record |= {f"search/{key}": value for key, value in figures.items()}
        self._write_record()
        if outcome.code == 0:
            self._final_evaluation()
        self._save()
        return outcome

    def _finished(self) -> Outcome | None:
        """Why the search ends before the next generation, or None."""
        config, done, progress = self._config, self._state.generation, self._progress
        if self._stop.is_set():
            return Outcome(130, f"stopped after {done} generations")
        goal = config.goal
        if goal.return_mean is not None and progress.goal_streak >= goal.consecutive:
            return Outcome(0, f"the goal is reached: evaluation mean at least {goal.return_mean:g}")
        if config.generations is not None and done >= config.generations:
            return Outcome(0, f"{done} generations are done")
        if config.max_timesteps is not None and progress.timesteps >= config.max_timesteps:
            return Outcome(0, f"{progress.timesteps} timesteps are done")
        if config.max_minutes is not None and self._seconds() >= 60 * config.max_minutes:
            return Outcome(0, f"{config.max_minutes:g} minutes are over")
        return None

    def _generation(self) -> Batch | None:
        """Perturb theta, evaluate all tasks; None where a stop came in between."""
        generation = self._state.generation
        evaluation = None
        if self._config.evaluation.every and generation % self._config.evaluation.every == 0:
            evaluation = self._evaluation_tasks(generation)
        expected = getattr(self._state, "running_length", 0.0)
        collector = Collector(self._algorithm, self._state, evaluation, expected)
        self._executor.publish(self._algorithm.snapshot(self._state))
        if evaluation is not None:
            self._executor.submit(evaluation)
        self._executor.submit(collector.start())
        self._next_clock()  # the first dispatch; the workers are busy while the last generation is written down
        self._save_if_due()
        if not self._collect(collector):
            return None
        batch = collector.batch()
        self._count(collector, batch)
        self._record = self._figures(generation, collector, batch)
        self._judge(collector, batch)
        return batch

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
            self._relay_notices()
            if (further := collector.more()) is not None:
                self._executor.submit(further)
        return True

    def _final_evaluation(self) -> None:
        """A run ends with an evaluation: of the last theta, unless nothing was learned since the last one."""
        generation = self._state.generation
        tasks = self._evaluation_tasks(generation)
        collector = Collector(_NoTraining(), self._state, tasks, 0.0)
        self._executor.publish(self._algorithm.snapshot(self._state))
        self._executor.submit(tasks)
        self._clock = _Clock(time.perf_counter(), self._executor.counters.busy_seconds)
        if self._collect(collector):
            self._record = {"progress/generation": generation} | self._evaluate(collector)
            self._write_record()
            self._settled = self._progress

    def _evaluation_tasks(self, generation: int) -> Tasks:
        """Noiseless episodes on held-out seeds that are the same in every generation."""
        return evaluation_tasks(Purpose.EVALUATION, generation, self._config.evaluation.episodes)

    # Figures.

    def _count(self, collector: Collector, batch: Batch | None) -> None:
        """Advance the counters by this generation; faults are named once, here, in task order."""
        faults = collector.faults
        episodes = 0 if batch is None else batch.returns.size
        history = (*self._progress.fault_history, (episodes + len(faults), len(faults)))
        while len(history) > 1 and sum(total for total, _ in history[1:]) >= FAULT_WINDOW:
            history = history[1:]
        self._progress = replace(
            self._progress,
            episodes=self._progress.episodes + episodes,
            timesteps=self._progress.timesteps + (0 if batch is None else int(batch.lengths.sum())),
            quarantined=self._progress.quarantined + len(faults),
            fault_history=history,
        )
        self._executor.counters.results_discarded += collector.surplus
        for purpose, fault in faults:
            self._note(
                f"episode left out with its pair: {Purpose(purpose).name.lower()} (seed={self._config.seed}, "
                f"generation={self._state.generation}, index={fault.index}): {fault.reason}"
            )

    def _judge(self, collector: Collector, batch: Batch | None) -> None:
        """Stop the run where too many episodes fail; take note of a new best."""
        faults = collector.faults
        if batch is None:
            reason = faults[0][1].reason if faults else "no episode came back"
            raise RunFailed(f"every pair of generation {self._state.generation} failed; the first reason: {reason}")
        failed = sum(count for _, count in self._progress.fault_history)
        window = max(FAULT_WINDOW, sum(total for total, _ in self._progress.fault_history))
        if failed > self._config.faults.max_share * window:
            raise RunFailed(
                f"{failed} of the last {window} episodes failed, more than faults.max_share="
                f"{self._config.faults.max_share:g}; the last reason: {faults[-1][1].reason if faults else 'see log.txt'}"
            )
        self._record |= self._evaluate(collector)

    def _evaluate(self, collector: Collector) -> Record:
        """The figures of the evaluation, if there was one; the best and the goal are decided here and only here."""
        records = collector.evaluation[~collector.evaluation["fault"]]
        if not records.size:
            return {}
        returns = summarize(records["return"])
        goal = self._config.goal.return_mean
        reached = goal is not None and returns.mean >= goal
        self._progress = replace(self._progress, goal_streak=self._progress.goal_streak + 1 if reached else 0)
        if self._progress.best_return is None or returns.mean > self._progress.best_return:
            self._progress = replace(self._progress, best_return=returns.mean)
            self._save(best=True)
        return {
            "eval/return_mean": returns.mean,
            "eval/return_std": returns.std,
            "eval/return_ci_low": returns.ci_low,
            "eval/return_ci_high": returns.ci_high,
            "eval/length_mean": float(records["length"].mean()),
            "eval/episodes": int(records.size),
        }

    def _figures(self, generation: int, collector: Collector, batch: Batch | None) -> Record:
        """What is known of a generation before the update."""
        record: Record = {"progress/generation": generation}
        if batch is not None:
            record |= {
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
        return record

    def _write_record(self) -> None:
        """Complete the last generation's record with its times and write it down."""
        if not self._record:
            return
        now, counters, clock = time.perf_counter(), self._executor.counters, self._clock
        wall = max(now - clock.start, 1e-9)
        busy = counters.busy_seconds - clock.busy_seconds
        progress = self._progress
        self._record |= {
            "progress/episodes": progress.episodes,
            "progress/timesteps": progress.timesteps,
            "progress/seconds": self._seconds(),
            "speed/worker_busy_fraction": busy / (wall * max(1, self._executor.workers)),
            "speed/driver_busy_fraction": (wall - clock.waited) / wall,
            "speed/generation_seconds": wall,
            "speed/bytes_per_episode": counters.payload_bytes / max(1, counters.episodes),
            "speed/statistics_bytes_per_episode": counters.statistics_bytes / max(1, counters.episodes),
            "faults/actors_lost": counters.actors_lost,
            "faults/tasks_reissued": counters.tasks_reissued,
            "faults/results_discarded": counters.results_discarded,
            "faults/episodes_quarantined": progress.quarantined,
            "pool/actors": self._executor.workers,
        }
        if "episode/timesteps" in self._record:
            self._record["speed/timesteps_per_second"] = self._record["episode/timesteps"] / wall
        self._record |= {f"speed/{name}_seconds": seconds for name, seconds in clock.phases.items()}
        self._metrics.write(self._record)
        self._emit(("record", self._record))
        self._record = {}

    def _next_clock(self) -> None:
        """Close the last generation's account, from its first dispatch to this one's, and open the next."""
        self._write_record()
        self._clock = _Clock(time.perf_counter(), self._executor.counters.busy_seconds)

    def _seconds(self) -> float:
        return self._seconds_before + time.perf_counter() - self._started

    # Beginning and keeping.

    def _open(self, restarted: bool, workers: int) -> None:
        """Make the parts, and take up the state: fresh, or from a checkpoint."""
        self._started = time.perf_counter()
        config = replace(self._config, resume="auto") if restarted else self._config
        assert config.run_dir is not None
        assert config.noise.size is not None
        self._run_dir = Path(config.run_dir)
        checkpoint, passed_over = starting_point(config)
        spec = EpisodeSpec(config.env, config.policy)
        algorithm, _ = ALGORITHMS[config.algorithm.name]
        self._algorithm: Any = algorithm(config.algorithm, config.optimizer, config.seed, config.noise.size)
        self._state = self._first_state(spec)
        self._progress = Progress()
        self._executor = make_executor(config, WorkerSpec(spec, config.seed), workers)
        self._store = CheckpointStore(self._run_dir, config.checkpoint.keep)
        self._log_path = self._run_dir / "log.txt"
        if checkpoint is not None:
            check_theta(checkpoint, self._state.theta.size, self._executor.table_fingerprint)
            self._state = tree.restore(self._state, checkpoint.arrays, checkpoint.state["search"])
            history = checkpoint.state["progress"].pop("fault_history")
            self._progress = Progress(
                **checkpoint.state["progress"], fault_history=tuple((total, failed) for total, failed in history)
            )
            if checkpoint.path.parent.resolve() == self._store.folder.resolve():
                self._store.rewind(self._state.generation)
        else:
            self._store.rewind(-1)
        self._settled = self._progress  # as of the end of the last generation: what a checkpoint must hold
        self._seconds_before = self._progress.seconds
        self._record: Record = {}
        self._clock = _Clock(time.perf_counter(), 0.0)
        self._saved_generation, self._save_cost, self._saved_at = -1, 0.0, time.perf_counter()
        self._run_dir.mkdir(parents=True, exist_ok=True)
        save(config, self._run_dir / "config.yaml")
        self._log = self._log_path.open("a", buffering=1)
        self._metrics = MetricsWriter(self._run_dir, config.as_dict(), self._state.generation)
        for text in passed_over:
            self._note(text)
        if checkpoint is not None:
            self._note(f"going on from {checkpoint.path}, generation {self._state.generation}")

    def _first_state(self, spec: EpisodeSpec) -> Any:
        problem = spec.build()
        try:
            theta = problem.initial_theta(generator(self._config.seed, Purpose.INITIAL_THETA))
            observations = running_stats.init(problem.observation_size)
            if self._config.start_from is not None:
                theta, observations = earlier_policy(self._config.start_from, problem, theta)
        finally:
            problem.close()
        return self._algorithm.init(theta, observations)

    def _save_if_due(self) -> None:
        every = self._config.checkpoint.every
        if every == "auto":
            due = self._save_cost <= CHECKPOINT_SHARE * (time.perf_counter() - self._saved_at)
        else:
            due = self._state.generation % every == 0
        if due and self._state.generation:
            self._save()

    def _save(self, best: bool = False) -> None:
        """Write the state as it stands between two generations (best: the state whose theta was evaluated)."""
        if self._saved_generation == self._state.generation and not best:
            return
        started = time.perf_counter()
        self._metrics.flush()
        arrays, scalars = tree.flatten(self._state)
        state = {
            "generation": self._state.generation,
            "config": self._config.as_dict(),
            "noise_fingerprint": self._executor.table_fingerprint,
            "search": scalars,
            "progress": asdict(replace(self._settled, seconds=self._seconds())),
        }
        self._store.save(state, arrays, best)
        self._saved_at = time.perf_counter()
        if not best:
            self._saved_generation = self._state.generation
            self._save_cost = self._saved_at - started

    def _relay_notices(self) -> None:
        for text in self._executor.notices:
            self._note(text)
        self._executor.notices.clear()

    def _note(self, text: str) -> None:
        self._log.write(f"{time.strftime('%Y-%m-%d %H:%M:%S')} generation {self._state.generation}: {text}\n")
        self._emit(("notice", text))

    def _emit(self, event: Event) -> None:
        self._sequence += 1
        self._events.append((self._sequence, event))
        if self._report is not None:
            self._report(event)


class _NoTraining:
    """Stands for the algorithm where a generation holds an evaluation only."""

    min_pairs = 0
    min_timesteps = 0


def evaluation_tasks(purpose: Purpose, generation: int, episodes: int) -> Tasks:
    """Episodes of theta itself on the reset seeds 0, 1, ... of a purpose."""
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
