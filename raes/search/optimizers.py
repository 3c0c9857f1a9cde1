"""Optimisers: (init, step) pairs over an ascent gradient; the step includes weight decay, with its sign in one place.

A step maximises: theta + step, where the gradient is g - weight_decay * theta.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, fields
from typing import Any, Literal, Self, cast

import numpy as np

from raes.types import SETTINGS, Floating, UserError


@dataclass(frozen=True, init=False)
class OptimizerSettings:
    """Configuration group `optimizer`: the keys that all optimisers have.

    `OptimizerSettings(name="sgd", stepsize=0.1)` makes the settings of the optimiser with that name, by default Adam's.

    Attributes:
        name: `adam`, `sgd` or `clipup`.
        stepsize: the step in the first generation.
        stepsize_decay: factor on the stepsize each generation.
        stepsize_min: where the decay ends.
        weight_decay: l2 coefficient, subtracted from the gradient as weight_decay * theta.
        momentum: of the velocity; Adam's beta1.
    """

    __pydantic_config__ = SETTINGS

    name: str = "adam"
    stepsize: float = 0.01
    stepsize_decay: float = 1.0
    stepsize_min: float = 0.0
    weight_decay: float = 0.005
    momentum: float = 0.9

    def __new__(cls, name: str = "adam", *values: float, **keys: float) -> Self:
        """Settings of the class that belongs to the name.

        Raises:
            UserError: there is no such optimiser, or it has no such key.
        """
        if cls is not OptimizerSettings:
            return super().__new__(cls)
        if name not in OPTIMIZERS:
            raise UserError(f"name must be one of {', '.join(OPTIMIZERS)}, got {name!r}")
        own = keys_of(name)
        for key, value in keys.items():
            if key in own:
                continue
            if others := " or ".join(f"name={other!r}" for other in optimizers_with(key)):
                raise UserError(f"{key}={value}: has no effect with name={name!r}; remove it, or give {others}")
            raise UserError(f"{key}: optimizer {name} has no such key; it has {', '.join(own)}")
        return super().__new__(cast("type[Self]", OPTIMIZERS[name]))

    def __post_init__(self) -> None:
        if self.name != type(self).name:
            raise ValueError(f"name must be {type(self).name}, got {self.name!r}; make new settings for another one")
        if self.stepsize <= 0:
            raise ValueError(f"stepsize={self.stepsize}: must be positive")
        if not 0 < self.stepsize_decay <= 1:
            raise ValueError(f"stepsize_decay={self.stepsize_decay}: must lie in (0, 1]")
        if not 0 <= self.stepsize_min <= self.stepsize:
            raise ValueError(f"stepsize_min={self.stepsize_min}: must lie in [0, stepsize]")
        if self.weight_decay < 0:
            raise ValueError(f"weight_decay={self.weight_decay}: must not be negative")
        if not 0 <= self.momentum < 1:
            raise ValueError(f"momentum={self.momentum}: must lie in [0, 1)")


@dataclass(frozen=True)
class AdamSettings(OptimizerSettings):
    """Configuration group `optimizer`, option `adam`; the keys of `OptimizerSettings`, and:

    Attributes:
        beta2: decay of the second moment.
        epsilon: added to the uncorrected sqrt(v).
    """

    name: Literal["adam"] = "adam"
    beta2: float = 0.999
    epsilon: float = 1e-8

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 <= self.beta2 < 1:
            raise ValueError(f"beta2={self.beta2}: must lie in [0, 1)")
        if self.epsilon <= 0:
            raise ValueError(f"epsilon={self.epsilon}: must be positive")


@dataclass(frozen=True)
class SGDSettings(OptimizerSettings):
    """Configuration group `optimizer`, options `sgd` and `plain`; the keys of `OptimizerSettings`."""

    name: Literal["sgd"] = "sgd"


@dataclass(frozen=True)
class ClipUpSettings(OptimizerSettings):
    """Configuration group `optimizer`, option `clipup`; the keys of `OptimizerSettings`, and:

    Attributes:
        max_speed: the bound on the velocity's norm.
    """

    name: Literal["clipup"] = "clipup"
    max_speed: float = 0.3

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.max_speed <= 0:
            raise ValueError(f"max_speed={self.max_speed}: must be positive")


OPTIMIZERS: dict[str, type[OptimizerSettings]] = {
    "adam": AdamSettings,
    "sgd": SGDSettings,
    "clipup": ClipUpSettings,
}
"""Name -> its settings."""


def keys_of(name: str) -> list[str]:
    """The keys that an optimiser reads."""
    return [field.name for field in fields(OPTIMIZERS[name])]


def optimizers_with(key: str) -> list[str]:
    """The names of the optimisers that read a key."""
    return [name for name in OPTIMIZERS if key in keys_of(name)]


@dataclass(frozen=True)
class OptimizerState:
    """The state of an optimiser.

    Attributes:
        steps: updates so far.
        first: (d,), of theta's dtype, Adam's first moment, or the velocity.
        second: (d,), Adam's second moment; empty for the others.
    """

    steps: int
    first: Floating
    second: Floating


def init(settings: OptimizerSettings, num_params: int, dtype: Any = np.float32) -> OptimizerState:
    """The state before the first step, for parameters of this dtype."""
    second = num_params if isinstance(settings, AdamSettings) else 0
    return OptimizerState(0, np.zeros(num_params, dtype), np.zeros(second, dtype))


def step(
    settings: OptimizerSettings, state: OptimizerState, theta: Floating, gradient: Floating, stepsize: float
) -> tuple[Floating, OptimizerState]:
    """The step to add to theta, (d,), and the next state.

    Args:
        settings: which optimiser.
        state: of the optimiser.
        theta: (d,), float32 or float64, for the weight decay.
        gradient: (d,), of the objective to maximise, without weight decay.
        stepsize: of this generation.
    """
    ascent = gradient - np.float32(settings.weight_decay) * theta
    if isinstance(settings, AdamSettings):
        return _adam(settings, state, ascent, stepsize)
    if isinstance(settings, ClipUpSettings):
        return _clipup(settings, state, ascent, stepsize)
    return _sgd(settings, state, ascent, stepsize)


def _adam(
    settings: AdamSettings, state: OptimizerState, ascent: Floating, stepsize: float
) -> tuple[Floating, OptimizerState]:
    """Adam (Kingma & Ba 2015), the bias correction folded into the stepsize as in their section 2."""
    t = state.steps + 1
    beta1, beta2 = np.float32(settings.momentum), np.float32(settings.beta2)
    first = beta1 * state.first + (1 - beta1) * ascent
    second = beta2 * state.second + (1 - beta2) * (ascent * ascent)
    corrected = np.float32(stepsize * math.sqrt(1 - settings.beta2**t) / (1 - settings.momentum**t))
    root: Floating = np.sqrt(second)
    return corrected * first / (root + np.float32(settings.epsilon)), OptimizerState(t, first, second)


def _sgd(
    settings: OptimizerSettings, state: OptimizerState, ascent: Floating, stepsize: float
) -> tuple[Floating, OptimizerState]:
    """SGD with an averaging momentum: velocity = m * velocity + (1 - m) * g, as the reference implementation."""
    momentum = np.float32(settings.momentum)
    velocity = momentum * state.first + (1 - momentum) * ascent
    return np.float32(stepsize) * velocity, OptimizerState(state.steps + 1, velocity, state.second)


def _clipup(
    settings: ClipUpSettings, state: OptimizerState, ascent: Floating, stepsize: float
) -> tuple[Floating, OptimizerState]:
    """ClipUp (Toklu et al. 2020, algorithm 1): normalised gradient, velocity clipped to max_speed."""
    norm = float(np.linalg.norm(ascent))
    direction = ascent / np.float32(norm) if norm > 0 else ascent
    velocity = np.float32(settings.momentum) * state.first + np.float32(stepsize) * direction
    speed = float(np.linalg.norm(velocity))
    if speed > settings.max_speed:
        velocity = velocity * np.float32(settings.max_speed / speed)
    return velocity, OptimizerState(state.steps + 1, velocity, state.second)
