"""Behaviour descriptors and the archive."""

from __future__ import annotations

import gymnasium
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from raes.policies import ConvSettings, PolicySettings
from raes.problems.atari import AtariSettings
from raes.problems.behaviors import DESCRIPTORS, FinishedEpisode, descriptor
from raes.problems.environment import EnvSettings
from raes.problems.episode import EpisodeSpec
from raes.problems.problem import Episode, EpisodeError
from raes.results import Behaviors
from raes.search import archive
from raes.search.archive import novelty
from raes.tasks import Snapshot
from raes.types import Float64, RunFailedError, UserError

LINEAR = PolicySettings("linear", hidden=())


def height(episode: FinishedEpisode) -> float:
    """A user's own."""
    return float(episode.observation[0])


def broken(episode: FinishedEpisode) -> list[float]:
    return [float("nan")]


def behavior(name: str, env_id: str) -> tuple[Float64, FinishedEpisode]:
    """Of 50 timesteps, and the episode after them."""
    problem = EpisodeSpec(EnvSettings(env_id, env_id), LINEAR, name).build()
    problem.use(Snapshot(0, np.zeros(0, np.float32), max_steps=50))
    outcome = problem.evaluate(np.full(problem.num_params, 0.1, np.float32), Episode(3, True, False, None))
    assert outcome.behavior is not None
    return outcome.behavior, FinishedEpisode(problem.env, np.zeros(1), outcome.length, outcome.total)


@pytest.mark.parametrize("name", sorted(set(DESCRIPTORS) - {"memory"}))
def test_descriptors_describe_mujoco(name: str) -> None:
    values, episode = behavior(name, "HalfCheetah-v5")
    x = episode.env.unwrapped.data.qpos[0]  # type: ignore[attr-defined]
    speed = x / (50 * 0.05)
    expected = {
        "final_x": [x],
        "final_xy": episode.env.unwrapped.data.qpos[:2],
        "velocity": [speed],
        "velocity_x": [speed * x],
    }  # type: ignore[attr-defined]
    assert values.dtype == np.float64
    if name == "last_observation":
        assert values.shape == (17,)
    else:
        np.testing.assert_allclose(values, expected[name])


def test_an_atari_games_memory_is_taken_from_the_first_to_the_last_timestep() -> None:
    settings = ConvSettings(convolutions=((2, 8, 4),), hidden=(), reference=0)
    problem = EpisodeSpec(AtariSettings(game="pong"), settings, "memory").build()
    problem.use(Snapshot(0, np.zeros(0, np.float32), max_steps=50))
    theta = problem.initial_theta(np.random.default_rng(0))
    outcome = problem.evaluate(theta, Episode(3, True, False, None))
    rows = problem.env.memory  # type: ignore[attr-defined]
    assert rows.shape == (51, 128)
    assert outcome.behavior is not None
    np.testing.assert_array_equal(outcome.behavior.reshape(8, 128)[[0, -1]], rows[[0, -1]])
    with pytest.raises(UserError, match="behavior=memory needs an Atari game"):
        behavior("memory", "MountainCarContinuous-v0")


def test_the_last_observation_is_one_of_any_environment() -> None:
    values, _ = behavior("last_observation", "MountainCarContinuous-v0")
    assert values.shape == (2,)
    assert -1.2 <= values[0] <= 0.6


def test_a_function_of_the_users_describes() -> None:
    values, _ = behavior(f"{__name__}:height", "MountainCarContinuous-v0")
    assert values.shape == (1,)


def test_a_behavior_that_is_not_finite_is_a_fault() -> None:
    with pytest.raises(EpisodeError, match="behaviour is not finite"):
        behavior(f"{__name__}:broken", "MountainCarContinuous-v0")


@pytest.mark.parametrize(
    ("name", "words"),
    [("final_x", "MuJoCo"), ("speed", "choose one of last_observation"), ("no_module:f", "cannot be imported")],
)
def test_what_cannot_be_described_is_refused(name: str, words: str) -> None:
    env = gymnasium.make("MountainCarContinuous-v0")
    with pytest.raises(UserError, match=words):
        descriptor(name, env)


@pytest.mark.kernels
def test_novelty_needs_little_memory_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    behaviors, known = rng.standard_normal((30, 50)), rng.standard_normal((40, 50))
    whole = novelty(behaviors, known, 5)
    for numbers in (1, 700, 6000):
        monkeypatch.setattr(archive, "CHUNK_NUMBERS", numbers)
        assert novelty(behaviors, known, 5).tobytes() == whole.tobytes()


def test_behaviors_of_different_lengths_end_the_run_with_the_reason() -> None:
    parts = [Behaviors(np.array([row]), np.zeros((1, size))) for row, size in enumerate((2, 3))]
    with pytest.raises(RunFailedError, match="gives 2 and 3 numbers"):
        Behaviors.join(parts)


@given(st.integers(1, 300), st.integers(1, 20), st.integers(1, 4), st.integers(1, 12))
def test_novelty_is_the_mean_distance_to_the_nearest(count: int, archived: int, size: int, neighbors: int) -> None:
    rng = np.random.default_rng(count)
    behaviors, archive = rng.standard_normal((count, size)), rng.standard_normal((archived, size))
    found = novelty(behaviors, archive, neighbors)
    for row in range(0, count, 37):
        distances = sorted(float(np.linalg.norm(behaviors[row] - other)) for other in archive)
        assert found[row] == pytest.approx(np.mean(distances[:neighbors]))
