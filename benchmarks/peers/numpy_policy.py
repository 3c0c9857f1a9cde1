"""The network and the episode as somebody writes them by hand, for libraries that leave both to the user."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import numpy.typing as npt

CLIP = 5.0


class Policy:
    """A tanh network over normalised observations.

    Attributes:
        size: parameters.
        mean, scale: of the observations.
    """

    def __init__(self, env: Any, hidden: tuple[int, ...]) -> None:
        sizes = (env.observation_space.shape[0], *hidden, env.action_space.shape[0])
        self._shapes = [(into + 1, out) for into, out in itertools.pairwise(sizes)]
        self._low, self._high = env.action_space.low, env.action_space.high
        self.size = sum(rows * columns for rows, columns in self._shapes)
        self.mean, self.scale = np.zeros(sizes[0]), np.ones(sizes[0])

    def layers(self, theta: npt.NDArray[np.float32]) -> list[npt.NDArray[np.float32]]:
        """Views of parameters (size,), a matrix per layer with the biases in its last row."""
        views, start = [], 0
        for rows, columns in self._shapes:
            views.append(theta[start : start + rows * columns].reshape(rows, columns))
            start += rows * columns
        return views

    def __call__(self, layers: list[npt.NDArray[np.float32]], observation: npt.NDArray[np.float64]) -> Any:
        """The action."""
        x = np.clip((observation - self.mean) * self.scale, -CLIP, CLIP).astype(np.float32)
        for layer in layers[:-1]:
            x = np.tanh(x @ layer[:-1] + layer[-1])
        return np.clip(x @ layers[-1][:-1] + layers[-1][-1], self._low, self._high)


class Moments:
    """Running mean and variance of observations, by the usual sums."""

    def __init__(self, size: int) -> None:
        self.count, self.sum, self.squares = 1e-2, np.zeros(size), np.full(size, 1e-2)

    def add(self, count: int, total: npt.NDArray[np.float64], squares: npt.NDArray[np.float64]) -> None:
        """Add the sums of an episode."""
        self.count, self.sum, self.squares = self.count + count, self.sum + total, self.squares + squares

    @property
    def normaliser(self) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
        """Mean, and one over the standard deviation."""
        mean = self.sum / self.count
        return mean, 1 / np.sqrt(np.maximum(self.squares / self.count - mean**2, 1e-2))
