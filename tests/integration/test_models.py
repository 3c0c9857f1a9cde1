"""Models by seeds, as a user runs them: the same bits on any number of workers, after kills, repairs and a resume."""

from __future__ import annotations

import os
import random
import signal
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil
import pytest
import torch
from torch import nn

import raes
from raes.models.safetensors_file import PartsReader
from raes.storage.weights import WeightFiles
from raes.types import UserError

from .helpers import Command, Commands, commands_in, deterministic, latest_generation, records_of
from .shared_ray import SharedRay

MODEL = """
import gc, os, time
import torch
from torch import nn

class Model(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.inner, self.outer = nn.Linear(4, width), nn.Linear(width, 1)
        self.wide = nn.Linear(width, width, bias=False)
    def forward(self, x):
        return self.outer(self.wide(torch.tanh(self.inner(x))))

def build(width=500, dtype="float32"):
    torch.manual_seed(0)
    return Model(width).to(getattr(torch, dtype))

def unseeded():
    return Model(8)

def broken():
    raise OSError("no such weights")

tasks = [number / 50 for number in range(100)]

def reward(model, task):
    x = torch.tensor([[task, task * task, 1.0, -task]], dtype=next(model.parameters()).dtype)
    return -float((model(x) - 3 * task).float().square().mean())

def slow(model, task):
    time.sleep(0.01)
    return reward(model, task)

def constant(model, task):
    return 1.0

def at_times_broken(model, task):
    if 0.9 < task < 1.0:
        raise ValueError("this task is broken")
    return reward(model, task)

def corrupting(model, task):
    # One worker, once: it finds its own copy of the weights and changes a number.
    flag = os.path.join(os.path.dirname(__file__), "flag")
    held = [one for one in gc.get_objects() if type(one).__name__ == "HeldTensor" and one.name == "wide.weight"]
    if held and os.path.exists(flag + ".armed"):
        try:
            os.rename(flag + ".armed", flag + ".done")
        except OSError:
            return reward(model, task)
        held[0].kept[17] += 1e-3
    return reward(model, task)
"""
GENERATIONS = 12
COMMON = (
    "env=module", "env.build=my_model:build", "env.tasks=my_model:tasks", "env.tasks_per_call=4", "seed=3",
    "algorithm.pairs=4", "algorithm.sigma=0.05", "optimizer.stepsize=0.05", "evaluation.every=4",
    "evaluation.episodes=2", "env.snapshot_every=5", "checkpoint.every=1", f"generations={GENERATIONS}",
)  # fmt: skip
REWARD = "env.reward=my_model:reward"
MOMENTUM = ("optimizer=sgd", "optimizer.stepsize=0.05")


class Runs:
    """Where the runs of this file are, and how to make more."""

    def __init__(self, commands: Commands) -> None:
        self.commands = commands
        (commands.cwd / "my_model.py").write_text(MODEL)

    def __call__(self, name: str, *words: str, reward: str = REWARD, **environment: str) -> Command:
        """Start a run in the folder of this name."""
        return self.commands.start(*COMMON, reward, f"run_dir={name}", *words, **environment)

    def folder(self, name: str) -> Path:
        return self.commands.cwd / name

    def weights(self, name: str, generation: int = GENERATIONS) -> bytes:
        """A snapshot of a run."""
        return b"".join(WeightFiles(self.folder(name)).read(generation))

    def check(self, name: str, reference: str = "reference") -> None:
        """The run equals the reference in the weights' bits and in all that the search decides."""
        assert self.weights(name) == self.weights(reference)
        assert deterministic(self.folder(name)) == deterministic(self.folder(reference))


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory, ray_folder: Path, fork_server: Any) -> Iterator[Runs]:
    folder = tmp_path_factory.mktemp("models")
    variables = {"RAY_TMPDIR": str(ray_folder), "RAY_worker_niceness": "0"}
    with commands_in(folder, variables, fork_server) as commands:
        made = Runs(commands)
        made("reference", "runtime=serial", *MOMENTUM).wait()
        yield made


def test_the_reference_has_learned_and_left_its_snapshots(runs: Runs) -> None:
    records = records_of(runs.folder("reference"))
    values = [one["eval/return_mean"] for one in records if "eval/return_mean" in one]
    assert values[-1] > values[0] + 0.1
    assert WeightFiles(runs.folder("reference")).generations() == [10, 12]  # those that the checkpoints left need
    assert records[-2]["speed/outside_reward_seconds"] > 0


@pytest.mark.parametrize("words", [("workers=1",), ("workers=2",), ("workers=2", "runtime.relays=true")], ids=" ".join)
def test_workers_and_relays_change_nothing(runs: Runs, shared_ray: SharedRay, words: tuple[str, ...]) -> None:
    name = "-".join(words)
    command = runs(name, *MOMENTUM, *shared_ray.words(), *words).wait()
    assert "warning" not in command.out
    runs.check(name)
    record = records_of(runs.folder(name))[-2]
    assert 0 < record["speed/ray_bytes_per_episode"] < 1000
    assert record["faults/weights_repaired"] == 0


def test_ten_kills_at_random_moments_change_nothing(runs: Runs, shared_ray: SharedRay) -> None:
    """A worker that dies is replaced by one that joins late; some die while they apply an update."""
    words = (*MOMENTUM, "generations=40")
    runs("not-killed", "runtime=serial", *words).wait()
    slow = "env.reward=my_model:slow"
    command = runs("killed", *shared_ray.words(), "workers=2", *words, reward=slow)
    chance, killed = random.Random(0), 0
    while killed < 10 and command.code is None:
        time.sleep(chance.uniform(0.0, 0.3))
        if (actors := shared_ray.actors("RolloutActor.run")) and latest_generation(runs.folder("killed")) >= killed:
            with suppress(psutil.Error):
                chance.choice(actors).send_signal(signal.SIGKILL)
                killed += 1
    command.wait()
    assert killed == 10
    assert runs.weights("killed", 40) == runs.weights("not-killed", 40)
    assert records_of(runs.folder("killed"))[-1]["faults/actors_lost"] >= 8  # one may die twice before it is missed
    assert records_of(runs.folder("killed"))[-1]["faults/episodes_quarantined"] == 0


def test_corrupted_weights_are_found_within_a_generation(runs: Runs, shared_ray: SharedRay) -> None:
    words = (*MOMENTUM, *shared_ray.words(), "workers=2", "env.kwargs={width:500}")
    runs("whole", "runtime=serial", *MOMENTUM).wait()
    flag = runs.commands.cwd / "flag"
    command = runs("corrupted", *words, reward="env.reward=my_model:corrupting")
    command.wait_for(lambda: latest_generation(runs.folder("corrupted")) >= 3)
    flag.with_suffix(".armed").touch()
    command.wait()
    assert flag.with_suffix(".done").exists()
    records = records_of(runs.folder("corrupted"))
    counts = [one["faults/weights_repaired"] for one in records]
    assert counts[-1] == 1
    log = (runs.folder("corrupted") / "log.txt").read_text()
    assert "wide.weight has changed since its last update" in log
    assert "(process " in log
    assert runs.weights("corrupted") == runs.weights("whole")


def test_a_killed_command_is_resumed_with_the_same_bits(runs: Runs) -> None:
    command = runs("sigkilled", *MOMENTUM, "workers=2", "ray.address=local", reward="env.reward=my_model:slow")
    command.wait_for(lambda: latest_generation(runs.folder("sigkilled")) >= 7)
    os.kill(command.process.pid, signal.SIGKILL)
    command.wait(code=-signal.SIGKILL)
    resumed = runs("sigkilled", "runtime=serial", "resume=auto", *MOMENTUM, reward="env.reward=my_model:slow").wait()
    assert "resuming from" in resumed.out
    assert runs.weights("sigkilled") == runs.weights("reference")


@pytest.mark.parametrize("damage", ["cut", "missing"])
def test_a_resume_does_without_a_snapshot_that_is_damaged(runs: Runs, damage: str) -> None:
    runs(damage, "runtime=serial", *MOMENTUM, "generations=7").wait()
    for path in (runs.folder(damage) / "weights").glob("*.safetensors"):
        path.write_bytes(path.read_bytes()[:-1]) if damage == "cut" else path.unlink()
    runs(damage, "runtime=serial", *MOMENTUM, "resume=auto").wait()
    assert runs.weights(damage) == runs.weights("reference")


def test_a_resume_with_other_first_weights_is_refused(runs: Runs) -> None:
    runs("other-base", "runtime=serial", "generations=2").wait()
    words = (*COMMON, REWARD, "run_dir=other-base", "runtime=serial", "resume=auto")
    source = runs.commands.cwd / "my_model.py"
    try:
        source.write_text(MODEL.replace("torch.manual_seed(0)", "torch.manual_seed(1)"))
        message = runs.commands.refuse(*words, fork=False)
    finally:
        source.write_text(MODEL)
    assert "began with other weights" in message


def test_the_commands_know_such_a_run(runs: Runs) -> None:
    run_dir = runs.folder("reference")
    out = runs.commands.run(
        "run_dir=reference", "runtime=serial", "episodes=3", module="raes.evaluate"
    ).out  # fmt: skip
    assert "my_model:build" in out
    runs.commands.run("run_dir=reference", "checkpoint=latest", "out=model.safetensors", module="raes.export")
    reader = PartsReader([(runs.commands.cwd / "model.safetensors").read_bytes()])
    assert [one.name for one in reader.entries] == [
        "inner.weight",
        "inner.bias",
        "outer.weight",
        "outer.bias",
        "wide.weight",
    ]
    inside = PartsReader([runs.weights("reference")])
    size = reader.entries[-1].stop
    assert b"".join(reader.pieces(size)) == b"".join(inside.pieces(size))
    assert "has no episodes to look at" in runs.commands.refuse("run_dir=reference", module="raes.play")
    assert ".safetensors" in runs.commands.refuse("run_dir=reference", "out=x.npz", module="raes.export")
    runs.commands.run("reference", "out=report", module="raes.report")
    run = raes.load(run_dir)
    assert run.theta.size == 0
    assert len(run.curve("eval/return_mean")[1]) == 4


def test_a_task_that_fails_is_left_out_and_replayed(runs: Runs) -> None:
    words = ("runtime=serial", "env.same_tasks=false", "env.tasks_per_call=1", "faults.max_share=0.9")
    command = runs("faults", *words, reward="env.reward=my_model:at_times_broken").wait()
    [line] = [one for one in command.out.splitlines() if "this task is broken" in one and "replay: " in one][:1]
    replayed = line.split("replay: ")[1].split()
    assert replayed[:3] == ["python", "-m", "raes.replay"]
    done = runs.commands.run(*replayed[3:], module="raes.replay", code=1)
    assert "the episode fails again, for the recorded reason" in done.out


def test_a_reward_that_is_constant_is_one_warning(runs: Runs) -> None:
    command = runs("constant", "runtime=serial", reward="env.reward=my_model:constant").wait()
    assert command.out.count("nothing to learn from") == 1
    assert "the reward uses the model that it is called with" in command.out


WRONG = [
    (("env.build=my_model:unseeded",), "gives other weights in each process"),
    (("env.build=my_model:broken",), "no such weights"),
    (("env.build=my_model:nothing",), "env.build=my_model:nothing cannot be imported"),
    (("env.build=build",), "env.build must be module:name"),
    (("env.kwargs={dtype:float64}",), "float64, for which there is no noise"),
    (("env.parameters=[layers.*]",), "layers.* matches no parameter"),
    (("env.device=cuda",), "finds no GPU here"),
    (("env.tasks=my_model:build",), "must give a list or another sequence"),
    (("algorithm=ars",), "env=module is trained by algorithm=es"),
    (("optimizer=clipup",), "needs the norm of the whole gradient"),
    (("runtime.pipeline=1",), "cannot go back one update"),
    (("policy.hidden=[3]",), "policy.hidden=[3]: has no effect with env=module"),
    (("noise.size=100000",), "env=module has no table"),
]


@pytest.mark.parametrize(("words", "message"), WRONG, ids=[" ".join(words) for words, _ in WRONG])
def test_what_is_wrong_is_one_message(runs: Runs, words: tuple[str, ...], message: str) -> None:
    given = {word.partition("=")[0] for word in words}
    common = [word for word in (*COMMON, REWARD) if word.partition("=")[0] not in given]
    command = runs.commands.run(*common, "run_dir=refused", "runtime=serial", *words, code=2)
    assert "Traceback" not in command.out + command.err
    [line] = [one for one in command.err.splitlines() if one.startswith("raes: ")]
    assert message in line


def test_gpus_that_are_not_there_are_one_message(runs: Runs, shared_ray: SharedRay) -> None:
    command = runs.commands.run(
        *COMMON, REWARD, "run_dir=no-gpu", *shared_ray.words(), "workers=1", "runtime.gpus_per_worker=0.5", code=2
    )
    assert "runtime.gpus_per_worker=0.5: no node of this Ray has a GPU" in command.err


# From Python.


def small() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(2, 30), nn.Tanh(), nn.Linear(30, 1))


def fit_of(model: nn.Module, task: float = 0.5) -> float:
    with torch.no_grad():
        return -float((model(torch.tensor([task, 1.0])) - task).square())


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_train_module_by_seeds(dtype: torch.dtype) -> None:
    def reward(model: nn.Module) -> float:  # without this module, which workers cannot import
        x = torch.tensor([0.5, 1.0], dtype=next(iter(model.parameters())).dtype)
        return -float((model(x).float() - 0.5).square())

    found = []
    for workers in (1, 2):
        values: list[float] = []
        module = raes.train_module(
            small().to(dtype), reward, noise="seeds", iterations=60, population_size=8, sigma=0.1, learning_rate=0.01,
            mirrored=True, test_every=30, workers=workers, report=lambda _, value, values=values: values.append(value),
        )  # fmt: skip
        found.append([one.detach().float().numpy().tobytes() for one in module.parameters()])
        assert values[-1] > -0.01
        assert all(one.dtype == dtype for one in module.parameters())
        assert all(one.requires_grad for one in module.parameters())
    assert found[0] == found[1]


def test_train_module_with_tasks_and_patterns() -> None:
    module = raes.train_module(
        small(), fit_of, noise="seeds", tasks=[0.1, 0.5, 0.9], parameters=["2.*"], rank=1, iterations=5,
        population_size=4,
    )  # fmt: skip
    before, after = small().state_dict(), module.state_dict()
    assert [name for name in before if not torch.equal(before[name], after[name])] == ["2.weight", "2.bias"]


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"noise": "sand"}, "there is no such noise"),
        ({"rank": 2, "noise": "table"}, "have no effect with noise='table'"),
        ({"rank": 0}, "rank must be a whole number"),
        ({"parameters": ["x.*"]}, "matches no parameter"),
    ],
)
def test_wrong_arguments_are_refused(changes: dict[str, Any], words: str) -> None:
    with pytest.raises(UserError, match=words):
        raes.train_module(small(), fit_of, **({"noise": "seeds", "iterations": 1, "population_size": 2} | changes))
