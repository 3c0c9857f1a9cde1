"""An environment whose episodes do not begin while a file is there; the lab's folder is one that all hosts see."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import gymnasium
from trial_worlds import Line


class Gated(Line):
    """Line, with the variable GATE: the file."""

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> Any:
        gate = self._variables.get("GATE")
        while gate and Path(gate).exists():
            time.sleep(0.05)
        return super().reset(seed=seed, options=options)


gymnasium.register("Gated-v0", entry_point=Gated)
