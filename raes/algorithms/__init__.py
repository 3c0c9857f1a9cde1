"""Algorithms: pure functions from state and batch to the next state, one file an algorithm, registered here once."""

from collections.abc import Callable
from typing import Any, get_args

from raes.algorithms.ars import ARS, ARSSettings
from raes.algorithms.canonical_es import CanonicalES, CanonicalESSettings
from raes.algorithms.cem import CEM, CEMSettings
from raes.algorithms.cma_es import CMAES, CMAESSettings
from raes.algorithms.custom import CustomSettings, custom
from raes.algorithms.es import ES, ESSettings
from raes.algorithms.ga import GA, GASettings
from raes.algorithms.gaussian_es import GaussianES, GaussianESSettings
from raes.algorithms.novelty import NoveltySearch, NSESSettings, NSRAESSettings, NSRESSettings
from raes.algorithms.pgpe import PGPE, PGPESettings
from raes.algorithms.protocol import Algorithm, SearchState, WeightedSum
from raes.algorithms.random_search import RandomSearch, RandomSearchSettings
from raes.algorithms.seeded_es import SeededES
from raes.algorithms.snes import SNES, SNESSettings
from raes.algorithms.surrogate import Surrogate, SurrogateSettings
from raes.algorithms.xnes import XNES, XNESSettings

AlgorithmSettings = (
    ESSettings
    | ARSSettings
    | NSESSettings
    | NSRESSettings
    | NSRAESSettings
    | GASettings
    | PGPESettings
    | SNESSettings
    | XNESSettings
    | SurrogateSettings
    | CMAESSettings
    | CEMSettings
    | GaussianESSettings
    | CanonicalESSettings
    | RandomSearchSettings
    | CustomSettings
)
"""The configuration group `algorithm`; `name` selects one."""

_OF_SETTINGS: dict[type[Any], Callable[..., Any]] = {
    ESSettings: ES,
    ARSSettings: ARS,
    NSESSettings: NoveltySearch,
    NSRESSettings: NoveltySearch,
    NSRAESSettings: NoveltySearch,
    GASettings: GA,
    PGPESettings: PGPE,
    SNESSettings: SNES,
    XNESSettings: XNES,
    SurrogateSettings: Surrogate,
    CMAESSettings: CMAES,
    CEMSettings: CEM,
    GaussianESSettings: GaussianES,
    CanonicalESSettings: CanonicalES,
    RandomSearchSettings: RandomSearch,
    CustomSettings: custom,
}
ALGORITHMS: dict[str, tuple[Callable[..., Any], type[Any]]] = {
    settings.name: (_OF_SETTINGS[settings], settings) for settings in get_args(AlgorithmSettings)
}
"""Name -> (what makes the algorithm, its settings)."""

__all__ = [
    "ALGORITHMS",
    "ARS",
    "CEM",
    "CMAES",
    "ES",
    "GA",
    "PGPE",
    "SNES",
    "XNES",
    "ARSSettings",
    "Algorithm",
    "AlgorithmSettings",
    "CEMSettings",
    "CMAESSettings",
    "CanonicalES",
    "CanonicalESSettings",
    "CustomSettings",
    "ESSettings",
    "GASettings",
    "GaussianES",
    "GaussianESSettings",
    "NSESSettings",
    "NSRAESSettings",
    "NSRESSettings",
    "NoveltySearch",
    "PGPESettings",
    "RandomSearch",
    "RandomSearchSettings",
    "SNESSettings",
    "SearchState",
    "SeededES",
    "WeightedSum",
    "XNESSettings",
]
