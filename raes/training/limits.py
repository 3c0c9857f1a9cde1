"""Why and how a run ends: a stop, a limit, the goal, or too many failed episodes; pure."""

from __future__ import annotations

import threading
from dataclasses import dataclass

from raes.algorithms.restarts import RestartState
from raes.config.schema import Config
from raes.training.state import FAULT_WINDOW, RunCounters

STOPPED = 130
"""The exit code after Ctrl-C or SIGTERM."""


class StopSignal(threading.Event):
    """Set: the run ends at once, with a checkpoint.

    Attributes:
        reason: why the run should end as at a limit, after the generation that is open; None where it need not.
    """

    reason: str | None = None


@dataclass(frozen=True)
class RunOutcome:
    """How a run ended.

    Attributes:
        code: the exit code.
        reason: in words.
        run_dir: where its files are, if they are not where they should be.
        remark: what the user should know of its results; empty for nothing.
    """

    code: int
    reason: str
    run_dir: str | None = None
    remark: str = ""

    @property
    def text(self) -> str:
        """The reason behind the kind of end that it is."""
        kind = {0: "finished: ", STOPPED: ""}.get(self.code, "failed: ")
        return f"{kind}{self.reason}"


def limit_reached(config: Config, counters: RunCounters, generation: int, seconds: float) -> str | None:
    """Why a run has done enough, or None.

    Args:
        config: its limits and its goal count here.
        counters: of the run.
        generation: generations done.
        seconds: of the run, resumes included.
    """
    goal = config.goal
    if goal.return_mean is not None and counters.goal_streak >= goal.consecutive:
        return f"goal (evaluation mean {goal.return_mean:g}) reached"
    if config.generations is not None and generation >= config.generations:
        return f"generation limit ({config.generations}) reached"
    if config.max_timesteps is not None and counters.timesteps >= config.max_timesteps:
        return f"timestep limit ({config.max_timesteps}) reached"
    if config.max_minutes is not None and seconds >= 60 * config.max_minutes:
        return f"time limit ({config.max_minutes:g} min) reached"
    return None


def search_over(search: object) -> str | None:
    """Why a search of a function can get no further, or None."""
    return f"the search has converged ({search.ended})" if isinstance(search, RestartState) and search.over else None


def too_many_faults(counters: RunCounters, max_share: float) -> str | None:
    """Why a run must stop, or None: too large a share of the last episodes failed."""
    failed = sum(faults for _, faults in counters.fault_history)
    episodes = sum(total for total, _ in counters.fault_history)
    if failed <= max_share * max(FAULT_WINDOW, episodes):
        return None
    return f"{failed} of the last {episodes} episodes failed, more than faults.max_share={max_share:g}"
