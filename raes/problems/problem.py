"""The interface of problems; the episodes of an environment are one kind, a plain function is another."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from raes.search.running_stats import RunningStats
from raes.tasks import Layers, Snapshot
from raes.types import Float64, Floating, NotAFault


@dataclass(frozen=True)
class Episode:
    """The random numbers and the conditions of one evaluation.

    Attributes:
        reset_seed: what the environment is reset with.
        training: whether action noise and the episode cap apply.
        observe: whether to gather observation statistics.
        noise_rng: the generator of the action noise; None where there is none.
    """

    reset_seed: int
    training: bool
    observe: bool
    noise_rng: np.random.Generator | None


@dataclass(frozen=True)
class EpisodeOutcome:
    """The result of one evaluation.

    Attributes:
        total: the undiscounted return.
        sign_total: the sum of the signs of the rewards.
        length: timesteps.
        capped: whether the episode cap ended it.
        observations: statistics of what was observed, or None.
        behavior: float64 (b,), what the policy did, where the problem has a descriptor, else None.
        violation: by how much a point violates the constraints of a function, which then has no return.
    """

    total: float
    sign_total: int
    length: int
    capped: bool
    observations: RunningStats | None = None
    behavior: Float64 | None = None
    violation: float = 0.0


class EpisodeError(RuntimeError):
    """This evaluation has no valid result; others may."""


class EpisodeStopped(NotAFault):
    """The run ends in the middle of this episode, by no fault of it."""


class Problem(Protocol):
    """What a search maximises; built once in each worker.

    Attributes:
        num_params: d.
        observation_size: numbers in an observation that statistics are kept of, 0 where there are none.
        continuous: whether Gaussian noise can be added to its actions.
        layers: what theta is made of, see `LowRank`; empty where it is not made of layers.
        remarks: what the user should know before a run, found by `ProblemSpec.check`.
        watch: called with the timesteps so far before each one; it may raise `EpisodeStopped`. None for nobody.
    """

    num_params: int
    observation_size: int
    continuous: bool
    layers: Layers
    remarks: tuple[str, ...]
    watch: Callable[[int], None] | None

    def initial_theta(self, rng: np.random.Generator) -> Floating:
        """Where the search starts, (d,): float32 of a policy, float64 of a function."""

    def use(self, snapshot: Snapshot) -> None:
        """Use a generation's observation statistics and conditions for the next evaluations."""

    def evaluate(self, theta: Floating, episode: Episode) -> EpisodeOutcome:
        """Evaluate parameters theta, (d,).

        Raises:
            EpisodeError: the environment raised, or something was not finite.
        """

    def close(self) -> None:
        """Close the environment."""


class ProblemSpec(Protocol):
    """The recipe of a problem: picklable, the same on every machine; it is sent to each worker once."""

    def build(self) -> Problem:
        """Make the problem.

        Raises:
            UserError: it cannot be made; the message names the key and the fix.
        """

    def check(self) -> Problem:
        """Make the problem and try it, so that errors show before anything starts.

        Raises:
            UserError: it does not work; the message names the key and the fix.
        """
