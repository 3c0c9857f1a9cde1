"""The driver: the loop of the search, from ask to tell, with evaluation, records and checkpoints around it."""

from __future__ import annotations

import time
from collections import deque
from contextlib import closing
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from raes.config.schema import Config, save
from raes.results import Batch, FailedTasks, Results
from raes.rng import Purpose
from raes.runtime.collector import Collector
from raes.runtime.worker import WorkerSpec
from raes.storage import failed_episodes
from raes.storage.checkpoint import CheckpointStore
from raes.storage.run_folder import RunFolder, open_folder
from raes.tasks import Genomes, Snapshot, Tasks
from raes.training.build import build_algorithm, kept_arrays, make_executor, problem_spec
from raes.training.checkpointing import Checkpointer
from raes.training.events import EventLog, Progress, RunLog
from raes.training.generation_metrics import Clock, evaluation_figures, training_figures
from raes.training.limits import RunCounters, RunOutcome, Stop
from raes.training.recorder import MetricsRecorder
from raes.training.resume import check_theta, first_theta, starting_point
from raes.training.state import QuarantineRecord, RunState
from raes.training.videos import FinishedVideo, Videos
from raes.types import Float32, Int64, RunFailedError, UserError

if TYPE_CHECKING:
    from raes.runtime.sweep_resources import SweepResources

COLLECT_SECONDS = 0.5
"""How long the driver waits for results before it looks whether it was told to stop."""


@dataclass(frozen=True)
class _Running:
    """A generation whose episodes are out."""

    snapshot: Snapshot
    around: Any
    collector: Collector


def drive(
    config: Config,
    stop: Stop,
    events: EventLog,
    embedded: bool = True,
    restarted: bool = False,
    commons: SweepResources | None = None,
) -> RunOutcome:
    """Search until a limit, the goal, a fault or a stop.

    Args:
        config: prepared by `raes.training.prepare.prepare`.
        stop: set by whoever wants the run to end soon; a checkpoint is written.
        events: what happens is told here.
        embedded: whether Ray is this command's own.
        restarted: whether an earlier driver of the same command died; then go on from its newest checkpoint.
        commons: what the jobs of a sweep share; None for a run of its own.
    """

    def tell(text: str) -> None:
        events.emit(("notice", text))

    try:
        with open_folder(str(config.run_dir), config.checkpoint.keep, config.upload, tell) as folder:
            if restarted and (config.resume == "never" or CheckpointStore(folder.path).names()):
                config = replace(config, resume="auto")
            try:
                driver = Driver(config, folder, stop, events, embedded, commons)
            except UserError as error:
                return RunOutcome(2, folder.named(str(error)))
            try:
                with closing(driver):
                    outcome = driver.run()
            except Exception:
                folder.finish(tell)  # whatever broke, what was written before is worth sending
                raise
            trouble = folder.finish(tell)
            return outcome if trouble is None else RunOutcome(1, f"{outcome.reason}; {trouble}")
    except UserError as error:
        return RunOutcome(2, str(error))


class Driver:
    """One run of one search."""

    def __init__(
        self,
        config: Config,
        folder: RunFolder,
        stop: Stop,
        events: EventLog,
        embedded: bool,
        commons: SweepResources | None,
    ) -> None:
        assert config.noise.size is not None
        started = time.perf_counter()
        self._config, self._folder, self._stop = config, folder, stop
        checkpoint, passed_over = starting_point(config, folder.path)
        spec = problem_spec(config, checkpoint)
        self._algorithm = build_algorithm(config)
        with closing(spec.build()) as problem:
            first = self._algorithm.init(*first_theta(config, problem, fresh=checkpoint is None))
        self._executor = make_executor(config, WorkerSpec(spec, config.seed), embedded, commons)
        self._store = CheckpointStore(folder.path, config.checkpoint.keep)
        self._point = RunState(first, first, RunCounters())
        if checkpoint is not None:
            check_theta(checkpoint, first.theta.size, self._executor.table_fingerprint)
            self._point = RunState.restored(first, checkpoint)
        self._store.rewind(self._point.generation)
        if self._store.pointed("best") is None:  # a branch, or its folder is gone: the next best must be kept
            self._point = replace(self._point, progress=replace(self._point.progress, best_return=None))
        save(config, folder.path / "config.yaml")
        self._journal = RunLog(folder.path, config.as_dict(), self._point.generation, events)
        self._ledger = MetricsRecorder(config, self._executor, self._journal, checkpoint, started)
        for text in passed_over:
            self._note(text)
        if checkpoint is not None:
            self._note(f"going on from {checkpoint.path}, generation {self._point.generation}")
        self._running: deque[_Running] = deque()
        self._videos = Videos(config, spec, folder.path)
        self._keeper = Checkpointer(self._store, config.checkpoint.every, self._common, kept_arrays(spec))
        if checkpoint is not None:
            self._save()  # a branch has none of its own yet; elsewhere only the pointer is written
        folder.start()

    def run(self) -> RunOutcome:
        """The search, from the first generation to the last checkpoint."""
        try:
            return self._run()
        except OSError as error:
            return RunOutcome(1, f"{type(error).__name__}: {error}; if the disk is full, make room and use resume=auto")

    def _run(self) -> RunOutcome:
        try:
            reason = self._search()
            self._ledger.write(self._point.progress)
            if not self._stop.is_set():
                self._evaluate_only()
        except RunFailedError as error:
            self._note(f"the run stops: {error}")
            self._ledger.write(self._point.progress)
            self._save()
            return RunOutcome(1, str(error))
        self._save()
        self._videos.wait(self._tell_of_video, self._stop.is_set)
        if reason is None:
            return RunOutcome(130, f"stopped after {self._point.generation} generations")
        return RunOutcome(0, reason)

    def close(self) -> None:
        """Stop the workers and close the files."""
        self._videos.close()
        self._executor.close()
        self._journal.close()

    # The loop.

    def _search(self) -> str | None:
        """Generations until there is a reason to end; None where a stop came first."""
        while not self._stop.is_set():
            if not self._settle():
                return None
            point = self._point
            reason = (
                point.progress.limit_reached(self._config, point.generation, self._ledger.seconds) or self._stop.wish
            )
            if reason is not None:
                return reason
            self._start_generations()
            running = self._running[0]
            if not self._collect(running):
                return None
            batch, progress = self._account(running)
            self._update(batch, progress)
            self._running.popleft()
        return None

    def _settle(self) -> bool:
        """Find out what the search must know before its next generation; False where a stop came in between."""
        probe = self._algorithm.probe(self._point.state)
        if probe is None:
            return True
        snapshot, tasks = probe
        collector = Collector(lambda first, count: tasks, 1, len(tasks), 0, 0.0, None)
        running = _Running(snapshot, self._point.state, collector)
        self._executor.publish(snapshot, oldest=snapshot.generation)
        self._running.append(running)
        for block in collector.start():
            self._submit(running, block, self._ledger.clock)
        settled = self._collect(running)
        self._running.clear()
        if settled:
            batch, failed = collector.batch(), self._name_faults(running)
            count, timesteps = (0, 0) if batch is None else (batch.returns.size, int(batch.lengths.sum()))
            progress = self._point.progress.with_generation(count, timesteps, len(failed))
            progress = self._checked(progress, failed)
            try:
                state, figures = self._algorithm.settle(self._point.state, batch, self._executor.weighted_noise_sum)
            except RunFailedError as error:
                raise RunFailedError(f"{error}; the first reason: {failed[0] if failed else 'unknown'}") from error
            self._ledger.add_search(figures)
            self._point = RunState(state, state, progress, self._point.verdicts)
        return settled

    def _start_generations(self) -> None:
        """Send out what comes next, and write down what came last while the workers are busy with it.

        With `runtime.pipeline=1` two generations are out at a time: the second one perturbs the parameters that there
        are now, so that no worker waits for the first one's stragglers and update.
        """
        clock, generation = Clock(self._executor.counters), self._point.generation
        for number in range(generation + len(self._running), generation + 1 + self._config.runtime.pipeline):
            if number == generation or self._config.generations is None or number < self._config.generations:
                self._start(number, clock)
        self._ledger.write(self._point.progress)
        for text in self._folder.notices():
            self._journal.note(generation, text)
        if (video := self._videos.finished()) is not None:
            self._tell_of_video(video)
        self._ledger.clock = clock
        with clock.phase("checkpoint"):
            self._keeper.if_due(self._point)

    def _start(self, generation: int, clock: Clock) -> None:
        """Perturb theta: training episodes first, so that evaluations fill the gap behind the last of them."""
        algorithm, around = self._algorithm, self._point.perturbed_by(generation)
        every = self._config.evaluation.every
        collector = Collector(
            ask=lambda first, count: algorithm.ask(around, first, count),
            group=algorithm.group,
            min_groups=algorithm.min_groups,
            min_timesteps=algorithm.min_timesteps,
            expected_length=algorithm.expected_length(around),
            evaluation=self._evaluation_tasks(generation) if every and generation % every == 0 else None,
            max_groups=algorithm.max_groups,
        )
        with clock.phase("ask"):
            running = _Running(algorithm.snapshot(around), around, collector)
            tasks = collector.start()
        with clock.phase("dispatch"):
            self._executor.publish(running.snapshot, oldest=self._point.generation)
        self._running.append(running)
        for block in tasks:
            self._submit(running, block, clock)
        self._videos.offer(generation, running.snapshot)

    def _submit(self, running: _Running, tasks: Tasks, clock: Clock) -> None:
        """Send out episodes; those that the pool once gave up on fail at once."""
        with clock.phase("dispatch"):
            allowed, quarantined = self._point.quarantined(tasks)
            for results in quarantined:
                running.collector.add(results)
            self._executor.submit(allowed)

    def _collect(self, running: _Running) -> bool:
        """Gather results until the first generation that is out has all; False where a stop came in between."""
        clock = self._ledger.clock
        while not running.collector.complete:
            if self._stop.is_set():
                return False
            self._journal.live(lambda: self._standing(running))
            with clock.phase("wait"):
                finished = self._executor.collect(COLLECT_SECONDS)
            for results in finished:
                owner = next((one for one in self._running if one.snapshot.generation == results.generation), None)
                if owner is not None:
                    owner.collector.add(results)
                    self._keep_verdicts(results)
            for text in self._executor.notices:
                self._note(text)
            self._executor.notices.clear()
            for one in self._running:
                if (further := one.collector.more()) is not None:
                    self._submit(one, further, clock)
            clock.watch_tail(self._executor.queued, running.collector.complete)
        return True

    def _update(self, batch: Batch, progress: RunCounters) -> None:
        """One step of the algorithm: the next point."""
        clock, spent = self._ledger.clock, 0.0

        def weighted_sum(noise_index: Int64, weights: Float32, squared: bool = False) -> Float32:
            nonlocal spent
            started = time.perf_counter()
            total = self._executor.weighted_noise_sum(noise_index, weights, squared)
            spent += time.perf_counter() - started
            return total

        with clock.phase("update"):
            state, figures = self._algorithm.tell(self._point.state, batch, weighted_sum)
        clock.add("update", -spent)
        clock.add("reduce", spent)
        self._ledger.add_search(figures)
        self._point = self._point.after(state, progress, self._config.runtime.pipeline)

    def _evaluate_only(self) -> None:
        """A run ends with an evaluation of its last theta; generations that are out are given up."""
        number = self._point.generation + 1 + self._config.runtime.pipeline  # a number that no generation has
        tasks = self._evaluation_tasks(number)
        collector = Collector(None, 1, min_groups=0, min_timesteps=0, expected_length=0.0, evaluation=tasks)
        state = replace(self._point.state, generation=number)
        running = _Running(self._algorithm.snapshot(state), self._point.state, collector)
        self._executor.publish(running.snapshot, oldest=number)
        self._running = deque([running])
        self._ledger.clock = Clock(self._executor.counters)
        self._submit(running, tasks, self._ledger.clock)
        self._videos.offer(self._point.generation, running.snapshot, last=True)
        if self._collect(running):
            progress = self._point.progress
            progress = replace(progress, quarantined=progress.quarantined + len(self._name_faults(running)))
            self._ledger.open(self._point.generation, {})
            progress = self._judge(running, progress)
            # The streak stays as of the generation, since a longer run would not have this evaluation.
            self._point = replace(self._point, progress=replace(progress, goal_streak=self._point.progress.goal_streak))
            self._ledger.write(self._point.progress)

    def _evaluation_tasks(self, generation: int) -> Tasks:
        return evaluation_tasks(Purpose.EVALUATION, generation, self._config.evaluation.episodes)

    # What came of it.

    def _account(self, running: _Running) -> tuple[Batch, RunCounters]:
        """Count the generation, name its faults, judge its evaluation; stop the run where too much failed."""
        collector, progress = running.collector, self._point.progress
        batch, failed = collector.batch(), self._name_faults(running)
        first_reason = failed[0] if failed else "unknown"
        if batch is None:
            raise RunFailedError(
                f"no episode of generation {self._point.generation} can be used; the first reason: {first_reason}"
            )
        progress = progress.with_generation(batch.returns.size, int(batch.lengths.sum()), len(failed))
        every = self._config.tensorboard.histograms
        shown = every and self._point.generation % every == 0
        self._ledger.open(
            self._point.generation,
            training_figures(batch) | {"episode/surplus": collector.surplus},
            {"returns": batch.returns, "theta": running.snapshot.theta} if shown else {},
        )
        return batch, self._judge(running, self._checked(progress, failed))

    def _checked(self, progress: RunCounters, failed: list[str]) -> RunCounters:
        """The progress, where not too many episodes failed; else the run stops."""
        if (reason := progress.too_many_faults(self._config.faults.max_share)) is not None:
            self._point = replace(self._point, progress=progress)
            raise RunFailedError(
                f"{reason}; the first reason of the last generation: {failed[0] if failed else 'unknown'}"
            )
        return progress

    def _judge(self, running: _Running, progress: RunCounters) -> RunCounters:
        """The progress with the evaluation, if there was one; a new best is kept at once."""
        records = running.collector.evaluation
        records = records[~records["fault"]]
        if not records.size:
            return progress
        figures = evaluation_figures(records)
        self._ledger.add(figures)
        mean = figures["eval/return_mean"]
        progress = progress.with_evaluation(mean, self._config.goal.return_mean)
        if progress.best_return == mean:
            self._point = replace(self._point, progress=replace(self._point.progress, best_return=mean))
            with self._ledger.clock.phase("checkpoint"):
                self._keeper.best(self._point, running.around)
        return progress

    def _name_faults(self, running: _Running) -> list[str]:
        """Keep the episodes that have no result for a replay, and say which they are; their reasons."""
        number = self._point.generation  # also for the evaluation at the end, whose own number is nobody's business
        failed = [
            FailedTasks(replace(block.tasks, generation=number), block.reasons)
            for block in running.collector.failed_tasks()
        ]
        snapshot = replace(running.snapshot, generation=number)
        for text in failed_episodes.report(self._folder.path, self._config.seed, snapshot, failed):
            self._note(text)
        return [reason for block in failed for reason in block.reasons]

    def _keep_verdicts(self, results: Results) -> None:
        new = [
            QuarantineRecord(results.generation, results.purpose, fault.index, fault.reason)
            for fault in results.faults
            if fault.quarantined
        ]
        if new:
            self._point = replace(self._point, verdicts=(*self._point.verdicts, *new))
            self._keeper.verdicts(self._point)

    def _standing(self, running: _Running) -> Progress:
        number, progress = self._point.generation, self._point.progress
        return self._ledger.standing(number, progress, running.collector.standing, running.snapshot.generation > number)

    def _note(self, text: str) -> None:
        self._journal.note(self._point.generation, self._folder.named(text))

    def _tell_of_video(self, video: FinishedVideo) -> None:
        if video.gif is None:
            self._note(f"no video of generation {video.generation}: {video.text}; the run goes on")
        else:
            self._note(f"video of generation {video.generation} in videos/{f'; {video.text}' if video.text else ''}")
            self._journal.video(video.generation, video.gif)

    def _save(self) -> None:
        with self._ledger.clock.phase("checkpoint"):
            self._keeper.now(self._point)

    def _common(self) -> dict[str, Any]:
        """What a checkpoint holds beside its point; it relies on what was logged so far."""
        self._journal.flush()
        return {
            "config": self._config.as_dict(),
            "noise_fingerprint": self._executor.table_fingerprint,
            "seconds": self._ledger.seconds,
            "faults": self._ledger.faults,
        }


def evaluation_tasks(purpose: Purpose, generation: int, episodes: int) -> Tasks:
    """Noiseless episodes of theta itself on the reset seeds 0, 1, ... of a purpose, the same in every generation."""
    index = np.arange(episodes)
    none = np.zeros(episodes, dtype=bool)
    genomes = Genomes(np.zeros(episodes, dtype=np.int64), np.zeros(episodes, dtype=np.float32))
    return Tasks(purpose, generation, index, index, none, genomes)
