"""`experiment=tune`: a search with Optuna that survives a stop, ends bad trials early and prints what it has found."""

from __future__ import annotations

import re
import shlex
import signal
from pathlib import Path
from typing import Any

import pytest
import yaml
from PIL import Image

from .helpers import Commands, latest_generation, records_of

optuna = pytest.importorskip("optuna", minversion="4")

SMALL = ("-m", "experiment=tune", "env=CartPole", "algorithm.pairs=3", "noise.size=50000", "evaluation.episodes=2",
         "evaluation.every=1", "runtime=serial", "run_dir=runs/tune", "console=quiet")  # fmt: skip


def trials_of(folder: Path) -> list[Any]:
    storage = f"sqlite:///{folder / 'search.db'}"
    trials: list[Any] = optuna.load_study(study_name="raes", storage=storage).trials
    return trials


def folder_of(search: Path, trial: Any) -> Path:
    sigma, stepsize = (word.replace("=", "-") for word in trial.user_attrs["words"])
    [path] = search.glob(f"*{sigma}__*__{stepsize}")
    return path


@pytest.fixture(scope="module")
def found(module_commands: Commands) -> tuple[Path, str]:
    """A search of 8 trials, the last 5 of which may end early; its folder and what it printed."""
    command = module_commands.run(
        *SMALL, "generations=6", "hydra.sweeper.n_trials=8", "hydra.sweeper.prune_after_trials=3",
        "hydra.sweeper.prune_after_evaluations=2",
    )  # fmt: skip
    return module_commands.cwd / "runs/tune", command.out


def test_optuna_looks_for_sigma_and_the_step_size(found: tuple[Path, str]) -> None:
    folder, out = found
    results = yaml.safe_load((folder / "optimization_results.yaml").read_text())
    trials = trials_of(folder)
    last = {path: records_of(path)[-1]["eval/return_mean"] for path in (folder_of(folder, one) for one in trials)}
    assert len(last) == 8
    complete = {folder_of(folder, one): one.value for one in trials if one.state.name == "COMPLETE"}
    assert {path: last[path] for path in complete} == complete
    assert results["best_value"] == max(complete.values())
    assert results["best_params"].keys() == {"algorithm.sigma", "optimizer.stepsize"}
    best = next(path for path in complete if f"sigma-{results['best_params']['algorithm.sigma']}" in path.name)
    assert last[best] == results["best_value"]
    config = yaml.safe_load((best / "config.yaml").read_text())
    assert config["optimizer"]["stepsize"] == results["best_params"]["optimizer.stepsize"]
    assert config["algorithm"]["sigma"] == results["best_params"]["algorithm.sigma"]
    assert "search: 8 trials" in out


def test_bad_trials_end_early(found: tuple[Path, str]) -> None:
    folder, _ = found
    trials = trials_of(folder)
    pruned = [one for one in trials if one.state.name == "PRUNED"]
    assert pruned
    assert not any(one in pruned for one in trials[:3])
    for one in trials:
        records = records_of(folder_of(folder, one))
        training = [record for record in records if "returns/mean" in record]
        assert (len(training) < 6) == (one in pruned)
        assert len(training) >= 2
        for record in records:
            assert one.intermediate_values[record["progress/generation"]] == record["eval/return_mean"]


def test_the_printed_command_trains_with_the_best_settings(found: tuple[Path, str], module_commands: Commands) -> None:
    folder, out = found
    [printed] = re.findall(r"train with it +(python -m raes.train .*)", out)
    assert printed == (folder / "best.sh").read_text().strip()
    module_commands.run(*shlex.split(printed)[3:])
    best = yaml.safe_load((folder / "optimization_results.yaml").read_text())
    assert records_of(Path(f"{folder}-best"))[-1]["eval/return_mean"] == best["best_value"]


def test_the_search_has_a_picture(found: tuple[Path, str]) -> None:
    with Image.open(found[0] / "search.png") as image:
        assert image.width > 1000


def test_a_search_that_was_stopped_goes_on_with_the_same_values(commands: Commands) -> None:
    words = (*SMALL, "hydra.sweeper.n_trials=3", "generations=30", "goal.return_mean=null", "checkpoint.every=1")
    folder = commands.cwd / "runs/tune"
    command = commands.start(*words)
    command.wait_for(lambda: any(latest_generation(path) > 2 for path in folder.glob("*sigma*")))
    command.process.send_signal(signal.SIGINT)
    command.wait(130)
    *done, stopped = trials_of(folder)
    assert stopped.state.name == "RUNNING"
    run = folder_of(folder, stopped)
    before = (run / "metrics.jsonl").read_text().splitlines()[:2]
    assert "resume=auto continues it" in commands.refuse(*words)
    commands.run(*words, "resume=auto")
    trials = trials_of(folder)
    assert trials[len(done)].user_attrs["interrupted"]
    again = trials[len(done) + 1]
    assert again.user_attrs["words"] == stopped.user_attrs["words"]
    assert len([one for one in trials if one.state.name in ("COMPLETE", "PRUNED")]) == 3
    assert (run / "metrics.jsonl").read_text().splitlines()[:2] == before, "the run began again"
    assert set(again.intermediate_values) == {one["progress/generation"] for one in records_of(run)}
    done_already = commands.run(*words, "resume=auto")
    assert "search: 3 trials" in done_already.out


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("hydra.sweeper.n_trials=0",), "hydra.sweeper.n_trials=0"),
        (("hydra.sweeper.sampler=grid",), "tpe or random"),
        (("algorithm.sigma=0.1", "optimizer.stepsize=0.1"), "nothing to choose"),
        (("hydra.sweep.dir=s3://bucket/x",), "local folder"),
    ],
)
def test_a_search_that_cannot_be_is_refused(commands: Commands, words: tuple[str, ...], message: str) -> None:
    assert message in commands.refuse(*SMALL, "generations=1", *words)


def test_a_setting_that_was_tried_is_not_run_again(commands: Commands) -> None:
    hidden = "hydra.job.config.override_dirname.exclude_keys=[noise.size]"  # of names, as documented runs have it
    words = (*SMALL, "generations=1", "algorithm.sigma=choice(0.1,0.2)", "optimizer.stepsize=0.1", hidden)
    command = commands.run(*words, "hydra.sweeper.n_trials=6", "hydra.sweeper.n_jobs=2")
    assert "search: 6 trials, 6 complete" in command.out
    assert len([path for path in (commands.cwd / "runs/tune").iterdir() if path.is_dir()]) == 2
