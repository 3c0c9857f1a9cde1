"""Counts, the share of faults, the goal, and the limits."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

import pytest

from raes.algorithms import ESSettings
from raes.config.schema import Config
from raes.config.settings import GoalSettings
from raes.policies import PolicySettings
from raes.problems.environment import EnvSettings
from raes.search.optimizers import OptimizerSettings
from raes.training.limits import limit_reached, too_many_faults
from raes.training.state import FAULT_WINDOW, RunCounters, read_as

CONFIG = Config(EnvSettings(id="CartPole-v1"), PolicySettings(), ESSettings(), OptimizerSettings())


def config(**changes: Any) -> Config:
    return dataclasses.replace(CONFIG, **changes)


def after(generations: list[tuple[int, int]]) -> RunCounters:
    """After generations of so many episodes, of which so many failed."""
    counters = RunCounters()
    for total, faults in generations:
        counters = counters.with_round(total - faults, 10 * (total - faults), faults)
    return counters


def test_counts_add_up_and_faults_count_apart() -> None:
    counters = after([(100, 10), (50, 0)])
    assert (counters.episodes, counters.timesteps, counters.quarantined) == (140, 1400, 10)


@pytest.mark.parametrize(
    ("generations", "stops"),
    [
        ([(200, 50)], False),  # 50 of a window of 1,000 is just the 5 %
        ([(200, 51)], True),
        ([(200, 10)] * 5, False),
        ([(200, 11)] * 5, True),
        ([(200, 200)], True),
        ([(200, 50)] + [(200, 0)] * 5 + [(200, 50)], False),  # old faults leave the window
        ([(200, 50)] + [(200, 0)] * 3 + [(200, 50)], True),
        ([(100_000, 5000)], False),  # a large generation is its own window
        ([(100_000, 5001)], True),
        ([(100_000, 5000), (100_000, 0)], False),
    ],
)
def test_a_run_stops_at_too_large_a_share_of_the_last_thousand_episodes(
    generations: list[tuple[int, int]], stops: bool
) -> None:
    reason = too_many_faults(after(generations), 0.05)
    assert (reason is not None) == stops
    if reason is not None:
        assert "faults.max_share=0.05" in reason


def test_the_reason_counts_only_episodes_that_were_run() -> None:
    reason = too_many_faults(after([(200, 60)]), 0.05)
    assert reason is not None
    assert reason.startswith("60 of the last 200 episodes")


def test_the_history_is_as_long_as_the_window_and_no_longer() -> None:
    history = after([(300, 1)] * 100).fault_history
    assert sum(total for total, _ in history) >= FAULT_WINDOW
    assert sum(total for total, _ in history[1:]) < FAULT_WINDOW


def test_the_goal_counts_evaluations_in_a_row() -> None:
    counters, streaks = RunCounters(), []
    for mean in (10.0, 9.9, 10.0, 12.0):
        counters = counters.with_evaluation(mean, goal=10.0)
        streaks.append(counters.goal_streak)
    assert streaks == [1, 0, 1, 2]
    assert counters.best_return == 12.0
    assert RunCounters().with_evaluation(-5.0, None) == RunCounters(best_return=-5.0, goal_streak=0)


def test_the_best_is_the_highest_also_where_all_are_negative() -> None:
    counters = RunCounters()
    for mean in (-300.0, -200.0, -250.0):
        counters = counters.with_evaluation(mean, None)
    assert counters.best_return == -200.0


@pytest.mark.parametrize(
    ("changes", "generation", "timesteps", "seconds", "streak", "word"),
    [
        ({}, 10**9, 10**12, 1e12, 0, None),
        ({"generations": 5}, 4, 0, 0, 0, None),
        ({"generations": 5}, 5, 0, 0, 0, "generation limit (5) reached"),
        ({"max_timesteps": 1000}, 0, 999, 0, 0, None),
        ({"max_timesteps": 1000}, 0, 1000, 0, 0, "timestep limit (1000) reached"),
        ({"max_minutes": 0.5}, 0, 0, 29.9, 0, None),
        ({"max_minutes": 0.5}, 0, 0, 30.0, 0, "time limit (0.5 min) reached"),
        ({"goal": GoalSettings(200.0, 3)}, 0, 0, 0, 2, None),
        ({"goal": GoalSettings(200.0, 3)}, 0, 0, 0, 3, "goal (evaluation mean 200) reached"),
        ({"goal": GoalSettings(0.0, 1)}, 0, 0, 0, 1, "goal"),
        ({"goal": GoalSettings(200.0, 1), "generations": 5}, 5, 0, 0, 1, "goal"),
    ],
)
def test_a_run_ends_at_its_goal_or_at_its_first_limit(
    changes: dict[str, Any], generation: int, timesteps: int, seconds: float, streak: int, word: str | None
) -> None:
    counters = RunCounters(timesteps=timesteps, goal_streak=streak)
    reason = limit_reached(config(**changes), counters, generation, seconds)
    assert (reason is None) == (word is None)
    assert word is None or word in str(reason)


def test_counters_survive_a_checkpoints_json() -> None:
    counters = after([(300, 3)] * 5).with_evaluation(3.25, 1.0)
    stored = json.loads(json.dumps(dataclasses.asdict(counters)))
    assert read_as(RunCounters, stored) == counters
