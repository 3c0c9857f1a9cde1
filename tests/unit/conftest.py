"""Shared by all unit tests: Hypothesis's profile and what many tests build."""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import settings
from hypothesis.configuration import set_hypothesis_home_dir

from raes.algorithms import ES, ESSettings
from raes.algorithms.gradient import GradientState
from raes.search import noise, running_stats
from raes.search.optimizers import OptimizerSettings
from raes.types import Float32

set_hypothesis_home_dir(str(Path(tempfile.gettempdir()) / "raes_hypothesis"))  # nothing next to the sources
settings.register_profile("raes", max_examples=50, deadline=None, derandomize=True, database=None)
settings.load_profile("raes")

TABLE_SIZE = 10_000


@pytest.fixture(scope="session")
def table() -> Float32:
    """A small noise table, float32 (TABLE_SIZE,)."""
    return noise.make_table(TABLE_SIZE)


class SmallES:
    """An ES on `num_params` parameters over the small table, with its first state."""

    def __init__(self, num_params: int = 7, seed: int = 0, observations: int = 3, **changes: object) -> None:
        optimizer = changes.pop("optimizer", OptimizerSettings())
        assert isinstance(optimizer, OptimizerSettings)
        self.settings = ESSettings(**changes)  # type: ignore[arg-type]
        self.algorithm = ES(self.settings, optimizer, seed, TABLE_SIZE)
        theta = np.random.default_rng(1).standard_normal(num_params).astype(np.float32)
        self.state: GradientState = self.algorithm.init(theta, running_stats.init(observations))


@pytest.fixture
def search() -> type[SmallES]:
    """Builds a small ES: `search(num_params=7, seed=0, **settings)` has `algorithm`, `settings` and `state`."""
    return SmallES
