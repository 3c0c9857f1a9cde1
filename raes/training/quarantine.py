"""Episodes that the pool abandoned because their workers died or hung: the decision is kept, so that it stays one.

Deaths and deadlines need not come about again, so without a record a resumed run could compute other bits.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from raes.results import Results
from raes.tasks import Round, Tasks


@dataclass(frozen=True)
class QuarantineRecord:
    """One abandoned episode.

    Attributes:
        generation: of the episode.
        purpose: a value of `raes.rng.Purpose`.
        index: of the task.
        reason: in words.
        certain: whether another run would leave it out too, as where it crashes its worker each time.
    """

    generation: int
    purpose: int
    index: int
    reason: str
    certain: bool = True


def new_records(results: Results) -> tuple[QuarantineRecord, ...]:
    """The episodes among results that the pool abandoned."""
    return tuple(
        QuarantineRecord(results.generation, results.purpose, fault.index, fault.reason, fault.certain)
        for fault in results.faults
        if fault.quarantined
    )


def by_accident(records: Iterable[QuarantineRecord], round: Round) -> int:
    """How many episodes of a round were left out that another run might have counted."""
    purposes = {round.purpose} | ({round.evaluation.purpose} if round.evaluation is not None else set())
    return sum(
        not record.certain and record.generation == round.generation and record.purpose in purposes
        for record in records
    )


def admit(records: Iterable[QuarantineRecord], tasks: Tasks) -> tuple[Tasks, list[Results]]:
    """The tasks that may run, and failed results for those that a record keeps from running."""
    rows = {int(index): row for row, index in enumerate(tasks.index)}
    failed: list[Results] = []
    for record in records:
        if (record.generation, record.purpose) == (tasks.generation, tasks.purpose) and record.index in rows:
            row = rows.pop(record.index)
            failed.append(Results.failed(tasks.take(slice(row, row + 1)), record.reason))
    if not failed:
        return tasks, []
    return tasks.take(np.array(sorted(rows.values()), dtype=np.int64)), failed
