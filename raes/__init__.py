"""RAES: Evolution Strategies on a Ray cluster (Salimans et al. 2017, arXiv 1703.03864), and their relatives.

From Python: `raes.minimize`, `raes.maximize`, `raes.Optimizer`; see `raes.optimize`. For PyTorch: `raes.train_module`.
"""

from __future__ import annotations

from typing import Any

__version__ = "0.1.0"
__all__ = ["Optimizer", "Optimum", "maximize", "minimize", "train_module"]


def __getattr__(name: str) -> Any:
    """The names above, imported when they are first used, so that `import raes` stays fast."""
    if name not in __all__:
        raise AttributeError(f"module raes has no attribute {name!r}")
    if name == "train_module":
        from raes.modules import train_module

        return train_module
    from raes import optimize

    return getattr(optimize, name)
