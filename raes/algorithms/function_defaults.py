"""What a search of a function begins with, where it differs from a search of policies: keys of settings, by algorithm.

Policies have returns with noise, parameters near 0 and thousands of evaluations per generation. A function is exact,
its optimum may lie anywhere, and its budget is small. `conf/preset/function_NAME.yaml` holds the same for the command
line; a test compares them.
"""

from __future__ import annotations

from typing import Any

from raes.search.optimizers import OptimizerSettings
from raes.types import UserError

SIGMA = 2.0
"""Of the methods that adapt it; they are soon at another one."""
FULL_COVARIANCE = ("cma_es", "xnes")
LARGEST_DIMENSION = 2_000
"""Of a full covariance: its update takes about a second there."""
MANY = 300
"""Parameters from which on a diagonal covariance is the default: one of d^2 numbers takes more evaluations to learn
than a usual budget has."""

FALLING = {"sigma": 1.0, "sigma_decay": 0.97, "sigma_min": 1e-8}
"""Of the methods whose noise does not adapt: it falls a thousandfold in 230 generations."""
EXPLORING = FALLING | {"pairs": 10}
WIDE = {"sigma": 2.5, "pairs": 10}
"""Of the method that reads no values, so that only wide samples find anything."""

FUNCTION_KEYS: dict[str, dict[str, Any]] = {
    "es": EXPLORING,
    "ars": EXPLORING,
    "pgpe": {"pairs": 10, "radius": 2.0},
    "snes": {"sigma": SIGMA},
    "xnes": {"sigma": SIGMA},
    "cma_es": {"population": 16, "sigma": SIGMA},
    "surrogate": {"sigma": SIGMA},
    "cem": {"population": 30, "sigma": SIGMA, "elite": 0.4, "extra_sigma": 0.5, "extra_decay": 0.95},
    "gaussian_es": {"population": 20, "sigma": SIGMA, "elite": 0.25},
    "canonical_es": {"population": None, "sigma": SIGMA, "adapt_sigma": 2.0},
    "random_search": {"population": None, "sigma": 0.5, "around": "best"},
    "ga": {"population": None, "sigma": 0.5, "parents": 5, "candidates": 1, "elite_episodes": 0},
    "ns_es": WIDE,
    "nsr_es": EXPLORING | {"weight": 0.9},
    "nsra_es": EXPLORING,
}
"""By algorithm."""

FUNCTION_OPTIMIZERS: dict[str, OptimizerSettings] = {
    "ars": OptimizerSettings("sgd", stepsize=0.5, stepsize_decay=0.97, momentum=0.0, weight_decay=0.0),
    "pgpe": OptimizerSettings("clipup", stepsize=0.15, weight_decay=0.0),
    "ns_es": OptimizerSettings("adam", stepsize=0.02, weight_decay=0.0),
    **dict.fromkeys(
        ("es", "nsr_es", "nsra_es"),
        OptimizerSettings("adam", stepsize=0.5, stepsize_decay=0.97, weight_decay=0.0),
    ),
}
"""Those that are not Adam with its own defaults, without weight decay."""


def default_algorithm(dim: int) -> tuple[str, dict[str, Any]]:
    """The method for a function of `dim` numbers where none is named, and keys of it."""
    return "cma_es", {} if dim < MANY else {"covariance": "diagonal", "population": None}


def check_dimension(algorithm: str, settings: Any, dim: int) -> None:
    """Refuse a full covariance of thousands of parameters, whose updates take from seconds to hours.

    Raises:
        UserError: with the key and the alternatives.
    """
    full = algorithm in FULL_COVARIANCE and getattr(settings, "covariance", "full") == "full"
    if full and dim > LARGEST_DIMENSION:
        instead = "algorithm.covariance=diagonal, or algorithm=snes" if algorithm == "cma_es" else "algorithm=snes"
        raise UserError(
            f"algorithm={algorithm} has a full covariance, which is for at most {LARGEST_DIMENSION:,} parameters, and "
            f"there are {dim:,}; give {instead}"
        )
