"""Keys that change nothing: refused or named where they are given, and no obstacle to a resume."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from omegaconf import OmegaConf

import raes
from raes.algorithms import ALGORITHMS
from raes.config.compose import compose
from raes.config.effect import differences, without_effect
from raes.config.overrides import from_keywords
from raes.config.schema import current, from_tree
from raes.config.stored import load, save
from raes.search.optimizers import keys_of
from raes.types import UserError

STEPPING = {"es", "ars", "pgpe", "ns_es", "nsr_es", "nsra_es", "custom"}
"""The algorithms that step with an optimiser, or may."""
FUNCTION = ("env=function", "env.call=math:fsum", "env.dim=2")


@pytest.mark.parametrize("algorithm", sorted(set(ALGORITHMS) - {"custom"}))
def test_the_stepsize_moves_the_algorithms_that_use_an_optimizer_and_no_other(algorithm: str) -> None:
    ends = set()
    for stepsize in (0.01, 0.5):
        search = raes.Optimizer(algorithm, [0.5, 0.5])
        inner = search._algorithm.inner(search.state.run)
        inner._optimizer = replace(inner._optimizer, stepsize=stepsize)
        for _ in range(4):
            search.tell([-float(point @ point) for point in search.ask()])
        ends.add(search.theta.tobytes())
    assert (len(ends) == 2) == (algorithm in STEPPING) == ALGORITHMS[algorithm][1].uses_optimizer


@pytest.mark.parametrize("algorithm", sorted(set(ALGORITHMS) - STEPPING))
@pytest.mark.parametrize("word", ["optimizer.stepsize=0.1", "optimizer=sgd", "optimizer.max_speed=1"])
def test_an_optimizer_for_an_algorithm_without_one_is_refused(algorithm: str, word: str) -> None:
    with pytest.raises(UserError) as caught:
        compose([f"algorithm={algorithm}", word])
    assert str(caught.value).startswith(f"{word}: has no effect with algorithm={algorithm}; remove it, or choose")
    assert "among es, ars," in str(caught.value)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (
            ["optimizer.max_speed=1"],
            "optimizer.max_speed=1: has no effect with optimizer=adam; remove it, or set optimizer=clipup",
        ),
        (
            ["optimizer=sgd", "optimizer.beta2=0.9"],
            "optimizer.beta2=0.9: has no effect with optimizer=sgd; remove it, or set optimizer=adam",
        ),
        (
            ["algorithm=pgpe", "+optimizer.epsilon=0.1"],
            "optimizer.epsilon=0.1: has no effect with optimizer=clipup; remove it, or set optimizer=adam",
        ),
        (["optimizer.name=sgd"], "optimizer.name=sgd: choose it with optimizer=..., which has the keys that it reads"),
        (
            ["runtime=serial", "workers=4"],
            "workers=4: has no effect with runtime=serial, which is this process alone; remove it, or set runtime=ray",
        ),
        (["debug=default", "workers=2..4"], "workers=2..4: has no effect with runtime=serial"),
        (["runtime=serial", "runtime.relays=true"], "runtime.relays=true: has no effect with runtime=serial"),
        (["runtime=serial", "runtime.deadline=9"], "runtime.deadline=9: has no effect with runtime=serial"),
        (["runtime=serial", "ray.address=head:6379"], "ray.address=head:6379: has no effect with runtime=serial"),
        ([*FUNCTION, "policy=linear"], "policy=linear: has no effect with env=function"),
        ([*FUNCTION, "policy.hidden=[8]"], "policy.hidden=[8]: has no effect with env=function"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_a_key_without_effect_is_refused_with_key_value_and_cure(words: list[str], message: str) -> None:
    with pytest.raises(UserError) as caught:
        compose(words)
    assert str(caught.value).startswith(message)
    assert "remove it" in message or "remove it" in str(caught.value) or "choose it" in message
    assert "\n" not in str(caught.value)


def test_several_keys_without_effect_are_named_together() -> None:
    with pytest.raises(UserError) as caught:
        compose(["runtime=serial", "workers=4", "algorithm=ga", "optimizer.stepsize=0.1"])
    found = [line.partition(":")[0] for line in str(caught.value).splitlines()]
    assert found == ["workers=4", "optimizer.stepsize=0.1"]


def test_a_keyword_of_python_is_refused_too() -> None:
    with pytest.raises(UserError, match=r"^optimizer\.stepsize=0\.1: has no effect with algorithm=snes"):
        compose(*from_keywords({"algorithm": "snes", "optimizer__stepsize": 0.1}))
    with pytest.raises(UserError, match=r"^workers=2: has no effect with runtime=serial"):
        compose(*from_keywords({"runtime": "serial", "workers": 2}))
    with pytest.raises(UserError, match=r"^optimizer=sgd: has no effect with algorithm=cem; remove it, or choose"):
        raes.Optimizer("cem", [0.0], optimizer=raes.OptimizerSettings("sgd"))


@pytest.mark.parametrize(
    "words",
    [
        ["algorithm=ga"],
        ["runtime=serial"],
        ["runtime=serial", "workers=1", "ray.address=local", "runtime.deadline=auto"],
        ["runtime=serial", "workers=auto", "ray.address=auto", "runtime.relays=auto"],
        ["algorithm=custom", "algorithm.module=my:Search", "optimizer=sgd", "optimizer.stepsize=0.1"],
        ["optimizer=clipup", "optimizer.max_speed=1", "runtime.relays=true", "workers=4"],
        list(FUNCTION),
    ],
    ids=" ".join,
)
def test_defaults_and_values_that_describe_what_happens_pass(
    words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    compose(words)
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize(
    ("word", "line"),
    [
        ("algorithm.rank=2", "algorithm.perturbation=full; remove it, or set algorithm.perturbation=low_rank"),
        (
            "algorithm.episode_cap.steps=9",
            "algorithm.episode_cap.kind=none; remove it, or set algorithm.episode_cap.kind=fixed or adaptive",
        ),
    ],
)
def test_a_key_of_something_that_is_switched_off_is_named(
    word: str, line: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Not refused: a sweep over the switch has it in all of its jobs."""
    compose(["env=HalfCheetah", word])
    assert capsys.readouterr() == ("", f"raes: {word}: has no effect with {line}\n")


# A resume.


def resumed(old: list[str], new: list[str]) -> list[str]:
    """What keeps a run of the old words from going on with the new ones; given keys are checked elsewhere."""
    trees = [compose(words).as_dict() for words in (old, [])]
    trees[1] = OmegaConf.to_container(OmegaConf.merge(trees[0], OmegaConf.from_dotlist(new)))  # type: ignore[assignment]
    return differences(trees[0], from_tree(trees[1]).as_dict())


@pytest.mark.parametrize(
    ("run", "changes"),
    [
        (["algorithm=ga"], ["optimizer.stepsize=0.5", "optimizer.weight_decay=0.1"]),
        ([*FUNCTION, "algorithm=snes"], ["policy.nonlinearity=relu"]),
        (["runtime=serial"], ["workers=4", "runtime.relays=true", "runtime.deadline=3.0", "ray.address=head:1"]),
        ([], ["algorithm.rank=3", "algorithm.episode_cap.steps=3", "algorithm.episode_cap.share=0.1"]),
        (["algorithm.normalize_observations=false"], ["algorithm.observation_share=0.5"]),
        (["algorithm.episode_cap.kind=mean"], ["algorithm.episode_cap.steps=3"]),
    ],
    ids=str,
)
def test_a_key_that_changes_nothing_is_no_obstacle_to_a_resume(run: list[str], changes: list[str]) -> None:
    assert resumed(run, changes) == []


@pytest.mark.parametrize(
    ("run", "change", "key"),
    [
        ([], "optimizer.stepsize=0.5", "optimizer.stepsize"),
        (["algorithm=custom", "algorithm.module=my:Search"], "optimizer.stepsize=0.5", "optimizer.stepsize"),
        (["algorithm=custom", "algorithm.module=my:Search"], "algorithm.episode_cap.steps=7", "algorithm.episode_cap."),
        (["algorithm.perturbation=low_rank"], "algorithm.rank=3", "algorithm.rank"),
        (["algorithm.episode_cap.kind=mean"], "algorithm.episode_cap.factor=3.0", "algorithm.episode_cap.factor"),
        (["algorithm=ga"], "algorithm.sigma=0.3", "algorithm.sigma"),
        (["algorithm=ga"], "algorithm.observation_share=0.3", "algorithm.observation_share"),
    ],
    ids=str,
)
def test_a_key_that_acts_is_one(run: list[str], change: str, key: str) -> None:
    (difference,) = resumed(run, [change])
    assert difference.startswith(key)


# Runs of earlier versions.


def as_stored_before(words: list[str], layers: list[list[int]] | None = None) -> dict[str, Any]:
    """A configuration as versions wrote it whose optimisers shared all keys."""
    tree = compose(words).as_dict()
    tree["optimizer"] = {"beta2": 0.999, "epsilon": 1e-8, "max_speed": 0.3} | tree["optimizer"]
    return tree | {"algorithm": tree["algorithm"] | ({"layers": layers} if tree["algorithm"]["name"] == "es" else {})}


@pytest.mark.parametrize(
    ("words", "layers"),
    [
        ([], None),
        (["policy=mlp", "algorithm.perturbation=low_rank"], [[64, 4, 1], [64, 64, 1], [2, 64, 1]]),
        (["algorithm=ars"], None),
        (["algorithm=pgpe"], None),
        (["algorithm=ga"], None),
    ],
    ids=str,
)
def test_what_an_earlier_version_stored_is_read_and_goes_on(
    words: list[str], layers: list[list[int]] | None, tmp_path: Path
) -> None:
    config, stored = compose(words), as_stored_before(words, layers)
    (tmp_path / "config.yaml").write_text(OmegaConf.to_yaml(OmegaConf.create(stored)))
    assert load(tmp_path) == config
    assert differences(stored, config.as_dict()) == []
    with pytest.raises(UserError, match=r"no such key|has no effect"):
        from_tree(stored)  # what is given now has to be right
    save(config, tmp_path / "config.yaml")
    text = (tmp_path / "config.yaml").read_text()
    assert "layers" not in text
    assert set(OmegaConf.create(text).optimizer) == set(keys_of(config.optimizer.name))


def test_only_what_earlier_versions_wrote_is_passed_over() -> None:
    stored = as_stored_before([])
    stored["optimizer"]["made_up"] = 1
    stored["algorithm"]["also"] = 1
    with pytest.raises(UserError) as caught:
        from_tree(current(stored))
    found = {line.partition(":")[0] for line in str(caught.value).splitlines()}
    assert found == {"algorithm.also", "optimizer.made_up"}


def test_a_configuration_in_parts_is_compared_too() -> None:
    assert without_effect({}) == []
    assert differences({"a": 1}, {"a": 2}) == ["a: 1 -> 2"]
