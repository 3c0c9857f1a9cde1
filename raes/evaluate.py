"""`python -m raes.evaluate run_dir=... [checkpoint=best] [episodes=100] [seed=0]`: how good a trained policy is.

Noiseless episodes on seeds that neither training nor the choice of the best has used; the same numbers whatever the
number of workers.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
from threadpoolctl import threadpool_limits

from raes.config.cli import check_out, command, parse
from raes.config.schema import Config
from raes.config.settings import RaySettings
from raes.config.stored import load_to_use
from raes.console.busy import Busy
from raes.console.console import figure
from raes.console.output import show
from raes.problems.function import FunctionSettings, FunctionSpec
from raes.problems.problem import Problem, ProblemSpec
from raes.results import Results
from raes.rng import Purpose
from raes.runtime.executor import Executor
from raes.runtime.rounds import RoundHooks, RoundRunner
from raes.runtime.scheduling import Size
from raes.runtime.worker import WorkerSpec
from raes.search.summary import summarize
from raes.storage.checkpoint import Checkpoint, Checkpoints
from raes.storage.location import run_location
from raes.storage.weights import WeightFiles
from raes.tasks import Round, Snapshot, evaluation_tasks
from raes.text import message
from raes.training.build import build_algorithm, make_executor, problem_spec
from raes.training.model_weights import share_newest
from raes.training.resume import check_size, restore
from raes.types import SETTINGS, Count, RunFailedError, Seed

NO_TABLE = 1
"""Floats of the noise table: theta itself is evaluated, so one is enough."""
SHOWN = 12
"""How many numbers of an x are printed."""


@dataclass(frozen=True)
class EvaluateArguments:
    """The command line.

    Attributes:
        run_dir: the run.
        checkpoint: `best`, `latest`, or a generation's number.
        episodes: how many.
        seed: of the episodes; another seed gives other episodes.
        workers: `auto`, or how many.
        runtime: `ray`, `serial`; `auto`: serial for a function, unless `workers` or `ray.address` is given, else ray.
        ray: `ray.address`, as of the training command.
        out: a JSON file for the metrics.
        trust: whether code of its own that a run of somebody else names may be used.
    """

    __pydantic_config__ = SETTINGS

    run_dir: str
    checkpoint: str | int = "best"
    episodes: Count = 100
    seed: Seed = 0
    workers: int | str = "auto"
    runtime: Literal["auto", "ray", "serial"] = "auto"
    ray: RaySettings = field(default_factory=RaySettings)
    out: str | None = None
    trust: bool = False

    def __post_init__(self) -> None:
        Size.of(self.workers)
        if self.runtime == "serial" and self.workers not in ("auto", 1):
            raise ValueError(
                f"workers={self.workers}: has no effect with runtime=serial; remove it, or set runtime=ray"
            )


def evaluate(
    arguments: EvaluateArguments, notify: Callable[[str], None] = show, busy: Busy | None = None
) -> dict[str, Any]:
    """The metrics: mean, std, 95 % interval, lengths, and what they are of; of a function also the x.

    Where a single episode has a result, std and interval are None.

    Args:
        arguments: see there.
        notify: called with lines about the Ray in use.
        busy: shows how many episodes are done, and what failed; None: faults go to stderr.

    Raises:
        UserError: there is no such run or checkpoint.
        RunFailedError: every episode failed.
    """
    run_dir = run_location(arguments.run_dir)
    config = load_to_use(run_dir, arguments.trust)
    checkpoint = Checkpoints(run_dir).find(str(arguments.checkpoint))
    config = replace(
        config,
        noise=replace(config.noise, size=0 if isinstance(config.env, FunctionSettings) else NO_TABLE),
        runtime=replace(config.runtime, name=_runtime(arguments, config)),
        ray=arguments.ray,
        workers=arguments.workers,
    )
    problem, snapshot = recipe(config, checkpoint)
    records = _run(config, problem, snapshot, arguments, notify, busy)
    good = records[~records["fault"]]
    if not good.size and isinstance(config.env, FunctionSettings) and config.env.constraints is not None:
        raise RunFailedError(
            f"x violates env.constraints={config.env.constraints}, or the function fails there; name another checkpoint"
        )
    if not good.size:
        raise RunFailedError("every episode failed; run `python -m raes.train` with runtime=serial to see why")
    returns, lengths = summarize(good["return"]), good["length"]
    metrics: dict[str, Any] = {
        "run_dir": str(run_dir),
        "env": config.env.id,
        "checkpoint": checkpoint.path.name,
        "episodes": int(good.size),
        "failed": int(records.size - good.size),
        "seed": arguments.seed,
        "return_mean": returns.mean,
        "return_std": returns.std,
        "return_ci_low": returns.ci_low,
        "return_ci_high": returns.ci_high,
        "return_min": float(good["return"].min()),
        "return_max": float(good["return"].max()),
        "length_mean": float(lengths.mean()),
        "length_min": int(lengths.min()),
        "length_max": int(lengths.max()),
        "training_timesteps": checkpoint.state["progress"]["timesteps"],
        "training_seconds": checkpoint.state["seconds"],
    }
    if isinstance(problem, FunctionSpec):
        metrics["x"] = problem.settings.x(checkpoint.arrays["theta"]).tolist()
    return metrics


def _runtime(arguments: EvaluateArguments, config: Config) -> Literal["ray", "serial"]:
    """Where episodes run: a function is too quickly evaluated to start Ray for it unasked."""
    if arguments.runtime != "auto":
        return arguments.runtime
    unasked = arguments.workers in ("auto", 1) and arguments.ray == RaySettings()
    return "serial" if isinstance(config.env, FunctionSettings) and unasked else "ray"


def policy_snapshot(config: Config, checkpoint: Checkpoint, problem: Problem) -> Snapshot:
    """theta with the observation statistics it was trained with: one unit.

    Args:
        config: of the run.
        checkpoint: of the run.
        problem: what the policy is for.

    Raises:
        UserError: the checkpoint holds something else, or does not fit the problem.
    """
    state = restore(config, checkpoint)
    check_size(checkpoint, problem.num_params, problem.observation_size)
    snapshot: Snapshot = build_algorithm(config, problem.layers).snapshot(state.search)
    return snapshot


def recipe(config: Config, checkpoint: Checkpoint) -> tuple[ProblemSpec, Snapshot]:
    """How to make a run's problem, and the policy for it; the problem is made once, to see that they fit.

    Raises:
        UserError: they do not, or it cannot be made.
    """
    spec = problem_spec(config, checkpoint)
    with closing(spec.build()) as problem:
        return spec, policy_snapshot(config, checkpoint, problem)


def _run(
    config: Config,
    problem: ProblemSpec,
    snapshot: Snapshot,
    arguments: EvaluateArguments,
    notify: Callable[[str], None],
    busy: Busy | None,
) -> np.ndarray[Any, Any]:
    spec = WorkerSpec(problem, arguments.seed)
    files = WeightFiles(run_location(arguments.run_dir))
    if config.runtime.name == "serial":
        with threadpool_limits(1):
            return _gather(make_executor(config, spec), arguments, snapshot, busy, files)
    from raes.runtime.session import attached

    with (
        attached(config.ray.address, Size.of(config.workers).most, 4 * NO_TABLE, notify) as session,
        threadpool_limits(1),
    ):
        notify(session.text)
        return _gather(make_executor(config, spec, session.embedded), arguments, snapshot, busy, files)


def _gather(
    executor: Executor, arguments: EvaluateArguments, snapshot: Snapshot, busy: Busy | None, files: WeightFiles
) -> np.ndarray[Any, Any]:
    tasks = evaluation_tasks(Purpose.HELD_OUT, snapshot.generation, arguments.episodes)
    with closing(executor):
        if snapshot.model is not None:
            share_newest(files, executor, snapshot.model.updates)
        hooks = _Report(executor, busy, arguments.episodes)
        runner = RoundRunner(executor, hooks)
        runner.open(Round(snapshot, evaluation=tasks, purpose=Purpose.HELD_OUT))
        finished = runner.collect()
    assert finished is not None
    return finished.evaluation


class _Report(RoundHooks):
    """Shows faults and notices as they come, and how many episodes are done."""

    def __init__(self, executor: Executor, busy: Busy | None, episodes: int) -> None:
        self._executor, self._busy, self._episodes, self._done = executor, busy, episodes, 0
        self._show()

    def received(self, results: Results) -> None:
        for fault in results.faults:
            self._line(f"episode {fault.index} failed: {fault.reason}")
        self._done += len(results.records)
        self._show()

    def poll(self) -> bool:
        for text in self._executor.notices:
            self._line(text)
        self._executor.notices.clear()
        return False

    def _show(self) -> None:
        if self._busy is not None:
            parts = [(0, f"evaluated {self._done} of {self._episodes} episodes")]
            self._busy.show(parts, self._done / self._episodes)

    def _line(self, text: str) -> None:
        if self._busy is None:
            print(message(text), file=sys.stderr)
        else:
            self._busy.line(text)


def _text(value: Any) -> str:
    """A figure as it is printed; of many numbers the first; a dash for the unknown spread of one episode."""
    if value is None:
        return "-"
    if isinstance(value, list):
        more = f" ... ({len(value)} numbers)" if len(value) > SHOWN else ""
        return " ".join(f"{number:.6g}" for number in value[:SHOWN]) + more
    return figure(value, 0) if isinstance(value, float) else str(value)


def main() -> None:
    """The command."""
    arguments = parse(EvaluateArguments, sys.argv[1:], "raes.evaluate", __doc__)
    check_out(arguments.out)
    with Busy(sys.stderr) as busy:
        metrics = evaluate(arguments, busy=busy)
    for key, value in metrics.items():
        show(f"{key:20s} {_text(value)}")
    if arguments.out is not None:
        Path(arguments.out).write_text(json.dumps(metrics, indent=1) + "\n")


if __name__ == "__main__":
    command(main)
