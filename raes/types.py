"""What travels between driver and actors, and the one error for what a user did.

A task is one episode. Tasks go out and results come back as packed arrays: a few bytes an episode, never an object
an episode.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

Float32 = NDArray[np.float32]
Float64 = NDArray[np.float64]
Int64 = NDArray[np.int64]
Bool = NDArray[np.bool_]

SETTINGS: dict[str, Any] = {"extra": "forbid", "allow_inf_nan": False}
"""For pydantic, in every dataclass of settings: no unknown keys, only finite numbers."""


class UserError(ValueError):
    """Something the user can mend: one clear message with the value, the key and the cure; exit code 2."""


class RunFailedError(RuntimeError):
    """The run cannot go on: every episode fails, or no actor starts. The message gives the reason; exit code 1."""


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
the actor, whether the episode cap ended it, whether it failed."""


class _Packed:
    """Arrays of equal first length, cut and joined together."""

    def take(self, which: Int64 | slice) -> Self:
        """The given rows of every array."""
        return type(self)(*(getattr(self, field.name)[which] for field in fields(self)))  # type: ignore[arg-type]

    @classmethod
    def join(cls, parts: list[Self]) -> Self:
        """All rows of all parts, in the order given."""
        return cls(*(np.concatenate([getattr(part, field.name) for part in parts]) for field in fields(cls)))  # type: ignore[arg-type]


@dataclass(frozen=True)
class Genomes(_Packed):
    """Recipes for parameters: theta + scale * noise[noise_index : noise_index + d].

    Attributes:
        noise_index: int64 (k,), where in the shared table the perturbation starts.
        scale: float32 (k,), +sigma, -sigma, or 0 for theta itself.
    """

    noise_index: Int64
    scale: Float32


@dataclass(frozen=True)
class Tasks:
    """A block of episodes around one snapshot.

    Attributes:
        purpose: what the episodes are for, a value of `raes.rng.Purpose`: TRAINING, EVALUATION or HELD_OUT.
        generation: the generation whose snapshot they perturb.
        index: int64 (k,), the task's number in its generation; 2i is theta + sigma eps_i, 2i + 1 its mirror.
        reset: int64 (k,), the number of the episode's reset seed; the two episodes of a pair may share one.
        observe: bool (k,), whether the episode's observations enter the running statistics.
        genomes: the k recipes.
    """

    purpose: int
    generation: int
    index: Int64
    reset: Int64
    observe: Bool
    genomes: Genomes

    def __len__(self) -> int:
        return len(self.index)

    def take(self, which: Int64 | slice) -> Tasks:
        """The given tasks, in the given order."""
        return Tasks(
            self.purpose,
            self.generation,
            self.index[which],
            self.reset[which],
            self.observe[which],
            self.genomes.take(which),
        )


@dataclass(frozen=True)
class Snapshot:
    """What all episodes of a generation share; put into the object store once.

    Attributes:
        generation: its key.
        theta: float32 (d,).
        obs_mean: float64 (obs,), or None where observations are not normalised.
        obs_scale: float64 (obs,), the factor that follows the subtraction of the mean (1/std).
        obs_clip: the bound on a normalised observation.
        action_noise: standard deviation of the Gaussian noise on continuous actions, in training only.
        max_steps: the cap on a training episode's timesteps, or None.
    """

    generation: int
    theta: Float32
    obs_mean: Float64 | None = None
    obs_scale: Float64 | None = None
    obs_clip: float = 5.0
    action_noise: float = 0.0
    max_steps: int | None = None


@dataclass(frozen=True)
class Moments(_Packed):
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
class Fault:
    """Why one episode has no result.

    Attributes:
        index: the task's.
        reason: in words.
        imposed: whether the pool gave up on it after its workers died or hung; such a verdict need not come about
            again by itself, so a checkpoint keeps it.
    """

    index: int
    reason: str
    imposed: bool = False


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
class Results:
    """Finished episodes of one purpose and generation, in any order.

    Attributes:
        records: RESULT_DTYPE (k,).
        moments: observation statistics of the episodes that were to be observed, or None.
        faults: a reason for each record whose `fault` is set.
    """

    purpose: int
    generation: int
    records: NDArray[np.void]
    moments: Moments | None = None
    faults: tuple[Fault, ...] = ()

    @staticmethod
    def failed(tasks: Tasks, reason: str, imposed: bool = False) -> Results:
        """All of these tasks failed, for one reason."""
        records = np.zeros(len(tasks), dtype=RESULT_DTYPE)
        records["index"], records["return"], records["fault"] = tasks.index, np.nan, True
        faults = tuple(Fault(index, reason, imposed) for index in tasks.index.tolist())
        return Results(tasks.purpose, tasks.generation, records, None, faults)

    @staticmethod
    def merge(parts: Sequence[Results]) -> list[Results]:
        """The same results in fewer parts: one for each purpose and generation, in the order they first came."""
        groups: dict[tuple[int, int], list[Results]] = {}
        for part in parts:
            groups.setdefault((part.generation, part.purpose), []).append(part)
        return [group[0] if len(group) == 1 else _join(group) for group in groups.values()]


def _join(group: list[Results]) -> Results:
    moments = [part.moments for part in group if part.moments is not None]
    return Results(
        group[0].purpose,
        group[0].generation,
        np.concatenate([part.records for part in group]),
        Moments.join(moments) if moments else None,
        tuple(fault for part in group for fault in part.faults),
    )


@dataclass(frozen=True)
class Batch:
    """A complete generation of n whole pairs, in index order; the same whatever the workers did.

    Attributes:
        genomes: the recipes of the plus episodes, (n,).
        returns: float64 (n, 2), undiscounted, columns + and -.
        sign_returns: float64 (n, 2), sums of the signs of the rewards.
        lengths: int64 (n, 2), timesteps.
        capped_share: share of the episodes that the episode cap ended.
        moments: of the observed episodes in task order, or None.
    """

    genomes: Genomes
    returns: Float64
    sign_returns: Float64
    lengths: Int64
    capped_share: float
    moments: Moments | None = None
