"""What a run counts beside its search state, and when it has enough; pure."""

from __future__ import annotations

import threading
from dataclasses import dataclass, replace
from typing import Any

from raes.config.schema import Config

FAULT_WINDOW = 1000
"""Episodes over which the share of faults is taken, where a generation has fewer."""


class Stop(threading.Event):
    """Set: end at once, with a checkpoint.

    Attributes:
        wish: why the run should end as at a limit, after the generation that is out; None where nobody wishes it.
    """

    wish: str | None = None


@dataclass(frozen=True)
class RunOutcome:
    """How a run ended: exit code and reason."""

    code: int
    reason: str


@dataclass(frozen=True)
class RunCounters:
    """Counted from the run's beginning, resumes included.

    Attributes:
        episodes: training episodes that entered a generation.
        timesteps: of those episodes.
        best_return: the highest evaluation mean.
        goal_streak: evaluations in a row that reached the goal.
        quarantined: episodes left out.
        fault_history: (episodes, faults) of the last generations, as many as the window needs.
    """

    episodes: int = 0
    timesteps: int = 0
    best_return: float | None = None
    goal_streak: int = 0
    quarantined: int = 0
    fault_history: tuple[tuple[int, int], ...] = ()

    def with_generation(self, episodes: int, timesteps: int, faults: int) -> RunCounters:
        """With one more generation of so many good episodes and faults."""
        history = (*self.fault_history, (episodes + faults, faults))
        while len(history) > 1 and sum(total for total, _ in history[1:]) >= FAULT_WINDOW:
            history = history[1:]
        return replace(
            self,
            episodes=self.episodes + episodes,
            timesteps=self.timesteps + timesteps,
            quarantined=self.quarantined + faults,
            fault_history=history,
        )

    def with_evaluation(self, mean: float, goal: float | None) -> RunCounters:
        """With one more evaluation; the best (of equals the latest) and the goal are decided here and only here."""
        reached = goal is not None and mean >= goal
        best = mean if self.best_return is None else max(mean, self.best_return)
        return replace(self, best_return=best, goal_streak=self.goal_streak + 1 if reached else 0)

    def too_many_faults(self, max_share: float) -> str | None:
        """Why the run must stop: too large a share of the last episodes failed."""
        failed = sum(faults for _, faults in self.fault_history)
        episodes = sum(total for total, _ in self.fault_history)
        if failed <= max_share * max(FAULT_WINDOW, episodes):
            return None
        return f"{failed} of the last {episodes} episodes failed, more than faults.max_share={max_share:g}"

    def limit_reached(self, config: Config, generation: int, seconds: float) -> str | None:
        """Why the run has done enough, or None."""
        goal = config.goal
        if goal.return_mean is not None and self.goal_streak >= goal.consecutive:
            return f"the goal is reached: evaluation mean at least {goal.return_mean:g}"
        if config.generations is not None and generation >= config.generations:
            return f"{generation} generations are done"
        if config.max_timesteps is not None and self.timesteps >= config.max_timesteps:
            return f"{self.timesteps} timesteps are done"
        if config.max_minutes is not None and seconds >= 60 * config.max_minutes:
            return f"{config.max_minutes:g} minutes are over"
        return None

    @staticmethod
    def from_json(stored: dict[str, Any]) -> RunCounters:
        """As a checkpoint holds it."""
        history = tuple((int(total), int(faults)) for total, faults in stored["fault_history"])
        return RunCounters(**{**stored, "fault_history": history})
