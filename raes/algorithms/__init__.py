"""Algorithms: pure functions from state and batch to the next state, one file an algorithm, registered here once."""

from raes.algorithms.algorithm import Algorithm, SearchState
from raes.algorithms.es import ES, ESSettings

ALGORITHMS: dict[str, tuple[type[ES], type[ESSettings]]] = {"es": (ES, ESSettings)}
"""Name -> (algorithm, its settings)."""

__all__ = ["ALGORITHMS", "ES", "Algorithm", "ESSettings", "SearchState"]
