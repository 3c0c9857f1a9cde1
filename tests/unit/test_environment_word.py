"""`env=...` as people type it: presets, ids of Gymnasium, ids of ale-py, ids of modules."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import gymnasium
import pytest

from raes.config.compose import compose
from raes.config.effect import differences
from raes.config.environment_word import expanded, with_presets
from raes.config.overrides import from_keywords
from raes.problems.environment import EnvSettings, make_environment
from raes.train import hydra_words
from raes.types import UserError


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("Ant", ["env=Ant"]),
        ("Ant-v5", ["env=Ant"]),
        ("CartPole-v1", ["env=CartPole"]),
        ("Ant-v4", ["env=Ant", "env.id=Ant-v4", "env.name=Ant-v4"]),
        ("FrozenLake-v1", ["env=gymnasium", "env.id=FrozenLake-v1", "env.name=FrozenLake-v1"]),
        ("my.worlds:World-v0", ["env=gymnasium", "env.id=my.worlds:World-v0", "env.name=World-v0"]),
        ("ALE/Pong-v5", ["env=Pong"]),
        ("PongNoFrameskip-v4", ["env=Pong"]),
        ("ALE/MontezumaRevenge-v5", ["env=MontezumaRevenge"]),
        ("ALE/Asteroids-v5", ["env=atari", "env.game=asteroids"]),
        ("ALE/TicTacToe3D-v5", ["env=atari", "env.game=tic_tac_toe_3d"]),
        ("ALE/Nothing-v5", ["env=ALE/Nothing-v5"]),
        ("gymnasium", ["env=gymnasium"]),
        ("Nowhere-v0", ["env=Nowhere-v0"]),
    ],
)
def test_what_a_name_stands_for(name: str, words: list[str]) -> None:
    assert expanded(name) == words
    assert with_presets([f"env={name}", "seed=1"]) == [*words, "seed=1"]


def test_an_id_has_the_preset_of_its_name() -> None:
    assert compose(["env=Hopper-v5"]) == compose(["env=Hopper"])
    assert compose(["env=Hopper-v4"]).algorithm == compose(["env=Hopper"]).algorithm
    assert compose(*from_keywords({"env": "ALE/Pong-v5"})) == compose(["env=Pong"])
    assert compose(*from_keywords({"env": "a:B-v0"})).env.id == "a:B-v0"
    assert compose(["env=Hopper-v4", "env.id=Hopper-v3"]).env.id == "Hopper-v3"


def test_a_sweep_is_over_presets() -> None:
    assert hydra_words(["-m", "env=Ant-v5,Hopper", "seed=0,1"])[1:3] == ["env=Ant,Hopper", "seed=0,1"]
    with pytest.raises(UserError, match=r"env=Ant,FrozenLake-v1: .*FrozenLake-v1 is none.*env\.id=A,B"):
        hydra_words(["-m", "env=Ant,FrozenLake-v1"])
    assert hydra_words(["-m", "env=choice(Ant,Hopper)"])[1] == "env=choice(Ant,Hopper)"


def test_an_unknown_name_is_answered_with_those_that_are_close() -> None:
    with pytest.raises(UserError, match=r"env=hopper: there is no such preset, .* did you mean Hopper.*module:Name-v0"):
        compose(["env=hopper"])


# policy.hidden alone.


def test_hidden_layers_alone_make_a_network() -> None:
    config = compose(["env=CartPole", "policy.hidden=64"])
    assert config.policy == compose(["env=CartPole", "policy=mlp", "policy.hidden=[64]"]).policy
    assert compose(["env=CartPole"], {"policy.hidden": [8, 8]}).policy.hidden == (8, 8)  # type: ignore[union-attr]
    assert compose(["env=Pong", "policy.hidden=[32]"]).policy.name == "conv"
    zero = compose(["env=Hopper", "algorithm=ars", "policy.hidden=16", "policy.bias=false"]).policy
    assert (zero.name, zero.bias, zero.init_norm) == ("mlp", False, 0.01)  # type: ignore[union-attr]
    with pytest.raises(UserError, match="a linear policy has no hidden layers"):
        compose(["env=CartPole", "policy=linear", "policy.hidden=64"])


# Wrappers.

WRAPPERS = """
import gymnasium

class Half(gymnasium.RewardWrapper):
    def reward(self, reward):
        return reward / 2

class Plus(gymnasium.RewardWrapper):
    def reward(self, reward):
        return reward + 1

def nothing(env):
    return None

def fails(env):
    raise RuntimeError("too small")
"""


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    (tmp_path / "some_wrappers.py").write_text(WRAPPERS)
    monkeypatch.syspath_prepend(str(tmp_path))
    return "some_wrappers"


def made(*wrappers: str) -> gymnasium.Env[Any, Any]:
    settings = compose(["env=CartPole", f"env.wrappers=[{','.join(wrappers)}]"]).env
    assert isinstance(settings, EnvSettings)
    return make_environment(settings)


def test_wrappers_are_put_on_from_the_inside(module: str) -> None:
    env = made(f"{module}:Half", f"{module}:Plus")
    env.reset(seed=0)
    assert env.step(0)[1] == 1.5
    assert compose(["env=CartPole", f"env.wrappers={module}:Half"]).env.wrappers == (f"{module}:Half",)  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("name", "words"),
    [("nothing", "gives a NoneType"), ("fails", "RuntimeError: too small"), ("none", "cannot be imported")],
)
def test_a_wrapper_that_is_none_is_refused(module: str, name: str, words: str) -> None:
    with pytest.raises(UserError, match=f"env.wrappers={module}:{name}.*{words}"):
        made(f"{module}:{name}")


def test_wrappers_decide_what_is_computed_and_runs_from_before_have_none() -> None:
    plain = compose(["env=CartPole"]).as_dict()
    before = {**plain, "env": {key: value for key, value in plain["env"].items() if key != "wrappers"}}
    assert differences(before, plain) == []
    wrapped = compose(["env=CartPole", "env.wrappers=[a:B]"]).as_dict()
    assert differences(before, wrapped) == ["env.wrappers: [] -> ['a:B']"]
