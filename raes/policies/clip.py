"""np.clip without its Python wrapper, which costs more than a small layer: it is called every timestep."""

from __future__ import annotations

from typing import Any

import numpy as np

try:
    from numpy._core.umath import clip  # type: ignore[attr-defined, unused-ignore]
except ImportError:  # another numpy: the same numbers, two calls

    def clip(x: Any, low: Any, high: Any, out: Any = None) -> Any:
        """x bounded to [low, high], element by element."""
        return np.minimum(np.maximum(x, low, out=out), high, out=out)


__all__ = ["clip"]
