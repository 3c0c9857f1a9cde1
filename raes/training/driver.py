"""The training loop: open a round, collect it, update the search; with evaluation, metrics and checkpoints."""

from __future__ import annotations

from dataclasses import replace

from raes.config.schema import Config
from raes.config.stored import save
from raes.problems.function import FunctionSettings
from raes.results import FailedTasks, Results
from raes.rng import Purpose
from raes.runtime.rounds import FinishedRound, RoundHooks, RoundRunner
from raes.storage import failed_episodes
from raes.storage.location import CONFIG
from raes.storage.lock import RunFolderGoneError
from raes.storage.run_folder import RunFolder
from raes.tasks import Round, Tasks, evaluation_tasks
from raes.text import described
from raes.training import quarantine
from raes.training.arithmetic import CONSEQUENCE
from raes.training.events import Progress
from raes.training.limits import RunOutcome, StopSignal, limit_reached, search_over, too_many_faults
from raes.training.run_parts import RunParts
from raes.training.state import RunCounters, RunState
from raes.training.video_reports import VideoReports
from raes.types import Float32, Int64, RunFailedError, check_fault


class Driver(RoundHooks):
    """One run of one search."""

    def __init__(self, config: Config, folder: RunFolder, parts: RunParts, state: RunState, stop: StopSignal) -> None:
        """Nothing runs yet.

        Args:
            config: checked and resolved.
            folder: the run directory.
            parts: what the run is made of; the caller closes them.
            state: where the run begins.
            stop: set by whoever wants the run to end.
        """
        self._config, self._folder, self._stop, self._state = config, folder, stop, state
        self._algorithm, self._executor = parts.algorithm, parts.executor
        self._log, self._recorder = parts.log, parts.recorder
        self._checkpointer, self._videos, self._arithmetic = parts.checkpointer, parts.videos, parts.arithmetic
        self._reports = VideoReports(parts.videos, parts.log, self.notice)
        self._spread, self._runner = parts.spread, RoundRunner(parts.executor, hooks=self)
        self._weights = parts.weights

    def run(self) -> RunOutcome:
        """The search, from the first generation to the last checkpoint; what ends it early leaves one as well."""
        self._look_at_arithmetic()
        outcome, times = self._outcome(), self._state.counters.may_differ
        if not times:
            return outcome
        what = "once" if times == 1 else f"{times} times"
        return replace(
            outcome,
            remark=f"from another run's with this seed: {what} something happened that need not happen there (log.txt)",
        )

    def _outcome(self) -> RunOutcome:
        try:
            return self._run()
        except RunFolderGoneError as gone:
            return self._save_elsewhere(gone)
        except OSError as error:
            try:
                self._folder.check()
            except RunFolderGoneError as gone:
                return self._save_elsewhere(gone)
            return RunOutcome(1, f"{described(error)}; if the disk is full, make room and use resume=auto")

    def _run(self) -> RunOutcome:
        try:
            reason = self._search()
            self._recorder.write(self._state.counters, self._runner.clock)
            if self._stop.is_set() or not self._evaluate_last():
                reason = None  # what is left of the run is to be done after a resume
            self._folder.check()
        except RunFolderGoneError:
            raise
        except (RunFailedError, SystemExit, KeyboardInterrupt, GeneratorExit) as error:
            check_fault(error)
            text = str(error) if isinstance(error, RunFailedError) else described(error)
            self.notice(f"the run stops: {text}")
            self._recorder.write(self._state.counters, self._runner.clock)
            self._checkpointer.save(self._state)
            self._reports.abandon("the run failed before it was done")
            return RunOutcome(1, text)
        self._checkpointer.save(self._state)
        self._reports.finish(self._poll_film)
        if reason is None:
            done = self._state.generation
            return RunOutcome(130, f"stopped after {done} generation{'' if done == 1 else 's'}")
        return RunOutcome(0, reason)

    def _save_elsewhere(self, gone: RunFolderGoneError) -> RunOutcome:
        """End a run whose directory was moved or removed: a checkpoint where it lies now, or next to where it was."""
        folder = gone.now or self._folder.aside()
        self.notice(f"the run stops: {gone}")
        self._reports.abandon("the run failed before it was done")
        try:
            if gone.now is None:
                folder.mkdir(parents=True)
                save(replace(self._config, run_dir=str(folder)), folder / CONFIG)
            self._checkpointer.move(folder)
            self._checkpointer.save(self._state)
        except OSError as error:
            return RunOutcome(1, f"{gone}; what it has cannot be saved in {folder} either ({described(error)})")
        return RunOutcome(1, f"{gone}; what it has is saved in {folder}", str(folder))

    # The loop.

    def _search(self) -> str | None:
        """Rounds until there is a reason to end (Salimans et al. 2017, algorithm 2); None where a stop came first."""
        while not self._stop.is_set():
            upcoming = self._algorithm.next_round(self._state.base)
            if upcoming.purpose is Purpose.TRAINING and (reason := self._reason_to_end()) is not None:
                return reason
            self._open(upcoming)
            finished = self._runner.collect()
            if finished is None:
                return None
            counters = self._account(finished)
            search = self._tell(finished)
            self._state = self._state.after(search, counters, self._config.runtime.pipeline)
        return None

    def _open(self, upcoming: Round) -> None:
        """Send out a round, and write what came before while the workers are busy with it.

        With `runtime.pipeline=1` two generations are out at a time: the second one perturbs the parameters that there
        are now, so that no worker waits for the first one's last episodes and update.
        """
        if upcoming.purpose is Purpose.PROBE:
            self._runner.open(upcoming)
            return
        if self._weights is not None and self._weights.due(self._state.generation):
            self._save_weights(self._state.generation)
        before, generation = self._runner.restart_clock(), self._state.generation
        for number in range(generation + self._runner.open_rounds, generation + 1 + self._config.runtime.pipeline):
            if number == generation or self._config.generations is None or number < self._config.generations:
                self._open_generation(number)
        with self._runner.clock.phase("log"):
            self._folder.check()
            self._recorder.write(self._state.counters, before)
            for text in self._folder.notices():
                self._log.notice(generation, text)
            self._reports.newest()
        with self._runner.clock.phase("checkpoint"):
            self._checkpointer.save_if_due(self._state)

    def _open_generation(self, number: int) -> None:
        """Perturb theta, and where it is time evaluate it in the same round."""
        upcoming = self._algorithm.next_round(self._state.base_of(number))
        every = self._config.evaluation.every
        if every and number % every == 0:
            upcoming = replace(upcoming, evaluation=self._evaluation_tasks(number))
        self._runner.open(upcoming, oldest=self._state.generation)
        self._videos.offer(number, upcoming.snapshot)

    def _tell(self, finished: FinishedRound) -> object:
        """The search's next state."""
        try:
            with self._runner.clock.phase("update"):
                search, metrics = self._algorithm.tell(
                    self._state.search, finished.round, finished.batch, self._weighted_sum
                )
        except RunFailedError as error:
            raise RunFailedError(f"{error}; the first reason: {finished.first_reason}") from error
        self._recorder.add_search(metrics)
        return search

    def _weighted_sum(self, noise_index: Int64, weights: Float32, squared: bool = False) -> Float32:
        with self._runner.clock.phase("reduce"):
            return self._executor.weighted_noise_sum(noise_index, weights, squared)

    def _evaluate_last(self) -> bool:
        """A run ends with an evaluation of its last theta; generations that are out are abandoned.

        Returns:
            False where a stop came first.
        """
        number = self._state.generation + 1 + self._config.runtime.pipeline  # a number that no generation has
        snapshot = self._algorithm.snapshot(replace(self._state.search, generation=number))
        self._runner.abandon()
        self._runner.restart_clock()
        self._runner.open(Round(snapshot, evaluation=self._evaluation_tasks(number), purpose=Purpose.EVALUATION))
        self._videos.offer(self._state.generation, snapshot, last=True)
        finished = self._runner.collect()
        if finished is None:
            return False
        counters, failed = self._state.counters, self._report_faults(finished)
        counters = self._with_accidents(replace(counters, quarantined=counters.quarantined + failed), finished)
        self._recorder.begin(self._state.generation, finished)
        streak = counters.goal_streak  # stays as of the generation: a longer run would not have this evaluation
        counters = replace(self._judge(finished, counters, self._state.search), goal_streak=streak)
        self._state = replace(self._state, counters=counters)
        self._recorder.write(counters, self._runner.clock)
        return self._save_weights(number + 1)

    def _save_weights(self, number: int) -> bool:
        """Write a snapshot of the weights as they are after the last update.

        Args:
            number: of the round, which no earlier one exceeds.

        Returns:
            False where a stop came first.
        """
        generation = self._state.generation
        if self._weights is None or self._weights.has(generation):
            return True
        snapshot = self._algorithm.snapshot(replace(self._state.search, generation=number))
        with self._runner.clock.phase("checkpoint"):
            self._runner.open(self._weights.round(snapshot))
            finished = self._runner.collect()
            if finished is None:
                self._runner.abandon()
                return False
            if (trouble := self._weights.save(generation, finished, self._checkpointer.generations)) is not None:
                self.notice(f"warning: {trouble}")
        return True

    def _reason_to_end(self) -> str | None:
        limit = limit_reached(self._config, self._state.counters, self._state.generation, self._recorder.seconds)
        return limit or self._stop.reason or search_over(self._state.search)

    def _evaluation_tasks(self, generation: int) -> Tasks:
        episodes = self._config.evaluation.episodes
        assert episodes is not None
        return evaluation_tasks(Purpose.EVALUATION, generation, episodes)

    # What came of it.

    def _account(self, finished: FinishedRound) -> RunCounters:
        """Count the round, report its faults, judge its evaluation; end the run where too much failed."""
        failed = self._report_faults(finished)
        batch = finished.batch and finished.batch.finite()
        if batch is None and not finished.round.keep_failed and finished.round.purpose is not Purpose.PROBE:
            which = f"no episode of generation {self._state.generation} can be used"
            raise RunFailedError(f"{which}; the first reason: {finished.first_reason}")
        episodes, timesteps = (0, 0) if batch is None else (batch.returns.size, int(batch.lengths.sum()))
        counters = self._with_accidents(self._state.counters.with_round(episodes, timesteps, failed), finished)
        share = 1.0 if isinstance(self._config.env, FunctionSettings) else self._config.faults.max_share
        if (reason := too_many_faults(counters, share)) is not None:
            self._state = replace(self._state, counters=counters)
            raise RunFailedError(f"{reason}; the first reason of the last generation: {finished.first_reason}")
        if finished.round.purpose is Purpose.PROBE:
            return counters
        if batch is not None and (warning := self._spread.after(batch)) is not None:
            self.notice(warning)
        self._recorder.begin(self._state.generation, replace(finished, batch=batch))
        return self._judge(finished, counters, self._state.base)

    def _judge(self, finished: FinishedRound, counters: RunCounters, evaluated: object) -> RunCounters:
        """The counters with the evaluation, if there was one; a new best is kept at once.

        Args:
            finished: the round.
            counters: with its episodes.
            evaluated: the search state whose theta was evaluated.
        """
        mean = (self._recorder.add_evaluation(finished) or {}).get("eval/return_mean")
        if mean is None:
            return counters
        before, counters = counters.best_return, counters.with_evaluation(mean, self._config.goal.return_mean)
        if before is not None and mean > before:
            self._log.new_best(mean)
        if counters.best_return == mean:
            self._state = replace(self._state, counters=replace(self._state.counters, best_return=mean))
            with self._runner.clock.phase("checkpoint"):
                self._checkpointer.save_best(self._state, evaluated)
        return counters

    def _with_accidents(self, counters: RunCounters, finished: FinishedRound) -> RunCounters:
        """With the episodes of a round that were left out and might have counted in another run."""
        accidents = quarantine.by_accident(self._state.quarantine, finished.round)
        if accidents:
            which = "an episode was left out that" if accidents == 1 else f"{accidents} episodes were left out that"
            self.notice(f"warning: {which} another run might have counted; {CONSEQUENCE}")
        return replace(counters, may_differ=counters.may_differ + accidents)

    def _look_at_arithmetic(self) -> None:
        """Notice workers that compute otherwise than those before."""
        for change in self._arithmetic.look():
            if change:
                self.notice(change)
            counters = self._state.counters
            self._state = replace(self._state, counters=replace(counters, may_differ=counters.may_differ + 1))

    def _report_faults(self, finished: FinishedRound) -> int:
        """Keep the episodes without a result for a replay and log which they are; how many."""
        number = self._state.generation  # also for the evaluation at the end, whose own number is internal
        failed = [FailedTasks(replace(block.tasks, generation=number), block.reasons) for block in finished.failed]
        snapshot = replace(finished.round.snapshot, generation=number, model=None)  # that is in the checkpoint's log
        for text in failed_episodes.report(self._folder.path, self._config.seed, snapshot, failed):
            self.notice(text)
        return len(finished.reasons)

    def notice(self, text: str) -> None:
        """A line for the user and for log.txt; paths are as the user gave them."""
        self._log.notice(self._state.generation, self._folder.with_user_path(text))

    def _poll_film(self) -> bool:
        """Report for how long a video has been waited for; whether a stop ends the wait."""
        self._log.progress(lambda: replace(self._progress_of((0, 0, 0), True), filming=self._videos.filming))
        return self._stop.is_set()

    # While rounds run, see `RoundHooks`.

    def admit(self, tasks: Tasks) -> tuple[Tasks, list[Results]]:
        """Episodes in quarantine fail at once."""
        return quarantine.admit(self._state.quarantine, tasks)

    def received(self, results: Results) -> None:
        """An episode that the pool abandoned goes into quarantine, on the disk too; a worker's repair is named."""
        for report in results.weights:
            for reason in report.repairs:
                self.notice(
                    f"warning: the weights of worker {report.worker} were wrong, and it made them anew: {reason}"
                )
        if results.purpose == Purpose.WEIGHTS:
            return
        if new := quarantine.new_records(results):
            self._state = replace(self._state, quarantine=(*self._state.quarantine, *new))
            self._checkpointer.save_quarantine(self._state)

    def repeated(self, finished: FinishedRound) -> Round | None:
        """Where workers hold a model and disagree on its weights, the round again."""
        if self._weights is None or (again := self._weights.agreement.repeated(finished)) is None:
            return None
        self.notice(f"warning: {again[1]}")
        return again[0]

    def poll(self) -> bool:
        """Report progress and notices; whether a stop ends the wait."""
        for text in self._executor.notices:
            self.notice(text)
        self._executor.notices.clear()
        self._look_at_arithmetic()
        self._log.progress(self._progress)
        return self._stop.is_set()

    def _progress(self) -> Progress:
        upcoming, counts = self._runner.progress
        return self._progress_of(counts, upcoming.purpose is Purpose.EVALUATION)

    def _progress_of(self, counts: tuple[int, int, int], evaluating: bool) -> Progress:
        return self._recorder.progress(self._state.generation, self._state.counters, counts, evaluating)
