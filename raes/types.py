"""What travels between driver and actors, and the one error for what a user did.

A task is one episode. Tasks go out and results come back as packed arrays: a few bytes an episode, never an object
an episode.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields
from typing import Any, Self, TypeVar

import numpy as np
from numpy.typing import NDArray

Float32 = NDArray[np.float32]
Float64 = NDArray[np.float64]
Int64 = NDArray[np.int64]
UInt8 = NDArray[np.uint8]
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
    """Arrays of equal first length, cut and joined together; some may be None."""

    def take(self, which: Int64 | slice) -> Self:
        """The given rows of every array."""
        return type(self)(*(None if part is None else part[which] for part in self._parts()))

    @classmethod
    def join(cls, parts: list[Self]) -> Self:
        """All rows of all parts, in the order given."""
        columns = zip(*(part._parts() for part in parts), strict=True)
        return cls(*(None if column[0] is None else np.concatenate(column) for column in columns))

    def _parts(self) -> list[Any]:
        return [getattr(self, field.name) for field in fields(self)]  # type: ignore[arg-type]


@dataclass(frozen=True)
class Genomes(_Packed):
    """Recipes for parameters: base + scale * spread * noise[noise_index : noise_index + d].

    Attributes:
        noise_index: int64 (k,), where in the shared table the perturbation starts.
        scale: float32 (k,), +sigma, -sigma, or 0 for the base itself.
        parent: int64 (k,), the base: a row of the snapshot's lineages; None: its theta is the base of all.
        vectors: float32 (k, d), the parameters themselves, where a search has no shorter recipe, else None.
    """

    noise_index: Int64
    scale: Float32
    parent: Int64 | None = None
    vectors: Float32 | None = None


@dataclass(frozen=True)
class Tasks:
    """A block of episodes around one snapshot.

    Attributes:
        purpose: what the episodes are for, a value of `raes.rng.Purpose`: TRAINING, PROBE, EVALUATION or HELD_OUT.
        generation: the generation whose snapshot they perturb.
        index: int64 (k,), the task's number in its generation; of pairs 2i is theta + sigma eps_i, 2i + 1 its mirror.
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
class Lineages:
    """Parameters as chains of mutations: root + scale * slice + scale * slice + ..., in this order.

    Attributes:
        roots: float32 (r, d); those that chains begin at stay the same for a whole run, since workers keep what they
            have decoded.
        root: int64 (k,), the row of `roots` that a chain begins at.
        ends: int64 (k,), where a chain ends in `noise_index`; it begins where the one before ends.
        noise_index: int64 (m,), all chains, one after the other.
        scale: of each mutation.
    """

    roots: Float32
    root: Int64
    ends: Int64
    noise_index: Int64
    scale: float = 1.0

    def __len__(self) -> int:
        return len(self.root)

    def chain(self, row: int) -> Int64:
        """The noise indices of one chain."""
        return self.noise_index[self.ends[row - 1] if row else 0 : self.ends[row]]


Layers = tuple[tuple[int, int, int], ...]


@dataclass(frozen=True)
class LowRank:
    """Perturbations whose noise is A^T B / sqrt(rank) for each layer's matrix, and independent for its biases.

    Attributes:
        rank: r.
        layers: (outputs m, inputs k, 1 with biases, else 0) of each layer of theta, in order; a layer is a matrix
            (m, k + 1) whose last column holds the biases.
    """

    rank: int
    layers: Layers

    @property
    def noise_size(self) -> int:
        """Numbers of noise that a perturbation is made of."""
        return sum(self.rank * (outputs + inputs) + biases * outputs for outputs, inputs, biases in self.layers)

    def factors(self, noise: Float32) -> Iterator[tuple[Float32, Float32, Float32]]:
        """A (..., r, m), B (..., r, k) and the biases (..., m, or 0 without) of each layer, cut from noise.

        Args:
            noise: float32 (..., noise_size).
        """
        start = 0
        for outputs, inputs, biases in self.layers:
            parts = []
            for rows, columns in ((self.rank, outputs), (self.rank, inputs), (1, biases * outputs)):
                part = noise[..., start : start + rows * columns]
                parts.append(part.reshape(*noise.shape[:-1], rows, columns))
                start += rows * columns
            left, right, bias = parts
            yield left, right, bias[..., 0, :]


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
        spread: float32 (d,), the factor on each parameter's noise, or None for 1.
        lineages: further bases of perturbations, which genomes name by row, or None.
        low_rank: how the noise of a perturbation is made from fewer numbers, or None where it is its slice itself.
    """

    generation: int
    theta: Float32
    obs_mean: Float64 | None = None
    obs_scale: Float64 | None = None
    obs_clip: float = 5.0
    action_noise: float = 0.0
    max_steps: int | None = None
    spread: Float32 | None = None
    lineages: Lineages | None = None
    low_rank: LowRank | None = None


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
class Behaviors(_Packed):
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
        behaviors: what the episodes without a fault did, where the run has a descriptor, else None.
    """

    purpose: int
    generation: int
    records: NDArray[np.void]
    moments: Moments | None = None
    faults: tuple[Fault, ...] = ()
    behaviors: Behaviors | None = None

    @staticmethod
    def failed(tasks: Tasks, reason: str, imposed: bool = False) -> Results:
        """All of these tasks failed, for one reason."""
        records = np.zeros(len(tasks), dtype=RESULT_DTYPE)
        records["index"], records["return"], records["fault"] = tasks.index, np.nan, True
        faults = tuple(Fault(index, reason, imposed) for index in tasks.index.tolist())
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
    """

    index: Int64
    genomes: Genomes
    returns: Float64
    sign_returns: Float64
    lengths: Int64
    capped_share: float
    moments: Moments | None = None
    behaviors: Float64 | None = None
