"""What a run counts: figures of the generation at hand; seconds and faults since its beginning, resumes included."""

from __future__ import annotations

import time
from collections.abc import Mapping

from raes.config.schema import Config
from raes.runtime.executor import Executor
from raes.storage.checkpoint import Checkpoint
from raes.storage.metrics import Histograms, Record
from raes.training.events import Progress, RunLog
from raes.training.generation_metrics import FAULT_COUNTS, Clock, progress_figures
from raes.training.limits import RunCounters


class MetricsRecorder:
    """See the module's docstring.

    Attributes:
        clock: where the time of the generation at hand goes.
    """

    def __init__(
        self, config: Config, executor: Executor, journal: RunLog, checkpoint: Checkpoint | None, started: float
    ) -> None:
        """Nothing is recorded yet.

        Args:
            config: of the run.
            executor: whose counters are read.
            journal: that records are written to.
            checkpoint: what the run goes on from.
            started: when this command began, as `time.perf_counter` has it.
        """
        self._config, self._executor, self._journal, self._started = config, executor, journal, started
        self._seconds_before: float = checkpoint.state["seconds"] if checkpoint else 0.0
        self._faults_before: dict[str, int] = checkpoint.state["faults"] if checkpoint else {}
        self._record: Record = {}
        self._histograms: Histograms = {}
        self.clock = Clock(executor.counters)

    @property
    def seconds(self) -> float:
        """Of the run."""
        return self._seconds_before + time.perf_counter() - self._started

    @property
    def faults(self) -> dict[str, int]:
        """`FAULT_COUNTS` of the run."""
        counters, before = self._executor.counters, self._faults_before
        return {name: before.get(name, 0) + int(getattr(counters, name)) for name in FAULT_COUNTS}

    def open(self, generation: int, figures: Record, histograms: Histograms | None = None) -> None:
        """Begin the record of a generation whose episodes are in."""
        self._record = {"progress/generation": generation} | figures
        self._histograms = histograms or {}

    def add(self, figures: Record) -> None:
        """More of the same generation."""
        self._record |= figures

    def add_search(self, figures: Mapping[str, float]) -> None:
        """What the algorithm says of itself; left out before this command's first generation: no record is open."""
        if self._record:
            self._record |= {f"search/{key}": value for key, value in figures.items()}

    def write(self, progress: RunCounters) -> None:
        """Complete the record, if one is open, with counts and times, and write it down."""
        if not self._record:
            return
        with self.clock.phase("log"):
            self._journal.record(
                self._record
                | {
                    "progress/episodes": progress.episodes,
                    **progress_figures(self._config, progress.timesteps),
                    "progress/seconds": self.seconds,
                    **{f"faults/{name}": count for name, count in self.faults.items()},
                    "faults/episodes_quarantined": progress.quarantined,
                }
                | self.clock.figures(self._executor, self._record.get("episode/timesteps")),
                self._histograms,
            )
        self._record, self._histograms = {}, {}

    def standing(
        self, generation: int, progress: RunCounters, counts: tuple[int, int, int], evaluating: bool
    ) -> Progress:
        """Where a run stands within a generation.

        Args:
            generation: whose episodes are out.
            progress: as of the generation before.
            counts: the collector's `standing`: answered, asked, timesteps.
            evaluating: whether only the evaluation at the end is out.
        """
        answered, asked, timesteps = counts
        return Progress(
            generation=generation,
            answered=answered,
            asked=asked,
            timesteps=progress.timesteps + timesteps,
            seconds=self.seconds,
            workers=self._executor.workers,
            starting=self._executor.starting,
            best=progress.best_return,
            actors_lost=self.faults["actors_lost"],
            quarantined=progress.quarantined,
            evaluating=evaluating,
        )
