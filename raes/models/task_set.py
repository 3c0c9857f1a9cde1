"""The tasks of a model's rewards: which ones an episode sees, and which are kept for evaluations."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from raes.import_object import import_object
from raes.models.settings import ModuleSettings
from raes.rng import Purpose, generator
from raes.text import described
from raes.types import Int64, UserError, check_fault


@dataclass(frozen=True)
class TaskSet:
    """Tasks by number.

    Attributes:
        train: what training draws from.
        held_out: what evaluations draw from.
        per_call: tasks of an episode.
        batched: whether the reward is given the list of them.
    """

    train: Sequence[Any]
    held_out: Sequence[Any]
    per_call: int
    batched: bool

    def draw(self, reset_seed: int, training: bool) -> list[Any]:
        """The tasks of an episode, different ones where there are enough.

        Args:
            reset_seed: of the episode; equal ones draw equal tasks.
            training: whether it is no evaluation.
        """
        among = self.train if training else self.held_out
        draws = generator(reset_seed, Purpose.MODEL_TASKS)
        if self.per_call <= len(among):
            chosen = draws.choice(len(among), self.per_call, replace=False)
        else:
            chosen = draws.integers(len(among), size=self.per_call)
        return [among[int(number)] for number in chosen]


class Part(Sequence[Any]):
    """Some of a sequence's items, by their numbers."""

    def __init__(self, whole: Sequence[Any], numbers: Int64) -> None:
        self._whole, self._numbers = whole, numbers

    def __len__(self) -> int:
        return len(self._numbers)

    def __getitem__(self, number: Any) -> Any:
        return self._whole[int(self._numbers[number])]


def task_set(tasks: Sequence[Any], held_out: Sequence[Any] | None, settings: ModuleSettings, seed: int) -> TaskSet:
    """The tasks, those for evaluations apart.

    Args:
        tasks: for training.
        held_out: for evaluations; None for a share of `tasks`, which the seed draws.
        settings: its numbers count here.
        seed: of the run.

    Raises:
        UserError: there are too few.
    """
    if held_out is None:
        order = generator(seed, Purpose.MODEL_TASKS, 1).permutation(len(tasks))
        apart = round(settings.held_out_share * len(tasks))
        tasks, held_out = Part(tasks, np.sort(order[apart:])), Part(tasks, np.sort(order[:apart]))
        if settings.held_out_share == 0:
            held_out = tasks
    if not len(tasks) or not len(held_out):
        raise UserError(
            f"env.tasks gives {len(tasks)} tasks for training and {len(held_out)} for evaluations; give more, or "
            f"change env.held_out_share={settings.held_out_share:g}"
        )
    return TaskSet(tasks, held_out, settings.tasks_per_call, settings.batched)


def imported_tasks(settings: ModuleSettings, seed: int) -> TaskSet | None:
    """The tasks that the configuration names; None where it names none.

    Raises:
        UserError: they cannot be imported, or are no sequence.
    """
    if not settings.tasks:
        return None
    held_out = _sequence("env.held_out", settings.held_out) if settings.held_out else None
    return task_set(_sequence("env.tasks", settings.tasks), held_out, settings, seed)


def _sequence(key: str, path: str) -> Sequence[Any]:
    value = import_object(key, path)
    if callable(value):
        try:
            value = value()
        except BaseException as error:
            check_fault(error)
            raise UserError(f"{key}={path} fails: {described(error)}; fix it") from error
    if not (hasattr(value, "__len__") and hasattr(value, "__getitem__")) or isinstance(value, dict | str):
        raise UserError(f"{key}={path} gives a {type(value).__name__}; it must give a list or another sequence")
    return value  # type: ignore[no-any-return]
