"""Presets: every environment has with every algorithm the values of its files, and no other node is left."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hydra import initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf

from raes.algorithms import ALGORITHMS
from raes.config.compose import compose
from raes.config.schema import TUNED, Config, conf_dir, from_tree
from raes.search.optimizers import AdamSettings, SGDSettings
from raes.storage.metrics import flatten_config

CONF = conf_dir().resolve()
ENVS = sorted(path.stem for path in (CONF / "env").glob("*.yaml"))
FILES = sorted((CONF / "preset").rglob("*.yaml"))
FAMILIES = {"atari": ["BeamRider", "Breakout", "Freeway", "Frostbite", "MontezumaRevenge", "Pong", "Seaquest",
                      "SpaceInvaders", "atari"]}  # fmt: skip
FAMILY = {env: family for family, envs in FAMILIES.items() for env in envs}
LIKE = {"nsr_es": "ns_es", "nsra_es": "ns_es"}
"""Algorithms that have the family's preset of another one."""
OPTIMIZER = {"ars": "plain", "pgpe": "clipup"}
"""The options of the group `optimizer` that algorithms choose; the others have adam."""
NEEDED = {"gymnasium": ("env.id=Pendulum-v1",), "atari": ("env.game=pong",), "custom": ("algorithm.module=my:Search",)}
NEEDED |= {"function": ("env.call=math:fsum", "env.dim=3"), "module": ("env.build=my:build", "env.reward=my:reward")}


@functools.cache
def composed(env: str, algorithm: str, *words: str) -> Config:
    """The configuration of an environment with an algorithm."""
    more = (*NEEDED.get(env, ()), *NEEDED.get(algorithm, ()))
    return compose([f"env={env}", f"algorithm={algorithm}", *more, *words])


def written(path: Path) -> dict[str, Any]:
    """What a preset sets, by dotted key."""
    plain = OmegaConf.to_container(OmegaConf.load(path))
    assert isinstance(plain, dict)
    return flatten_config({str(key): value for key, value in plain.items()})


def presets(env: str, algorithm: str) -> dict[str, Any]:
    """What the presets of an environment set for an algorithm; the environment's own comes after its family's."""
    family = FAMILY.get(env)
    paths = [CONF / "preset" / "family" / f"{family}_{one}.yaml" for one in (LIKE.get(algorithm), algorithm) if one]
    found: dict[str, Any] = {}
    for path in [*(paths if family else []), CONF / "preset" / f"{env}_{algorithm}.yaml"]:
        found |= written(path) if path.exists() else {}
    return found


def check(env: str, algorithm: str) -> None:
    """The values of the presets are there, and no node of theirs is left."""
    config = flatten_config(composed(env, algorithm).as_dict())
    assert not any(key.startswith(TUNED) for key in config)
    tuned = f"{TUNED}.{OPTIMIZER.get(algorithm, 'adam')}."
    for key, value in presets(env, algorithm).items():
        ours = key.replace(tuned, "optimizer.")
        assert ours.startswith(f"{TUNED}.") or config[ours] == value, (env, algorithm, key)


@pytest.mark.parametrize("env", ENVS)
def test_every_environment_has_with_every_algorithm_the_values_of_its_presets(env: str) -> None:
    for algorithm in ALGORITHMS:
        if presets(env, algorithm):
            check(env, algorithm)


@pytest.mark.tools
@pytest.mark.parametrize("env", ENVS)
def test_every_environment_composes_with_the_algorithms_for_which_it_has_no_preset(env: str) -> None:
    for algorithm in ALGORITHMS:
        if not presets(env, algorithm):
            check(env, algorithm)


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_every_preset_is_for_an_environment_or_a_family_and_an_algorithm_that_exist(path: Path) -> None:
    owner, _, algorithm = path.stem.partition("_")
    assert owner in (FAMILIES if path.parent.name == "family" else ENVS)
    assert algorithm in ALGORITHMS
    assert path.read_text().startswith("# @package _global_\n")


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_no_preset_only_forwards_to_another_one(path: Path) -> None:
    assert [key for key in written(path) if key != "defaults"]
    assert "defaults" not in written(path), "a preset of the family is there without being named"


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_every_tuned_value_is_one_that_the_optimizers_file_takes_up(path: Path) -> None:
    for key in written(path):
        if key.startswith(f"{TUNED}."):
            _, option, name = key.split(".")
            text = str(OmegaConf.to_container(OmegaConf.load(CONF / "optimizer" / f"{option}.yaml"))[name])  # type: ignore[call-overload,index]
            assert text.startswith(f"${{oc.select:{key},")


@pytest.mark.parametrize(
    ("env", "algorithm"),
    [("Hopper", "es"), ("Hopper", "ars"), ("LunarLander", "pgpe"), ("Frostbite", "nsra_es"), ("Pong", "es")],
)
def test_keys_of_the_command_line_win_over_a_preset(env: str, algorithm: str) -> None:
    words = ("optimizer.stepsize=0.3", "optimizer.weight_decay=0.25", "algorithm.pairs=33", "evaluation.every=7")
    config = composed(env, algorithm, *words)
    assert (config.optimizer.stepsize, config.optimizer.weight_decay) == (0.3, 0.25)
    assert (config.algorithm.episodes, config.evaluation.every) == (66, 7)


@pytest.mark.parametrize("env", ["Hopper", "Swimmer", "Humanoid", "Frostbite", "gymnasium"])
def test_another_optimizer_has_its_own_values_and_the_preset_of_the_algorithm_stays(env: str) -> None:
    config = composed(env, "es", "optimizer=sgd")
    assert config.optimizer == SGDSettings()
    assert config.algorithm == composed(env, "es").algorithm


def test_a_preset_for_another_optimizer_stays_out() -> None:
    """The presets of ARS are for plain SGD."""
    assert composed("Hopper", "ars", "optimizer=adam").optimizer == AdamSettings()


def test_every_game_has_the_presets_of_its_family_and_its_own_win() -> None:
    for env in FAMILIES["atari"]:
        own = CONF / "preset" / f"{env}_ga.yaml"
        if not own.exists():
            assert composed(env, "ga").algorithm == composed("atari", "ga").algorithm
    assert composed("BeamRider", "ga").algorithm.episodes == 100
    assert composed("Freeway", "ga").algorithm.episodes == 50
    assert composed("Freeway", "ga").algorithm.normalize_observations is False
    for algorithm in ("ns_es", "nsr_es", "nsra_es"):
        config = composed("BeamRider", algorithm)
        assert (config.behavior, config.algorithm.episodes, config.optimizer.stepsize) == ("memory", 40, 0.01)
        assert composed("Hopper", algorithm).behavior == "last_observation"


@pytest.fixture
def sweep() -> Iterator[Any]:
    """Composes the jobs of `-m env=Hopper,Swimmer algorithm=es,ars` as Hydra's launchers do."""
    with initialize_config_dir(str(CONF), version_base="1.3"):
        loader = GlobalHydra.instance().config_loader()
        master = loader.load_configuration("config", ["env=Hopper,Swimmer", "algorithm=es,ars"], RunMode.MULTIRUN)

        def job(*words: str) -> Config:
            tree = OmegaConf.to_container(loader.load_sweep_config(master, list(words)), resolve=False)
            assert isinstance(tree, dict)
            del tree["hydra"]
            return from_tree(DictConfig(tree))

        yield job


def test_the_jobs_of_a_sweep_have_presets_of_their_own(sweep: Any) -> None:
    for env in ("Hopper", "Swimmer"):
        for algorithm in ("es", "ars"):
            assert sweep(f"env={env}", f"algorithm={algorithm}") == composed(env, algorithm)


@pytest.fixture
def chooser(tmp_path: Path) -> str:
    """An environment that chooses its algorithm, and has presets for it and for another one."""
    (tmp_path / "env").mkdir()
    (tmp_path / "preset").mkdir()
    (tmp_path / "env" / "Chooser.yaml").write_text(
        "# @package _global_\ndefaults:\n  - override /algorithm: ars\n  - override /default_policy: mlp_32\n\n"
        "env:\n  name: Chooser\n  id: Pendulum-v1\n  kwargs: {}\n  rebuild: false\n"
    )
    for algorithm, option, pairs in (("ars", "plain", 11), ("es", "adam", 12)):
        text = f"algorithm:\n  pairs: {pairs}\n{TUNED}:\n  {option}:\n    stepsize: 0.{pairs}\n"
        (tmp_path / "preset" / f"Chooser_{algorithm}.yaml").write_text(f"# @package _global_\n{text}")
    return f"hydra.searchpath=[file://{tmp_path}]"


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ([], ("ars", 22, "sgd", 0.11, "linear")),
        (["algorithm=es"], ("es", 24, "adam", 0.12, "mlp")),
        (["algorithm.pairs=5"], ("ars", 10, "sgd", 0.11, "linear")),
        (["experiment=large"], ("es", 2880, "adam", 0.01, "mlp")),
        (["policy=mlp"], ("ars", 22, "sgd", 0.11, "mlp")),
    ],
    ids=str,
)
def test_an_environment_may_choose_its_algorithm(chooser: str, words: list[str], expected: tuple[Any, ...]) -> None:
    """Command line and experiments win, and the preset is that of the algorithm in use."""
    config = compose([chooser, "env=Chooser", *words])
    found = (config.algorithm.name, config.algorithm.episodes)
    found += (config.optimizer.name, config.optimizer.stepsize, config.policy.name)
    assert found == expected


def test_the_environments_policy_gives_way_to_the_algorithms() -> None:
    assert composed("HalfCheetah", "es").policy.hidden == (32, 32)
    assert composed("HalfCheetah", "ars").policy.hidden == ()
    assert composed("HalfCheetah", "ars", "policy=mlp").policy.hidden == (64, 64)


@pytest.mark.parametrize(
    ("env", "algorithm"),
    [("BipedalWalker", "ars"), ("Hopper", "pgpe"), ("Humanoid", "pgpe"), ("LunarLander", "pgpe"),
     ("MountainCarContinuous", "nsra_es"), ("Swimmer", "ars"), ("Walker2d", "pgpe"), ("HalfCheetah", "es")],
)  # fmt: skip
def test_an_environment_names_its_algorithm_and_the_command_line_wins(env: str, algorithm: str) -> None:
    assert compose([f"env={env}"]).algorithm.name == algorithm
    assert compose([f"env={env}"]) == composed(env, algorithm)
    assert composed(env, "es").algorithm.name == "es"
    assert compose([f"env={env}", "algorithm=snes"]).algorithm.name == "snes"


def test_the_preset_of_clipup_sets_its_largest_step() -> None:
    assert compose(["env=Humanoid"]).optimizer.max_speed == 0.015  # type: ignore[attr-defined]
    assert compose(["env=LunarLander"]).optimizer.max_speed == 0.3  # type: ignore[attr-defined]
    assert compose(["env=Humanoid", "optimizer.max_speed=0.1"]).optimizer.max_speed == 0.1  # type: ignore[attr-defined]
