"""Any Python callable as a problem: it takes parameters and returns one number."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np

from raes.import_object import import_object
from raes.problems.problem import Episode, EpisodeError, EpisodeOutcome
from raes.tasks import Layers, Snapshot
from raes.text import KEPT, described, one_line
from raes.types import SETTINGS, Float64, Floating, UserError, check_fault
from raes.validation import number

NOT_FINITE = "the value is"
"""How the reason begins where a function returns a number that is none."""


@dataclass(frozen=True)
class FunctionSettings:
    """Configuration group `env`, option `function`.

    Attributes:
        call: `module:callable`; it is given x, float64 (dim,), and returns a number.
        dim: numbers in x.
        x0: where the search starts: one number for all, or dim of them.
        minimize: whether small values are good; the return is -f(x) then.
        restarts: `bipop`, `ipop` or `none`; `auto`: BIPOP for the methods that adapt their standard deviations.
        seeded: whether it is called as f(x, seed=...), with another seed each time, for noisy functions.
        kwargs: further keyword arguments.
    """

    __pydantic_config__ = SETTINGS

    name: Literal["function"] = "function"
    call: str = ""
    dim: int = 0
    x0: float | tuple[float, ...] = 0.0
    minimize: bool = False
    restarts: Literal["auto", "bipop", "ipop", "none"] = "auto"
    seeded: bool = False
    kwargs: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.call.count(":") != 1:
            raise ValueError(f"call must be module:callable, got {self.call!r}; e.g. env.call=my_problem:f env.dim=10")
        if self.dim < 1:
            raise ValueError(f"dim must be at least 1, got {self.dim}; give the number of parameters, e.g. env.dim=10")
        if isinstance(self.x0, tuple) and len(self.x0) != self.dim:
            raise ValueError(f"x0 has {len(self.x0)} numbers, and dim={self.dim}; give one number or {self.dim}")

    @property
    def id(self) -> str:
        """Its name in messages."""
        return self.call


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
        self._function = _import_callable(spec.settings.call) if spec.function is None else spec.function
        self._sign = -1.0 if spec.settings.minimize else 1.0
        self._describes = spec.describes
        self.num_params = spec.settings.dim
        self.start = math.nan

    def initial_theta(self, rng: np.random.Generator) -> Float64:
        """x0, float64 (d,)."""
        return np.broadcast_to(np.asarray(self._settings.x0, np.float64), (self.num_params,)).copy()

    def use(self, snapshot: Snapshot) -> None:
        """Nothing to do: a function depends on no snapshot."""

    def evaluate(self, theta: Floating, episode: Episode) -> EpisodeOutcome:
        """The function's value at theta."""
        x = theta.astype(np.float64)
        behavior = x.copy() if self._describes else None  # before the function, which may change x
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


def _import_callable(path: str) -> Callable[..., Any]:
    """The callable `module:name`.

    Raises:
        UserError: there is none.
    """
    function = import_object("env.call", path)
    if not callable(function):
        raise UserError(f"env.call={path} is a {type(function).__name__}, not a function; name a callable")
    return function  # type: ignore[no-any-return]
