"""A place between two generations that a run can go on from: what a checkpoint holds."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np

from raes.results import Results
from raes.storage import tree
from raes.storage.checkpoint import Checkpoint
from raes.storage.tree import Arrays
from raes.tasks import Tasks
from raes.training.limits import RunCounters

IN_FLIGHT = "in_flight/"
"""What the names of arrays begin with that belong to `RunState.around`."""


@dataclass(frozen=True)
class QuarantineRecord:
    """An episode that the pool gave up on: deaths and deadlines need not come again, so the verdict stands."""

    generation: int
    purpose: int
    index: int
    reason: str


@dataclass(frozen=True)
class RunState:
    """See the module's docstring.

    Attributes:
        state: of the search, after `state.generation` updates.
        around: what generation `state.generation` perturbs: the same state, or, with `runtime.pipeline=1`, the state
            before it, under this generation's number.
        progress: as of the last finished generation.
        verdicts: on episodes of generations that are not finished.
        branch: whether it is not of this run's own sequence: a policy that was good, from which to start anew.
    """

    state: Any
    around: Any
    progress: RunCounters
    verdicts: tuple[QuarantineRecord, ...] = ()
    branch: bool = False

    @property
    def generation(self) -> int:
        """Updates so far."""
        return int(self.state.generation)

    def perturbed_by(self, generation: int) -> Any:
        """The state that a generation perturbs: this one's `around`, or for the next one `state`, renumbered."""
        if generation == self.generation:
            return self.around
        assert generation == self.generation + 1
        return replace(self.state, generation=generation)

    def after(self, state: Any, progress: RunCounters, pipeline: int) -> RunState:
        """The next point.

        Args:
            state: after the update.
            progress: with the finished generation.
            pipeline: 1 where generations start one update early, else 0.
        """
        around = self.perturbed_by(state.generation) if pipeline else state
        verdicts = tuple(verdict for verdict in self.verdicts if verdict.generation >= state.generation)
        return RunState(state, around, progress, verdicts)

    def quarantined(self, tasks: Tasks) -> tuple[Tasks, list[Results]]:
        """The tasks that may run, and faults for those with a verdict."""
        rows = {int(index): row for row, index in enumerate(tasks.index)}
        done: list[Results] = []
        for verdict in self.verdicts:
            if (verdict.generation, verdict.purpose) == (tasks.generation, tasks.purpose) and verdict.index in rows:
                row = rows.pop(verdict.index)
                done.append(Results.failed(tasks.take(slice(row, row + 1)), verdict.reason))
        if not done:
            return tasks, []
        return tasks.take(np.array(sorted(rows.values()), dtype=np.int64)), done

    def store(self) -> tuple[Arrays, dict[str, Any]]:
        """Arrays and plain values for a checkpoint."""
        arrays, scalars = tree.flatten(self.state)
        plain: dict[str, Any] = {
            "generation": self.generation,
            "search": scalars,
            "in_flight": None,
            "progress": asdict(self.progress),
            "branch": self.branch,
            "verdicts": [asdict(verdict) for verdict in self.verdicts],
        }
        if self.around is not self.state:
            around, plain["in_flight"] = tree.flatten(self.around)
            arrays |= {IN_FLIGHT + name: array for name, array in around.items()}
        return arrays, plain

    @staticmethod
    def restored(template: Any, checkpoint: Checkpoint) -> RunState:
        """What `store` gave.

        Args:
            template: a fresh state of the same search.
            checkpoint: as read.
        """
        plain = checkpoint.state
        state = around = tree.restore(template, checkpoint.arrays, plain["search"])
        if plain["in_flight"] is not None:
            arrays = {
                name.removeprefix(IN_FLIGHT): array
                for name, array in checkpoint.arrays.items()
                if name.startswith(IN_FLIGHT)
            }
            around = tree.restore(template, arrays, plain["in_flight"])
        verdicts = tuple(QuarantineRecord(**verdict) for verdict in plain["verdicts"])
        return RunState(state, around, RunCounters.from_json(plain["progress"]), verdicts)
