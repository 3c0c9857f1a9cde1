"""Gathers the results of one round into a batch. Pure; the order in which results arrive does not matter."""

from __future__ import annotations

import math
import sys

import numpy as np
from numpy.typing import NDArray

from raes.results import RESULT_DTYPE, Batch, Behaviors, FailedTasks, Fault, Moments, Results, WeightsReport
from raes.tasks import Genomes, Round, Tasks
from raes.types import Float64, RunFailedError, UInt8


class Collector:
    """Gathers one round: at least `min_groups` groups, extended to the shortest prefix that holds `min_timesteps`.

    A group is an antithetic pair, or a single episode. One with a fault is left out whole; it is not replaced, so that
    the set of tasks stays fixed.

    Attributes:
        round: the round.
        evaluation: RESULT_DTYPE (k,), its evaluation's records so far.
        weights: the reports so far of workers that hold a model.
        parts: task index -> uint8 (n,), of a snapshot of a model's weights.
        faults: of training episodes of the prefix and of evaluations, complete once `complete` is true.
    """

    def __init__(self, round: Round) -> None:
        """Expect a round's tasks, none of them sent out yet."""
        self.round = round
        self._max_groups = sys.maxsize if round.max_groups is None else round.max_groups
        self._group = round.group
        self._asked: list[Tasks] = []
        self._groups = 0
        self._records = np.zeros(0, dtype=RESULT_DTYPE)
        self._answered = np.zeros(0, dtype=bool)
        self._moments: list[Moments] = []
        self._behaviors: list[Behaviors] = []
        self._reasons: dict[tuple[int, int], str] = {}
        self._evaluation_asked = [] if round.evaluation is None else [round.evaluation]
        self._evaluation_open = sum(map(len, self._evaluation_asked))
        self.evaluation = np.zeros(self._evaluation_open, dtype=RESULT_DTYPE)
        self.weights: list[WeightsReport] = []
        self.parts: dict[int, UInt8] = {}

    def start(self) -> list[Tasks]:
        """The first tasks: as many groups as the least number and the expected length require, then evaluations.

        Evaluations come last, so that they keep workers busy while the last training episodes end.
        """
        if self.round.ask is None:
            return self._evaluation_asked
        each = self._group * self.round.expected_length
        needed = math.ceil(self.round.min_timesteps / each) if each > 0 else 0
        return [self._extend(min(max(self.round.min_groups, needed), self._max_groups)), *self._evaluation_asked]

    def add(self, results: Results) -> None:
        """Take in results, in any order, each at most once."""
        self._reasons |= {(results.purpose, fault.index): fault.reason for fault in results.faults}
        self.weights += results.weights
        self.parts |= dict(results.parts)
        index = results.records["index"]
        if self._is_evaluation(results.purpose):
            self.evaluation[index] = results.records
            self._evaluation_open -= len(index)
            return
        self._records[index] = results.records
        self._answered[index] = True
        if results.moments is not None:
            self._moments.append(results.moments)
        if results.behaviors is not None:
            self._behaviors.append(results.behaviors)

    def more(self) -> Tasks | None:
        """Further groups, where all are answered and hold too few timesteps; None where nothing must be added."""
        if not self._answered.all() or self._prefix() is not None or not self._valid().any():
            return None
        timesteps = self._group_timesteps()
        missing = self.round.min_timesteps - int(timesteps.sum())
        further = max(1, math.ceil(missing / max(1.0, float(timesteps.mean()))))
        return self._extend(min(further, self._max_groups - self._groups))

    @property
    def progress(self) -> tuple[int, int, int]:
        """Episodes answered, episodes requested (both with evaluations), and training timesteps so far."""
        asked = len(self._records) + len(self.evaluation)
        answered = int(self._answered.sum()) + len(self.evaluation) - self._evaluation_open
        return answered, asked, int(self._records["length"].sum())

    @property
    def complete(self) -> bool:
        """Whether all episodes that count are answered."""
        if self._evaluation_open or not self._answered.all():
            return False
        return self._prefix() is not None or not self._valid().any()

    def batch(self) -> Batch | None:
        """The generation's groups without a fault, or all of them, in index order; None if there is none."""
        prefix = self._prefix() or 0
        kept = np.flatnonzero(self._valid()[:prefix])
        if not kept.size:
            return None
        records = self._records.reshape(-1, self._group)[kept]
        genomes = Genomes.join([tasks.genomes for tasks in self._asked]).take(self._group * kept)
        capped, violations = records["capped"], np.where(records["fault"], np.nan_to_num(records["return"]), 0.0)
        return Batch(
            index=kept,
            genomes=genomes,
            returns=np.where(records["fault"], np.nan, records["return"]),
            sign_returns=records["sign_return"].astype(np.float64),
            lengths=records["length"].astype(np.int64),
            capped_share=float(capped.mean()),
            moments=self._ordered_moments(kept),
            behaviors=self._ordered_behaviors(kept),
            violations=violations if violations.any() else None,
        )

    @property
    def surplus(self) -> int:
        """Episodes that were run and are not part of the prefix."""
        return int(self._answered[self._group * (self._prefix() or self._groups) :].sum())

    @property
    def faults(self) -> list[tuple[int, Fault]]:
        """(purpose, fault) of every failed episode that belongs to the generation, in task order."""
        end = self._group * (self._prefix() or self._groups)
        return [
            (purpose, Fault(index, reason))
            for (purpose, index), reason in sorted(self._reasons.items())
            if self._is_evaluation(purpose) or index < end
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

    def _is_evaluation(self, purpose: int) -> bool:
        evaluation = self.round.evaluation
        return evaluation is not None and purpose == evaluation.purpose

    def _extend(self, count: int) -> Tasks:
        assert self.round.ask is not None
        tasks = self.round.ask(self._groups, count)
        if len(tasks) != self._group * count:
            raise RunFailedError(f"the algorithm was asked for {self._group * count} episodes and gave {len(tasks)}")
        self._asked.append(tasks)
        self._groups += count
        self._records = np.concatenate([self._records, np.zeros(len(tasks), dtype=RESULT_DTYPE)])
        self._answered = np.concatenate([self._answered, np.zeros(len(tasks), dtype=bool)])
        return tasks

    def _valid(self) -> NDArray[np.bool_]:
        """Groups without a fault, or all that are answered."""
        bad = np.logical_not(self._answered) if self.round.keep_failed else self._records["fault"]
        valid: NDArray[np.bool_] = np.logical_not(np.any(bad.reshape(-1, self._group), axis=1))
        return valid

    def _group_timesteps(self) -> NDArray[np.int64]:
        lengths = self._records["length"].reshape(-1, self._group).sum(axis=1, dtype=np.int64)
        return np.where(self._valid(), lengths, 0)

    def _prefix(self) -> int | None:
        """How many groups make the generation; None while there are too few."""
        reached = np.cumsum(self._group_timesteps()) >= self.round.min_timesteps
        if not reached.any():
            return self._groups if self._groups >= self._max_groups else None
        return max(self.round.min_groups, int(reached.argmax()) + 1)

    def _ordered_moments(self, kept: NDArray[np.int64]) -> Moments | None:
        if not self._moments:
            return None
        moments = Moments.join(self._moments)
        wanted = np.isin(moments.index // self._group, kept)
        order = np.argsort(moments.index[wanted])
        return moments.take(np.flatnonzero(wanted)[order]) if order.size else None

    def _ordered_behaviors(self, kept: NDArray[np.int64]) -> Float64 | None:
        if not self._behaviors:
            return None
        behaviors = Behaviors.join(self._behaviors)
        rows = np.full((len(self._records), behaviors.values.shape[1]), np.nan)
        rows[behaviors.index] = behaviors.values
        grouped: Float64 = rows.reshape(-1, self._group, rows.shape[1])[kept]
        return grouped
