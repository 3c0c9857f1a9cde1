"""What holds a model in a worker: perturbs it, evaluates it, restores it to the same bits, and updates it.

`TorchEngine` holds a PyTorch module. Another inference engine takes its place with `env.engine=module:make`, where
`make(recipe)` gives an object with these methods.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Protocol

from raes.search.optimizers import OptimizerSettings
from raes.tasks import ModelUpdate


@dataclass(frozen=True)
class Direction:
    """One perturbation: scale times the noise of a pair.

    Attributes:
        generation: the noise's.
        pair: its number.
        scale: +sigma or -sigma, a float32 number.
    """

    generation: int
    pair: int
    scale: float


@dataclass(frozen=True)
class EngineRecipe:
    """What an engine is made from, the same in every worker.

    Attributes:
        build: makes the model, with the same weights in every process.
        reward: called with the model, or with the model and tasks; returns a number to maximise.
        seed: of the run; the noise's keys are made of it.
        optimizer: what steps along the gradient.
        rank: of the noise of matrices; None for full rank.
        parameters: patterns of the names of those that are trained, as `fnmatch` has them.
        device: where the model lies.
    """

    build: Callable[[], Any]
    reward: Callable[..., Any]
    seed: int
    optimizer: OptimizerSettings
    rank: int | None = None
    parameters: tuple[str, ...] = ("*",)
    device: str = "cpu"


@dataclass(frozen=True)
class MemoryNeed:
    """Bytes that an engine holds.

    Attributes:
        model: all parameters and buffers.
        copy: of the trained parameters.
        optimizer: its state.
    """

    model: int
    copy: int
    optimizer: int

    @property
    def total(self) -> int:
        """All of it."""
        return self.model + self.copy + self.optimizer


class WeightsCorruptedError(RuntimeError):
    """The weights are not those of the last update or load; they must be loaded again."""


class Engine(Protocol):
    """A model with weights that only `update` and `load` change for good.

    Attributes:
        size: bytes of the file that `save` gives.
    """

    size: int

    def perturb(self, direction: Direction) -> None:
        """Add noise to the weights as they are without noise.

        Raises:
            WeightsCorruptedError: these have changed since the last update or load.
        """

    def restore(self) -> None:
        """Undo the perturbation, to the same bits; without one, nothing changes."""

    def update(self, update: ModelUpdate) -> None:
        """One step of the optimiser; where it is interrupted, the weights must be loaded again."""

    def evaluate(self, *task: Any) -> float:
        """The reward of the model as it is now: on a task, on a list of tasks, or without any, as the reward wants."""

    def digest(self) -> str:
        """A digest of all weights without noise: equal weights have equal ones."""

    def save(self, start: int, stop: int) -> bytes:
        """These bytes of a file in the format safetensors, with the weights without noise and the optimiser's state."""

    def load(self, parts: Iterable[Any]) -> None:
        """Overwrite weights and optimiser's state with those in the consecutive parts of such a file."""


EngineFactory = Callable[[EngineRecipe], Engine]
