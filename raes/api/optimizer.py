"""A search of a function in a loop of one's own: `ask` for points, `tell` their fitness."""

from __future__ import annotations

from dataclasses import asdict, replace
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from raes.algorithms.restarts import FIRST, Restarts, kind_of
from raes.api.beginning import Beginning
from raes.api.keyword_arguments import maker, settings_of, warn_caller
from raes.api.optimum import Optimum
from raes.results import Batch
from raes.rng import Purpose
from raes.runtime.memory import check_state
from raes.search import running_stats
from raes.search.drawn_noise import DrawnNoise
from raes.search.endings import Tolerances
from raes.search.optimizers import OptimizerSettings
from raes.search.perturbation import Decoder
from raes.search.shaping import comparable
from raes.search.spread import SpreadWatch
from raes.tasks import Round, Tasks
from raes.types import Bool, Float64, UserError
from raes.validation import plain, whole

LOOK = "check that the function uses its argument, or give a larger sigma (pgpe: radius)"
"""Where the user may find why values do not differ."""


class Optimizer:
    """A search with `ask` for points and `tell` for their fitness; it maximises.

    Attributes:
        algorithm: its name.
        state: of the search.
        domain: of the function; None where it is what the search moves in.
        evaluations: points with a fitness so far.
        generations: so far.
        best_x: float64 (d,), the point with the highest fitness so far; None before the first.
        best_fitness: its fitness.
        spread: warns where no fitness differs from another.
        memory: bytes of the state.
        first: the number of the restart that it began with.
    """

    def __init__(
        self,
        algorithm: str | None,
        x0: ArrayLike | None,
        *,
        seed: int = 0,
        optimizer: OptimizerSettings | None = None,
        restarts: str | None = "auto",
        tolerances: Tolerances | None = None,
        bounds: Any = None,
        cov: ArrayLike | None = None,
        warm_start: Optimum | None = None,
        noisy: bool = False,
        **settings: Any,
    ) -> None:
        """Start at x0.

        Args:
            algorithm: a name in `raes.algorithms.ALGORITHMS`; None: CMA-ES, with a diagonal covariance where there are
                many parameters.
            x0: (d,); None: the middle of the bounds.
            seed: the same one gives the same points.
            optimizer: of the methods that follow a gradient.
            restarts: `bipop`, `ipop`, or None: the search is over where it has converged. `auto`: BIPOP for the methods
                that adapt their standard deviations.
            tolerances: what ends a run.
            bounds: the domain, see `raes.search.domain.domain_of`; None for all numbers. `sigma` is a share of each
                range then.
            cov: (d, d) or its diagonal (d,): the first points have the covariance sigma^2 cov, sigma 1 by default.
            warm_start: an earlier result: its centre, where there is no x0, and the shape of its last points, of which
                `sigma` is the largest standard deviation.
            noisy: whether fitness is another one each time: the population grows where it shows no progress, and with
                each restart.
            settings: keys of the algorithm's configuration, e.g. `sigma`, one for all or one for each coordinate,
                `population`, `pairs`.

        Raises:
            UserError: there is no such algorithm or key, a value is wrong, the algorithm has no use for the optimizer,
                or it cannot have so many parameters.
        """
        seed = whole("seed", seed, 0)
        begins = Beginning.of(algorithm, x0, bounds, settings, cov, warm_start)
        self.algorithm, self.domain, theta = begins.algorithm, begins.domain, begins.theta
        self.settings = settings_of(self.algorithm, begins.settings, theta.size)
        box = least_spread = None
        if self.domain is not None:
            box, least_spread = self.domain.finite, self.domain.least_spread
        make = maker(self.algorithm, self.settings, optimizer, seed, least_spread)
        self._kind, self._seed, self._noisy = kind_of(self.algorithm, restarts, noisy), seed, noisy
        self._tolerances = tolerances or (Tolerances().of_noise() if noisy else Tolerances())
        self._algorithm = Restarts(make, self.settings, self._kind, self._tolerances, seed, box, noisy)
        self.memory = self._algorithm.memory(theta.size)
        check_state(self.algorithm, self.memory, theta.size)
        self.state: Any = self._algorithm.init(theta, running_stats.init(0), begins.correlation)
        self.first = 0
        self._correlation = begins.correlation
        self._noise = DrawnNoise(seed)
        self._decode = Decoder(self._noise, theta.size)
        self._round: Round | None = None
        self._tasks: Tasks | None = None
        self._points: Float64 | None = None
        self._x: Float64 | None = None
        self.evaluations = self.generations = 0
        self.best_x: Float64 | None = None
        self.best_fitness = -np.inf
        self.spread = SpreadWatch(self.settings, LOOK)

    @property
    def theta(self) -> Float64:
        """The centre, or the best member where there is no centre, float64 (d,), as an x."""
        return self.center(self.state)

    @property
    def std(self) -> Float64 | None:
        """The standard deviations of x, float64 (d,), or None where the method does not adapt them."""
        return self.std_of(self.state)

    @property
    def covariance(self) -> Float64 | None:
        """The covariance of x, float64 (d, d) or its diagonal (d,), in the units of `std`; None where the method has
        none, or where there is a category."""
        return self.covariance_of(self.state)

    def center(self, state: Any) -> Float64:
        """`theta` in this state."""
        theta = np.array(state.theta, dtype=np.float64)
        return theta if self.domain is None else self.domain.x(theta[None])[0]

    def std_of(self, state: Any) -> Float64 | None:
        """`std` in this state."""
        spread = self._known("spread", state)
        return spread if spread is None or self.domain is None else self.domain.std(spread)

    def covariance_of(self, state: Any) -> Float64 | None:
        """`covariance` in this state."""
        covariance = self._known("covariance", state)
        return covariance if covariance is None or self.domain is None else self.domain.covariance(covariance)

    @property
    def ended(self) -> str | None:
        """Why the search is over, in words; None while it goes on."""
        return str(self.state.ended) if self.state.over else None

    def begin_with(self, restart: int) -> None:
        """Start anew as the restart of this number would in a search of one run."""
        self.state = self._algorithm.init(self.state.theta, running_stats.init(0), restart=restart)
        self.first = restart

    def facts(self) -> dict[str, Any]:
        """What decides the points, besides the fitness: the same ones go on with each other's states."""
        return {
            "algorithm": self.algorithm,
            "settings": asdict(self.settings),
            "optimizer": repr(getattr(self._algorithm.inner(FIRST), "_optimizer", None)),
            "restarts": self._kind,
            "tolerances": asdict(self._tolerances),
            "noisy": self._noisy,
            "seed": self._seed,
            "x0": self.state.start.tolist(),
            "bounds": repr(self.domain),
            **({} if self._correlation is None else {"correlation": self._correlation.tolist()}),
        }

    def ask(self) -> Float64:
        """The next points to evaluate, float64 (n, d); the same ones until `tell`."""
        return self.asked().copy()

    def tell(self, fitness: ArrayLike, valid: Bool | None = None) -> None:
        """Give the fitness of the points of `ask`, (n,); NaN or an infinity where there is none, which counts as the
        worst.

        Args:
            fitness: (n,).
            valid: bool (n,), which points may be the best one; None for all.

        Raises:
            UserError: `ask` was not called before, or the number does not fit.
        """
        if self._points is None:
            raise UserError("tell comes after ask: there are no points whose fitness is awaited")
        try:
            values = plain(fitness).astype(np.float64)
        except (TypeError, ValueError) as error:
            raise UserError(f"fitness must be a vector of numbers, got {fitness!r}") from error
        if values.shape != (len(self._points),):
            raise UserError(f"fitness has shape {values.shape}, and {len(self._points)} points were asked for")
        self.note(self.asked(), values if valid is None else np.where(valid, values, np.nan))
        assert self._round is not None
        assert self._tasks is not None
        group, dim = self._round.group, self._points.shape[1]
        returns = values.reshape(-1, group)
        compared = comparable(returns)
        batch = Batch(
            index=np.arange(len(returns)),
            genomes=self._tasks.genomes.take(slice(0, None, group)),
            returns=returns,
            sign_returns=np.sign(compared),
            lengths=np.ones(returns.shape, np.int64),
            capped_share=0.0,
            behaviors=self._points.reshape(-1, group, dim) if self._algorithm.needs_behavior else None,
        )
        if self._round.purpose is not Purpose.PROBE:
            if not self.spread.ended and np.isfinite(returns).any():
                warning = self.spread.after(replace(batch, returns=compared))
                if warning is not None:
                    warn_caller(warning)
            self.generations += 1
        self.state, _ = self._algorithm.tell(self.state, self._round, batch, self._sum)
        self._round = self._tasks = self._points = self._x = None

    def note(self, points: Float64, fitness: Float64) -> None:
        """Count these points, (n, d), and keep the best of them; NaN is none."""
        self.evaluations += len(points)
        if np.isnan(fitness).all():
            return
        best = int(np.nanargmax(fitness))
        if fitness[best] > self.best_fitness:
            self.best_x, self.best_fitness = points[best].copy(), float(fitness[best])

    def asked(self) -> Float64:
        """The points of `ask` themselves, which nobody must change."""
        if self._points is None:
            self._round = self._algorithm.next_round(self.state)
            assert self._round.ask is not None
            self._tasks = self._round.ask(0, self._round.min_groups)
            self._points = self._decode.all(self._round.snapshot, self._tasks.genomes)
            self._x = self._points if self.domain is None else self.domain.x(self._points)
        assert self._x is not None
        return self._x

    def _known(self, method: str, state: Any) -> Float64 | None:
        """What the algorithm of this run knows of its state; a custom one need not."""
        known = getattr(self._algorithm.inner(state.run), method, None)
        return None if known is None else known(state.inner)

    def _sum(self, noise_index: Any, weights: Any, squared: bool = False) -> Any:
        return self._noise.weighted_sum(noise_index, weights, self.state.theta.size, squared)
