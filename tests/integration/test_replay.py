"""`raes.replay`: the command that the message of a fault ends with shows the same fault."""

from __future__ import annotations

import os
import re
import shlex
import signal
from pathlib import Path
from typing import NamedTuple

import pytest

from raes.rng import Purpose, reset_seed

from .helpers import Command, Commands, records_of, variables
from .shared_ray import SharedRay

LINE = ("env=gymnasium", "env.id=trial_worlds:Line-v0", "policy=linear", "noise.size=50000", "evaluation.episodes=2",
        "algorithm.action_noise=0.1", "ray.address=local", "generations=4")  # fmt: skip
SERIAL = (*LINE, "runtime=serial", "algorithm.pairs=10", "evaluation.every=2")
TRAINING_SEED = reset_seed(0, Purpose.TRAINING, 1, 6)
"""The reset seed of generation 1, pair 3."""
EVALUATION_SEED = reset_seed(0, Purpose.EVALUATION, 0, 1)
BAD_SEEDS = f"{TRAINING_SEED} {EVALUATION_SEED}"
DEATH = "its worker was lost 3 times while it ran nothing else; the last: its process died"


class Fault(NamedTuple):
    """What a message holds: the arguments after `python -m raes.replay`, and the reason."""

    words: tuple[str, ...]
    reason: str


def faults_in(text: str) -> list[Fault]:
    """The faults that a run names."""
    found = []
    for reason, command in re.findall(r"left out .*?\): (.*); replay: (.*)$", text, re.MULTILINE):
        python, *words = shlex.split(command)
        assert (python, *words[:2]) == ("python", "-m", "raes.replay")
        found.append(Fault(tuple(words[2:]), reason))
    return found


def replay(commands: Commands, fault: Fault, *words: str, code: int = 1, **environment: str) -> Command:
    """Run the command; BAD_SEEDS are the same as in training unless the test sets others."""
    environment = {"BAD_SEEDS": BAD_SEEDS} | environment
    command = commands.run(*fault.words, *words, module="raes.replay", code=code, **environment)
    assert f"\nrecorded  {fault.reason}\n" in command.out, str(command)
    assert "Traceback" not in command.out + command.err, str(command)
    return command


@pytest.fixture(scope="module")
def faults(module_commands: Commands) -> list[Fault]:
    """Of a run in whose generation 1 a pair fails, and an evaluation episode in generations 0, 2 and 4."""
    command = module_commands.run(*SERIAL, "run_dir=a_run", BAD="raise", BAD_SEEDS=BAD_SEEDS)
    faults = faults_in(command.out)
    assert faults == faults_in((module_commands.cwd / "a_run" / "log.txt").read_text())
    assert [fault.words[1:] for fault in faults] == [
        ("generation=0", "index=1", "purpose=evaluation"),
        ("generation=1", "index=6"),
        ("generation=1", "index=7"),
        ("generation=2", "index=1", "purpose=evaluation"),
        ("generation=4", "index=1", "purpose=evaluation"),
    ]
    return faults


@pytest.mark.parametrize("number", [1, 2, 3])
def test_the_printed_command_shows_the_same_fault(module_commands: Commands, faults: list[Fault], number: int) -> None:
    seed = EVALUATION_SEED if "purpose=evaluation" in faults[number].words else TRAINING_SEED
    path = module_commands.cwd / f"seeds-{number}"
    command = replay(module_commands, faults[number], BAD="raise", SEEDS=str(path))
    assert f"env.reset(seed={seed})" in command.out
    assert "\nreplayed  RuntimeError: the joint came off\n" in command.out
    assert command.out.endswith("the episode fails again, for the recorded reason\n")
    assert path.read_text() == f"{seed}\n", "one episode and nothing else"


def test_a_return_that_is_not_finite(commands: Commands) -> None:
    text = commands.run(*SERIAL, "run_dir=run", BAD="nan_reward", BAD_SEEDS=BAD_SEEDS).out
    fault = faults_in(text)[1]
    assert fault.reason == "the return is nan"
    command = replay(commands, fault, BAD="nan_reward")
    assert command.out.endswith("replayed  the return is nan\nthe episode fails again, for the recorded reason\n")


def test_a_fault_that_does_not_show_is_said(module_commands: Commands, faults: list[Fault]) -> None:
    command = replay(module_commands, faults[1], code=0, BAD_SEEDS="")
    assert re.search(r"\nreplayed  return -?\d+\.\d+ after 10 timesteps\nthe fault did not show: ", command.out)
    command = replay(module_commands, faults[1], BAD="nan_reward")
    assert "\nreplayed  the return is nan\n" in command.out
    assert "for another reason" in command.out


@pytest.mark.parametrize(
    ("bad", "expected"),
    [
        ("die", "the process died of signal 9 (SIGKILL)"),
        ("segfault", "the process died of signal 11 (SIGSEGV)"),
        ("exit", "the process ended with exit code 7"),
    ],
)
def test_a_crash_is_reported(module_commands: Commands, faults: list[Fault], bad: str, expected: str) -> None:
    command = replay(module_commands, faults[1], "seconds=1000", BAD=bad)  # and at once
    assert command.out.endswith(f"\nreplayed  {expected}\nthe episode fails again\n")
    assert ("trial_worlds.py" in command.err) == (bad == "segfault"), "the stack, where it crashed"


@pytest.mark.parametrize("bad", ["hang", "hang_in_child"])
def test_a_hang_is_ended_and_told(module_commands: Commands, faults: list[Fault], bad: str) -> None:
    """`Commands` makes sure that no process is left."""
    command = replay(module_commands, faults[1], "seconds=1.5", BAD=bad)
    assert command.out.endswith("\nreplayed  still running after 1.5 s\nthe episode fails again\n")
    assert re.search(r'trial_worlds\.py", line \d+ in step', command.err), "the stack, where it hangs"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_stop_leaves_no_process_behind(
    module_commands: Commands, faults: list[Fault], number: signal.Signals, tmp_path: Path
) -> None:
    seeds = tmp_path / "seeds"
    command = module_commands.start(
        *faults[1].words, module="raes.replay", BAD="hang", BAD_SEEDS=BAD_SEEDS, SEEDS=str(seeds)
    )
    command.wait_for(seeds.exists)
    os.kill(command.process.pid, number)
    command.wait(130, timeout=20)
    assert "Traceback" not in command.err, str(command)


def test_the_replayed_episode_is_the_one_of_the_run(commands: Commands) -> None:
    """Generation 2 has the normaliser, the action noise and theta of two updates; its returns, to the last bit."""
    words = (*LINE, "runtime=serial", "algorithm.pairs=1", "algorithm.shared_reset=false", "evaluation.every=0")
    commands.run(*words, "run_dir=good", OFFSET="3")
    good = records_of(commands.cwd / "good")[2]
    seeds = " ".join(str(reset_seed(0, Purpose.TRAINING, 2, index)) for index in (0, 1))
    command = commands.run(*words, "run_dir=bad", BAD="raise", BAD_SEEDS=seeds, code=1, OFFSET="3")
    returns = []
    for fault in faults_in(command.out):
        text = replay(commands, fault, code=0, BAD_SEEDS="", OFFSET="3").out
        [value] = re.findall(r"replayed  return (\S+) after", text)
        returns.append(float(value))
    assert sorted(returns) == [good["returns/min"], good["returns/max"]]
    assert good["returns/min"] < good["returns/max"]


def test_many_faults_are_told_shortly_and_all_kept(commands: Commands) -> None:
    text = commands.run(*SERIAL, "run_dir=run", BAD="raise", BAD_SEEDS="all", code=1).out
    assert len(faults_in(text)) == 5
    assert re.search(r"\.\.\. and 17 more, kept in .*run/faults/gen_000000\.npz", text)
    fault = Fault(("run_dir=run", "generation=0", "index=19"), "RuntimeError: the joint came off")
    assert "for the recorded reason" in replay(commands, fault, BAD="raise", BAD_SEEDS="all").out


def test_an_episode_that_kills_its_worker(commands: Commands, shared_ray: SharedRay) -> None:
    """On Ray; the run goes on."""
    seed = str(reset_seed(0, Purpose.TRAINING, 1, 3))
    words = (*LINE, *shared_ray.words(), "workers=2", "algorithm.pairs=3", "algorithm.shared_reset=false",
             "evaluation.every=0", variables(BAD_SEEDS=f"{seed}:segfault"))  # fmt: skip
    text = commands.run(*words, "run_dir=run").out
    assert records_of(commands.cwd / "run")[-1]["progress/generation"] == 4
    [fault] = faults_in(text)
    assert fault.words[1:] == ("generation=1", "index=3")
    assert fault.reason == DEATH
    assert "died of signal 11 (SIGSEGV)" in replay(commands, fault).out
    config = commands.cwd / "run" / "config.yaml"
    config.write_text(config.read_text().replace("segfault", "die"))
    assert "died of signal 9 (SIGKILL)" in replay(commands, fault, "trust=true").out


@pytest.mark.cluster
def test_one_episode_in_a_hundred_of_each_kind(commands: Commands) -> None:
    """A world that raises, returns NaN, segfaults and hangs: the run goes on, and every fault is replayed."""
    kinds = {1: "raise", 41: "nan_reward", 120: "segfault", 199: "hang"}
    bad = [f"{reset_seed(0, Purpose.TRAINING, 1, index)}:{kind}" for index, kind in kinds.items()]
    bad += [f"{reset_seed(0, Purpose.TRAINING, 2, index + 10)}:{kind}" for index, kind in kinds.items() if index < 190]
    bad_seeds = " ".join(bad)
    words = (*LINE, "workers=2", "algorithm.pairs=100", "algorithm.shared_reset=false", "evaluation.every=0")
    text = commands.run(*words, "runtime.deadline=2", "run_dir=run", BAD_SEEDS=bad_seeds).out
    last = records_of(commands.cwd / "run")[-1]
    assert last["progress/generation"] == 4
    assert last["faults/episodes_quarantined"] == len(bad)
    found = {fault.words[1:]: fault for fault in faults_in(text)}
    assert len(found) == len(bad)
    shown = {
        "raise": "replayed  RuntimeError: the joint came off\n",
        "nan_reward": "replayed  the return is nan\n",
        "segfault": "replayed  the process died of signal 11 (SIGSEGV)\n",
        "hang": "replayed  still running after 2 s\n",
    }
    for index, kind in kinds.items():
        fault = found["generation=1", f"index={index}"]
        words = ("seconds=2",) if kind == "hang" else ()
        assert shown[kind] in replay(commands, fault, *words, BAD_SEEDS=bad_seeds).out
        assert ("missed its deadline of 2 s" in fault.reason) == (kind == "hang")


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (("run_dir=absent", "generation=1", "index=6"), ("run_dir=absent: there is no such folder",)),
        (("run_dir=a_run", "generation=3", "index=6"), ("generation=3", "it keeps those of generations 0, 1, 2, 4")),
        (("run_dir=a_run", "generation=1", "index=8"), ("index=8", "purpose=training index 6, 7")),
        (
            ("run_dir=a_run", "generation=1", "index=6", "purpose=evaluation"),
            ("purpose=evaluation", "purpose=training index 6, 7"),
        ),
        (("run_dir=a_run", "generation=1", "index=6", "purpose=held_out"), ("purpose=held_out", "'training'")),
        (("run_dir=a_run", "generation=1", "index=6", "seconds=0"), ("seconds=0: must be positive",)),
        (("run_dir=a_run", "generation=1"), ("index is missing",)),
    ],
    ids=lambda value: value[-1] if isinstance(value, tuple) else str(value),
)
@pytest.mark.usefixtures("faults")
def test_what_is_not_there_is_refused(
    module_commands: Commands, words: tuple[str, ...], expected: tuple[str, ...]
) -> None:
    message = module_commands.refuse(*words, module="raes.replay")
    for text in expected:
        assert text in message, message


def test_an_environment_that_is_not_found_is_no_fault(commands: Commands, faults: list[Fault]) -> None:
    """From another folder the module is not on the path; or it ends the process before there is an episode."""
    module = commands.cwd / "trial_worlds.py"
    module.unlink()
    command = commands.run(*faults[1].words, module="raes.replay", code=2)
    assert command.err.startswith("raes: the episode cannot be run: env.id=trial_worlds:Line-v0: No module named")
    assert "Traceback" not in command.err
    module.write_text("import os; os._exit(3)")
    text = replay(commands, faults[1]).out
    assert "\nreplayed  before the episode began: the process ended with exit code 3\n" in text
