"""A deceptive task: a point in a closed yard must walk past a U-shaped wall, and the rewards lead it into the U.

    python -m raes.train env=gymnasium env.id=examples.trap:Trap-v0 policy=mlp_32 algorithm=nsr_es

As in the novelty literature (Lehman & Stanley 2011; Conti et al. 2018, section 4.1): the return is the progress towards
the goal, 4 in the trap and 10 at the goal. The yard is closed, since novelty search alone would move away without end.
Run it from the folder that contains `examples`.

It shows an environment of your own, and why novelty helps. The training prints a line per generation: with
`algorithm=es` its evaluations stay at 4, with `nsr_es` they come to 9 and more (docs/results.md has the settings).
"""

from __future__ import annotations

from typing import Any

import gymnasium
import numpy as np
from numpy.typing import NDArray

GOAL = np.array([0.0, 10.0])
SPEED = 0.4
STEPS = 100
TRAP = [[-6.0, 6.0, 4.0, 4.5], [-6.5, -6.0, -1.0, 4.5], [6.0, 6.5, -1.0, 4.5]]
YARD = [[-13.0, -12.0, -13.0, 11.2], [12.0, 13.0, -13.0, 11.2], [-12.0, 12.0, -13.0, -12.0], [-12.0, 12.0, 10.2, 11.2]]
WALLS = np.array(TRAP + YARD)
"""Rectangles: x from, x to, y from, y to."""


class Trap(gymnasium.Env[NDArray[np.float64], NDArray[np.float32]]):
    """Observations: x / 10, y / 10, the time in [0, 1]. Actions: speeds along x and y in [-1, 1]."""

    def __init__(self) -> None:
        self.observation_space = gymnasium.spaces.Box(-np.inf, np.inf, (3,), np.float64)
        self.action_space = gymnasium.spaces.Box(-1.0, 1.0, (2,), np.float32)
        self._position, self._steps = np.zeros(2), 0

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[NDArray[np.float64], dict[str, Any]]:
        """At the origin, up to a small random offset."""
        super().reset(seed=seed)
        self._position, self._steps = self.np_random.uniform(-0.1, 0.1, 2), 0
        return self._observation(), {}

    def step(self, action: NDArray[np.float32]) -> tuple[NDArray[np.float64], float, bool, bool, dict[str, Any]]:
        """Move; a wall blocks only the component of the speed that leads into it."""
        before = float(np.linalg.norm(self._position - GOAL))
        for axis in (0, 1):
            moved = self._position.copy()
            moved[axis] += SPEED * float(np.clip(action[axis], -1, 1))
            if not _in_wall(moved):
                self._position = moved
        self._steps += 1
        after = float(np.linalg.norm(self._position - GOAL))
        return self._observation(), before - after, False, self._steps == STEPS, {}

    def _observation(self) -> NDArray[np.float64]:
        return np.array([*(self._position / 10), self._steps / STEPS])


def _in_wall(point: NDArray[np.float64]) -> bool:
    x, y = point
    return bool(np.any((WALLS[:, 0] <= x) & (x <= WALLS[:, 1]) & (WALLS[:, 2] <= y) & (y <= WALLS[:, 3])))


gymnasium.register("Trap-v0", entry_point=Trap)
