"""What the driver sends to workers: tasks (one episode each), the recipes of their parameters, the snapshot that a
generation shares, and the round that holds them together.

Tasks travel as packed arrays: a few bytes per episode, never one object per episode.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from raes.rng import Purpose
from raes.types import Bool, Float32, Float64, Floating, Int64, Packed


@dataclass(frozen=True)
class Genomes(Packed):
    """Recipes for parameters: base + scale * spread * noise[noise_index : noise_index + d].

    Attributes:
        noise_index: int64 (k,), where in the shared table the perturbation starts; of a model that workers hold, the
            pair's number.
        scale: (k,), of theta's dtype, +sigma, -sigma, or 0 for the base itself.
        parent: int64 (k,), the base: a row of the snapshot's lineages; None: its theta is the base of all.
        vectors: (k, d), of theta's dtype, the parameters themselves, where a search has no shorter recipe, else None.
    """

    noise_index: Int64
    scale: Floating
    parent: Int64 | None = None
    vectors: Floating | None = None


@dataclass(frozen=True)
class Tasks:
    """A block of episodes that perturb one snapshot.

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
        roots: (r, d); those that chains begin at stay the same for a whole run, since workers keep what they
            have decoded.
        root: int64 (k,), the row of `roots` that a chain begins at.
        ends: int64 (k,), where a chain ends in `noise_index`; it begins where the one before ends.
        noise_index: int64 (m,), all chains, one after the other.
        scale: of each mutation.
    """

    roots: Floating
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
class ModelUpdate:
    """What one generation does to a model's weights: the ascent gradient is sum_i weight[i] * noise of pair[i].

    Attributes:
        generation: whose noise it is; its number is also how many updates came before.
        pair: int64 (n,).
        weight: float32 (n,).
        stepsize: of the optimiser in this generation.
    """

    generation: int
    pair: Int64
    weight: Float32
    stepsize: float


@dataclass(frozen=True)
class UpdateLog:
    """Updates of consecutive generations as packed arrays, 8 bytes per pair and 16 per generation.

    Attributes:
        stepsize: float64 (g,).
        ends: int64 (g,), where a generation ends in `pair` and `weight`; it begins where the one before ends.
        pair: int32 (n,).
        weight: float32 (n,).
    """

    stepsize: Float64
    ends: Int64
    pair: NDArray[np.int32]
    weight: Float32

    @classmethod
    def empty(cls) -> UpdateLog:
        """No generation."""
        return cls(np.zeros(0), np.zeros(0, np.int64), np.zeros(0, np.int32), np.zeros(0, np.float32))

    def __len__(self) -> int:
        return len(self.ends)

    def update(self, row: int, generation: int) -> ModelUpdate:
        """One generation's update, and the generation's number, which the log does not hold."""
        part = slice(int(self.ends[row - 1]) if row else 0, int(self.ends[row]))
        return ModelUpdate(generation, self.pair[part].astype(np.int64), self.weight[part], float(self.stepsize[row]))

    def with_update(self, pair: Int64, weight: Float32, stepsize: float) -> UpdateLog:
        """With one more generation."""
        return UpdateLog(
            np.append(self.stepsize, stepsize),
            np.append(self.ends, len(self.pair) + len(pair)),
            np.append(self.pair, pair.astype(np.int32)),
            np.append(self.weight, weight),
        )

    def part(self, first: int, last: int) -> UpdateLog:
        """The generations of the rows first, first + 1, ..., last - 1."""
        start, end = (int(self.ends[row - 1]) if row else 0 for row in (first, last))
        rows = slice(first, last)
        return UpdateLog(self.stepsize[rows], self.ends[rows] - start, self.pair[start:end], self.weight[start:end])


@dataclass(frozen=True)
class ModelVersion:
    """The weights of a model after so many updates, without the weights.

    Attributes:
        first: updates that the snapshot of the weights holds; 0 for the weights that the run began with.
        log: the updates since.
        parts: references to the snapshot's parts, in order, for workers that need it; none for the first weights.
        distrusted: digests of these weights that are wrong: a worker that has one makes its weights anew.
    """

    first: int
    log: UpdateLog
    parts: tuple[Any, ...] = ()
    distrusted: tuple[str, ...] = ()

    @property
    def updates(self) -> int:
        """Updates in all."""
        return self.first + len(self.log)


@dataclass(frozen=True)
class Snapshot:
    """What all episodes of a generation share; put into the object store once.

    Attributes:
        generation: its key.
        theta: (d,), float32 of a policy, float64 of a function.
        obs_mean: float64 (obs,), or None where observations are not normalised.
        obs_scale: float64 (obs,), the factor that follows the subtraction of the mean (1/std).
        obs_clip: the bound on a normalised observation.
        action_noise: standard deviation of the Gaussian noise on continuous actions, in training only.
        max_steps: the cap on a training episode's timesteps, or None.
        spread: (d,), the factor on each parameter's noise, or None for 1.
        lineages: further bases of perturbations, which genomes name by row, or None.
        low_rank: how the noise of a perturbation is made from fewer numbers, or None where it is its slice itself.
        model: the weights that are perturbed, where workers hold them themselves; theta is empty then.
    """

    generation: int
    theta: Floating
    obs_mean: Float64 | None = None
    obs_scale: Float64 | None = None
    obs_clip: float = 5.0
    action_noise: float = 0.0
    max_steps: int | None = None
    spread: Floating | None = None
    lineages: Lineages | None = None
    low_rank: LowRank | None = None
    model: ModelVersion | None = None


@dataclass(frozen=True)
class Round:
    """Episodes of one snapshot whose results are awaited together: a generation, a probe or an evaluation.

    Attributes:
        snapshot: what the episodes share; its `generation` is the round's.
        ask: (first group, count) -> the tasks of these groups; None where there is only an evaluation.
        group: episodes that count only together: 2 for antithetic pairs, else 1.
        min_groups: the fewest groups.
        max_groups: the most that `min_timesteps` may extend it to; None for no bound.
        min_timesteps: the fewest timesteps; the round is the shortest prefix of groups that holds both minima.
        expected_length: timesteps of an episode, a guess that only saves time; 0 for none.
        keep_failed: whether a group with a fault stays in the batch, its returns NaN, in place of being left out.
        purpose: TRAINING for a generation, PROBE for what a search must know before its next generation, EVALUATION or
            HELD_OUT where there is only an evaluation.
        evaluation: noiseless episodes that run along, or None.
    """

    snapshot: Snapshot
    ask: Callable[[int, int], Tasks] | None = None
    group: int = 1
    min_groups: int = 0
    max_groups: int | None = None
    min_timesteps: int = 0
    expected_length: float = 0.0
    keep_failed: bool = False
    purpose: Purpose = Purpose.TRAINING
    evaluation: Tasks | None = None

    @property
    def generation(self) -> int:
        """The generation whose snapshot the episodes perturb."""
        return self.snapshot.generation


def evaluation_tasks(purpose: Purpose, generation: int, episodes: int) -> Tasks:
    """Noiseless episodes of theta itself on the reset seeds 0, 1, ... of a purpose, the same in every generation."""
    index = np.arange(episodes)
    none = np.zeros(episodes, dtype=bool)
    genomes = Genomes(np.zeros(episodes, dtype=np.int64), np.zeros(episodes, dtype=np.float32))
    return Tasks(purpose, generation, index, index, none, genomes)
