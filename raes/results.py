"""What workers send back: results as packed arrays, a few bytes per episode, and a generation's batch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Self, TypeVar

import numpy as np
from numpy.typing import NDArray

from raes.tasks import Genomes, Tasks
from raes.types import Bool, Float64, Int64, Packed, RunFailedError, UInt8

RESULT_DTYPE = np.dtype(
    [
        ("index", "<i8"),
        ("return", "<f8"),
        ("sign_return", "<i4"),
        ("length", "<i4"),
        ("seconds", "<f4"),
        ("capped", "?"),
        ("fault", "?"),
    ]
)
"""One episode's result, 30 bytes: task index, undiscounted return, sum of the rewards' signs, timesteps, seconds in
the actor, whether the episode cap ended it, whether it failed. The return of a failed one is NaN; that of a point that
violates the constraints of a function is by how much, and there is no `Fault` for it, since nothing broke."""


@dataclass(frozen=True)
class Moments(Packed):
    """Observation statistics of k episodes, each complete in itself.

    Attributes:
        index: int64 (k,), the task they belong to.
        count: float64 (k,), observations.
        mean: float64 (k, obs).
        m2: float64 (k, obs), the sum of squared deviations from the mean.
    """

    index: Int64
    count: Float64
    mean: Float64
    m2: Float64


@dataclass(frozen=True)
class Behaviors(Packed):
    """What k episodes did, as the run's descriptor has it.

    Attributes:
        index: int64 (k,), the task they belong to.
        values: float64 (k, b).
    """

    index: Int64
    values: Float64

    @classmethod
    def join(cls, parts: list[Self]) -> Self:
        """All rows of all parts, in the order given.

        Raises:
            RunFailedError: they have different lengths.
        """
        if len(lengths := {part.values.shape[1] for part in parts}) > 1:
            raise RunFailedError(
                f"the behaviour descriptor gives {' and '.join(map(str, sorted(lengths)))} numbers for different "
                "episodes; it must always give the same number"
            )
        return super().join(parts)


@dataclass(frozen=True)
class Fault:
    """Why one episode has no result.

    Attributes:
        index: the task's.
        reason: in words.
        quarantined: whether the pool abandoned it after its workers died or hung; that need not come about
            again by itself, so a checkpoint keeps it.
        certain: whether another run would leave it out too: not where its workers were killed from outside, or missed
            a deadline.
    """

    index: int
    reason: str
    quarantined: bool = False
    certain: bool = True


@dataclass(frozen=True)
class FailedTasks:
    """Tasks that have no result, with what it takes to run them again.

    Attributes:
        tasks: k of them.
        reasons: one for each, in words.
    """

    tasks: Tasks
    reasons: tuple[str, ...]

    def take(self, which: Int64) -> FailedTasks:
        """The given tasks, in the given order."""
        return FailedTasks(self.tasks.take(which), tuple(self.reasons[row] for row in which.tolist()))


@dataclass(frozen=True)
class WeightsReport:
    """What a worker that holds a model has to report of its weights.

    Attributes:
        worker: its host and process.
        updates: how many the weights have.
        digest: of the weights without noise.
        repairs: why it has made them anew since its last report.
        seconds: that it spent outside the user's reward since its last report.
    """

    worker: str
    updates: int
    digest: str
    repairs: tuple[str, ...] = ()
    seconds: float = 0.0


@dataclass(frozen=True)
class Results:
    """Finished episodes of one purpose and generation, in any order.

    Attributes:
        records: RESULT_DTYPE (k,).
        moments: observation statistics of the episodes that were to be observed, or None.
        faults: a reason for each record whose `fault` is set, but for violated constraints.
        behaviors: what the episodes without a fault did, where the run has a descriptor, else None.
        weights: reports of the workers, where they hold a model.
        parts: (task index, uint8 (n,)) of a snapshot of a model's weights; of purpose WEIGHTS alone.
    """

    purpose: int
    generation: int
    records: NDArray[np.void]
    moments: Moments | None = None
    faults: tuple[Fault, ...] = ()
    behaviors: Behaviors | None = None
    weights: tuple[WeightsReport, ...] = ()
    parts: tuple[tuple[int, UInt8], ...] = ()

    @staticmethod
    def failed(tasks: Tasks, reason: str, quarantined: bool = False, certain: bool = True) -> Results:
        """All of these tasks failed, for one reason."""
        records = np.zeros(len(tasks), dtype=RESULT_DTYPE)
        records["index"], records["return"], records["fault"] = tasks.index, np.nan, True
        faults = tuple(Fault(index, reason, quarantined, certain) for index in tasks.index.tolist())
        return Results(tasks.purpose, tasks.generation, records, faults=faults)

    def take(self, which: Bool) -> Results:
        """The given results with all that belongs to them."""
        kept = self.records["index"][which]
        return Results(
            self.purpose,
            self.generation,
            self.records[which],
            _of(self.moments, kept),
            tuple(fault for fault in self.faults if fault.index in kept),
            _of(self.behaviors, kept),
            self.weights,
            tuple(part for part in self.parts if part[0] in kept),
        )

    @staticmethod
    def merge(parts: Sequence[Results]) -> list[Results]:
        """The same results in fewer parts: one for each purpose and generation, in the order they first came."""
        groups: dict[tuple[int, int], list[Results]] = {}
        for part in parts:
            groups.setdefault((part.generation, part.purpose), []).append(part)
        return [group[0] if len(group) == 1 else _join(group) for group in groups.values()]


Kept = TypeVar("Kept", Moments, Behaviors)


def _of(kept: Kept | None, index: Int64) -> Kept | None:
    """The rows that belong to these tasks."""
    return None if kept is None else kept.take(np.flatnonzero(np.isin(kept.index, index)))


def _join(group: list[Results]) -> Results:
    moments = [part.moments for part in group if part.moments is not None]
    behaviors = [part.behaviors for part in group if part.behaviors is not None]
    return Results(
        group[0].purpose,
        group[0].generation,
        np.concatenate([part.records for part in group]),
        Moments.join(moments) if moments else None,
        tuple(fault for part in group for fault in part.faults),
        Behaviors.join(behaviors) if behaviors else None,
        tuple(report for part in group for report in part.weights),
        tuple(one for part in group for one in part.parts),
    )


@dataclass(frozen=True)
class Batch:
    """A complete generation of n whole groups of m episodes, in index order; the same whatever the workers did.

    Attributes:
        index: int64 (n,), the groups' numbers in the generation; those with a fault are missing.
        genomes: the recipes of each group's first episode, (n,).
        returns: float64 (n, m), undiscounted; of pairs columns + and -.
        sign_returns: float64 (n, m), sums of the signs of the rewards.
        lengths: int64 (n, m), timesteps.
        capped_share: share of the episodes that the episode cap ended.
        moments: of the observed episodes in task order, or None.
        behaviors: float64 (n, m, b), or None.
        violations: float64 (n, m), by how much points violate the constraints of a function; their returns are NaN.
            None where all keep them.
    """

    index: Int64
    genomes: Genomes
    returns: Float64
    sign_returns: Float64
    lengths: Int64
    capped_share: float
    moments: Moments | None = None
    behaviors: Float64 | None = None
    violations: Float64 | None = None

    def finite(self) -> Batch | None:
        """The groups whose returns are all finite; None where there is none."""
        kept = np.flatnonzero(np.isfinite(self.returns).all(axis=1))
        if len(kept) == len(self.returns):
            return self
        if not len(kept):
            return None
        return replace(
            self,
            index=self.index[kept],
            genomes=self.genomes.take(kept),
            returns=self.returns[kept],
            sign_returns=self.sign_returns[kept],
            lengths=self.lengths[kept],
            behaviors=None if self.behaviors is None else self.behaviors[kept],
            violations=None,
        )
