"""The executor: takes tasks, gives results, in any order. The driver knows nothing else of where episodes run."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from raes.types import Float32, Int64, Results, Snapshot, Tasks


@dataclass
class Counters:
    """What the executor has counted since it began.

    Attributes:
        actors_lost: workers that died.
        tasks_reissued: episodes sent out again after a death.
        results_discarded: results that came twice, or of a generation that was given up.
        payload_bytes: of result records.
        statistics_bytes: of observation statistics.
        busy_seconds: actor seconds inside episodes.
        episodes: results received.
    """

    actors_lost: int = 0
    tasks_reissued: int = 0
    results_discarded: int = 0
    payload_bytes: int = 0
    statistics_bytes: int = 0
    busy_seconds: float = 0.0
    episodes: int = 0

    def add(self, results: Results) -> None:
        """Count a block of results."""
        self.payload_bytes += results.records.nbytes
        if results.moments is not None:
            moments = results.moments
            self.statistics_bytes += moments.index.nbytes + moments.count.nbytes
            self.statistics_bytes += moments.mean.nbytes + moments.m2.nbytes
        self.busy_seconds += float(results.records["seconds"].sum())
        self.episodes += len(results.records)


class Executor(Protocol):
    """One way in (`submit`) and one way out (`collect`).

    Attributes:
        counters: figures for the log.
        notices: messages for the user since they were last taken; the reader empties the list.
    """

    counters: Counters
    notices: list[str]

    @property
    def workers(self) -> int:
        """How many workers evaluate at this moment."""

    @property
    def table_fingerprint(self) -> str:
        """The digest of the shared noise."""

    def publish(self, snapshot: Snapshot) -> None:
        """Make a generation's snapshot known to all workers; tasks of earlier ones are given up."""

    def submit(self, tasks: Tasks) -> None:
        """Queue episodes of the published generation."""

    def collect(self, timeout: float) -> list[Results]:
        """Finished episodes, waiting up to `timeout` seconds for the first; an empty list says none came.

        Raises:
            RunFailedError: no worker can be kept alive.
        """

    def weighted_noise_sum(self, noise_index: Int64, weights: Float32) -> Float32:
        """sum_i weights[i] * noise slice i, float32 (d,)."""

    def close(self) -> None:
        """Stop the workers."""
