"""Models that the tests train by seeds, and a second engine, of plain numpy."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from typing import Any

import numpy as np
import torch
from torch import nn

from raes.models.engine import Direction, EngineRecipe, WeightsCorruptedError
from raes.rng import Purpose, generator
from raes.search.optimizers import OptimizerSettings
from raes.tasks import ModelUpdate, UpdateLog

PLAIN = OptimizerSettings("sgd", stepsize=0.1, momentum=0.0, weight_decay=0.0)


class Tied(nn.Module):
    """An embedding whose weights are the output layer's too, a buffer, and a part that is often left untrained."""

    def __init__(self, units: int = 24) -> None:
        super().__init__()
        self.embedding, self.inner = nn.Embedding(11, units), nn.Linear(units, units)
        self.norm, self.head = nn.BatchNorm1d(units), nn.Linear(units, 11, bias=False)
        self.head.weight = self.embedding.weight

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        return self.head(self.norm(torch.tanh(self.inner(self.embedding(tokens)))))


def tied(dtype: str = "float32") -> nn.Module:
    """The same weights each time."""
    torch.manual_seed(1)
    return Tied().to(getattr(torch, dtype))


def likelihood(model: nn.Module, task: int = 3) -> float:
    """How likely the model takes a token to be followed by the next one."""
    logits = model(torch.tensor([task % 11]))
    return float(logits.detach().float().log_softmax(-1)[0, (task + 1) % 11])


def recipe(dtype: str = "float32", **changes: Any) -> EngineRecipe:
    """For the model above."""
    values: dict[str, Any] = {"build": lambda: tied(dtype), "reward": likelihood, "seed": 3, "optimizer": PLAIN}
    return EngineRecipe(**(values | changes))


def an_update(generation: int, pairs: int = 4, stepsize: float = 0.05) -> ModelUpdate:
    """Some update."""
    weights = generator(9, Purpose.TRAINING, generation).standard_normal(pairs).astype(np.float32)
    return ModelUpdate(generation, np.arange(pairs), weights, stepsize)


def a_log(generations: int) -> UpdateLog:
    """Some updates."""
    log = UpdateLog.empty()
    for generation in range(generations):
        update = an_update(generation)
        log = log.with_update(update.pair, update.weight, update.stepsize)
    return log


class VectorEngine:
    """The second engine: a vector in numpy, which perturbs a copy."""

    size = 8 * 5 + 32

    def __init__(self, recipe: EngineRecipe) -> None:
        self._recipe = recipe
        self.weights: Any = np.asarray(recipe.build(), np.float64)
        self._noisy: Any = None
        self._sum = self.digest()

    def perturb(self, direction: Direction) -> None:
        if self.digest() != self._sum:
            raise WeightsCorruptedError("the vector has changed")
        self._noisy = self.weights + direction.scale * self._noise(direction.generation, direction.pair)

    def restore(self) -> None:
        self._noisy = None

    def update(self, update: ModelUpdate) -> None:
        for pair, weight in zip(update.pair.tolist(), update.weight.tolist(), strict=True):
            self.weights = self.weights + update.stepsize * weight * self._noise(update.generation, pair)
        self._noisy, self._sum = None, self.digest()

    def evaluate(self, *task: Any) -> float:
        return float(self._recipe.reward(self.weights if self._noisy is None else self._noisy, *task))

    def digest(self) -> str:
        return hashlib.blake2b(self.weights.tobytes(), digest_size=8).hexdigest()

    def save(self, start: int, stop: int) -> bytes:
        content = json.dumps({"bits": self.digest()}).encode().ljust(32) + self.weights.tobytes()
        return content[start:stop]

    def load(self, parts: Iterable[Any]) -> None:
        self.weights = np.frombuffer(b"".join(bytes(part) for part in parts)[32:], np.float64).copy()
        self._noisy, self._sum = None, self.digest()

    def _noise(self, generation: int, pair: int) -> Any:
        return generator(self._recipe.seed, Purpose.MODEL_NOISE, generation, pair).standard_normal(5)


def vector() -> Any:
    """Its weights."""
    return np.zeros(5)


def nearness(weights: Any) -> float:
    """Its reward."""
    return -float(np.square(weights - np.arange(5)).sum())
