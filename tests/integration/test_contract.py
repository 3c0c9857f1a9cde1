"""What tools outside the code rely on: see the Contract of the design."""

from __future__ import annotations

import math
import os
import shutil
import signal
import time
from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.backend.event_processing.event_file_loader import RawEventFileLoader
from tensorboard.compat.proto.event_pb2 import Event

from .helpers import (
    SERIAL,
    Commands,
    arrays_of,
    generations_of,
    latest,
    latest_generation,
    records_of,
    state_of,
    theta_of,
)

KEYS = {
    "returns/mean", "returns/std", "returns/min", "returns/max", "episode/length_mean",
    "eval/return_mean", "eval/return_std", "eval/return_ci_low", "eval/return_ci_high", "eval/length_mean",
    "eval/episodes", "search/grad_norm", "search/update_ratio", "search/theta_norm", "search/sigma",
    "progress/generation", "progress/episodes", "progress/timesteps", "progress/seconds",
    "speed/timesteps_per_second", "speed/worker_busy_fraction", "speed/driver_busy_fraction",
    "speed/bytes_per_episode", "faults/actors_lost", "faults/tasks_reissued", "faults/results_discarded",
    "faults/episodes_quarantined", "faults/may_differ", "pool/actors",
}  # fmt: skip
RAY = tuple(word for word in SERIAL if word != "runtime=serial")
LINE = ("env=gymnasium", "env.id=trial_worlds:Line-v0", "policy=linear", "algorithm.pairs=3", "noise.size=50000",
        "evaluation.episodes=2", "checkpoint.every=1", "ray.address=local")  # fmt: skip
"""Environments whose pace the test sets."""


@pytest.fixture(scope="module")
def run_dir(module_commands: Commands) -> Path:
    """A run that was stopped after 3 generations and went on to 6."""
    words = (*SERIAL, "run_dir=run", "evaluation.every=2", "checkpoint.every=1")
    module_commands.run(*words, "generations=3")
    module_commands.run(*words, "generations=6", "resume=auto")
    return module_commands.cwd / "run"


BY_TIMESTEPS = {"eval/return_mean", "progress/seconds", "returns/max", "returns/mean", "returns/min"}


def scalars(run_dir: Path) -> dict[str, dict[int, float]]:
    """tag -> step -> value, as TensorBoard shows them."""
    accumulator = EventAccumulator(str(run_dir / "tensorboard"), size_guidance={"scalars": 0})
    accumulator.Reload()
    return {
        tag: {event.step: event.value for event in accumulator.Scalars(tag)} for tag in accumulator.Tags()["scalars"]
    }


def raw_steps(run_dir: Path) -> dict[str, list[int]]:
    """tag -> steps in the order of the event files."""
    steps: dict[str, list[int]] = defaultdict(list)
    for path in sorted((run_dir / "tensorboard").glob("events.*")):
        for raw in RawEventFileLoader(str(path)).Load():
            event = Event.FromString(raw)
            for value in event.summary.value:
                steps[value.tag].append(event.step)
    return steps


def same_curves(run_dir: Path) -> None:
    """TensorBoard holds what metrics.jsonl holds: every key at every generation, once, and nothing else but some
    of them against timesteps."""
    recorded: dict[str, dict[int, float]] = defaultdict(dict)
    for record in records_of(run_dir):
        for key, value in record.items():
            recorded[key][record["progress/generation"]] = value
    shown = scalars(run_dir)
    again = {key: shown.pop(f"by_timesteps/{key}") for key in BY_TIMESTEPS}
    assert shown.keys() == recorded.keys()
    timesteps = recorded["progress/timesteps"]
    for key, curve in again.items():
        assert curve == {timesteps[step]: pytest.approx(value) for step, value in recorded[key].items()}
    for tag, curve in recorded.items():
        assert shown[tag] == {step: pytest.approx(value, rel=1e-6) for step, value in curve.items()}, tag
    for tag, steps in raw_steps(run_dir).items():
        if tag in recorded:
            assert steps == sorted(recorded[tag]), tag
        elif tag.startswith("by_timesteps/"):
            key = tag.removeprefix("by_timesteps/")
            assert steps == [timesteps[generation] for generation in sorted(recorded[key])], tag


def test_run_directory(run_dir: Path) -> None:
    assert {"config.yaml", "metrics.jsonl", "tensorboard", "checkpoints", "log.txt"} <= {
        p.name for p in run_dir.iterdir()
    }
    assert not list(run_dir.rglob("*writing*"))
    for which in ("latest", "best"):
        assert {path.name for path in latest(run_dir, which).iterdir()} == {"state.json", "arrays.npz"}
    assert latest(run_dir).name == "gen_000006"
    config = yaml.safe_load((run_dir / "config.yaml").read_text())
    assert config["env"]["id"] == "CartPole-v1"
    assert config["algorithm"]["pairs"] == 3
    assert "${" not in (run_dir / "config.yaml").read_text()
    assert (run_dir / "log.txt").read_text().count("resuming from") == 1


def test_nothing_else_is_written(run_dir: Path) -> None:
    ours = {"trial_worlds.py", "run", "__pycache__"}
    assert not [p.name for p in run_dir.parent.iterdir() if p.name not in ours and not p.name.startswith("command-")]


def test_arrays(run_dir: Path) -> None:
    arrays = arrays_of(latest(run_dir))  # with allow_pickle=False
    assert arrays["theta"].dtype == np.float32
    assert arrays["theta"].shape == (2 * (4 + 1),)
    assert np.isfinite(arrays["theta"]).all()
    assert all(array.dtype != object for array in arrays.values())


def test_keys_of_the_metrics(run_dir: Path) -> None:
    records = records_of(run_dir)
    assert records[0].keys() >= KEYS
    for record in records:
        assert not [
            key for key, value in record.items() if not isinstance(value, int | float) or isinstance(value, bool)
        ]
        assert all(math.isfinite(value) for value in record.values())
    for record in records[:-1]:
        missing = KEYS - record.keys()
        assert {key.split("/")[0] for key in missing} <= {"eval"}
        assert ("eval/return_mean" in record) == (record["progress/generation"] % 2 == 0)
        assert record["speed/bytes_per_episode"] <= 32
        assert 0 < record["speed/worker_busy_fraction"] <= 1
        assert 0 <= record["speed/driver_busy_fraction"] <= 1
    assert generations_of(run_dir) == [0, 1, 2, 3, 4, 5, 6]


def test_counts_go_on_after_a_resume(run_dir: Path) -> None:
    records = records_of(run_dir)
    assert [record["progress/episodes"] for record in records] == [6, 12, 18, 24, 30, 36, 36]
    lengths = np.cumsum([record.get("episode/timesteps", 0) for record in records])
    assert [record["progress/timesteps"] for record in records] == lengths.tolist()
    seconds = [record["progress/seconds"] for record in records]
    assert seconds == sorted(seconds)


def test_a_run_ends_with_an_evaluation(run_dir: Path) -> None:
    last = records_of(run_dir)[-1]
    assert last["progress/generation"] == 6
    assert last["eval/episodes"] == 2
    assert not [key for key in last if key.startswith(("returns/", "episode/", "search/"))]


def test_tensorboard_shows_the_same(run_dir: Path) -> None:
    same_curves(run_dir)


def test_best_is_the_best_evaluation(run_dir: Path) -> None:
    evaluations = {
        r["progress/generation"]: r["eval/return_mean"] for r in records_of(run_dir) if "eval/return_mean" in r
    }
    best = max(evaluations.values())
    assert evaluations[state_of(latest(run_dir, "best"))["generation"]] == best


@pytest.mark.slow
def test_checkpoints_are_pruned(commands: Commands) -> None:
    commands.run(*SERIAL, "run_dir=run", "checkpoint.every=1", "checkpoint.keep=2", "generations=6")
    run_dir = commands.cwd / "run"
    kept = {path.name for path in (run_dir / "checkpoints").glob("gen_*")}
    assert kept == {"gen_000005", "gen_000006", latest(run_dir, "best").name}


# How a command ends.


@pytest.mark.parametrize("runtime", ["serial", "ray"])
@pytest.mark.parametrize("how", ["Ctrl-C", "SIGTERM"])
def test_interrupted_and_resumed(commands: Commands, runtime: str, how: str) -> None:
    """Ctrl-C reaches all processes of the command, those of its own Ray among them."""
    words = (*LINE, "run_dir=run", "seed=1", "checkpoint.every=1000", "evaluation.every=3")
    run_dir = commands.cwd / "run"
    command = commands.start(*words, f"runtime={runtime}", STEP_SECONDS="0.01")
    command.wait_for(lambda: (run_dir / "metrics.jsonl").exists() and len(records_of(run_dir)) >= 3)
    if how == "Ctrl-C":
        os.killpg(command.process.pid, signal.SIGINT)
    else:
        command.process.send_signal(signal.SIGTERM)
    command.wait(code=130, timeout=60)
    assert "Traceback" not in command.out + command.err
    assert "resume=auto" in command.out
    stopped = latest_generation(run_dir)
    assert stopped >= 3
    assert generations_of(run_dir) == list(range(stopped))
    same_curves(run_dir)

    commands.run(*words, "runtime=serial", "resume=auto", f"generations={stopped + 3}")
    commands.run(*words, "runtime=serial", "run_dir=straight", f"generations={stopped + 3}")
    assert generations_of(run_dir) == list(range(stopped + 4))
    assert theta_of(run_dir).tobytes() == theta_of(commands.cwd / "straight").tobytes()
    same_curves(run_dir)


def test_ctrl_c_before_the_first_generation_is_done(commands: Commands) -> None:
    command = commands.start(*LINE, "run_dir=run", "runtime=serial", STEP_SECONDS="0.3")
    command.wait_for(lambda: "this process" in command.out)
    time.sleep(1.0)
    os.killpg(command.process.pid, signal.SIGINT)
    command.wait(code=130, timeout=60)
    assert latest_generation(commands.cwd / "run") == 0
    commands.run(*LINE, "run_dir=run", "runtime=serial", "resume=auto", "generations=1")
    assert generations_of(commands.cwd / "run") == [0, 1]


def test_a_second_ctrl_c_ends_at_once(commands: Commands) -> None:
    """In an episode that never ends. The second one is sent when Python has handled the first."""
    pulse = commands.cwd / "pulse"
    pulse.touch()
    words = (*LINE, "run_dir=run", "runtime=serial")
    command = commands.start(*words, BAD="hang", BAD_SEEDS="all", PULSE=str(pulse))
    for _ in range(2):
        before = pulse.stat().st_size
        command.wait_for(lambda before=before: pulse.stat().st_size > before + 1)
        os.killpg(command.process.pid, signal.SIGINT)
    command.wait(code=130, timeout=60)
    assert command.err.strip() == "raes: interrupted"


def test_ray_says_which_one_it_is_and_costs_few_bytes(commands: Commands) -> None:
    """Also: a stale address file is no error, the command leaves no process behind, and metrics have all keys."""
    ray_folder = commands.cwd / "tmp"
    if len(str(ray_folder)) > 40:  # sockets below it must have short names
        ray_folder = Path(os.environ.get("TMPDIR", "/tmp")) / f"raes-{os.getpid()}-{time.monotonic_ns() % 10**6}"
    (ray_folder / "ray").mkdir(parents=True)
    (ray_folder / "ray" / "ray_current_cluster").write_text("127.0.0.1:9")  # the discard port: nobody answers
    words = [word for word in RAY if not word.startswith("ray.address")]
    try:
        command = commands.run(
            *words, "ray.address=auto", "workers=2", "generations=2", "run_dir=run", RAY_TMPDIR=str(ray_folder)
        )
    finally:
        commands.close()
        shutil.rmtree(ray_folder, ignore_errors=True)
    first, second = command.out.splitlines()[:2]
    assert first == "embedded Ray: starting Ray on this machine ...", "the first line names the Ray that is used"
    assert second == "embedded Ray: this machine, 2 CPUs"
    records = records_of(commands.cwd / "run")
    assert records[0].keys() >= KEYS
    assert all(record["speed/bytes_per_episode"] <= 32 for record in records)
    assert [record["pool/actors"] for record in records[-1:]] == [2]
    same_curves(commands.cwd / "run")


def test_a_dead_ray_address_is_refused(commands: Commands) -> None:
    words = [word for word in RAY if not word.startswith("ray.address")]
    message = commands.refuse(*words, "ray.address=127.0.0.1:9", "generations=1")
    assert "ray.address=127.0.0.1:9" in message
    assert "ray.address=local" in message


def test_serial_says_so_first(commands: Commands) -> None:
    command = commands.run(*SERIAL, "generations=1", "run_dir=run")
    assert "runtime=serial" in command.out.splitlines()[0]


# Limits.


def test_generations_count_from_the_beginning(run_dir: Path, module_commands: Commands) -> None:
    before = (run_dir / "metrics.jsonl").read_text()
    command = module_commands.run(*SERIAL, "run_dir=run", "evaluation.every=2", "resume=auto", "generations=6")
    assert "generation limit (6) reached" in command.out
    assert generations_of(run_dir) == [0, 1, 2, 3, 4, 5, 6]
    assert latest(run_dir).name == "gen_000006"
    recorded = [{k: v for k, v in r.items() if k.startswith("eval/")} for r in records_of(run_dir)]
    assert len(before.splitlines()) == len(recorded)


def test_max_timesteps_count_from_the_beginning(commands: Commands) -> None:
    words = (*LINE, "runtime=serial", "run_dir=run")
    commands.run(*words, "max_timesteps=130")  # 60 a generation
    assert generations_of(commands.cwd / "run") == [0, 1, 2, 3]
    commands.run(*words, "max_timesteps=180", "resume=auto")
    assert generations_of(commands.cwd / "run") == [0, 1, 2, 3]
    commands.run(*words, "max_timesteps=181", "resume=auto")
    assert generations_of(commands.cwd / "run") == [0, 1, 2, 3, 4]
    assert records_of(commands.cwd / "run")[-1]["progress/timesteps"] == 240


def test_max_minutes_count_from_the_beginning(commands: Commands) -> None:
    words = (*LINE, "runtime=serial", "run_dir=run")
    commands.run(*words, "max_minutes=0.03", STEP_SECONDS="0.003")
    first = records_of(commands.cwd / "run")[-1]
    assert first["progress/seconds"] >= 1.8
    commands.run(*words, "max_minutes=0.03", "resume=auto", STEP_SECONDS="0.003")
    assert records_of(commands.cwd / "run")[-1]["progress/generation"] == first["progress/generation"]


def test_the_goal_ends_a_run(commands: Commands) -> None:
    command = commands.run(
        *SERIAL, "run_dir=run", "evaluation.every=2", "goal.return_mean=1", "goal.consecutive=2", "generations=50"
    )
    assert "goal" in command.out
    evaluations = [r["progress/generation"] for r in records_of(commands.cwd / "run") if "eval/return_mean" in r]
    assert evaluations == [0, 2, 3]


UNLEARN = ("seed=3", "policy.init_norm=1", "algorithm.pairs=8", "algorithm.alive_bonus=2", "optimizer.stepsize=0.05")
"""CartPole gets worse and worse, so that no evaluation but the first is the best."""


@pytest.mark.parametrize(("every", "stops"), [(1, [2]), pytest.param(2, [1, 3], marks=pytest.mark.slow)])
def test_the_goal_counts_from_the_beginning(commands: Commands, every: int, stops: list[int]) -> None:
    """Stopped and resumed equals never stopped: the evaluation at a run's end is not one more of those in a row."""
    words = (*SERIAL, *UNLEARN, f"evaluation.every={every}", "goal.return_mean=1", "goal.consecutive=5")
    commands.run(*words, "run_dir=straight", "generations=20")
    evaluations = [r["eval/return_mean"] for r in records_of(commands.cwd / "straight") if "eval/return_mean" in r]
    assert max(evaluations[1:]) < evaluations[0]
    for generations in (*stops, 20):
        commands.run(*words, "run_dir=run", f"generations={generations}", "resume=auto")
    assert generations_of(commands.cwd / "run") == generations_of(commands.cwd / "straight")
    assert theta_of(commands.cwd / "run").tobytes() == theta_of(commands.cwd / "straight").tobytes()


def test_the_best_of_all_evaluations_stays_the_best(commands: Commands) -> None:
    """Also where only a stop brought that evaluation about: a worse one after the resume does not take its place."""
    words = (*SERIAL, *UNLEARN, "seed=1", "evaluation.every=3", "evaluation.episodes=5", "run_dir=run")
    commands.run(*words, "generations=2")
    first, stop = (r["eval/return_mean"] for r in records_of(commands.cwd / "run") if "eval/return_mean" in r)
    commands.run(*words, "generations=4", "resume=auto")
    later = [r["eval/return_mean"] for r in records_of(commands.cwd / "run")[1:] if "eval/return_mean" in r]
    assert first < max(later) < stop, "choose another seed: this one shows nothing"
    assert latest(commands.cwd / "run", "best").name == "gen_000002"


# Going on.


def test_never_refuses_a_used_run_dir(run_dir: Path, module_commands: Commands) -> None:
    before = (run_dir / "metrics.jsonl").read_bytes()
    message = module_commands.refuse(*SERIAL, "run_dir=run", "evaluation.every=2", "generations=9")
    assert "run_dir=run" in message
    assert "resume=auto" in message
    assert (run_dir / "metrics.jsonl").read_bytes() == before


def test_auto_refuses_another_configuration(run_dir: Path, module_commands: Commands) -> None:
    before = (run_dir / "metrics.jsonl").read_bytes()
    message = module_commands.refuse(
        *SERIAL, "run_dir=run", "evaluation.every=2", "generations=9", "resume=auto", "algorithm.sigma=0.07", "seed=5"
    )
    assert "algorithm.sigma: 0.05 -> 0.07" in message
    assert "seed: 0 -> 5" in message
    assert "algorithm.pairs" not in message
    assert (run_dir / "metrics.jsonl").read_bytes() == before


def test_auto_starts_a_new_run(commands: Commands) -> None:
    commands.run(*SERIAL, "run_dir=run", "resume=auto", "generations=1")
    assert generations_of(commands.cwd / "run") == [0, 1]


def test_path_goes_on_in_its_own_run_or_in_a_new_one(run_dir: Path, module_commands: Commands) -> None:
    folder = run_dir.parent / "copied"
    shutil.copytree(run_dir, folder)
    words = (*SERIAL, "evaluation.every=2")
    module_commands.run(*words, "resume=copied", "generations=7")
    assert generations_of(folder) == list(range(8))
    module_commands.run(*words, "resume=copied/checkpoints/gen_000005", "generations=7", "run_dir=branch")
    branch = run_dir.parent / "branch"
    assert generations_of(branch) == [5, 6, 7]
    assert theta_of(branch).tobytes() == theta_of(folder).tobytes()
    assert latest_generation(folder) == 7
    same_curves(branch)
    message = module_commands.refuse(*words, "resume=copied", "generations=9", "run_dir=run")
    assert "run_dir=run" in message


def test_a_damaged_newest_checkpoint_is_passed_over(run_dir: Path, module_commands: Commands) -> None:
    folder = run_dir.parent / "damaged"
    shutil.copytree(run_dir, folder)
    (folder / "checkpoints" / "gen_000006" / "arrays.npz").write_bytes(b"PK")
    words = (*SERIAL, "evaluation.every=2", "resume=auto", "generations=6")
    command = module_commands.run(*words, "run_dir=damaged")
    assert "gen_000006" in command.out
    assert "passed over" in command.out
    assert generations_of(folder) == list(range(7))
    assert theta_of(folder).tobytes() == theta_of(run_dir).tobytes()
    assert latest(folder).name == "gen_000006"


def test_start_from_a_smaller_policy(commands: Commands) -> None:
    words = [word for word in SERIAL if not word.startswith("policy")]
    commands.run(*words, "policy=mlp", "policy.hidden=[4]", "run_dir=small", "generations=3")
    command = (*words, "policy=mlp", "policy.hidden=[9]", "start_from=small", "run_dir=large", "generations=1")
    commands.run(*command)
    small, large = (records_of(commands.cwd / name) for name in ("small", "large"))
    assert large[0]["eval/return_mean"] == small[-1]["eval/return_mean"]  # it acts alike, statistics included
    assert theta_of(commands.cwd / "large").size > theta_of(commands.cwd / "small").size
    # It goes on also when the smaller run is gone.
    shutil.rmtree(commands.cwd / "small")
    commands.run(*command[:-1], "generations=2", "resume=auto")
    assert generations_of(commands.cwd / "large") == [0, 1, 2]


def test_multirun(commands: Commands) -> None:
    commands.run("-m", *SERIAL, "seed=0,1", "run_dir=sweep", "generations=1")
    runs = sorted(path.parent for path in (commands.cwd / "sweep").rglob("config.yaml"))
    assert [yaml.safe_load((run / "config.yaml").read_text())["seed"] for run in runs] == [0, 1]
    assert not np.array_equal(theta_of(runs[0]), theta_of(runs[1]))
    commands.run("-m", *SERIAL, "seed=0,1", "run_dir=sweep", "generations=2", "resume=auto")
    assert [generations_of(run) for run in runs] == [[0, 1, 2]] * 2


def test_multirun_exits_with_the_worst_code(commands: Commands) -> None:
    command = commands.run("-m", *SERIAL, "algorithm.sigma=-1,0.1", "run_dir=sweep", "generations=1", code=2)
    assert "algorithm.sigma" in command.err
    assert len(list((commands.cwd / "sweep").rglob("metrics.jsonl"))) == 1


@pytest.mark.slow
def test_without_run_dir_each_command_has_its_own(commands: Commands) -> None:
    for _ in range(2):
        command = commands.run(*SERIAL, "generations=1")
    runs = sorted((commands.cwd / "runs").iterdir())
    assert len(runs) == 2
    assert str(runs[-1].relative_to(commands.cwd)) in command.out


@pytest.mark.slow
def test_two_commands_never_write_to_one_run(commands: Commands) -> None:
    words = (*LINE, "runtime=serial", "run_dir=run", "resume=auto")
    first = commands.start(*words, "generations=40", STEP_SECONDS="0.005")
    first.wait_for(lambda: (commands.cwd / "run" / "metrics.jsonl").exists())
    second = commands.start(*words, "generations=41", STEP_SECONDS="0.005")
    first.wait()
    second.wait()
    assert generations_of(commands.cwd / "run") == list(range(42))


def test_metrics_say_what_happened(run_dir: Path) -> None:
    """Figures that can be worked out from others."""
    for record in (r for r in records_of(run_dir) if "returns/mean" in r):
        assert record["returns/min"] <= record["returns/mean"] <= record["returns/max"]
        assert record["returns/mean"] == record["episode/length_mean"]  # CartPole pays 1 a timestep
        assert record["episode/timesteps"] == record["returns/mean"] * 6
        assert record["search/sigma"] == 0.05
        assert not any(value for key, value in record.items() if key.startswith("faults/"))


@pytest.mark.slow
def test_config_of_a_run_is_enough_to_repeat_it(run_dir: Path, module_commands: Commands) -> None:
    """The keys that decide the search, given once more from config.yaml, give the same theta."""
    config: dict[str, Any] = yaml.safe_load((run_dir / "config.yaml").read_text())
    words = [f"{group}.{key}={'null' if value is None else value}".replace(" ", "")
             for group in ("optimizer",) for key, value in config[group].items()]  # fmt: skip
    module_commands.run(*SERIAL, "evaluation.every=2", "generations=6", "run_dir=again", *words)
    assert theta_of(run_dir.parent / "again").tobytes() == theta_of(run_dir).tobytes()
