"""The interface of pools and executors: tasks in, results out, in any order.

The serial executor and the Ray executor implement it; a driver needs to know nothing else of where episodes run.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any, Protocol

from raes.results import Results
from raes.tasks import Snapshot, Tasks
from raes.types import Float32, Floating, Int64


@dataclass
class Counters:
    """Counts of a pool since its start.

    Attributes:
        actors_lost: workers that died or were killed because they hung.
        tasks_reissued: episodes sent out again after a death.
        tasks_copied: episodes that an idle worker ran in parallel to a slow one.
        results_discarded: results that came twice, or of an abandoned generation.
        payload_bytes: of result records.
        statistics_bytes: of observation statistics.
        busy_seconds: worker seconds inside episodes.
        worker_seconds: seconds for which workers existed, busy or not.
        episodes: results received.
        weights_repaired: how often workers that hold a model have made its weights anew.
        outside_seconds: worker seconds outside the user's reward, of workers that hold a model.
        ray_bytes: of tasks, results and versions of the weights, as they travel to and from workers that hold a model;
            snapshots of all weights do not count.
    """

    actors_lost: int = 0
    tasks_reissued: int = 0
    tasks_copied: int = 0
    results_discarded: int = 0
    payload_bytes: int = 0
    statistics_bytes: int = 0
    busy_seconds: float = 0.0
    worker_seconds: float = 0.0
    episodes: int = 0
    weights_repaired: int = 0
    outside_seconds: float = 0.0
    ray_bytes: int = 0

    def add(self, results: Results) -> None:
        """Count a block of results."""
        self.payload_bytes += results.records.nbytes
        if results.moments is not None:
            moments = results.moments
            self.statistics_bytes += moments.index.nbytes + moments.count.nbytes
            self.statistics_bytes += moments.mean.nbytes + moments.m2.nbytes
        self.weights_repaired += sum(len(report.repairs) for report in results.weights)
        self.outside_seconds += sum(report.seconds for report in results.weights)
        self.busy_seconds += float(results.records["seconds"].sum())
        self.episodes += len(results.records)

    def absorb(self, other: Counters) -> None:
        """Add all of another's counts."""
        for item in fields(self):
            setattr(self, item.name, getattr(self, item.name) + getattr(other, item.name))

    def since(self, other: Counters) -> Counters:
        """The difference to an earlier state of the same counters."""
        return Counters(*(getattr(self, item.name) - getattr(other, item.name) for item in fields(self)))

    @property
    def mean_seconds(self) -> float:
        """Mean seconds of an episode, 0 before the first."""
        return self.busy_seconds / self.episodes if self.episodes else 0.0


class Pool(Protocol):
    """Workers that evaluate: one way in (`submit`) and one way out (`collect`)."""

    @property
    def counters(self) -> Counters:
        """Counts since the pool began."""

    @property
    def notices(self) -> list[str]:
        """Messages for the user since they were last taken; the reader empties the list."""

    @property
    def workers(self) -> int:
        """Number of workers at this moment."""

    @property
    def starting(self) -> int:
        """Number of workers that have not begun to work yet."""

    @property
    def queued(self) -> int:
        """Episodes that wait for a worker."""

    def publish(self, snapshot: Snapshot, oldest: int) -> None:
        """Set what all tasks submitted from now on share; it replaces an earlier snapshot of the same generation.

        Tasks of generations before `oldest` are abandoned; all of the same generation must have been answered.
        """

    def submit(self, tasks: Tasks) -> None:
        """Queue episodes of a published generation, behind those that wait."""

    def collect(self, timeout: float) -> list[Results]:
        """Finished episodes, waiting up to `timeout` seconds for the first; an empty list means that none came.

        Raises:
            RunFailedError: no worker can be kept alive.
        """

    def close(self) -> None:
        """Stop the workers."""


class Executor(Pool, Protocol):
    """A pool with the shared noise: all that a training loop needs.

    Attributes:
        table_fingerprint: the digest of the shared noise.
    """

    table_fingerprint: str

    @property
    def digests(self) -> tuple[str, ...]:
        """One digest of each kind of arithmetic among the workers that have started."""

    def share_weights(self, first: int, parts: Sequence[Any]) -> None:
        """Hold a snapshot of a model's weights for workers that need it; versions published from now on refer to it.

        Args:
            first: updates that it holds.
            parts: its file, cut into parts, in order; each goes to a node once, where it is needed.
        """

    def weighted_noise_sum(self, noise_index: Int64, weights: Float32, squared: bool = False) -> Floating:
        """sum_i weights[i] * noise slice i, (d,), or of its squares, as `noise.weighted_sum` (drawn: float64)."""
