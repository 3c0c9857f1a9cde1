"""What a user can do wrong, and what an environment can: one message with the cure, or a run that goes on."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import pytest

from raes import evaluate
from raes.config.cli import ending
from raes.rng import Purpose, reset_seed
from raes.storage.checkpoint import SCHEMA_VERSION

from .helpers import (
    SERIAL,
    Commands,
    arrays_of,
    generations_of,
    latest,
    latest_generation,
    records_of,
    refused,
    variables,
)
from .shared_ray import SharedRay

PLAIN = tuple(word for word in SERIAL if word not in ("runtime=serial", "env=gymnasium", "env.id=CartPole-v1"))
"""On Ray, so that a refusal that comes too late shows itself by an embedded Ray."""
CARTPOLE = ("env=gymnasium", "env.id=CartPole-v1", *PLAIN, "generations=1")


@pytest.mark.parametrize(
    ("words", "expected", "fork"),
    [
        pytest.param(("env=Hoper",), ("env=Hoper", "Hopper"), False, id="unknown environment"),
        pytest.param(("algorithm.sgima=1",), ("algorithm.sgima", "algorithm.sigma"), True, id="unknown key"),
        pytest.param(("nonsense",), ("nonsense", "="), True, id="no key=value"),
        pytest.param(("algorithm.sigma=-1", "algorithm.pairs=x"), ("algorithm.pairs=x",), True, id="wrong values"),
        pytest.param(("policy.bins=3",), ("policy.bins=3", "policy.bins=null"), True, id="bins on discrete actions"),
        pytest.param(("run_dir=file/run",), ("run_dir=file/run", "name a folder"), True, id="run_dir below a file"),
    ],
)
def test_a_command_is_refused_before_anything_starts(
    commands: Commands, words: tuple[str, ...], expected: tuple[str, ...], fork: bool
) -> None:
    """One process for each place where words are checked; the rules of `tests/unit/test_config.py` are no processes."""
    (commands.cwd / "file").write_text("")
    message = commands.refuse(*CARTPOLE, *words, fork=fork)
    for text in expected:
        assert text in message, message
    assert not list(commands.cwd.rglob("config.yaml"))
    assert len(message) < 1500


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        pytest.param(("algorithm.action_noise=0.1",), ("algorithm.action_noise=0.1", "action_noise=0"), id="noise"),
        pytest.param(
            ("noise.size=1000000000000",), ("noise.size=1000000000000", "policy.hidden", "free"), id="huge table"
        ),
        pytest.param(("noise.size=11",), ("noise.size=11", "20"), id="table too small"),
        pytest.param(("resume=auto",), ("resume=auto", "run_dir="), id="auto without run_dir"),
        pytest.param(("resume=nowhere",), ("resume=nowhere", "run directory"), id="missing resume"),
        pytest.param(("start_from=nowhere",), ("start_from=nowhere", "run directory"), id="missing start_from"),
        pytest.param(("env.id=NoSuch-v0",), ("env.id=NoSuch-v0", "spelling"), id="unregistered id"),
        pytest.param(("env.id=nomodule:X-v0",), ("env.id=nomodule:X-v0", "module"), id="no module"),
        pytest.param(("env.id=CartPole-v99",), ("env.id=CartPole-v99", "CartPole"), id="no such version"),
        pytest.param(("env.id=''",), ("env.id", "env="), id="empty id"),
        pytest.param(("env.kwargs={wrong:1}",), ("env.kwargs", "wrong", "CartPole-v1"), id="wrong kwargs"),
        pytest.param(("env.kwargs=3",), ("env.kwargs=3",), id="kwargs that are none"),
        pytest.param(("+extra=1",), ("extra", "remove"), id="added key"),
        pytest.param(("+algorithm.extra=1",), ("algorithm.extra", "remove"), id="added key of a group"),
    ],
)
def test_what_cannot_run_is_refused(
    words: tuple[str, ...], expected: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    message = refused(*CARTPOLE, *words)
    for text in expected:
        assert text in message, message
    assert not list(tmp_path.iterdir())
    assert len(message) < 1500


@pytest.fixture(scope="module")
def trained(module_commands: Commands) -> Path:
    """A finished run of one generation."""
    module_commands.run(*SERIAL, "run_dir=trained", "generations=1", "evaluation.every=0", "checkpoint.every=1")
    return module_commands.cwd / "trained"


@pytest.fixture
def spoilable(trained: Path, commands: Commands, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of it in the folder of commands, which is this process's too."""
    monkeypatch.chdir(commands.cwd)
    return Path(shutil.copytree(trained, commands.cwd / "trained"))


RESUME = (*CARTPOLE, "evaluation.every=0", "run_dir=trained", "resume=auto")


@pytest.mark.parametrize("spoil", ["truncated", "changed", "newer schema", "empty", "state cut"])
def test_a_corrupt_only_checkpoint_is_refused(spoilable: Path, commands: Commands, spoil: str) -> None:
    [checkpoint] = (spoilable / "checkpoints").glob("gen_*")
    arrays, state = checkpoint / "arrays.npz", checkpoint / "state.json"
    content = arrays.read_bytes()
    if spoil == "truncated":
        arrays.write_bytes(content[: len(content) // 2])
    elif spoil == "empty":
        arrays.write_bytes(b"")
    elif spoil == "changed":
        arrays.write_bytes(content[:200] + bytes([content[200] ^ 1]) + content[201:])
    elif spoil == "state cut":
        state.write_text(state.read_text()[:-20])
    else:
        state.write_text(state.read_text().replace(f'"schema_version": {SCHEMA_VERSION}', '"schema_version": 99'))
    spoilt = {path.name: path.read_bytes() for path in checkpoint.iterdir()}
    message = commands.refuse(*RESUME) if spoil == "truncated" else refused(*RESUME)
    assert "gen_000001" in message
    assert "run_dir=trained" in message
    assert {path.name: path.read_bytes() for path in checkpoint.iterdir()} == spoilt


@pytest.mark.usefixtures("spoilable")
def test_a_checkpoint_of_another_environment_is_refused(commands: Commands) -> None:
    message = commands.refuse(*RESUME, "env.id=Acrobot-v1")
    assert "env.id: CartPole-v1 -> Acrobot-v1" in message
    message = refused(*RESUME, "env.id=Acrobot-v1", "resume=trained", "run_dir=other")
    assert "env.id: CartPole-v1 -> Acrobot-v1" in message
    message = refused(*CARTPOLE, "env.id=Acrobot-v1", "start_from=trained")
    assert "start_from" in message
    assert "environment" in message


@pytest.mark.usefixtures("spoilable")
def test_a_policy_that_does_not_fit_is_refused() -> None:
    message = refused(*CARTPOLE, "policy=mlp", "policy.hidden=[8]", "start_from=trained")
    assert "start_from" in message
    assert "policy" in message


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        pytest.param(("run_dir=trained", "checkpoint=7"), ("checkpoint=7", "gen_000001"), id="absent generation"),
        pytest.param(("run_dir=trained", "checkpoint=worst"), ("checkpoint=worst", "latest"), id="wrong checkpoint"),
        pytest.param(("run_dir=trained", "out=absent/x.json", "episodes=1"), ("absent/x.json",), id="out nowhere"),
    ],
)
def test_evaluate_refuses(
    trained: Path, words: tuple[str, ...], expected: tuple[str, ...], monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    """In this process; the rules of its words are those of `tests/unit/test_command.py`."""
    monkeypatch.chdir(trained.parent)
    monkeypatch.setattr(sys, "argv", ["raes.evaluate", *words, "runtime=serial"])
    assert ending(evaluate.main) == 2
    message = capsys.readouterr().err
    for text in expected:
        assert text in message, message


def test_the_evaluation_of_no_run_is_refused(commands: Commands) -> None:
    message = commands.refuse("run_dir=absent", module="raes.evaluate")
    assert "absent" in message
    assert "run_dir" in message


# Environments that fail.

LINE = ("env=gymnasium", "env.id=trial_worlds:Line-v0", *PLAIN, "run_dir=run", "checkpoint.every=1")
PAIRS = 10
SEED = str(reset_seed(0, Purpose.TRAINING, 1, 6))
"""The reset seed of generation 1, pair 3."""


@pytest.mark.parametrize(
    ("bad", "reason"),
    [
        ("raise", "RuntimeError: the joint came off"),
        ("nan_reward", "the return is nan"),
        ("nan_observation", "not finite"),
    ],
)
def test_some_episodes_fail(commands: Commands, bad: str, reason: str) -> None:
    """2 of 200 episodes; the pair is left out, and the message has what it takes to run the episode again."""
    words = (*LINE, "runtime=serial", f"algorithm.pairs={PAIRS}", "generations=10")
    command = commands.run(*words, BAD=bad, BAD_SEEDS=SEED)
    log = (commands.cwd / "run" / "log.txt").read_text()
    for text in (command.out, log):
        for index in (6, 7):
            [line] = [line for line in text.splitlines() if f"seed=0, generation=1, index={index})" in line]
            assert reason in line
    records = records_of(commands.cwd / "run")
    assert [record["faults/episodes_quarantined"] for record in records] == [0] + 10 * [2]
    assert [record["episode/count"] for record in records[:-1]] == [2 * PAIRS, 2 * PAIRS - 2] + 8 * [2 * PAIRS]
    assert records[-1]["progress/episodes"] == 2 * (10 * PAIRS - 1)
    assert all(abs(record["returns/mean"]) < 100 for record in records[:-1])


def test_an_evaluation_episode_fails(commands: Commands) -> None:
    seed = str(reset_seed(0, Purpose.EVALUATION, 0, 1))
    words = (*LINE, "runtime=serial", "generations=2", "evaluation.every=1", "evaluation.episodes=3")
    command = commands.run(*words, BAD="raise", BAD_SEEDS=seed)
    expected = "evaluation episode left out (seed=0, generation=0, index=1): RuntimeError: the joint came off"
    assert expected in command.out
    assert [record["eval/episodes"] for record in records_of(commands.cwd / "run")] == [2, 2, 2]


@pytest.mark.parametrize("bad", ["raise", "nan_reward"])
def test_all_episodes_fail(commands: Commands, bad: str) -> None:
    words = (*LINE, "runtime=serial")
    commands.run(*words, "generations=2")
    command = commands.run(*words, "generations=9", "resume=auto", BAD=bad, BAD_SEEDS="all", code=1)
    text = command.out + command.err
    assert ("the joint came off" if bad == "raise" else "the return is nan") in text
    assert "Traceback" not in text
    assert latest_generation(commands.cwd / "run") == 2
    assert arrays_of(latest(commands.cwd / "run"))
    commands.run(*words, "generations=3", "resume=auto")
    assert generations_of(commands.cwd / "run") == [0, 1, 2, 3]


def test_all_episodes_fail_at_once(commands: Commands) -> None:
    command = commands.run(*LINE, "runtime=serial", "generations=9", BAD="raise", BAD_SEEDS="all", code=1)
    assert "the joint came off" in command.out + command.err
    assert latest_generation(commands.cwd / "run") == 0


def test_too_many_episodes_fail(commands: Commands) -> None:
    seeds = " ".join(str(reset_seed(0, Purpose.TRAINING, generation, 0)) for generation in range(9))
    words = (*LINE, "runtime=serial", "generations=9", "faults.max_share=0.005")
    command = commands.run(*words, BAD="raise", BAD_SEEDS=seeds, code=1)
    assert "faults.max_share=0.005" in command.out + command.err
    assert latest_generation(commands.cwd / "run") == 2  # 2 faults a generation; more than 5 of 1,000 stop it
    commands.run(*words, "faults.max_share=0.1", "resume=auto", BAD="raise", BAD_SEEDS=seeds)
    assert generations_of(commands.cwd / "run") == list(range(10))


def test_an_episode_that_kills_its_worker_is_left_out(commands: Commands, shared_ray: SharedRay) -> None:
    bad = variables(BAD_SEEDS=f"{reset_seed(0, Purpose.TRAINING, 1, 3)}:segfault")
    words = (*LINE, *shared_ray.words(), "workers=2", "generations=3", "evaluation.every=2", bad)
    command = commands.run(*words, "algorithm.shared_reset=false")
    records = records_of(commands.cwd / "run")
    assert [record["episode/count"] for record in records[:-1]] == [6, 4, 6]
    assert records[-1]["faults/episodes_quarantined"] == 1
    assert records[-1]["faults/may_differ"] == 0, "it crashes each time"
    assert 3 <= records[-1]["faults/actors_lost"] <= 5
    [line] = [line for line in command.out.splitlines() if "episode left out" in line]
    assert "seed=0, generation=1, index=3" in line


@pytest.mark.parametrize("how", ["raise", pytest.param("die", marks=pytest.mark.slow)])
def test_actors_that_cannot_start_end_the_run(commands: Commands, shared_ray: SharedRay, how: str) -> None:
    words = (*LINE, *shared_ray.words(), "workers=2", "generations=3", variables(ACTORS_CANNOT=how))
    command = commands.run(*words, code=1)
    text = command.out + command.err
    assert ("the licence server does not answer" if how == "raise" else "in a row were lost") in text
    assert "Traceback" not in text
