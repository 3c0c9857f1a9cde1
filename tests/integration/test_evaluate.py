"""`raes.evaluate`: the policy with its statistics, on seeds of its own, the same on any number of workers."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from raes.console.console import figure

from .helpers import SERIAL, Commands, records_of
from .shared_ray import SharedRay

HOPPER = ("env=gymnasium", "env.id=Hopper-v5", "policy=linear", "algorithm.pairs=3", "noise.size=50000", "seed=2",
          "evaluation.episodes=2", "runtime=serial", "generations=2")  # fmt: skip


def evaluate(commands: Commands, *words: str, **environment: str) -> dict[str, Any]:
    """The figures, which the terminal and out=FILE.json tell alike."""
    command = commands.run(*words, "out=figures.json", module="raes.evaluate", **environment)
    figures: dict[str, Any] = json.loads((commands.cwd / "figures.json").read_text())
    for key, value in figures.items():
        [line] = [line for line in command.out.splitlines() if line.split(" ")[0] == key]
        assert isinstance(value, list) or line.split()[-1] == (
            "-" if value is None else figure(value, 0) if isinstance(value, float) else str(value)
        )
    return figures


def test_the_same_numbers_serial_and_with_two_workers(module_commands: Commands, shared_ray: SharedRay) -> None:
    module_commands.run(*HOPPER, "run_dir=hopper")
    words = ("run_dir=hopper", "checkpoint=latest", "episodes=9")
    serial = evaluate(module_commands, *words, "runtime=serial")
    assert serial["episodes"] == 9
    assert serial["return_min"] < serial["return_mean"] < serial["return_max"]
    assert serial["return_ci_low"] < serial["return_mean"] < serial["return_ci_high"]
    assert evaluate(module_commands, *words, f"ray.address={shared_ray.address}", "workers=2") == serial
    other = evaluate(module_commands, *words, "runtime=serial", "seed=1")
    assert other["return_mean"] != serial["return_mean"]


def seeds_in(path: Path) -> set[int]:
    """Reset seeds that the environment was given."""
    return {int(line) for line in path.read_text().split()}


def test_seeds_that_training_never_used(commands: Commands) -> None:
    training = commands.cwd / "training"
    line = ("env=gymnasium", "env.id=trial_worlds:Line-v0", "policy=linear", "noise.size=50000", "runtime=serial")
    commands.run(*line, "generations=3", "algorithm.pairs=5", "evaluation.every=1", "run_dir=run", SEEDS=str(training))
    held_out = []
    for seed in (0, 1):
        path = commands.cwd / f"evaluation-{seed}"
        evaluate(commands, "run_dir=run", "episodes=20", "runtime=serial", f"seed={seed}", SEEDS=str(path))
        held_out.append(seeds_in(path))
    assert all(len(seeds) == 20 for seeds in held_out)
    assert not held_out[0] & held_out[1]
    start = {0}  # of the check before anything starts
    assert len(seeds_in(training)) > 15 + 10
    assert not (held_out[0] | held_out[1]) & (seeds_in(training) - start)


def test_observation_statistics_are_part_of_the_policy(commands: Commands) -> None:
    """Observations around 100 saturate a policy that does not subtract their mean."""
    line = ("env=gymnasium", "env.id=trial_worlds:Line-v0", "policy=linear", "noise.size=50000", "runtime=serial")
    commands.run(
        *line, "generations=25", "algorithm.pairs=15", "algorithm.sigma=0.1", "optimizer.stepsize=0.1",
        "optimizer.weight_decay=0", "evaluation.every=0", "evaluation.episodes=30", "run_dir=run", OFFSET="100"
    )  # fmt: skip
    words = ("run_dir=run", "checkpoint=latest", "episodes=30", "runtime=serial")
    trained = records_of(commands.cwd / "run")[-1]
    figures = evaluate(commands, *words, OFFSET="100")
    assert trained["eval/return_mean"] > 7.5  # 10 at best; an action of 0 gets 5
    assert figures["return_mean"] == pytest.approx(trained["eval/return_mean"], abs=0.5)
    path = commands.cwd / "run" / "config.yaml"
    path.write_text(path.read_text().replace("normalize_observations: true", "normalize_observations: false"))
    again = evaluate(commands, *words, "trust=true", OFFSET="100")  # an edited file is no longer signed
    assert again["return_mean"] < figures["return_mean"] - 1


def test_best_latest_and_numbers(commands: Commands) -> None:
    commands.run(*SERIAL, "run_dir=run", "generations=3", "evaluation.every=1", "checkpoint.every=1", "seed=4")
    words = ("run_dir=run", "episodes=2", "runtime=serial")
    records = records_of(commands.cwd / "run")
    best = max(reversed(records), key=lambda record: record["eval/return_mean"])
    assert evaluate(commands, *words)["checkpoint"] == f"gen_{best['progress/generation']:06d}"
    assert evaluate(commands, *words, "checkpoint=latest")["checkpoint"] == "gen_000003"
    assert evaluate(commands, *words, "checkpoint=2")["checkpoint"] == "gen_000002"


def test_a_long_evaluation_reports_how_far_it_is(commands: Commands) -> None:
    line = ("env=gymnasium", "env.id=trial_worlds:Line-v0", "policy=linear", "noise.size=50000", "runtime=serial")
    commands.run(*line, "generations=1", "algorithm.pairs=2", "run_dir=run")
    words = ("run_dir=run", "episodes=9", "runtime=serial")
    command = commands.run(*words, module="raes.evaluate", STEP_SECONDS="0.05")
    assert re.search(r"^evaluated [1-9] of 9 episodes  [2-9] s$", command.err, re.MULTILINE), command.err
    assert "evaluated" not in command.out  # which holds the figures alone


def test_every_episode_fails(commands: Commands) -> None:
    line = ("env=gymnasium", "env.id=trial_worlds:Line-v0", "policy=linear", "noise.size=50000", "runtime=serial")
    commands.run(*line, "generations=1", "algorithm.pairs=2", "run_dir=run")
    words = ("run_dir=run", "episodes=3", "runtime=serial")
    command = commands.run(*words, module="raes.evaluate", BAD="raise", BAD_SEEDS="all", code=1)
    assert "the joint came off" in command.err
    assert "Traceback" not in command.err


def test_of_a_function_the_x_is_said(commands: Commands) -> None:
    (commands.cwd / "bowl.py").write_text("def f(x):\n    return 1.0 + float(((x - 0.5) ** 2).sum())\n")
    commands.run("env=function", "env.call=bowl:f", "env.dim=20", "env.minimize=true", "algorithm=cma_es",
                 "generations=200", "runtime=serial", "run_dir=run")  # fmt: skip
    figures = evaluate(commands, "run_dir=run", "episodes=1", "runtime=serial")
    np.testing.assert_allclose(figures["x"], 0.5, atol=1e-2)
    assert figures["return_std"] is figures["return_ci_low"] is figures["return_ci_high"] is None  # of one episode
    command = commands.run("run_dir=run", "episodes=1", "runtime=serial", module="raes.evaluate")
    assert re.search(r"^x +0\.\S+ .* \.\.\. \(20 numbers\)$", command.out, re.MULTILINE)


def test_a_function_with_a_domain_goes_on_after_a_stop_and_is_evaluated_without_ray(
    module_commands: Commands, shared_ray: SharedRay
) -> None:
    commands, cwd = module_commands, module_commands.cwd
    (cwd / "mixed.py").write_text(
        "def f(x):\n    return float((x[0] - 0.01) ** 2 + (x[1] - 7) ** 2 + (x[2] != 1))\n\n\n"
        "def g(x):\n    return x[1] - 9\n"
    )
    words = ("env=function", "env.call=mixed:f", "env.dim=3", "env.minimize=true", "env.constraints=mixed:g",
             "env.bounds=[{low:1e-4,high:1,log:true},{low:1,high:20,integer:true},{count:3}]", "env.x0=[1,20,0]",
             "algorithm=cma_es", "evaluation.every=5")  # fmt: skip
    commands.run(*words, "generations=40", "runtime=serial", "run_dir=whole")
    commands.run(*words, "generations=15", *shared_ray.words(), "workers=2", "run_dir=parts")
    commands.run(*words, "generations=40", "runtime=serial", "run_dir=parts", "resume=auto")
    whole, parts = (evaluate(commands, f"run_dir={name}", "episodes=1") for name in ("whole", "parts"))
    assert whole["x"] == parts["x"]
    assert whole["x"][1:] == [7.0, 1.0]
    np.testing.assert_allclose(whole["x"][0], 0.01, rtol=0.05)
    command = commands.run("run_dir=whole", "episodes=1", module="raes.evaluate", RAY_ADDRESS="127.0.0.1:1")
    assert "Ray" not in command.out + command.err
    message = commands.refuse("run_dir=whole", "out=policy.npz", module="raes.export")
    assert "raes.evaluate with out=x.json writes its x" in message
