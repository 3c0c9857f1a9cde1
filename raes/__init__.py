"""RAES: Evolution Strategies on a Ray cluster (Salimans et al. 2017, arXiv 1703.03864), and their relatives.

From Python: `raes.fit` and `raes.load` for policies, see `raes.api.runs`; `raes.minimize`, `raes.maximize` and
`raes.Optimizer` for functions, see `raes.api.optimize`; `raes.train_module` for PyTorch modules.
"""

from __future__ import annotations

import sys
from importlib import import_module
from typing import Any

__version__ = "0.2.0"
__all__ = [
    "Callback",
    "Category",
    "Interval",
    "Optimizer",
    "OptimizerSettings",
    "Optimum",
    "OptunaSampler",
    "Run",
    "Status",
    "Tolerances",
    "fit",
    "load",
    "maximize",
    "minimize",
    "train_module",
]
_HOMES = {
    "raes.training.callbacks": ("Callback",),
    "raes.api.torch_modules": ("train_module",),
    "raes.api.optimize": ("Optimizer", "Optimum", "Status", "maximize", "minimize"),
    "raes.api.optuna_sampler": ("OptunaSampler",),
    "raes.search.domain": ("Category", "Interval"),
    "raes.search.endings": ("Tolerances",),
    "raes.search.optimizers": ("OptimizerSettings",),
    "raes.api.runs": ("Run", "fit", "load"),
}


def __getattr__(name: str) -> Any:
    """The names above, imported when they are first used, so that `import raes` stays fast."""
    for home, names in _HOMES.items():
        if name in names:
            return getattr(import_module(home), name)
    raise AttributeError(f"module raes has no attribute {name!r}", name=name, obj=sys.modules[__name__])


def __dir__() -> list[str]:
    """With the names that are not imported yet, for completion and for the suggestions of Python's error messages."""
    return sorted({*globals(), *__all__})
