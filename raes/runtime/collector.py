"""Gathers the results of one generation into a batch; pure, and indifferent to the order in which they come."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from raes.rng import Purpose
from raes.types import RESULT_DTYPE, Batch, FailedTasks, Fault, Genomes, Moments, Results, Tasks


class Collector:
    """One generation: at least `min_pairs` pairs, extended to the shortest prefix that holds `min_timesteps`.

    A pair with a fault is left out whole; it is not replaced, so that the set of tasks stays fixed.

    Attributes:
        faults: of training episodes of the prefix and of evaluations, complete once `complete` is true.
    """

    def __init__(
        self,
        ask: Callable[[int, int], Tasks] | None,
        min_pairs: int,
        min_timesteps: int,
        expected_length: float,
        evaluation: Tasks | None,
    ) -> None:
        """Expect these tasks.

        Args:
            ask: (first pair, count) -> their tasks; None where there are no training episodes.
            min_pairs: pairs of the generation, at least.
            min_timesteps: timesteps of the generation, at least.
            expected_length: timesteps of an episode, a guess that only saves time; 0 for none.
            evaluation: evaluation episodes that run along.
        """
        self._ask, self._min_pairs, self._min_timesteps = ask, min_pairs, min_timesteps
        self._expected_length = expected_length
        self._asked: list[Tasks] = []
        self._pairs = 0
        self._records = np.zeros(0, dtype=RESULT_DTYPE)
        self._answered = np.zeros(0, dtype=bool)
        self._moments: list[Moments] = []
        self._reasons: dict[tuple[int, int], str] = {}
        self._evaluation_asked = [] if evaluation is None else [evaluation]
        self._evaluation_open = 0 if evaluation is None else len(evaluation)
        self.evaluation = np.zeros(self._evaluation_open, dtype=RESULT_DTYPE)

    def start(self) -> list[Tasks]:
        """The first tasks: the pairs that are certain, and those that the expected length asks for; then evaluations,
        which fill the gap that the last of the others leave."""
        if self._ask is None:
            return self._evaluation_asked
        needed = math.ceil(self._min_timesteps / (2 * self._expected_length)) if self._expected_length > 0 else 0
        return [self._extend(max(self._min_pairs, needed)), *self._evaluation_asked]

    def add(self, results: Results) -> None:
        """Take in results, in any order, each at most once."""
        self._reasons |= {(results.purpose, fault.index): fault.reason for fault in results.faults}
        index = results.records["index"]
        if results.purpose == Purpose.EVALUATION:
            self.evaluation[index] = results.records
            self._evaluation_open -= len(index)
            return
        self._records[index] = results.records
        self._answered[index] = True
        if results.moments is not None:
            self._moments.append(results.moments)

    def more(self) -> Tasks | None:
        """Further pairs, where all are answered and the timesteps do not suffice; None where nothing is to add."""
        if not self._answered.all() or self._prefix() is not None or not self._valid().any():
            return None
        timesteps = self._pair_timesteps()
        missing = self._min_timesteps - int(timesteps.sum())
        return self._extend(max(1, math.ceil(missing / max(1.0, float(timesteps.mean())))))

    @property
    def complete(self) -> bool:
        """Whether all episodes that count are answered."""
        if self._evaluation_open or not self._answered.all():
            return False
        return self._prefix() is not None or not self._valid().any()

    def batch(self) -> Batch | None:
        """The generation's whole pairs, in index order; None if there is none."""
        prefix = self._prefix() or 0
        kept = np.flatnonzero(self._valid()[:prefix])
        if not kept.size:
            return None
        records = self._records.reshape(-1, 2)[kept]
        genomes = Genomes.join([tasks.genomes for tasks in self._asked]).take(2 * kept)
        capped = records["capped"]
        return Batch(
            genomes=genomes,
            returns=records["return"].astype(np.float64),
            sign_returns=records["sign_return"].astype(np.float64),
            lengths=records["length"].astype(np.int64),
            capped_share=float(capped.mean()),
            moments=self._ordered_moments(kept),
        )

    @property
    def surplus(self) -> int:
        """Episodes that were run and lie behind the prefix."""
        return int(self._answered[2 * (self._prefix() or self._pairs) :].sum())

    @property
    def faults(self) -> list[tuple[int, Fault]]:
        """(purpose, fault) of every failed episode that belongs to the generation, in task order."""
        end = 2 * (self._prefix() or self._pairs)
        return [
            (purpose, Fault(index, reason))
            for (purpose, index), reason in sorted(self._reasons.items())
            if purpose == Purpose.EVALUATION or index < end
        ]

    def failed_tasks(self) -> list[FailedTasks]:
        """The tasks of `faults`, in their order, in one block or more."""
        reasons = {(purpose, fault.index): fault.reason for purpose, fault in self.faults}
        blocks = []
        for tasks in self._asked + self._evaluation_asked:
            keys = [(tasks.purpose, index) for index in tasks.index.tolist()]
            rows = [row for row, key in enumerate(keys) if key in reasons]
            if rows:
                blocks.append(FailedTasks(tasks.take(np.array(rows)), tuple(reasons[keys[row]] for row in rows)))
        return blocks

    def _extend(self, count: int) -> Tasks:
        assert self._ask is not None
        tasks = self._ask(self._pairs, count)
        self._asked.append(tasks)
        self._pairs += count
        self._records = np.concatenate([self._records, np.zeros(2 * count, dtype=RESULT_DTYPE)])
        self._answered = np.concatenate([self._answered, np.zeros(2 * count, dtype=bool)])
        return tasks

    def _valid(self) -> NDArray[np.bool_]:
        """Pairs without a fault."""
        faults = self._records["fault"].reshape(-1, 2)
        valid: NDArray[np.bool_] = np.logical_not(faults[:, 0] | faults[:, 1])
        return valid

    def _pair_timesteps(self) -> NDArray[np.int64]:
        lengths = self._records["length"].reshape(-1, 2).sum(axis=1, dtype=np.int64)
        return np.where(self._valid(), lengths, 0)

    def _prefix(self) -> int | None:
        """Pairs of the generation, once enough are there."""
        reached = np.cumsum(self._pair_timesteps()) >= self._min_timesteps
        if not reached.any():
            return None
        return max(self._min_pairs, int(reached.argmax()) + 1)

    def _ordered_moments(self, kept: NDArray[np.int64]) -> Moments | None:
        if not self._moments:
            return None
        moments = Moments.join(self._moments)
        wanted = np.isin(moments.index // 2, kept)
        order = np.argsort(moments.index[wanted])
        return moments.take(np.flatnonzero(wanted)[order]) if order.size else None
