"""Atari games on the engine: the same bits everywhere, after a kill too, with virtual batch normalisation on."""

from __future__ import annotations

import numpy as np
import pytest

from raes.storage.checkpoint import read

from .helpers import Commands, arrays_of, latest, latest_generation, records_of, refused, theta_of
from .shared_ray import SharedRay

GAME = ("env=atari", "env.game=breakout", "env.max_frames=400", "policy.convolutions=[[8,8,4],[8,4,2]]",
        "policy.hidden=[32]", "policy.reference=16", "noise.size=2000000", "console=plain", "evaluation.every=0",
        "evaluation.episodes=1")  # fmt: skip
ES = ("algorithm.pairs=4", "checkpoint.every=1")
SERIAL = ("runtime=serial",)


@pytest.mark.parametrize(
    "words",
    [
        (
            "algorithm=ga",
            "algorithm.population=8",
            "algorithm.parents=4",
            "algorithm.candidates=2",
            "algorithm.elite_episodes=1",
        ),
        ("algorithm=nsra_es", "algorithm.pairs=3", "algorithm.agents=2"),
        ("algorithm=canonical_es", "algorithm.population=6"),
    ],
    ids=lambda words: words[0].partition("=")[2],
)
def test_searches_of_games_go_on_to_the_same_bits(commands: Commands, words: tuple[str, ...]) -> None:
    commands.run(*GAME, *words, *SERIAL, "generations=3", "run_dir=whole")
    commands.run(*GAME, *words, *SERIAL, "generations=1", "run_dir=parts")
    commands.run(*GAME, *words, *SERIAL, "generations=3", "run_dir=parts", "resume=auto")
    whole, parts = (read(commands.cwd / name / "checkpoints" / "gen_000003") for name in ("whole", "parts"))
    assert whole.arrays.keys() == parts.arrays.keys()
    for name, array in whole.arrays.items():
        assert array.tobytes() == parts.arrays[name].tobytes(), name
    assert whole.arrays["reference"].shape == (16, 4, 84, 84)


def test_a_killed_run_that_two_workers_finish_has_the_bits_of_one_process(
    commands: Commands, shared_ray: SharedRay
) -> None:
    killed = commands.start(*GAME, *ES, *SERIAL, "generations=1000", "run_dir=killed")
    killed.wait_for(lambda: latest_generation(commands.cwd / "killed") >= 1)
    killed.kill()
    words = (*GAME, *ES, f"generations={latest_generation(commands.cwd / 'killed') + 2}")
    commands.run(*words, *SERIAL, "run_dir=alone")
    theta = theta_of(commands.cwd / "alone")
    commands.run(*words, *shared_ray.words(), "workers=2", "run_dir=killed", "resume=auto")
    assert theta_of(commands.cwd / "killed").tobytes() == theta.tobytes()


def test_frames_are_counted_and_the_batch_of_the_run_is_used_again(commands: Commands) -> None:
    commands.run(*GAME, *ES, *SERIAL, "generations=2", "run_dir=mine")
    run_dir = commands.cwd / "mine"
    last = records_of(run_dir)[-1]
    assert last["progress/frames"] == 4 * last["progress/timesteps"] > 0
    reference = arrays_of(latest(run_dir))["reference"]
    assert reference.dtype == np.uint8
    assert reference.std() > 0
    commands.run("run_dir=mine", "episodes=2", "runtime=serial", "checkpoint=latest", module="raes.evaluate")
    commands.run(*GAME, *ES, *SERIAL, "generations=1", "seed=1", "run_dir=other")
    assert not np.array_equal(arrays_of(latest(commands.cwd / "other"))["reference"], reference)


@pytest.mark.parametrize(
    ("words", "parts"),
    [
        (["env=atari"], ["env.game", "pong"]),
        (["env=atari", "env.game=Pong"], ["env.game=Pong", "did you mean pong"]),
        (["env=atari", "env.game=warlords"], ["env.game=warlords", "two players"]),
        (["env=Pong", "env.sticky=2"], ["env.sticky", "2"]),
        (["env=Pong", "env.size=82"], ["policy.convolutions", "env.size"]),
        (["env=Hopper", "policy=nature"], ["policy", "env=atari"]),
        (["env=Hopper", "behavior=memory", "algorithm=ns_es"], ["behavior=memory", "Atari"]),
    ],
)
def test_what_cannot_be_played_is_one_message(words: list[str], parts: list[str]) -> None:
    message = refused(*words)
    for part in parts:
        assert part in message
