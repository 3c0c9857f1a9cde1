"""Atari environments: compared with Gymnasium's preprocessing, and the same episode whatever came before."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from typing import Any

import gymnasium
import numpy as np
import pytest
from gymnasium.wrappers import AtariPreprocessing, FrameStackObservation
from pydantic import TypeAdapter, ValidationError

from raes.problems.atari import AtariEnvironment, AtariSettings
from raes.problems.environment import make_environment
from raes.types import UInt8, UserError

PRESETS = ["pong", "seaquest", "beam_rider", "space_invaders", "freeway", "frostbite", "breakout", "montezuma_revenge"]
TIMESTEPS = 80
Step = tuple[UInt8, float, bool]


def gymnasiums(settings: AtariSettings) -> gymnasium.Env[Any, Any]:
    """The same game in Gymnasium's wrappers."""
    name = "".join(word.capitalize() for word in settings.game.split("_"))
    gymnasium.register_envs(__import__("ale_py"))
    bare = gymnasium.make(
        f"ALE/{name}-v5",
        frameskip=1,
        repeat_action_probability=0.0,
        full_action_space=settings.full_actions,
        max_num_frames_per_episode=settings.max_frames,
    )
    one = AtariPreprocessing(
        bare, settings.noops, settings.frame_skip, settings.size, terminal_on_life_loss=settings.life_loss
    )
    return FrameStackObservation(one, settings.stack)


def episode(env: gymnasium.Env[Any, Any], seed: int, timesteps: int = TIMESTEPS, **options: Any) -> Iterator[Step]:
    """Observation, reward and end of each timestep under random actions."""
    rng = np.random.default_rng(seed)
    observation, _ = env.reset(seed=seed, options=options or None)
    yield np.array(observation), 0.0, False
    for _ in range(timesteps):
        observation, reward, terminated, truncated, _ = env.step(int(rng.integers(env.action_space.n)))  # type: ignore[attr-defined]
        yield np.array(observation), float(reward), terminated or truncated
        if terminated or truncated:
            return


def same(first: Iterator[Step], second: Iterator[Step]) -> bool:
    """Whether two episodes are equal in all bits."""
    return all(np.array_equal(a[0], b[0]) and a[1:] == b[1:] for a, b in zip(first, second, strict=True))


@pytest.mark.parametrize(
    ("game", "changes"),
    [
        *[(game, {}) for game in PRESETS],
        ("seaquest", {"frame_skip": 1}),
        ("seaquest", {"frame_skip": 2, "stack": 2}),
        ("beam_rider", {"frame_skip": 3, "full_actions": True}),
        ("pong", {"noops": 0}),
        ("air_raid", {}),
    ],
)
def test_observations_and_rewards_are_gymnasiums(game: str, changes: dict[str, Any]) -> None:
    settings = replace(AtariSettings(game=game), **changes)
    with closing(AtariEnvironment(settings)) as ours, closing(gymnasiums(settings)) as theirs:
        for seed in (3, 4):
            differing = 0
            for mine, other in zip(episode(ours, seed), episode(theirs, seed), strict=True):
                assert mine[1:] == other[1:]
                if mine[2]:
                    break  # Gymnasium's last observation is older: its preprocessing skips the frame that ends a game
                apart = np.abs(mine[0].astype(int) - other[0])
                assert apart.max() <= 1  # a mean halfway between two greys, see test_resize
                differing += np.count_nonzero(apart)
            assert differing <= 0.001 * 84 * 84 * settings.stack * TIMESTEPS


@pytest.mark.parametrize("life_loss", [False, True])
def test_a_life_lost_ends_an_episode_only_where_it_is_told_to(life_loss: bool) -> None:
    settings = AtariSettings(game="breakout", life_loss=life_loss)
    with closing(AtariEnvironment(settings)) as ours, closing(gymnasiums(settings)) as theirs:
        options = settings.reset_options(training=True)
        mine = [step[1:] for step in episode(ours, 5, 2000, **options)]
        assert mine == [step[1:] for step in episode(theirs, 5, 2000)]
        evaluation = settings.reset_options(training=False)
        assert (len(mine) < len(list(episode(ours, 5, 2000, **evaluation)))) == life_loss


def test_the_cap_on_frames_cuts_an_episode_off() -> None:
    settings = AtariSettings(game="pong", max_frames=200)
    with closing(AtariEnvironment(settings)) as ours, closing(gymnasiums(settings)) as theirs:
        mine = [step[1:] for step in episode(ours, 6)]
        assert mine == [step[1:] for step in episode(theirs, 6)]
        assert len(mine) < TIMESTEPS


@pytest.mark.parametrize(
    ("game", "changes"),
    [
        *[(game, {"sticky": 0.25}) for game in (*PRESETS, "tennis")],
        *[(game, changes) for game in ("freeway", "breakout", "tennis") for changes in ({}, {"noops": 0})],
    ],
)
def test_an_episode_is_the_same_after_others(game: str, changes: dict[str, Any]) -> None:
    settings = replace(AtariSettings(game=game), **changes)
    with closing(AtariEnvironment(settings)) as used, closing(AtariEnvironment(settings)) as fresh:
        for seed in (1, 2):
            list(episode(used, seed, 150))
        assert same(episode(used, 9), episode(fresh, 9))
        np.testing.assert_array_equal(used.memory, fresh.memory)


def test_actions_stick_as_often_as_asked_and_as_the_seed_says() -> None:
    with closing(AtariEnvironment(AtariSettings(game="freeway", sticky=0.25))) as env:
        held = []
        act = env.ale.act

        class Spy:
            def act(self, action: Any) -> int:
                held.append(action)
                return int(act(action))

            def __getattr__(self, name: str) -> Any:
                return getattr(ale, name)

        ale, env.ale = env.ale, Spy()  # type: ignore[assignment]
        env.reset(seed=1)
        held.clear()
        wanted = []
        for step in range(400):
            wanted += [env._actions[step % 2]] * 4
            env.step(step % 2)
        first = np.array([a != b for a, b in zip(held, wanted, strict=True)]).reshape(-1, 4)[:, 0]
        assert 0.2 < first.mean() < 0.3
        again = held.copy()
        env.reset(seed=1)
        held.clear()
        for step in range(400):
            env.step(step % 2)
        assert held == again


def test_an_unknown_game_is_refused_with_those_that_are_close() -> None:
    with pytest.raises(UserError, match=r"env\.game=Pong.*did you mean pong"):
        make_environment(AtariSettings(game="Pong"))
    with pytest.raises(UserError, match=r"env\.game=combat.*two players"):
        make_environment(AtariSettings(game="combat"))


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"game": ""}, "game is empty"),
        ({"frame_skip": 0}, "frame_skip"),
        ({"stack": 0}, "stack"),
        ({"size": 200}, "size"),
        ({"noops": -1}, "noops"),
        ({"sticky": 1.0}, "sticky"),
    ],
)
def test_settings_out_of_range_are_refused(changes: dict[str, Any], words: str) -> None:
    with pytest.raises(ValidationError, match=words):
        TypeAdapter(AtariSettings).validate_python({"game": "pong"} | changes)
