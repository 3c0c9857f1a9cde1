"""What every problem offers; an episode of an environment is one kind of problem."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np

from raes.search.running_stats import RunningStats
from raes.tasks import Layers, Snapshot
from raes.types import Float32, Float64


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
    """What one evaluation gives.

    Attributes:
        total: the undiscounted return.
        sign_total: the sum of the signs of the rewards.
        length: timesteps.
        capped: whether the episode cap ended it.
        observations: statistics of what was observed, or None.
        behavior: float64 (b,), what the policy did, where the problem has a descriptor, else None.
    """

    total: float
    sign_total: int
    length: int
    capped: bool
    observations: RunningStats | None = None
    behavior: Float64 | None = None


class EpisodeError(RuntimeError):
    """This evaluation has no valid result; others may."""


class Problem(Protocol):
    """A thing to maximise; built once in each actor.

    Attributes:
        num_params: d.
        observation_size: numbers in an observation that statistics are kept of, 0 where there are none.
        continuous: whether Gaussian noise can be added to its actions.
        layers: what theta is made of, see `LowRank`; empty where it is not made of layers.
    """

    num_params: int
    observation_size: int
    continuous: bool
    layers: Layers

    def initial_theta(self, rng: np.random.Generator) -> Float32:
        """Where the search starts, float32 (d,)."""

    def use(self, snapshot: Snapshot) -> None:
        """Evaluate under this generation's statistics and conditions from now on."""

    def evaluate(self, theta: Float32, episode: Episode) -> EpisodeOutcome:
        """One evaluation of float32 (d,).

        Raises:
            EpisodeError: the environment raised, or something was not finite.
        """

    def close(self) -> None:
        """Let go of the environment."""


class ProblemSpec(Protocol):
    """The recipe of a problem: picklable, the same on every machine; it travels to each worker once."""

    def build(self) -> Problem:
        """Make the problem.

        Raises:
            UserError: it cannot be made, with the key and the cure.
        """

    def check(self) -> Problem:
        """Make the problem and try it, so that what is wrong is said before anything starts.

        Raises:
            UserError: with the key and the cure.
        """
