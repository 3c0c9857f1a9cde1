"""Any Python callable as a problem: it takes parameters and returns one number."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np

from raes.import_object import import_object
from raes.problems.constraints import Violation
from raes.problems.problem import Episode, EpisodeError, EpisodeOutcome
from raes.search.domain import Domain, domain_of
from raes.search.endings import Tolerances
from raes.tasks import Layers, Snapshot
from raes.text import KEPT, described, one_line
from raes.types import SETTINGS, Float64, Floating, Positive, UserError, check_fault
from raes.validation import number

NOT_FINITE = "the value is"
"""How the reason begins where a function returns a number that is none."""


@dataclass(frozen=True)
class FunctionSettings:
    """Configuration group `env`, option `function`.

    Attributes:
        call: `module:callable`; it is given x, float64 (dim,), and returns a number.
        dim: numbers in x.
        x0: where the search starts: one number for all, or dim of them; None: in the middle of the bounds, else 0.
        minimize: whether small values are good; the return is -f(x) then.
        bounds: [low, high] of each coordinate, None for an infinite end, or the keys of `raes.Interval` or of
            `raes.Category`; a single [low, high] is for all. None: all numbers.
        scale: the unit of the methods' standard deviations, one number for all or dim of them: of a coordinate with two
            bounds a multiple of an eighth of its range, of the others one of 1.
        constraints: `module:callable`; it is given x and returns numbers, all of which must be at most 0. Where one is
            not, the function is not called, and the point ranks behind those that keep all.
        noisy: whether it gives another value each time, so that the population grows with each restart.
        restarts: `bipop`, `ipop` or `none`; `auto`: BIPOP for the methods that adapt their standard deviations, IPOP
            where the function is noisy.
        tolerances: what ends a run of the search; where the function is noisy `f` and `lost` do not count.
        seeded: whether it is called as f(x, seed=...), with another seed each time, for noisy functions.
        kwargs: further keyword arguments.
    """

    __pydantic_config__ = SETTINGS

    name: Literal["function"] = "function"
    call: str = ""
    dim: int = 0
    x0: float | tuple[float, ...] | None = None
    minimize: bool = False
    bounds: tuple[Any, ...] | None = None
    scale: Positive | tuple[Positive, ...] = 1.0
    constraints: str | None = None
    noisy: bool = False
    restarts: Literal["auto", "bipop", "ipop", "none"] = "auto"
    tolerances: Tolerances = field(default_factory=Tolerances)
    seeded: bool = False
    kwargs: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.call.count(":") != 1:
            raise ValueError(f"call must be module:callable, got {self.call!r}; e.g. env.call=my_problem:f env.dim=10")
        if self.dim < 1:
            raise ValueError(f"dim must be at least 1, got {self.dim}; give the number of parameters, e.g. env.dim=10")
        for key in ("x0", "scale"):
            given = getattr(self, key)
            if isinstance(given, tuple) and len(given) != self.dim:
                raise ValueError(f"{key} has {len(given)} numbers, and dim={self.dim}; give one number or {self.dim}")
        if self.constraints is not None and self.constraints.count(":") != 1:
            raise ValueError(f"constraints={self.constraints}: must be module:callable, e.g. my_problem:g")
        self.start()

    @property
    def id(self) -> str:
        """Its name in messages."""
        return self.call

    @property
    def domain(self) -> Domain | None:
        """Its bounds and its units; None where x is what the search moves in.

        Raises:
            UserError: the bounds are none.
        """
        if self.bounds is None and self.scale == 1.0:
            return None
        scale = None if self.scale == 1.0 else np.broadcast_to(np.array(self.scale, np.float64), (self.dim,))
        bounds = [(None, None)] * self.dim if self.bounds is None else list(self.bounds)
        each = len(bounds) == 2 and not any(isinstance(one, list | tuple | Mapping) for one in bounds)
        if each:
            bounds = [bounds] * self.dim
        if bounds and len(bounds) != self.dim:
            raise UserError(f"bounds has {len(bounds)} entries, and dim={self.dim}; give one entry for each number")
        return domain_of(bounds, None, scale)

    def start(self) -> Float64:
        """Where a search starts, in the coordinates in which it moves, float64 (n,).

        Raises:
            UserError: the bounds are none, or do not hold x0.
        """
        domain = self.domain
        return self._x0() if domain is None else self._start(domain)

    def x(self, theta: Floating) -> Float64:
        """The point that theta, (n,), means, float64 (dim,)."""
        point, domain = theta.astype(np.float64), self.domain
        return point if domain is None else domain.x(point[None])[0]

    def _x0(self) -> Float64:
        return np.broadcast_to(np.asarray(0.0 if self.x0 is None else self.x0, np.float64), (self.dim,)).copy()

    def _start(self, domain: Domain) -> Float64:
        return domain.center() if self.x0 is None and self.bounds is not None else domain.z(self._x0())


@dataclass(frozen=True)
class FunctionSpec:
    """The recipe of a `FunctionProblem`.

    Attributes:
        settings: of the function.
        function: replaces `settings.call`, for callers in Python.
        describes: whether x goes back as the behaviour, for novelty search.
    """

    settings: FunctionSettings
    function: Callable[..., Any] | None = None
    describes: bool = True

    def build(self) -> FunctionProblem:
        """Import the callable."""
        return FunctionProblem(self)

    def check(self) -> FunctionProblem:
        """Import the callable and call it once, at x0.

        Raises:
            UserError: it cannot be imported or called, or its value is not a finite number.
        """
        problem = self.build()
        problem.check_constraints()
        try:
            first = problem.evaluate(problem.initial_theta(np.random.default_rng(0)), Episode(0, True, False, None))
        except EpisodeError as error:
            name, start = ("the function", "x0") if self.function else (f"env.call={self.settings.call}", "env.x0")
            raise UserError(f"{name} fails at {start}: {one_line(error)}; fix the function") from error
        problem.start = first.total
        return problem


class FunctionProblem:
    """A `Problem` that maximises a function. An evaluation is an episode of one timestep; its behaviour, if any, is x.

    Attributes:
        start: the fitness of x0; NaN until `FunctionSpec.check` has computed it.
    """

    observation_size = 0
    continuous = False
    layers: Layers = ()
    remarks: tuple[str, ...] = ()
    watch: Callable[[int], None] | None = None

    def __init__(self, spec: FunctionSpec) -> None:
        self._settings = spec.settings
        settings = spec.settings
        self._function = _import_callable("env.call", settings.call) if spec.function is None else spec.function
        self._violation: Violation | None = None
        if settings.constraints is not None:
            found = _import_callable("env.constraints", settings.constraints)
            self._violation = Violation(found, f"env.constraints={settings.constraints}")
        self._domain = settings.domain
        self._sign = -1.0 if settings.minimize else 1.0
        self._describes = spec.describes
        self.num_params = settings.dim if self._domain is None else self._domain.dim
        self.start = math.nan

    def initial_theta(self, rng: np.random.Generator) -> Float64:
        """Where the search starts, float64 (d,)."""
        return self._settings.start()

    def check_constraints(self) -> None:
        """Call them once, where the search starts.

        Raises:
            UserError: they fail there.
        """
        if self._violation is not None:
            self._violation(self._settings.x(self._settings.start())[None])

    def use(self, snapshot: Snapshot) -> None:
        """Nothing to do: a function depends on no snapshot."""

    def evaluate(self, theta: Floating, episode: Episode) -> EpisodeOutcome:
        """The function's value at theta; NaN where it violates the constraints."""
        x = theta.astype(np.float64)
        if self._domain is not None:
            x = self._domain.x(x[None])[0]
        behavior = theta.astype(np.float64) if self._describes else None
        if self._violation is not None:
            try:
                violated = float(self._violation(x[None])[0])
            except UserError as error:
                raise EpisodeError(str(error)) from error
            if violated > 0:
                return EpisodeOutcome(math.nan, 0, 1, False, behavior=behavior, violation=violated)
        keywords = dict(self._settings.kwargs)
        if self._settings.seeded:
            keywords["seed"] = episode.reset_seed
        try:
            value = number(self._function(x, **keywords))
        except BaseException as error:
            check_fault(error)
            raise EpisodeError(described(error, KEPT)) from error
        total = self._sign * value
        if not (math.isfinite(value) or total == math.inf):
            raise EpisodeError(f"{NOT_FINITE} {value}")
        return EpisodeOutcome(total, (total > 0) - (total < 0), 1, False, behavior=behavior)

    def close(self) -> None:
        """Nothing to close."""


def _import_callable(key: str, path: str) -> Callable[..., Any]:
    """The callable `module:name` that a key names.

    Raises:
        UserError: there is none.
    """
    function = import_object(key, path)
    if not callable(function):
        raise UserError(f"{key}={path} is a {type(function).__name__}, not a function; name a callable")
    return function  # type: ignore[no-any-return]
