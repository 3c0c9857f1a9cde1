"""The metrics of a run: one record per generation, with seconds and faults counted from the run's beginning."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from typing import Any

import numpy as np

from raes.results import Batch
from raes.runtime.executor import Executor
from raes.runtime.rounds import FinishedRound, RoundClock
from raes.search.summary import summarize
from raes.storage.metrics import Histograms, Record
from raes.training.events import Progress, RunLog
from raes.training.state import RunCounters

FAULT_COUNTS = ("actors_lost", "tasks_reissued", "tasks_copied", "results_discarded", "weights_repaired")
"""Counters of an executor that go on from the run's beginning, resumes included."""


class MetricsRecorder:
    """Gathers the record of a generation piece by piece and writes it when the next one is under way."""

    def __init__(
        self,
        log: RunLog,
        executor: Executor,
        *,
        frame_skip: int | None = None,
        histograms_every: int = 0,
        earlier: Mapping[str, Any] | None = None,
        started: float | None = None,
    ) -> None:
        """Nothing is recorded yet.

        Args:
            log: where records are written.
            executor: whose counters and workers are read.
            frame_skip: frames per timestep of an Atari game, None elsewhere.
            histograms_every: generations between histograms of theta and of returns; 0 for none.
            earlier: what `totals` gave when the checkpoint was written that the run resumes from.
            started: when this command began, as `time.perf_counter` has it; None for now.
        """
        self._log, self._executor = log, executor
        self._frame_skip, self._histograms_every = frame_skip, histograms_every
        self._earlier: Mapping[str, Any] = earlier or {"seconds": 0.0, "faults": {}}
        self._started = time.perf_counter() if started is None else started
        self._record: Record = {}
        self._histograms: Histograms = {}

    @property
    def seconds(self) -> float:
        """Of the run, resumes included."""
        return float(self._earlier["seconds"]) + time.perf_counter() - self._started

    @property
    def faults(self) -> dict[str, int]:
        """`FAULT_COUNTS` of the run, resumes included."""
        counters, before = self._executor.counters, self._earlier["faults"]
        return {name: before.get(name, 0) + int(getattr(counters, name)) for name in FAULT_COUNTS}

    def totals(self) -> dict[str, Any]:
        """For a checkpoint: seconds and faults so far; all that was recorded before is on the disk afterwards."""
        self._log.flush()
        return {"seconds": self.seconds, "faults": self.faults}

    def begin(self, generation: int, finished: FinishedRound) -> None:
        """Begin the record of a generation whose episodes are in; of an evaluation alone there is no batch."""
        self._record, self._histograms = {"progress/generation": generation}, {}
        if finished.batch is not None:
            self._record |= batch_metrics(finished.batch) | {"episode/surplus": finished.surplus}
            if self._histograms_every and generation % self._histograms_every == 0:
                theta = finished.round.snapshot.theta
                self._histograms = {"returns": finished.batch.returns} | ({"theta": theta} if theta.size else {})

    def add_evaluation(self, finished: FinishedRound) -> Record | None:
        """The metrics of a round's evaluation, which join the record; None where no episode of it has a result."""
        good = finished.evaluation[~finished.evaluation["fault"]]
        if not good.size:
            return None
        metrics = evaluation_metrics(good)
        self._record |= metrics
        return metrics

    def add_search(self, metrics: Mapping[str, float]) -> None:
        """What the algorithm reports; left out before this command's first generation, when no record is open."""
        if self._record:
            self._record |= {f"search/{key}": value for key, value in metrics.items()}

    def write(self, counters: RunCounters, clock: RoundClock) -> None:
        """Complete the record, if one is open, with counts and times, and write it."""
        if not self._record:
            return
        record: Record = self._record | {
            "progress/episodes": counters.episodes,
            "progress/timesteps": counters.timesteps,
            "progress/seconds": self.seconds,
            **{f"faults/{name}": count for name, count in self.faults.items()},
            "faults/episodes_quarantined": counters.quarantined,
            "faults/may_differ": counters.may_differ,
        }
        if self._frame_skip is not None:  # those that were skipped too, but not an episode's first ones without action
            record["progress/frames"] = counters.timesteps * self._frame_skip
        record |= speed_metrics(clock, self._executor, self._record.get("episode/timesteps"))
        self._log.record(record, self._histograms)
        self._record, self._histograms = {}, {}

    def progress(
        self, generation: int, counters: RunCounters, counts: tuple[int, int, int], evaluating: bool
    ) -> Progress:
        """How far a generation has come.

        Args:
            generation: whose episodes are out.
            counters: as of the generation before.
            counts: episodes answered, episodes in all, timesteps so far.
            evaluating: whether only the evaluation at the end is out.
        """
        answered, asked, timesteps = counts
        return Progress(
            generation=generation,
            answered=answered,
            asked=asked,
            timesteps=counters.timesteps + timesteps,
            seconds=self.seconds,
            workers=self._executor.workers,
            starting=self._executor.starting,
            best=counters.best_return,
            actors_lost=self.faults["actors_lost"],
            quarantined=counters.quarantined,
            evaluating=evaluating,
        )


@np.errstate(over="ignore", invalid="ignore")
def batch_metrics(batch: Batch) -> Record:
    """Returns and lengths of a generation; without a mean or a spread that is too large for a number."""
    metrics = {
        "returns/mean": float(batch.returns.mean()),
        "returns/std": float(batch.returns.std()),
        "returns/min": float(batch.returns.min()),
        "returns/max": float(batch.returns.max()),
        "episode/length_mean": float(batch.lengths.mean()),
        "episode/length_min": int(batch.lengths.min()),
        "episode/length_max": int(batch.lengths.max()),
        "episode/capped_share": batch.capped_share,
        "episode/timesteps": int(batch.lengths.sum()),
        "episode/count": batch.returns.size,
    }
    return {key: value for key, value in metrics.items() if math.isfinite(value)}


def evaluation_metrics(records: np.ndarray[Any, Any]) -> Record:
    """Returns and lengths of an evaluation's episodes, RESULT_DTYPE, at least one.

    Of a single one without a spread; without a mean or a spread that is too large for a number.
    """
    returns = summarize(records["return"])
    metrics = {
        "eval/return_mean": returns.mean,
        "eval/return_std": returns.std,
        "eval/return_ci_low": returns.ci_low,
        "eval/return_ci_high": returns.ci_high,
        "eval/length_mean": float(records["length"].mean()),
        "eval/episodes": int(records.size),
    }
    return {key: value for key, value in metrics.items() if value is not None}


def speed_metrics(clock: RoundClock, executor: Executor, timesteps: float | None) -> Record:
    """Speed, phases and traffic.

    Args:
        clock: of the generation.
        executor: whose counters are read.
        timesteps: of the generation; None where it had no training episodes.
    """
    every = executor.counters
    wall, counts = clock.elapsed(every)
    record: Record = {
        "speed/worker_busy_fraction": counts.busy_seconds / max(counts.worker_seconds, 1e-9),
        "speed/driver_busy_fraction": (wall - clock.phases["wait"]) / wall,
        "speed/generation_seconds": wall,
        "speed/tail_seconds": clock.tail,
        "speed/bytes_per_episode": every.payload_bytes / max(1, every.episodes),
        "speed/statistics_bytes_per_episode": every.statistics_bytes / max(1, every.episodes),
        "speed/bytes_per_generation": counts.payload_bytes + counts.statistics_bytes,
        **{f"speed/{name}_seconds": seconds for name, seconds in clock.phases.items()},
        "pool/actors": executor.workers,
    }
    if counts.outside_seconds:  # workers hold the model
        record["speed/outside_reward_seconds"] = counts.outside_seconds
        if counts.ray_bytes:
            record["speed/ray_bytes_per_episode"] = counts.ray_bytes / max(1, counts.episodes)
    if timesteps is not None:
        record["speed/timesteps_per_second"] = timesteps / wall
        record["speed/timesteps_per_second_per_worker"] = timesteps / max(counts.worker_seconds, 1e-9)
    return record
