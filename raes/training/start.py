"""Opens everything that a run needs, runs the driver, and closes everything again."""

from __future__ import annotations

import time
from contextlib import ExitStack, closing
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from raes.config.schema import Config
from raes.config.stored import save
from raes.models.model_problem import ModelSpec
from raes.models.settings import ModuleSettings
from raes.problems.atari import AtariSettings
from raes.problems.function import FunctionSettings
from raes.problems.problem import ProblemSpec
from raes.runtime.executor import Executor
from raes.runtime.worker import WorkerSpec
from raes.search.spread import SpreadWatch
from raes.storage.checkpoint import CheckpointStore
from raes.storage.run_folder import RunFolder, open_folder
from raes.training.arithmetic import ArithmeticWatch
from raes.training.build import build_algorithm, kept_arrays, make_executor
from raes.training.checkpointing import Checkpointer, RunFacts
from raes.training.driver import Driver
from raes.training.events import EventLog, RunLog
from raes.training.limits import RunOutcome, StopSignal
from raes.training.model_weights import ModelWeights
from raes.training.prepare import PreparedRun
from raes.training.recorder import MetricsRecorder
from raes.training.resume import check_noise, check_size, restore, starting_point
from raes.training.run_parts import RunParts
from raes.training.state import RunCounters, RunState
from raes.training.videos import Videos
from raes.types import RunFailedError, UserError, check_fault

if TYPE_CHECKING:
    from raes.runtime.sweep_resources import SweepResources


def drive(
    prepared: PreparedRun,
    stop: StopSignal,
    events: EventLog,
    embedded: bool = True,
    restarted: bool = False,
    shared: SweepResources | None = None,
) -> RunOutcome:
    """Search until a limit, the goal, a fault or a stop.

    Args:
        prepared: the run.
        stop: set by whoever wants the run to end soon; a checkpoint is written.
        events: what happens is reported here.
        embedded: whether Ray is this command's own.
        restarted: whether an earlier driver of the same command died; then resume from its newest checkpoint.
        shared: what the jobs of a sweep share; None for a run of its own.
    """
    config = prepared.config

    def notice(text: str) -> None:
        events.emit(("notice", text))

    try:
        with open_folder(str(config.run_dir), config.checkpoint.keep, config.upload, notice) as folder:
            if restarted and (config.resume == "never" or CheckpointStore(folder.path).names()):
                prepared = replace(prepared, config=replace(config, resume="auto"))
            try:
                outcome = _run(prepared, folder, stop, events, embedded, shared)
            except UserError as error:
                return RunOutcome(2, folder.with_user_path(str(error)))
            except BaseException as error:
                check_fault(error)
                folder.finish(notice)  # whatever broke, what was written before is worth sending
                if isinstance(error, Exception):
                    raise
                raise RunFailedError(f"{type(error).__name__}: {error}") from error
            trouble = folder.finish(notice)
            return outcome if trouble is None else replace(outcome, code=1, reason=f"{outcome.reason}; {trouble}")
    except UserError as error:
        return RunOutcome(2, str(error))


def _run(
    prepared: PreparedRun,
    folder: RunFolder,
    stop: StopSignal,
    events: EventLog,
    embedded: bool,
    shared: SweepResources | None,
) -> RunOutcome:
    """The run in an open folder.

    Raises:
        UserError: the checkpoint to resume from does not fit, or the executor cannot start.
    """
    started = time.perf_counter()
    config, spec = prepared.config, prepared.problem
    checkpoint, passed_over = starting_point(config, folder.path)
    algorithm = build_algorithm(config, prepared.layers)
    if checkpoint is None:
        search = algorithm.init(prepared.theta, prepared.observations)
        state = RunState(search, search, RunCounters())
    else:
        check_size(checkpoint, prepared.theta.size, prepared.observations.mean.size)
        state = restore(config, checkpoint)
    with ExitStack() as stack:
        worker = WorkerSpec(spec, config.seed)
        executor = stack.enter_context(closing(make_executor(config, worker, embedded, shared, lambda: driver.poll())))
        if checkpoint is not None:
            check_noise(checkpoint, executor.table_fingerprint)
        store = CheckpointStore(folder.path, config.checkpoint.keep)
        passed_over += [f"kept aside as {path}" for path in store.rewind(state.generation)]
        if store.pointed("best") is None:  # a branch, or its folder is gone: the next best must be kept
            state = replace(state, counters=replace(state.counters, best_return=None))
        save(config, folder.path / "config.yaml")
        log = stack.enter_context(closing(RunLog(folder.path, config.as_dict(), state.generation, events)))
        recorder = MetricsRecorder(
            log,
            executor,
            frame_skip=config.env.frame_skip if isinstance(config.env, AtariSettings) else None,
            histograms_every=config.tensorboard.histograms,
            earlier=None if checkpoint is None else checkpoint.state,
            started=started,
        )
        began = {"first_weights": spec.first} if isinstance(spec, ModelSpec) else {}
        facts = RunFacts(config.as_dict(), executor.table_fingerprint, kept_arrays(spec))
        arithmetic = ArithmeticWatch(executor, () if checkpoint is None else checkpoint.state.get("arithmetic", ()))
        checkpointer = Checkpointer(
            store, config.checkpoint.every, facts, lambda: recorder.totals() | {"arithmetic": arithmetic.known} | began
        )
        videos = stack.enter_context(closing(Videos(config, spec, folder.path)))
        spread = SpreadWatch(config.algorithm, _look_at(config), "algorithm.", begun=state.generation > 0)
        weights = _model_weights(config, spec, folder.path, executor, state.generation)
        parts = RunParts(algorithm, executor, log, recorder, checkpointer, videos, spread, arithmetic, weights)
        driver = Driver(config, folder, parts, state, stop)
        for text in (*prepared.remarks, *passed_over):
            driver.notice(text)
        if checkpoint is not None:
            driver.notice(f"resuming from {checkpoint.path}, generation {state.generation}")
            checkpointer.save(state)  # a branch has none of its own yet; elsewhere only the pointer is written
        folder.start()
        return driver.run()


def _model_weights(
    config: Config, spec: ProblemSpec, run_dir: Path, executor: Executor, generation: int
) -> ModelWeights | None:
    """The snapshots of a model that workers hold; None for other runs."""
    if not (isinstance(spec, ModelSpec) and isinstance(config.env, ModuleSettings)):
        return None
    weights = ModelWeights(run_dir, executor, config.env.snapshot_every, spec.parts)
    weights.resume(generation)
    return weights


def _look_at(config: Config) -> str:
    """Where the user may find why returns do not differ."""
    what = "that actions change rewards"
    if isinstance(config.env, FunctionSettings):
        what = "that the function uses its x"
    elif isinstance(config.env, ModuleSettings):
        what = "that the reward uses the model that it is called with"
    noise = [f"algorithm.{key}" for key in ("sigma", "radius") if hasattr(config.algorithm, key)]
    return f"check {what}, or raise the noise{f' ({noise[0]})' if noise else ''}"
