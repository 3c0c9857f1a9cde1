"""A run directory of somebody else: the code that it names is used for whoever trained it, or trusts it, alone."""

from __future__ import annotations

import importlib
import os
import shutil
import stat
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import gymnasium
import pytest
import yaml

import raes
from raes.config.compose import compose
from raes.config.stored import load, load_to_use, outside_code, save
from raes.evaluate import EvaluateArguments, evaluate
from raes.export import ExportArguments, export
from raes.play import PlayArguments, show
from raes.replay import ReplayArguments, replay
from raes.report.run_finder import read as read_for_report
from raes.storage.sealed import seal, unseal
from raes.storage.user_key import is_own, key_file, signed
from raes.training.prepare import prepare
from raes.types import UserError

SHORT = {
    "policy": "linear", "runtime": "serial", "generations": 2, "algorithm__pairs": 2, "noise__size": 50_000,
    "evaluation__episodes": 1, "console": "quiet",
}  # fmt: skip
EVIL = """
from pathlib import Path
Path("imported").touch()

def call(*args, **kwargs):
    Path("called").touch()
    return 1.0

class Evil:
    def __init__(self, *args, **kwargs):
        call()
"""
CODE: dict[str, dict[str, Any]] = {
    "policy.module=evil:call": {"policy": {"name": "torch", "module": "evil:call", "kwargs": {"args": ["ls"]}}},
    "env.id=evil:World-v0": {"env": {"name": "gymnasium", "id": "evil:World-v0"}},
    "behavior=evil:call": {"behavior": "evil:call"},
    "env.call=evil:call": {"env": {"name": "function", "call": "evil:call", "dim": 10}},
    "env.constraints=evil:call": {
        "env": {"name": "function", "call": "math:fsum", "dim": 10, "constraints": "evil:call"}
    },
    "algorithm.module=evil:call": {"algorithm": {"name": "custom", "module": "evil:call"}},
}
USES: dict[str, Callable[[str, bool], Any]] = {
    "evaluate": lambda run, trust: evaluate(
        EvaluateArguments(run, "latest", 1, runtime="serial", trust=trust), lambda text: None
    ),
    "play": lambda run, trust: show(PlayArguments(run, "latest", out="film.mp4", trust=trust)),
    "export": lambda run, trust: export(ExportArguments(run, "policy.npz", "latest", trust)),
    "replay": lambda run, trust: replay(ReplayArguments(run, 0, 0, trust=trust)),
    "Run.make_env": lambda run, trust: raes.load(run, trust=trust).make_env(),
    "Run.evaluate": lambda run, trust: raes.load(run, trust=trust).evaluate(1),
    "Run.play": lambda run, trust: raes.load(run, trust=trust).play(out="film.mp4"),
}


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> raes.Run:
    return raes.fit("CartPole", run_dir=tmp_path_factory.mktemp("runs") / "run", **SHORT)


@pytest.fixture
def run(trained: raes.Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A copy of a run, in a working directory with a module `evil` that leaves traces."""
    (tmp_path / "evil.py").write_text(EVIL)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    importlib.invalidate_caches()
    yield Path(shutil.copytree(str(trained.run_dir), tmp_path / "run"))
    sys.modules.pop("evil", None)


def change(run: Path, nodes: dict[str, Any]) -> None:
    """Other nodes in config.yaml, by whoever has not the key; a signature that was there stays."""
    path = run / "config.yaml"
    signature = path.read_text().splitlines()[-1]
    tree = yaml.safe_load(path.read_text()) | nodes
    path.write_text(f"{yaml.safe_dump(tree)}{signature}\n")


@pytest.mark.parametrize("use", USES)
@pytest.mark.parametrize("code", CODE)
def test_code_that_a_stranger_names_is_not_imported(run: Path, code: str, use: str) -> None:
    change(run, CODE[code])
    with pytest.raises(UserError, match=f"run_dir=.*{code}.*your key.*trust=true"):
        USES[use](str(run), False)
    assert not Path("imported").exists()


@pytest.mark.parametrize("code", CODE)
def test_a_stranger_s_figures_and_parameters_are_read_without_its_code(run: Path, code: str) -> None:
    change(run, CODE[code])
    opened = raes.load(run)
    assert opened.theta.size
    assert opened.records
    assert read_for_report(run)
    if not code.startswith(("env.call", "env.constraints")):
        with pytest.raises(UserError, match="trust=true"):
            _ = opened.policy
    assert not Path("imported").exists()


def test_a_policy_to_start_from_brings_no_code(run: Path) -> None:
    path = run / "checkpoints" / "gen_000002" / "state.json"
    state = unseal(path.read_bytes())
    state["config"] |= CODE["algorithm.module=evil:call"]
    path.write_bytes(seal(state))
    words = ["env=CartPole", "policy=linear", "runtime=serial", f"start_from={run}"]
    prepared = prepare(compose(words))
    assert prepared.theta.tobytes() == raes.load(run).theta.tobytes()
    assert prepared.observations.count > 1
    assert not Path("imported").exists()


def test_callbacks_of_a_run_are_called_by_its_training_alone(run: Path) -> None:
    change(run, {"callbacks": ["evil:call"]})
    USES["evaluate"](str(run), False)
    assert raes.load(run).policy
    assert not Path("imported").exists()


def test_trusted_code_is_used(run: Path) -> None:
    change(run, CODE["behavior=evil:call"])
    assert USES["evaluate"](str(run), True)["episodes"] == 1
    assert Path("called").exists()


@pytest.mark.parametrize(
    ("nodes", "words"),
    [
        ({"policy": {"name": "torch", "module": "evil:Evil"}}, "evil:Evil is the class Evil, not a torch.nn.Module"),
        ({"algorithm": {"name": "custom", "module": "evil:Evil"}}, "evil:Evil is no algorithm: it has no method init"),
    ],
)
def test_a_class_of_another_kind_is_not_called(run: Path, nodes: dict[str, Any], words: str) -> None:
    change(run, nodes)
    with pytest.raises(UserError, match=words):
        USES["evaluate"](str(run), True)
    assert not Path("called").exists()


# The signature.


def test_ones_own_runs_are_known(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    change(run, CODE["env.call=evil:call"])
    save(load(run), run / "config.yaml")
    assert load_to_use(run, trust=False) == load(run)
    with (run / "config.yaml").open("a") as file:
        file.write("# another line\n")
    with pytest.raises(UserError, match="trust=true"):
        load_to_use(run, trust=False)
    save(load(run), run / "config.yaml")
    monkeypatch.setenv("XDG_CONFIG_HOME", str(run / "of another user"))
    with pytest.raises(UserError, match=r"of another user/raes/key.*trust=true"):
        load_to_use(run, trust=False)


def test_the_key_is_its_users_alone_and_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    os.umask(os.umask(0o000))
    assert not is_own(b"a: 1\n# signature: " + b"0" * 64 + b"\n")
    first, second = signed(b"a: 1\n"), signed(b"a: 1\n")
    assert first == second
    assert is_own(first)
    assert not is_own(first.replace(b"1", b"2", 1))
    assert stat.S_IMODE(key_file().stat().st_mode) == 0o600
    assert stat.S_IMODE(key_file().parent.stat().st_mode) & 0o077 == 0
    assert os.listdir(key_file().parent) == ["key"]


def test_a_run_is_trained_where_no_key_can_be_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "file"))
    assert signed(b"a: 1\n") == b"a: 1\n"
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    (tmp_path / "config" / "raes").mkdir(parents=True)
    (tmp_path / "config" / "raes" / "key").write_bytes(b"short")
    assert signed(b"a: 1\n") == b"a: 1\n"


# Which code is whose.


class Own(gymnasium.Env[Any, Any]):
    pass


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (["env=Humanoid"], []),
        (["env=Pong"], []),
        (["env=Humanoid", "algorithm=nsra_es", "behavior=final_xy"], []),
        (["env=gymnasium", "env.id=Hopper"], []),
        (["env=gymnasium", "env.id=Nowhere-v0"], []),
        (["env=gymnasium", "env.id=GivenHere-v0"], []),
        (["env=gymnasium", "env.id=Plugin-v0"], ["env.id=Plugin-v0"]),
        (["env=gymnasium", "env.id=gymnasium:CartPole-v1"], ["env.id=gymnasium:CartPole-v1"]),
        (["policy=torch", "policy.module=raes.train:os.system"], ["policy.module=raes.train:os.system"]),
    ],
)
def test_what_counts_as_code_from_outside(words: list[str], code: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    registry = {
        "GivenHere-v0": gymnasium.envs.registration.EnvSpec("GivenHere-v0", entry_point=Own),
        "Plugin-v0": gymnasium.envs.registration.EnvSpec("Plugin-v0", entry_point="somewhere.else:World"),
    }
    for name, spec in registry.items():
        monkeypatch.setitem(gymnasium.registry, name, spec)
    assert outside_code(compose(words)) == code


# Interpolation.


def test_a_stored_configuration_is_plain_text(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MY_SECRET", "swordfish")
    change(run, {"env": {"name": "CartPole", "id": "CartPole-v1", "kwargs": {"a": "${oc.env:MY_SECRET}", "b": "${x}"}}})
    config = load(run)
    assert config.env.kwargs == {"a": "${oc.env:MY_SECRET}", "b": "${x}"}  # type: ignore[union-attr]
    with pytest.raises(UserError) as caught:
        USES["evaluate"](str(run), False)
    assert "oc.env:MY_SECRET" in str(caught.value)
    assert "swordfish" not in str(caught.value)
    assert "swordfish" not in str(read_for_report(run))


def test_a_run_with_dollars_in_its_values_is_evaluated(tmp_path: Path) -> None:
    keys = {**SHORT, "env": "gymnasium", "env__id": "FrozenLake-v1", "env__kwargs": {"desc": ["SF", "FG"]}}
    run = raes.fit(run_dir=tmp_path / "run", behavior=None, env__name="${x}", **keys)
    assert raes.load(run.run_dir).evaluate(2)["episodes"] == 2
