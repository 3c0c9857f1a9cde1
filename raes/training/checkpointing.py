"""What a checkpoint holds, and when one is written."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from raes.storage.checkpoint import CheckpointStore, generation_of
from raes.storage.tree import Arrays
from raes.training.state import RunState
from raes.types import Natural, NotNegative

CHECKPOINT_SHARE = 0.02
"""checkpoint.every=auto: writing costs at most this share of the time."""


@dataclass(frozen=True)
class RunFacts:
    """What a checkpoint holds of its run besides the `RunState`.

    Attributes:
        config: all keys, nested.
        noise_fingerprint: the digest of the shared noise table.
        arrays: that every checkpoint of the run holds, such as the reference batch of virtual batch normalisation.
    """

    config: Mapping[str, Any]
    noise_fingerprint: str
    arrays: Arrays


@dataclass(frozen=True)
class RunTotals:
    """What a run's checkpoint holds besides its `RunState`, as `MetricsRecorder.totals` and `RunFacts` give it.

    Attributes:
        seconds: of the run.
        faults: counts of an executor, by name.
        noise_fingerprint: the digest of the shared noise table.
        arithmetic: `ArithmeticWatch.known`; none where the checkpoint does not say, as those before it.
        first_weights: the digest of the weights that a model began with; empty for other runs.
    """

    seconds: NotNegative
    faults: dict[str, Natural]
    noise_fingerprint: str
    arithmetic: tuple[str, ...] = ()
    first_weights: str = ""


class Checkpointer:
    """Writes checkpoints: when one is due, at the end, for the best policy, and when an episode is quarantined."""

    def __init__(
        self, store: CheckpointStore, every: int | str, facts: RunFacts, totals: Callable[[], dict[str, Any]]
    ) -> None:
        """Nothing is written yet.

        Args:
            store: where checkpoints are written.
            every: the key `checkpoint.every`: generations, or `auto`.
            facts: the same in every checkpoint of the run.
            totals: called when a checkpoint is about to be written: `seconds`, `faults` and `arithmetic` of the run; by
                then all metrics that the checkpoint relies on are on the disk.
        """
        self._store, self._every, self._facts, self._totals = store, every, facts, totals
        self._generation, self._cost, self._at = -1, 0.0, time.perf_counter()

    def save_if_due(self, state: RunState) -> None:
        """Write a checkpoint where it is due by `checkpoint.every`; not the very first, which is quickly made again."""
        if self._every == "auto":
            due = self._cost <= CHECKPOINT_SHARE * (time.perf_counter() - self._at)
        else:
            due = state.generation % int(self._every) == 0
        if due and state.generation:
            self.save(state)

    def save(self, state: RunState) -> None:
        """Write a checkpoint, if there is none of this generation yet."""
        if self._generation == state.generation:
            return
        started = time.perf_counter()
        self._write(state, "latest")
        self._generation, self._at = state.generation, time.perf_counter()
        self._cost = self._at - started

    @property
    def generations(self) -> list[int]:
        """Those of the checkpoints that are there."""
        return [generation_of(name) for name in self._store.names()]

    def move(self, run_dir: Path) -> None:
        """Write to another run directory from now on."""
        self._store, self._generation = CheckpointStore(run_dir), -1

    def save_best(self, state: RunState, evaluated: Any) -> None:
        """Keep a policy that was good.

        With `runtime.pipeline=1` it is the one of a generation ago: kept as a branch that starts there anew, unless
        that generation's own checkpoint is still there.

        Args:
            state: where the run is.
            evaluated: the search state whose theta was evaluated.
        """
        if evaluated.theta is not state.search.theta:
            earlier = replace(evaluated, generation=state.generation - 1)
            state = RunState(earlier, earlier, state.counters, branch=True)
        self._write(state, "best")

    def save_quarantine(self, state: RunState) -> None:
        """Write down which episodes the pool abandoned, before it counts, so that a restart cannot decide otherwise."""
        self.save(state)
        self._store.save_quarantine(state.generation, [asdict(record) for record in state.quarantine])

    def _write(self, state: RunState, pointer: str) -> None:
        """A checkpoint is assembled here: the run's state, its facts and its totals."""
        arrays, plain = state.store()
        facts = {"config": self._facts.config, "noise_fingerprint": self._facts.noise_fingerprint}
        self._store.save(plain | facts | self._totals(), arrays | self._facts.arrays, pointer)
