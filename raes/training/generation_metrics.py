"""The figures of a generation: what the episodes returned, and where the time went."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import numpy as np

from raes.config.schema import Config
from raes.problems.atari import AtariSettings
from raes.results import Batch
from raes.runtime.executor import Counters, Executor
from raes.search.summary import summarize
from raes.storage.metrics import Record

PHASES = ("ask", "dispatch", "wait", "reduce", "update", "log", "checkpoint")
"""Where the driver's seconds between two dispatches go."""
FAULT_COUNTS = ("actors_lost", "tasks_reissued", "tasks_copied", "results_discarded")
"""Counters that go on from the run's beginning, resumes included."""


class Clock:
    """Where the time went from one generation's first dispatch to the next one's."""

    def __init__(self, counters: Counters) -> None:
        self._before = replace(counters)
        self._start = time.perf_counter()
        self._dry: float | None = None
        self._phases = dict.fromkeys(PHASES, 0.0)
        self.tail = 0.0

    @contextmanager
    def phase(self, name: str) -> Iterator[None]:
        """Count the time inside for one of `PHASES`."""
        start = time.perf_counter()
        try:
            yield
        finally:
            self._phases[name] += time.perf_counter() - start

    def add(self, name: str, seconds: float) -> None:
        """Move seconds to a phase; negative ones take them away."""
        self._phases[name] += seconds

    def watch_tail(self, queued: int, complete: bool) -> None:
        """The tail begins when nothing is left to hand out, and ends with the generation."""
        if self._dry is None and not queued:
            self._dry = time.perf_counter()
        if complete and self._dry is not None:
            self.tail = time.perf_counter() - self._dry

    def figures(self, executor: Executor, timesteps: float | None) -> Record:
        """Speed, phases and traffic so far.

        Args:
            executor: whose counters are read.
            timesteps: of the generation; None where it had no training episodes.
        """
        wall = max(time.perf_counter() - self._start, 1e-9)
        counts = executor.counters.since(self._before)
        every = executor.counters
        record: Record = {
            "speed/worker_busy_fraction": counts.busy_seconds / max(counts.worker_seconds, 1e-9),
            "speed/driver_busy_fraction": (wall - self._phases["wait"]) / wall,
            "speed/generation_seconds": wall,
            "speed/tail_seconds": self.tail,
            "speed/bytes_per_episode": every.payload_bytes / max(1, every.episodes),
            "speed/statistics_bytes_per_episode": every.statistics_bytes / max(1, every.episodes),
            "speed/bytes_per_generation": counts.payload_bytes + counts.statistics_bytes,
            **{f"speed/{name}_seconds": seconds for name, seconds in self._phases.items()},
            "pool/actors": executor.workers,
        }
        if timesteps is not None:
            record["speed/timesteps_per_second"] = timesteps / wall
            record["speed/timesteps_per_second_per_worker"] = timesteps / max(counts.worker_seconds, 1e-9)
        return record


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
        "episode/count": batch.returns.size,
    }


def progress_figures(config: Config, timesteps: int) -> Record:
    """Timesteps since the run's beginning; of an Atari game also frames, those that were skipped included.

    The first frames of an episode, without action, are in neither.
    """
    record: Record = {"progress/timesteps": timesteps}
    if isinstance(config.env, AtariSettings):
        record["progress/frames"] = timesteps * config.env.frame_skip
    return record


def evaluation_figures(records: np.ndarray[Any, Any]) -> Record:
    """Returns and lengths of an evaluation's episodes, RESULT_DTYPE, at least one."""
    returns = summarize(records["return"])
    return {
        "eval/return_mean": returns.mean,
        "eval/return_std": returns.std,
        "eval/return_ci_low": returns.ci_low,
        "eval/return_ci_high": returns.ci_high,
        "eval/length_mean": float(records["length"].mean()),
        "eval/episodes": int(records.size),
    }
