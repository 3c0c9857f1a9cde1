"""Snapshots of the weights of a model that workers hold: when they are written, and which one workers begin with."""

from __future__ import annotations

from collections.abc import Iterable

from raes.rng import Purpose
from raes.runtime.executor import Executor
from raes.runtime.rounds import FinishedRound
from raes.runtime.weights_agreement import WeightsAgreement
from raes.storage.location import Location
from raes.storage.weights import WeightFiles
from raes.tasks import Round, Snapshot, evaluation_tasks


class ModelWeights:
    """Writes a snapshot of the weights every so many generations.

    Attributes:
        agreement: whether all workers have the same weights.
    """

    def __init__(self, run_dir: Location, executor: Executor, every: int, parts: int) -> None:
        """Nothing is written yet.

        Args:
            run_dir: of the run.
            executor: whose workers hold the model.
            every: generations between snapshots; 0 for one at the end alone.
            parts: of a snapshot's file.
        """
        self._files, self._executor, self._every, self._parts = WeightFiles(run_dir), executor, every, parts
        self._saved = 0
        self.agreement = WeightsAgreement()

    def resume(self, generation: int) -> None:
        """Go on from the newest snapshot that holds no more updates; those after it are removed."""
        self._files.rewind(generation)
        share_newest(self._files, self._executor, generation)

    def due(self, generation: int) -> bool:
        """Whether a snapshot should be written before this generation."""
        return bool(self._every) and generation > self._saved and generation % self._every == 0

    def round(self, snapshot: Snapshot) -> Round:
        """The round whose tasks are the parts of a snapshot's file."""
        tasks = evaluation_tasks(Purpose.WEIGHTS, snapshot.generation, self._parts)
        return Round(snapshot, evaluation=tasks, purpose=Purpose.WEIGHTS)

    def save(self, generation: int, finished: FinishedRound, needed: Iterable[int]) -> str | None:
        """Write and share the snapshot that such a round has brought; why that failed, or None.

        Args:
            generation: how many updates it holds.
            finished: the round.
            needed: generations whose weights are still needed, besides this one.
        """
        self._saved = generation
        if len(finished.parts) < self._parts:
            return f"no snapshot of the weights after generation {generation}: {finished.first_reason}"
        parts = [finished.parts[number] for number in range(self._parts)]
        self._files.write(generation, parts)
        self._files.keep([*needed, generation])
        self._executor.share_weights(generation, parts)
        return None

    def has(self, generation: int) -> bool:
        """Whether there is a snapshot of this generation."""
        return generation in self._files.generations()


def share_newest(files: WeightFiles, executor: Executor, generation: int) -> None:
    """Let workers begin with the newest snapshot that holds no more updates than this number."""
    newest = files.newest(generation)
    if newest is not None:
        executor.share_weights(newest, list(files.read(newest)))
