"""The configuration: everything in conf/ composes, and what is wrong is named in one line."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hydra import compose, initialize_config_dir
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from raes.bench.atari_bench import NETWORKS
from raes.config.compose import explain_hydra, known_keys
from raes.config.effect import differences
from raes.config.schema import TUNED, Config, conf_dir, from_tree
from raes.config.stored import load, save
from raes.policies import ConvSettings, PolicySettings
from raes.problems.atari import AtariSettings
from raes.storage.metrics import flatten_config
from raes.types import UserError

CONF = conf_dir().resolve()
GROUPS = sorted(path.name for path in CONF.iterdir() if path.is_dir() and path.name not in ("preset", "conditions"))
OPTIONS = [(group, path.stem) for group in GROUPS for path in sorted((CONF / group).glob("*.yaml"))]
PLAIN = ["env=gymnasium", "env.id=Pendulum-v1"]  # the environment without a preset


@functools.cache
def tree_of(*words: str) -> DictConfig:
    with initialize_config_dir(str(CONF), version_base="1.3"):
        return compose("config", overrides=list(words), return_hydra_config=True)


def composed(*words: str) -> Config:
    """Composed with the hydra node, as the command does, so that its interpolations resolve too."""
    tree = tree_of(*words)
    OmegaConf.resolve(tree.hydra.run)
    OmegaConf.resolve(tree.hydra.sweep)
    with_hydra = OmegaConf.to_container(tree, resolve=False)
    assert isinstance(with_hydra, dict)
    del with_hydra["hydra"]
    return from_tree(OmegaConf.create(with_hydra))


def changed(*words: str) -> Config:
    """As `composed`, quicker: Hydra composes the groups only, its parser reads the other words."""
    values = [word for word in words if word.split("=")[0] not in GROUPS]
    tree = tree_of(*(word for word in words if word not in values)).copy()
    OmegaConf.set_struct(tree, False)
    OmegaConf.set_readonly(tree, False)
    del tree["hydra"]
    for override in OverridesParser.create().parse_overrides(values):
        OmegaConf.update(tree, override.key_or_group, override.value(), force_add=override.is_add())
    return from_tree(tree)


def words_for(group: str, option: str) -> list[str]:
    """An option alone; some are nothing without a name, or for games only."""
    more = {"gymnasium": ["env.id=Pendulum-v1"], "function": ["env.call=math:fsum", "env.dim=3"],
            "module": ["env.build=math:fsum", "env.reward=math:fsum"]}  # fmt: skip
    more |= {"torch": ["policy.module=my_module:Net"], "a3c": ["env=Pong"], "nature": ["env=Pong"]}
    more |= {"atari": ["env.game=pong"], "atari_paper": ["env.game=pong"]}
    more |= {"custom": ["algorithm.module=my_module:Search"]}
    return [f"{group}={option}", *more.get(option, [])]


# Everything in conf/.


@pytest.mark.parametrize(
    ("group", "option"),
    OPTIONS,
)
def test_every_option_of_every_group_composes_and_validates(group: str, option: str) -> None:
    config = composed(*words_for(group, option))
    assert config.env.id
    if group in ("runtime", "algorithm", "optimizer"):
        assert getattr(config, group).name == {"plain": "sgd"}.get(option, option)
    if group == "env":
        assert config.env.name == option


@pytest.mark.parametrize("env", ["Acrobot", "Humanoid", "Swimmer"])
@pytest.mark.parametrize("experiment", [option for group, option in OPTIONS if group == "experiment"])
def test_an_experiment_composes_with_any_environment(experiment: str, env: str) -> None:
    if experiment == "atari_paper":
        env = {"Acrobot": "Freeway", "Humanoid": "MontezumaRevenge", "Swimmer": "Seaquest"}[env]
    composed(f"env={env}", f"experiment={experiment}")


def test_a_game_has_its_name_in_the_emulator() -> None:
    config = composed("env=Frostbite")
    assert isinstance(config.env, AtariSettings)
    assert config.env.game == "frostbite"
    assert composed("env=atari", "env.game=frostbite").env.id == "frostbite"


def test_the_networks_of_the_games_are_those_of_the_papers() -> None:
    for name, settings in NETWORKS.items():
        assert composed("env=Pong", f"policy={name}").policy == settings
    assert composed("env=Pong", "algorithm=canonical_es").policy == ConvSettings()


def test_a_convolutional_policy_needs_a_game() -> None:
    with pytest.raises(UserError, match="policy: a3c and nature need stacked frames of pixels; use env=atari"):
        composed("env=CartPole", "policy=a3c")


@pytest.mark.parametrize("experiment", [option for group, option in OPTIONS if group == "experiment"])
def test_an_experiment_opens_with_its_command(experiment: str) -> None:
    first = (CONF / "experiment" / f"{experiment}.yaml").read_text().splitlines()[1]
    assert first.startswith("# python -m raes.train ")
    assert f"experiment={experiment}" in first
    composed(*first.removeprefix("# python -m raes.train ").removeprefix("-m ").split())


def test_the_policies_of_the_groups_are_what_their_names_say() -> None:
    assert composed("policy=linear").policy.hidden == ()
    assert composed("policy=mlp").policy.hidden == (64, 64)
    assert composed("env=gymnasium", "env.id=x").policy == PolicySettings()


def fields_of(settings: Any, prefix: str = "") -> Iterator[str]:
    for field in dataclasses.fields(settings):
        value = getattr(settings, field.name)
        if dataclasses.is_dataclass(value):
            yield from fields_of(value, f"{prefix}{field.name}.")
        else:
            yield prefix + field.name


@pytest.mark.parametrize(
    "word", ["seed=0", *(f"optimizer={name}" for name in ("adam", "sgd", "clipup")), "policy=linear", "env=Pong"]
)
def test_the_yaml_keys_are_the_fields_of_the_dataclasses(word: str) -> None:
    """A field without a key in YAML would be hidden from the user and from --cfg job."""
    tree = OmegaConf.to_container(tree_of(word))
    assert isinstance(tree, dict)
    del tree["hydra"]
    tree.pop(TUNED, None)  # which ends where the tree becomes a Config

    def keys(node: dict[Any, Any], prefix: str = "") -> Iterator[str]:
        for key, value in node.items():
            if isinstance(value, dict) and value:
                yield from keys(value, f"{prefix}{key}.")
            else:
                yield f"{prefix}{key}"

    assert set(keys(tree)) == set(fields_of(composed(word)))


def test_the_defaults_of_the_dataclasses_are_those_of_the_yaml_files() -> None:
    config = composed(*PLAIN)
    for settings in (config.algorithm, config.optimizer, config.policy, config.evaluation, config.goal):
        assert settings == type(settings)()
    for field in dataclasses.fields(Config):
        given = field.default if field.default_factory is dataclasses.MISSING else field.default_factory()
        if given is not dataclasses.MISSING:
            assert getattr(config, field.name) == given, field.name


# What is wrong.


@pytest.mark.parametrize(
    ("words", "parts"),
    [
        (["algorithm.sigma=-1"], ["algorithm.sigma=-1: must be positive"]),
        (["algorithm.sigma=0"], ["algorithm.sigma", "positive"]),
        (["algorithm.sigma=nan"], ["algorithm.sigma", "nan"]),
        (["algorithm.sigma=inf"], ["algorithm.sigma", "inf"]),
        (["optimizer.stepsize=nan"], ["optimizer.stepsize", "nan"]),
        (["algorithm.alive_bonus=nan"], ["algorithm.alive_bonus", "nan"]),
        (["faults.max_share=nan"], ["faults.max_share", "nan"]),
        (["algorithm.sigma=big"], ["algorithm.sigma=big", "number"]),
        (["algorithm.sigma=null"], ["algorithm.sigma=None", "number"]),
        (["algorithm.pairs=2.5"], ["algorithm.pairs=2.5", "integer"]),
        (["algorithm.pairs='20'"], ["algorithm.pairs=20", "integer"]),
        (["algorithm.pairs=true"], ["algorithm.pairs=True", "integer"]),
        (["algorithm.pairs=0"], ["algorithm.pairs=0: must be at least 1"]),
        (["algorithm.shaping=rank"], ["algorithm.shaping", "centered_ranks", "'rank'"]),
        (["algorithm.episode_cap.kind=max"], ["algorithm.episode_cap.kind", "'adaptive'", "=max"]),
        (["algorithm.observation_share=1.5"], ["algorithm.observation_share=1.5: must be at most 1"]),
        (["algorithm.shared_reset=1"], ["algorithm.shared_reset=1", "boolean"]),
        (["algorithm.name=gaa"], ["algorithm.name=gaa", "no such algorithm", "es"]),
        (["+algorithm.sigmaa=1"], ["algorithm.sigmaa", "no such key", "close: algorithm.sigma"]),
        (["+sead=1"], ["sead", "no such key", "close: seed"]),
        (["policy=linear", "policy.hidden=[8]"], ["policy.hidden=[8]", "policy=mlp"]),
        (["policy=mlp", "policy.hidden=[]"], ["policy.hidden=[]", "policy=linear"]),
        (["policy=mlp", "policy.hidden=[8,0]"], ["policy.hidden[1]=0: must be at least 1"]),
        (["policy=mlp", "policy.hidden=true"], ["policy.hidden=True"]),
        (["policy.name=cnn"], ["policy.name=cnn", "'linear' or 'mlp'"]),
        (["policy.nonlinearity=gelu"], ["policy.nonlinearity", "tanh", "'gelu'"]),
        (["policy.bins=1"], ["policy.bins", "at least 2", "1"]),
        (["policy.bins=[0.5]"], ["policy.bins", "at least 2", "0.5"]),
        (["policy.bins=many"], ["policy.bins=many"]),
        (["policy.bins=true"], ["policy.bins=True"]),
        (["policy.bins=[0,nan]"], ["policy.bins", "nan"]),
        (["optimizer.name=rmsprop"], ["optimizer.name=rmsprop", "no such optimizer", "adam, sgd, clipup"]),
        (["optimizer.momentum=1"], ["optimizer.momentum", "[0, 1)", "1"]),
        (["seed=-1"], ["seed=-1: must not be negative"]),
        (["seed=9223372036854775808"], ["must be less than 9223372036854775808"]),
        (["seed=0.5"], ["seed=0.5", "integer"]),
        (["seed=null"], ["seed=None", "integer"]),
        (["generations=0"], ["generations=0: must be at least 1; null means no limit"]),
        (["max_minutes=-1"], ["max_minutes", "positive", "-1"]),
        (["workers=0"], ["workers", "at least 1", "auto"]),
        (["workers=many"], ["workers must be auto", "LEAST..MOST", "many"]),
        (["workers=4..2"], ["workers must be auto", "4..2"]),
        (["run_dir=''"], ["run_dir is empty"]),
        (["console=loud"], ["console=loud", "'plain'"]),
        (["runtime.name=slurm"], ["runtime.name=slurm", "'serial'"]),
        (["noise.size=0"], ["noise.size=0: must be at least 1; null"]),
        (["evaluation.episodes=0"], ["evaluation.episodes", "at least 1"]),
        (["goal.consecutive=0"], ["goal.consecutive", "at least 1"]),
        (["goal.return_mean=high"], ["goal.return_mean=high", "number"]),
        (["checkpoint.every=0"], ["checkpoint.every", "at least 1", "auto"]),
        (["checkpoint.every=often"], ["checkpoint.every=often"]),
        (["checkpoint.keep=0"], ["checkpoint.keep", "at least 1"]),
        (["faults.max_share=1"], ["faults.max_share=1: must be less than 1"]),
        (["env=gymnasium"], ["env.id", "env=HalfCheetah"]),
        (["env.rebuild=maybe"], ["env.rebuild=maybe", "boolean"]),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_a_wrong_value_is_one_line_with_key_value_and_cure(words: list[str], parts: list[str]) -> None:
    with pytest.raises(UserError) as caught:
        changed(*words)
    message = str(caught.value)
    for part in parts:
        assert part in message
    if not words[0].startswith(("policy.bins", "workers", "checkpoint.every")):  # a union: a line for each kind
        assert "\n" not in message


@pytest.mark.parametrize(
    "word", ["policy.bins=many", "workers=many", "checkpoint.every=often", "checkpoint.every=0", "policy.bins=[a,b]"]
)
def test_each_line_about_a_value_of_several_kinds_names_the_key_as_the_user_wrote_it(word: str) -> None:
    with pytest.raises(UserError) as caught:
        changed(word)
    key = word.partition("=")[0]
    for line in str(caught.value).splitlines():
        assert line.startswith(key)
        assert not any(inner in line for inner in ("function", "tuple[", "literal["))


def test_a_value_alone_stands_for_a_list_of_one() -> None:
    config = changed("policy=mlp", "policy.hidden=64", "callbacks=mine:Watch")
    assert config.policy.hidden == (64,)
    assert config.callbacks == ("mine:Watch",)


def test_several_wrong_values_are_all_told_at_once() -> None:
    with pytest.raises(UserError) as caught:
        changed("algorithm.sigma=big", "seed=x", "+optimizer.beta=1")
    lines = str(caught.value).splitlines()
    assert len(lines) == 3
    for key in ("algorithm.sigma", "seed", "optimizer.beta"):
        assert any(line.startswith(key) for line in lines)


def test_what_is_right_crosses_as_typed_and_frozen_values() -> None:
    words = ("seed=0", "policy=mlp", "policy.bins=[-1,0,1]", "workers=3", "checkpoint.every=5", "max_minutes=2")
    config = composed(*words, "+env.kwargs={a:1,b:[x]}", "algorithm.sigma=1")
    assert (config.seed, config.workers, config.checkpoint.every) == (0, 3, 5)
    assert config.policy.bins == (-1, 0, 1)
    assert config.policy.hidden == (64, 64)
    assert config.env.kwargs == {"a": 1, "b": ["x"]}
    assert isinstance(config.algorithm.sigma, float)
    assert isinstance(config.max_minutes, float)
    with pytest.raises(dataclasses.FrozenInstanceError):
        config.seed = 1  # type: ignore[misc]


# Hydra's own errors.


@pytest.mark.parametrize(
    ("words", "parts"),
    [
        (["algorithm.sigmaa=1"], ["algorithm.sigmaa", "no such key", "close: algorithm.sigma"]),
        (["algorithm=pgpe", "algorithm.sigma=1"], ["algorithm.sigma:", "no such key", "close: algorithm.sigma_rate"]),
        (["generation=5"], ["generation", "no such key", "generations"]),
        (["env=HalfCheeta"], ["env=HalfCheeta", "no such preset", "HalfCheetah", "module:Name-v0"]),
        (["optimizer=adm"], ["optimizer=adm", "no such option", "did you mean adam", "adam, clipup, plain, sgd"]),
        (["experiment=no_such"], ["experiment=no_such", "no such option"]),
        (["seed"], ["seed"]),
        (["algorithm.sigma="], []),
        (["policy.hidden=[1,"], ["policy.hidden"]),
        (["no_such_group=x"], ["no_such_group", "no such key"]),
        (["seed=${no.such.key}"], ["no.such.key"]),
        (["learning_rate=0.1"], ["learning_rate", "here it is optimizer.stepsize"]),
        (["n_envs=4"], ["here it is workers"]),
        (["algorithm=snes", "popsize=4"], ["here it is algorithm.population"]),
        (["env.goal=3"], ["an argument of the environment itself is env.kwargs.goal"]),
    ],
    ids=lambda value: " ".join(value),
)
def test_hydras_errors_become_one_line_with_the_key_and_what_is_close(words: list[str], parts: list[str]) -> None:
    with pytest.raises((HydraException, OmegaConfBaseException, UserError)) as caught:
        composed(*words)
    message = str(caught.value) if isinstance(caught.value, UserError) else explain_hydra(caught.value, words)
    assert "\n" not in message
    for part in parts:
        assert part in message


def test_several_values_without_a_sweep_are_told_how_to_write_one() -> None:
    with pytest.raises(HydraException) as caught:
        composed("seed=0,1")
    assert explain_hydra(caught.value) == (
        "seed=0,1: several values need -m (a run for each); a list is 'seed=[0,1]', a decimal 0.5"
    )


@pytest.mark.parametrize("word", ["max_timesteps=1e4", "seed=3.0", "evaluation.episodes=2.0", "policy.hidden=[8.0]"])
def test_whole_numbers_may_be_written_as_real_ones(word: str) -> None:
    key, _, value = word.partition("=")
    stored = flatten_config(composed("env=CartPole", "policy=mlp", word).as_dict())[key]
    assert stored == ([8] if key == "policy.hidden" else int(float(value)))
    assert "." not in str(stored)


def test_the_users_own_values_stay_as_they_are() -> None:
    config = composed("env=CartPole", "++env.kwargs.a=2.0")
    assert isinstance(config.env.kwargs["a"], float)


def test_what_a_key_may_be_is_one_line() -> None:
    with pytest.raises(UserError) as caught:
        composed("runtime.deadline=soon")
    assert str(caught.value) == "runtime.deadline=soon: must be a valid number or 'auto'"


def test_every_key_is_known_by_its_dotted_name() -> None:
    assert {"seed", "algorithm.episode_cap.kind", "env.kwargs", "policy.hidden", "ray.address"} <= set(known_keys())


# Differences and files.


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ([], []),
        (["workers=7", "run_dir=x", "resume=auto", "generations=9", "max_minutes=1", "console=quiet"], []),
        (
            ["runtime=serial", "ray.address=local", "goal.return_mean=1", "checkpoint.keep=9", "faults.max_share=0.5"],
            [],
        ),
        (["seed=1"], ["seed: 0 -> 1"]),
        (["algorithm.sigma=0.2", "policy.bias=false"], ["algorithm.sigma: 0.05 -> 0.2", "policy.bias: True -> False"]),
        (["algorithm.episode_cap.kind=mean"], ["algorithm.episode_cap.kind: none -> mean"]),
        (["evaluation.episodes=3"], ["evaluation.episodes: 10 -> 3"]),
    ],
    ids=lambda value: " ".join(value),
)
def test_a_resume_may_change_where_and_how_long_and_nothing_that_is_computed(
    words: list[str], expected: list[str]
) -> None:
    assert differences(changed(*PLAIN).as_dict(), changed(*PLAIN, *words).as_dict()) == expected


@pytest.mark.parametrize(
    ("old", "new"), [({}, {"a": 1}), ({"a": 1}, {"b": 1}), ({"b": 1}, {"a": None, "b": 1}), ({"a": None}, {"b": None})]
)
def test_other_arguments_of_the_environment_are_a_difference(old: dict[str, Any], new: dict[str, Any]) -> None:
    assert differences({"env": {"kwargs": old}}, {"env": {"kwargs": new}})
    assert differences({"env": {"kwargs": new}}, {"env": {"kwargs": old}})


@pytest.mark.parametrize(
    "words", [["env=Humanoid"], ["policy.bins=[-1,0.5]", "+env.kwargs={a:[1,2],b:null}", "seed=7"]]
)
def test_a_saved_configuration_is_loaded_as_it_was(words: list[str], tmp_path: Path) -> None:
    config = composed(*words)
    save(config, tmp_path / "config.yaml")
    assert load(tmp_path) == config


@pytest.mark.parametrize("content", [None, "- 1\n- 2\n", "a: [1\n", "seed: 0\n", ""])
def test_a_file_that_is_no_configuration_is_the_users_error(content: str | None, tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    if content is not None:
        path.write_text(content)
    with pytest.raises(UserError):
        load(tmp_path)
