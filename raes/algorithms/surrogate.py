"""Surrogate-assisted evolutionary search, for functions of which some hundred evaluations can be paid.

Two populations evolve on models of the function and share all points where it is known, as the cooperating swarms of
Sun et al. 2017 (IEEE TEVC 21(4), doi 10.1109/TEVC.2017.2675628): a local one in a region around the best point, on a
quadratic with a radial basis function, and a global one in the whole box, on an ensemble of radial basis functions.
Each round evaluates the best of both; the region grows where that helps, and shrinks where it does not.

Symbols: d parameters, n members a round, the box theta_0 +- 2 sigma.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Annotated, Literal, Self

import numpy as np
from annotated_types import Ge

from raes.results import Batch
from raes.rng import Purpose, generator
from raes.search import surrogates
from raes.search.optimizers import OptimizerSettings
from raes.search.running_stats import RunningStats
from raes.tasks import Genomes, Layers
from raes.types import Float64, Floating, NotNegative

from .population import PopulationSearch, PopulationSettings, vectors
from .protocol import Conditions, WeightedSum

BOX = 2.0
"""Half the width of the box, in units of sigma."""
REGION = 0.2
"""Half the width of the first region, as a share of the box."""
LEAST_REGION = 1e-9
"""Where a region has shrunk to this share of the box, the next one is the first one's size."""
GROWTH, SHRINKAGE = 1.6, 0.6
AT_THE_EDGE = 0.8
"""The share of a region from which on a step to a better point makes the region grow."""
NEIGHBOURS = 2.0
"""Points of the local model, as a multiple of the quadratic's terms."""
MEMBERS = 10
"""Members of either population, as a multiple of d."""
GENERATIONS = 30
"""Of either population, on the models."""


@dataclass(frozen=True)
class SurrogateSettings(PopulationSettings):
    """Configuration group `algorithm`, option `surrogate`; the keys of `PopulationSettings`, and:

    Attributes:
        initial: members that are spread evenly over the box first, theta_0 among them, at least; None: 2 d.
        archive: points that the models know at most, the best ones; their cost grows with its cube.
        caution: how much less a value may be where the models of the ensemble disagree, in standard deviations.
        distance: how much the global population is drawn to where nothing is known.
    """

    name: Literal["surrogate"] = "surrogate"
    initial: Annotated[int, Ge(2)] | None = None
    archive: Annotated[int, Ge(20)] = 500
    caution: NotNegative = 1.0
    distance: NotNegative = 0.1

    def __post_init__(self) -> None:
        if self.min_timesteps:
            raise ValueError(f"min_timesteps={self.min_timesteps}: must be 0 for surrogate, whose population is fixed")

    def sized(self, num_params: int, layers: Layers) -> Self:
        """With a population, one member of each kind, and its first points."""
        return replace(self, population=self.population or 2, initial=self.initial or 2 * num_params)


@dataclass(frozen=True)
class SurrogateState:
    """Everything that the search needs to go on.

    Attributes:
        generation: rounds so far.
        theta: (d,), the best member; theta_0 before the first.
        center: float64 (d,), of the box.
        points: float64 (k, d), where the function is known.
        values: float64 (k,), the fitness there.
        region: half the width of the region around the best point.
        conditions: of the episodes.
    """

    generation: int
    theta: Floating
    center: Float64
    points: Float64
    values: Float64
    region: float
    conditions: Conditions


class Surrogate(PopulationSearch):
    """A local and a global population on models."""

    compares_generations = True

    _settings: SurrogateSettings

    def __init__(self, settings: SurrogateSettings, optimizer: OptimizerSettings, seed: int, table_size: int) -> None:
        super().__init__(settings, optimizer, seed, table_size)
        self._width = 2 * BOX * settings.sigma
        self._proposed: tuple[Float64, Float64] | None = None

    def memory(self, num_params: int) -> int:
        """The points, the models' matrices, and the populations' distances to the points."""
        archive = self._settings.archive
        return 8 * archive * (2 * num_params + 8 * archive + 2 * MEMBERS * num_params**2)

    def init(self, theta: Floating, observations: RunningStats) -> SurrogateState:
        """The state whose box lies around theta."""
        center = theta.astype(np.float64)
        none, conditions = np.zeros((0, theta.size)), self.first_conditions(observations)
        return SurrogateState(0, theta, center, none, np.zeros(0), REGION * self._width, conditions)

    def genomes(self, state: SurrogateState, first: int, count: int) -> Genomes:
        """The members of the round, as vectors."""
        return vectors(self._members(state)[first : first + count], state.theta.dtype)

    def update(
        self,
        state: SurrogateState,
        batch: Batch,
        fitness: Float64,
        conditions: Conditions,
        weighted_sum: WeightedSum,
    ) -> tuple[SurrogateState, dict[str, float]]:
        """More points; the region grows by a step to its edge that helps, and shrinks by one that does not."""
        members = self._members(state).astype(state.theta.dtype).astype(np.float64)  # as they were evaluated
        points = np.concatenate([state.points, members[batch.index]])
        values = np.concatenate([state.values, fitness])
        region = state.region
        tried = batch.index < self._local
        if self._modelled(state) and tried.any():
            row = int(np.where(tried, fitness, -np.inf).argmax())
            best = int(state.values.argmax())
            if fitness[row] > state.values[best]:
                step = float(np.abs(members[batch.index[row]] - state.points[best]).max())
                region = min(self._width / 2, region * (GROWTH if step > AT_THE_EDGE * region else 1.0))
            else:
                region *= SHRINKAGE
            region = region if region > LEAST_REGION * self._width else REGION * self._width
        best = int(values.argmax())
        theta = points[best].astype(state.theta.dtype)
        if len(values) > self._settings.archive:
            kept = np.sort(np.argsort(-values, kind="stable")[: self._settings.archive])
            points, values = points[kept], values[kept]
        following = SurrogateState(state.generation + 1, theta, state.center, points, values, region, conditions)
        return following, {"best": float(values.max()), "region": region}

    @property
    def _local(self) -> int:
        """Members of the local population in a round."""
        return self.min_groups - self.min_groups // 2

    def _modelled(self, state: SurrogateState) -> bool:
        """Whether the round's members come from models."""
        assert self._settings.initial is not None
        return state.generation * self.min_groups >= self._settings.initial and len(state.values) > 1

    def _members(self, state: SurrogateState) -> Float64:
        """All members of the round, float64 (n, d), a function of the state alone."""
        if self._proposed is None or self._proposed[0] is not state.points:
            self._proposed = (state.points, self._propose(state))
        return self._proposed[1]

    def _propose(self, state: SurrogateState) -> Float64:
        count, dim = self.min_groups, state.center.size
        low = state.center - self._width / 2
        if not self._modelled(state):
            assert self._settings.initial is not None
            rounds = -(-self._settings.initial // count)
            design = surrogates.latin_hypercube(rounds * count, dim, generator(self._seed, Purpose.SAMPLE, 0))
            design[0] = 0.5  # theta_0 itself
            first = state.generation % rounds * count
            return low + self._width * design[first : first + count]
        rng = generator(self._seed, Purpose.SAMPLE, state.generation + 1)
        near = self._nearby(state, self._local, rng)
        return np.concatenate([near, low + self._width * self._anywhere(state, low, count - self._local, rng)])

    def _nearby(self, state: SurrogateState, count: int, rng: np.random.Generator) -> Float64:
        """The best of the local population, float64 (count, d)."""
        dim, best = state.center.size, state.points[state.values.argmax()]
        offsets = (state.points - best) / state.region
        terms = (dim + 1) * (dim + 2) // 2 if dim <= surrogates.FULL_QUADRATIC else 1 + 2 * dim
        nearest = np.argsort(np.abs(offsets).max(axis=1), kind="stable")[: int(NEIGHBOURS * terms) + 1]
        model = surrogates.local_model(offsets[nearest], -state.values[nearest])
        half = MEMBERS * dim // 2
        population = np.concatenate([rng.uniform(-1, 1, (half, dim)), rng.normal(0, 0.3, (half, dim))]).clip(-1, 1)
        found = surrogates.evolve(model, population, -1.0, 1.0, GENERATIONS, rng)
        steps = surrogates.apart(found, count, offsets[nearest], 1e-3, lambda: rng.normal(0, 0.3, dim).clip(-1, 1))
        members: Float64 = best + state.region * steps
        return members

    def _anywhere(self, state: SurrogateState, low: Float64, count: int, rng: np.random.Generator) -> Float64:
        """The best of the global population, float64 (count, d), in [0, 1]."""
        dim = state.center.size
        if not count:
            return np.zeros((0, dim))
        known = (state.points - low) / self._width
        model = surrogates.global_model(known, -state.values, self._settings.caution, self._settings.distance)
        found = surrogates.evolve(model, rng.random((MEMBERS * dim, dim)), 0.0, 1.0, GENERATIONS, rng)
        return surrogates.apart(found, count, known, 1e-2, lambda: rng.random(dim))
