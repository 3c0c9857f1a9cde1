"""Where a run is between two generations: the search's state and what the run has counted; what a checkpoint holds."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from typing import Any, TypeVar

from pydantic import TypeAdapter, ValidationError

from raes.storage import tree
from raes.storage.checkpoint import Checkpoint
from raes.storage.tree import Arrays
from raes.training.quarantine import QuarantineRecord

Stored = TypeVar("Stored")

IN_FLIGHT = "in_flight/"
"""The prefix of the arrays in a checkpoint that belong to `RunState.base`."""
FAULT_WINDOW = 1000
"""Episodes over which the share of faults is taken, where a generation has fewer."""


@dataclass(frozen=True)
class RunCounters:
    """Counted from the run's beginning, resumes included.

    Attributes:
        episodes: training episodes that entered a generation.
        timesteps: of those episodes.
        best_return: the highest evaluation mean.
        goal_streak: evaluations in a row that reached the goal.
        quarantined: episodes left out.
        fault_history: (episodes, faults) of the last generations, as many as the window needs.
    """

    episodes: int = 0
    timesteps: int = 0
    best_return: float | None = None
    goal_streak: int = 0
    quarantined: int = 0
    fault_history: tuple[tuple[int, int], ...] = ()

    def with_round(self, episodes: int, timesteps: int, faults: int) -> RunCounters:
        """With one more round of so many good episodes and faults."""
        history = (*self.fault_history, (episodes + faults, faults))
        while len(history) > 1 and sum(total for total, _ in history[1:]) >= FAULT_WINDOW:
            history = history[1:]
        return replace(
            self,
            episodes=self.episodes + episodes,
            timesteps=self.timesteps + timesteps,
            quarantined=self.quarantined + faults,
            fault_history=history,
        )

    def with_evaluation(self, mean: float, goal: float | None) -> RunCounters:
        """With one more evaluation; the best (of equals the latest) and the goal are decided here and only here."""
        reached = goal is not None and mean >= goal
        best = mean if self.best_return is None else max(mean, self.best_return)
        return replace(self, best_return=best, goal_streak=self.goal_streak + 1 if reached else 0)


@dataclass(frozen=True)
class _Stored:
    """What `RunState.store` gives besides the search's own state."""

    progress: RunCounters
    quarantine: tuple[QuarantineRecord, ...]


def read_as(kind: type[Stored], plain: Mapping[str, Any]) -> Stored:
    """A dataclass from the keys of its fields in a checkpoint's JSON object.

    Raises:
        ValueError: something is missing, or of another kind.
    """
    own = {field.name: plain[field.name] for field in fields(kind) if field.name in plain}  # type: ignore[arg-type]
    try:
        return TypeAdapter(kind).validate_json(json.dumps(own), strict=True)
    except ValidationError as error:
        first = error.errors()[0]
        raise ValueError(f"{'.'.join(map(str, first['loc']))}: {first['msg']}") from error


@dataclass(frozen=True)
class RunState:
    """Everything that changes while a run goes on.

    Attributes:
        search: the algorithm's state, after `search.generation` updates.
        base: what generation `search.generation` perturbs: the same state, or, with `runtime.pipeline=1`, the state
            before it, under this generation's number.
        counters: as of the last finished round.
        quarantine: episodes of generations that are not finished, which must not run again.
        branch: whether it is not of this run's own sequence: a policy that was good, from which to start anew.
    """

    search: Any
    base: Any
    counters: RunCounters = RunCounters()
    quarantine: tuple[QuarantineRecord, ...] = ()
    branch: bool = False

    @property
    def generation(self) -> int:
        """Updates so far."""
        return int(self.search.generation)

    def base_of(self, generation: int) -> Any:
        """The search state that a generation perturbs: `base`, or for the generation after it `search`, renumbered."""
        if generation == self.generation:
            return self.base
        assert generation == self.generation + 1
        return replace(self.search, generation=generation)

    def after(self, search: Any, counters: RunCounters, pipeline: int) -> RunState:
        """The state after a round.

        Args:
            search: the algorithm's new state.
            counters: with the finished round.
            pipeline: 1 where generations start one update early, else 0.
        """
        base = self.base_of(search.generation) if pipeline else search
        quarantine = tuple(record for record in self.quarantine if record.generation >= search.generation)
        return RunState(search, base, counters, quarantine)

    def store(self) -> tuple[Arrays, dict[str, Any]]:
        """Arrays and plain values for a checkpoint."""
        arrays, scalars = tree.flatten(self.search)
        plain: dict[str, Any] = {
            "generation": self.generation,
            "search": scalars,
            "in_flight": None,
            "progress": asdict(self.counters),
            "branch": self.branch,
            "quarantine": [asdict(record) for record in self.quarantine],
        }
        if self.base is not self.search:
            base, plain["in_flight"] = tree.flatten(self.base)
            arrays |= {IN_FLIGHT + name: array for name, array in base.items()}
        return arrays, plain

    @staticmethod
    def restore(template: Any, checkpoint: Checkpoint, sizes: Mapping[int, int] | None = None) -> RunState:
        """What `store` gave.

        Args:
            template: a state of the same search.
            checkpoint: as read.
            sizes: see `tree.restore`.

        Raises:
            KeyError, TypeError, ValueError: the checkpoint is not of such a search.
        """
        plain, stored = checkpoint.state, read_as(_Stored, checkpoint.state)
        search = base = tree.restore(template, checkpoint.arrays, plain["search"], sizes=sizes)
        if plain["in_flight"] is not None:
            arrays = {
                name.removeprefix(IN_FLIGHT): array
                for name, array in checkpoint.arrays.items()
                if name.startswith(IN_FLIGHT)
            }
            base = tree.restore(template, arrays, plain["in_flight"], sizes=sizes)
        if search.generation != plain["generation"]:
            raise ValueError(f"its search has made {search.generation} updates, and it is of {plain['generation']}")
        return RunState(search, base, stored.progress, stored.quarantine)
