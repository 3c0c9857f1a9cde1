"""The same seed gives the same bits: on any number of workers, after any kill, after a resume."""

from __future__ import annotations

import os
import shutil
import signal
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from raes.config.stored import load
from raes.problems.episode import EpisodeSpec
from raes.results import Batch, Moments, Results
from raes.rng import Purpose
from raes.runtime.collector import Collector
from raes.runtime.worker import Worker, WorkerSpec
from raes.search import noise
from raes.tasks import Genomes, Round, Snapshot, Tasks

from .helpers import (
    Command,
    Commands,
    arrays_of,
    deterministic,
    generations_of,
    latest,
    latest_generation,
    records_of,
    state_of,
    theta_of,
)
from .shared_ray import SharedRay

PAIRS = 4
COMMON = (
    "env=gymnasium", "env.id=trial_worlds:GatedHopper-v0", "policy=mlp", "policy.hidden=[8]", "seed=3",
    "noise.size=200000", f"algorithm.pairs={PAIRS}", "algorithm.min_timesteps=250", "algorithm.action_noise=0.05",
    "algorithm.observation_share=0.5", "algorithm.episode_cap.kind=fixed", "algorithm.episode_cap.steps=20",
    "evaluation.every=2", "evaluation.episodes=2", "checkpoint.every=1", "checkpoint.keep=9", "ray.address=local",
)  # fmt: skip


@dataclass(frozen=True)
class Runs:
    """Where the runs of this file are, and how to make more."""

    commands: Commands
    reference: Path

    def __call__(self, name: str, *words: str, generations: int = 5, fork: bool = True, **environment: str) -> Command:
        """Start the reference's command in another run directory."""
        words = (*COMMON, f"generations={generations}", f"run_dir={name}", *words)
        return self.commands.start(*words, fork=fork, **environment)

    def gated(self, name: str, *words: str, **environment: str) -> Command:
        """Start it on Ray with 2 workers and wait until it stands still after generation 2.

        On a busy machine the gate may stay closed for longer than a minute, after which a worker counts as hung.
        """
        command = self(name, "workers=2", "runtime.deadline=600", *words, **environment)
        command.wait_for(lambda: latest_generation(self.commands.cwd / name) >= 2)
        return command

    def open_gate(self, name: str) -> None:
        """Let the episodes go on."""
        (self.commands.cwd / f"{name}.open").touch()

    def check(self, name: str) -> None:
        """The run equals the reference, to the bit, in all that the search decides."""
        run_dir = self.commands.cwd / name
        theta = theta_of(run_dir)
        assert np.array_equal(theta.view(np.uint8), theta_of(self.reference).view(np.uint8))
        assert latest(run_dir).name == "gen_000005"
        for which in ("latest", "best"):
            ours, theirs = latest(run_dir, which), latest(self.reference, which)
            assert ours.name == theirs.name
            same_arrays(arrays_of(ours), arrays_of(theirs))
            assert state_of(ours)["search"] == state_of(theirs)["search"]
            assert state_of(ours)["progress"] == state_of(theirs)["progress"]
        assert deterministic(run_dir) == deterministic(self.reference)
        assert generations_of(run_dir) == [0, 1, 2, 3, 4, 5]


def same_arrays(ours: dict[str, Any], theirs: dict[str, Any]) -> None:
    """Equal names, dtypes, shapes and bytes."""
    assert ours.keys() == theirs.keys()
    for name, array in ours.items():
        assert array.dtype == theirs[name].dtype, name
        assert array.shape == theirs[name].shape, name
        assert array.tobytes() == theirs[name].tobytes(), name


@pytest.fixture(scope="module")
def runs(module_commands: Commands) -> Runs:
    """The reference: runtime=serial, never stopped; its hashes have a seed of their own."""
    made = Runs(module_commands, module_commands.cwd / "reference")
    made("reference", "runtime=serial", fork=False).wait()
    return made


def test_the_reference_uses_all_that_could_go_wrong(runs: Runs) -> None:
    records = [record for record in records_of(runs.reference) if "returns/mean" in record]
    assert len(records) == 5
    assert all(record["episode/capped_share"] > 0 for record in records)
    assert any(record["episode/count"] > 2 * PAIRS for record in records)
    assert any("eval/return_mean" in record for record in records)
    state, arrays = state_of(latest(runs.reference)), arrays_of(latest(runs.reference))
    observed = state["search"]["conditions/observations/count"]
    assert 100 < observed < 0.9 * state["progress"]["timesteps"]  # half of the episodes
    assert np.abs(arrays["conditions/observations/mean"]).max() > 0.1
    assert not np.allclose(arrays["conditions/observations/m2"] / observed, 1.0)


@pytest.mark.parametrize(
    "word",
    ["algorithm.action_noise=0", "algorithm.normalize_observations=false", "algorithm.min_timesteps=0", "seed=4",
     "algorithm.episode_cap.kind=none"],
)  # fmt: skip
def test_each_of_them_acts(runs: Runs, word: str) -> None:
    name = f"other-{word}".replace("=", "-")
    runs(name, "runtime=serial", word, generations=2).wait()
    theta = arrays_of(runs.commands.cwd / name / "checkpoints" / "gen_000002")["theta"]
    assert theta.shape == theta_of(runs.reference).shape
    assert not np.array_equal(theta, arrays_of(runs.reference / "checkpoints" / "gen_000002")["theta"])


@pytest.mark.parametrize("workers", [1, 2])
def test_workers_change_nothing(runs: Runs, shared_ray: SharedRay, workers: int) -> None:
    command = runs(f"workers-{workers}", f"workers={workers}", *shared_ray.words()).wait()
    assert "warning" not in command.out
    runs.check(f"workers-{workers}")
    assert records_of(runs.commands.cwd / f"workers-{workers}")[-1]["pool/actors"] == workers


@pytest.mark.parametrize("env", ["Hopper", "Ant"])
@pytest.mark.parametrize("perturbation", ["full", "low_rank"])
def test_the_native_step_changes_nothing(commands: Commands, env: str, perturbation: str) -> None:
    ours, words = {}, [word for word in COMMON if not word.startswith("env")]
    words += [f"env={env}", "algorithm=es", f"algorithm.perturbation={perturbation}", "runtime=serial", "generations=5"]
    for native in ("never", "auto", "require"):
        commands.start(*words, f"env.native={native}", f"run_dir={native}").wait()
        ours[native] = theta_of(commands.cwd / native).tobytes()
    assert ours["never"] == ours["auto"] == ours["require"]
    commands.start(*words, "generations=6", "env.native=auto", "run_dir=never", "resume=auto").wait()
    assert latest_generation(commands.cwd / "never") == 6


@pytest.mark.parametrize("stopped_after", [1, 2])
def test_stopped_and_resumed_is_never_stopped(runs: Runs, stopped_after: int) -> None:
    name = f"resumed-{stopped_after}"
    runs(name, "runtime=serial", generations=stopped_after).wait()
    assert latest_generation(runs.commands.cwd / name) == stopped_after
    runs(name, "runtime=serial", "resume=auto").wait()
    runs.check(name)


def test_resumed_from_an_older_checkpoint_is_never_stopped(runs: Runs) -> None:
    shutil.copytree(runs.reference, runs.commands.cwd / "older")
    runs("older", "runtime=serial", "resume=older/checkpoints/gen_000003").wait()
    runs.check("older")


def gate(run_dir: Path) -> str:
    """The word that shuts the gate of an environment on a Ray whose processes have not the command's variables."""
    return f'env.kwargs={{gate:"{run_dir}"}}'


def test_a_lost_driver_goes_on_by_itself(runs: Runs, shared_ray: SharedRay) -> None:
    command = runs.gated("driver-lost", *shared_ray.words(), gate(runs.commands.cwd / "driver-lost"))
    [driver] = shared_ray.actors("DriverActor")
    driver.send_signal(signal.SIGKILL)
    runs.open_gate("driver-lost")
    command.wait()
    assert "driver was lost" in command.out
    runs.check("driver-lost")


def test_a_lost_rollout_actor_is_replaced(runs: Runs, shared_ray: SharedRay) -> None:
    command = runs.gated("actor-lost", *shared_ray.words(), gate(runs.commands.cwd / "actor-lost"))
    # One at work: one that is still starting is not lost, it "could not start".
    actors = command.wait_for(lambda: shared_ray.actors("RolloutActor.run"))
    actors[0].send_signal(signal.SIGKILL)
    command.wait_for(lambda: "rollout actor was lost" in command.out)
    runs.open_gate("actor-lost")
    command.wait()
    runs.check("actor-lost")
    last = records_of(runs.commands.cwd / "actor-lost")[-1]
    assert last["faults/actors_lost"] == 1
    assert last["faults/tasks_reissued"] >= 1
    assert last["faults/episodes_quarantined"] == 0


def test_a_killed_command_is_resumed(runs: Runs) -> None:
    command = runs.gated("command-killed", GATE=str(runs.commands.cwd / "command-killed"))
    os.kill(command.process.pid, signal.SIGKILL)
    resumed = runs("command-killed", "runtime=serial", "resume=auto")  # at once: Ray's processes may still live
    command.wait(code=-signal.SIGKILL)
    resumed.wait()
    runs.check("command-killed")


# In this process: whoever shares a block, in whatever order, changes no bit.


class Generation:
    """A generation of the reference as tasks, and a worker for them."""

    def __init__(self, run_dir: Path) -> None:
        config = load(run_dir)
        spec = EpisodeSpec(replace(config.env, id="Hopper-v5"), config.policy)
        self.table = noise.make_table(200_000)
        self.worker = Worker(WorkerSpec(spec, config.seed), self.table)
        arrays = arrays_of(latest(run_dir))
        mean = arrays["conditions/observations/mean"]
        self.snapshot = Snapshot(
            4, arrays["theta"], obs_mean=mean, obs_scale=np.full(mean.shape, 2.0), action_noise=0.05, max_steps=30
        )
        self.pairs = 12
        index = np.arange(2 * self.pairs)
        start = np.random.default_rng(0).integers(0, self.table.size - arrays["theta"].size, self.pairs)
        genomes = Genomes(np.repeat(start, 2), np.tile(np.array([0.1, -0.1], np.float32), self.pairs))
        self.tasks = Tasks(Purpose.TRAINING, 4, index, index - index % 2, index % 3 != 0, genomes)

    def run(self, cuts: list[np.ndarray[Any, Any]]) -> list[Results]:
        """The results of these blocks, one after the other."""
        return [self.worker.run(self.tasks.take(cut), self.snapshot) for cut in cuts]

    def batch(self, results: list[Results]) -> Batch:
        """What a collector makes of them."""

        def ask(first: int, count: int) -> Tasks:
            return self.tasks.take(slice(2 * first, 2 * (first + count)))

        collector = Collector(Round(self.snapshot, ask, group=2, min_groups=self.pairs))
        collector.start()
        for part in results:
            collector.add(part)
        assert collector.complete
        batch = collector.batch()
        assert batch is not None
        return batch


@pytest.fixture(scope="module")
def generation(runs: Runs) -> Generation:
    return Generation(runs.reference)


def cut(order: np.ndarray[Any, Any], size: int) -> list[np.ndarray[Any, Any]]:
    """Blocks of a size."""
    return [order[start : start + size] for start in range(0, len(order), size)]


def rows(results: list[Results]) -> tuple[np.ndarray[Any, Any], Moments]:
    """All records without their seconds, and all moments, in task order."""
    records = np.concatenate([part.records for part in results])
    records = records[np.argsort(records["index"])]
    records["seconds"] = 0
    moments = Moments.join([part.moments for part in results if part.moments is not None])
    return records, moments.take(np.argsort(moments.index))


@pytest.mark.parametrize("size", [1, 3, 7, 24])
@pytest.mark.parametrize("shuffle", [None, 1, 2])
def test_blocks_permuted_and_cut_otherwise_give_the_same_bits(
    generation: Generation, size: int, shuffle: int | None
) -> None:
    straight = np.arange(len(generation.tasks))
    order = straight if shuffle is None else np.random.default_rng(shuffle).permutation(straight)
    whole, parts = generation.run([straight]), generation.run(cut(order, size))
    records, moments = rows(whole)
    other_records, other_moments = rows(parts)
    assert records.tobytes() == other_records.tobytes()
    assert records["capped"].any()
    assert len(np.unique(records["return"])) == len(records)
    for name in ("index", "count", "mean", "m2"):
        assert getattr(moments, name).tobytes() == getattr(other_moments, name).tobytes(), name
    same_batch(generation.batch(whole), generation.batch(parts))
    same_batch(generation.batch(whole), generation.batch(parts[::-1]))


def same_batch(one: Batch, other: Batch) -> None:
    """Equal to the bit."""
    assert one.returns.tobytes() == other.returns.tobytes()
    assert one.sign_returns.tobytes() == other.sign_returns.tobytes()
    assert one.lengths.tobytes() == other.lengths.tobytes()
    assert one.genomes.noise_index.tobytes() == other.genomes.noise_index.tobytes()
    assert one.capped_share == other.capped_share
    assert one.moments is not None
    assert other.moments is not None
    for name in ("index", "count", "mean", "m2"):
        assert getattr(one.moments, name).tobytes() == getattr(other.moments, name).tobytes(), name
