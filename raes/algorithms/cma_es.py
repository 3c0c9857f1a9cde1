"""CMA-ES (Hansen 2016, arXiv 1604.00772), by the library `cmaes`; its state is kept here, so that a run can go on.

Costs of d^2 memory and d^3 time: for few parameters. A member without a result counts as the worst.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Literal

import numpy as np
from annotated_types import Ge

from raes.results import Batch
from raes.rng import Purpose, generator
from raes.search.running_stats import RunningStats
from raes.tasks import Genomes
from raes.types import Float32, Float64

from .population import PopulationSearch, PopulationSettings, vectors
from .protocol import Conditions, WeightedSum

if TYPE_CHECKING:
    from cmaes import CMA


@dataclass(frozen=True)
class CMAESSettings(PopulationSettings):
    """Configuration group `algorithm`, option `cma_es`; the keys of `PopulationSettings`."""

    name: Literal["cma_es"] = "cma_es"
    population: Annotated[int, Ge(4)] | None = None

    def __post_init__(self) -> None:
        if self.min_timesteps:
            raise ValueError(f"min_timesteps={self.min_timesteps}: must be 0 for CMA-ES, whose population is fixed")


@dataclass(frozen=True)
class CMAESState:
    """Everything that the library needs to go on.

    Attributes:
        generation: updates so far.
        theta: float32 (d,), the image of the mean.
        mean: float64 (d,).
        sigma: the scale.
        covariance: float64 (d, d), of the shape.
        path: float64 (d,), the evolution path of the covariance.
        sigma_path: float64 (d,), that of sigma.
        conditions: of the episodes.
    """

    generation: int
    theta: Float32
    mean: Float64
    sigma: float
    covariance: Float64
    path: Float64
    sigma_path: Float64
    conditions: Conditions


class CMAES(PopulationSearch):
    """CMA-ES; the library's object is made anew from the state for each update."""

    @staticmethod
    def memory(num_params: int) -> int:
        """The covariance, its factors, and the library's products of them, one a member."""
        return 8 * (8 + 12) * num_params**2

    def init(self, theta: Float32, observations: RunningStats) -> CMAESState:
        """The state that starts at theta with these observation statistics."""
        dim = theta.size
        mean, zero = theta.astype(np.float64), np.zeros(dim)
        conditions = self.first_conditions(observations)
        return CMAESState(0, theta, mean, self._settings.sigma, np.eye(dim), zero, zero, conditions)

    def genomes(self, state: CMAESState, first: int, count: int) -> Genomes:
        """The library's samples, as vectors."""
        return vectors(self._sampled(self._library(state))[first : first + count])

    def update(
        self, state: CMAESState, batch: Batch, fitness: Float64, conditions: Conditions, weighted_sum: WeightedSum
    ) -> tuple[CMAESState, dict[str, float]]:
        """The library's update; it minimises."""
        library = self._library(state)
        values = np.full(self.min_groups, -fitness.min())
        values[batch.index] = -fitness
        members = self._sampled(library).astype(np.float32).astype(np.float64)  # as they were evaluated
        library.tell(list(zip(members, values.tolist(), strict=True)))
        sigma, mean = float(library._sigma), library.mean
        following = CMAESState(
            generation=state.generation + 1,
            theta=mean.astype(np.float32),
            mean=mean,
            sigma=sigma,
            covariance=library._C,
            path=library._pc,
            sigma_path=library._p_sigma,
            conditions=conditions,
        )
        return following, {"sigma": sigma, "condition": float(np.linalg.cond(library._C))}

    def _library(self, state: CMAESState) -> CMA:
        """The library's object in this state."""
        from cmaes import CMA  # imports scipy.stats, which takes half a second

        seed = int(generator(self._seed, Purpose.SAMPLE, state.generation).integers(2**32))
        covariance = state.covariance.copy()
        library = CMA(state.mean, state.sigma, seed=seed, population_size=self.min_groups, cov=covariance)
        library._g, library._pc, library._p_sigma = state.generation, state.path.copy(), state.sigma_path.copy()
        return library

    def _sampled(self, library: CMA) -> Float64:
        """A whole generation, float64 (n, d)."""
        return np.stack([library.ask() for _ in range(self.min_groups)])
