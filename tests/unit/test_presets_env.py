"""Every environment preset: an episode is the same in a fresh environment and in one that has played before."""

from __future__ import annotations

import numpy as np
import pytest
from hydra import compose, initialize_config_dir

from raes.config.schema import conf_dir, from_tree
from raes.problems.problem import EpisodeOutcome
from raes.tasks import Snapshot
from raes.training.build import problem_spec

from .worlds import episode

PRESETS = sorted(
    path.stem
    for path in (conf_dir() / "env").glob("*.yaml")
    if path.stem not in ("gymnasium", "function", "module") and "game:" not in path.read_text()
)
"""All but games, which tests/unit/test_atari.py plays in fresh and in used environments."""
STEPS = 60


@pytest.mark.parametrize("name", PRESETS)
def test_an_episode_has_the_same_bits_in_a_fresh_and_in_a_used_environment(name: str) -> None:
    with initialize_config_dir(str(conf_dir().resolve()), version_base="1.3"):
        config = from_tree(compose("config", overrides=[f"env={name}"]))
    spec = problem_spec(config)
    fresh, used = (spec.build() for _ in range(2))
    size = fresh.observation_size
    snapshot = Snapshot(0, np.zeros(0, np.float32), np.zeros(size), np.ones(size), max_steps=STEPS)
    theta, other = (np.random.default_rng(seed).standard_normal(fresh.num_params).astype(np.float32) for seed in (0, 1))
    for problem in (fresh, used):
        problem.use(snapshot)
    first = fresh.evaluate(theta, episode(seed=1, observe=True))
    used.evaluate(other, episode(seed=2))  # most of these are cut short, as by an episode cap
    used.evaluate(theta, episode(seed=3))
    again = used.evaluate(theta, episode(seed=1, observe=True))
    fresh.close()
    used.close()
    assert bits(first) == bits(again)


def bits(outcome: EpisodeOutcome) -> tuple[object, ...]:
    assert outcome.observations is not None
    return outcome.total, outcome.length, outcome.observations.mean.tobytes(), outcome.observations.m2.tobytes()
