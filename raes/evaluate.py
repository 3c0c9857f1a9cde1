"""`python -m raes.evaluate run_dir=... [checkpoint=best] [episodes=100] [seed=0]`: how good a trained policy is.

Noiseless episodes on seeds that neither training nor the choice of the best has used; the same numbers whatever the
number of workers.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
from threadpoolctl import threadpool_limits

from raes.config.cli import check_out, command, parse
from raes.config.schema import Config, load
from raes.config.settings import RaySettings
from raes.problems.function import FunctionSettings
from raes.results import RESULT_DTYPE
from raes.rng import Purpose
from raes.runtime.executor import Executor
from raes.runtime.scheduling import Size
from raes.runtime.worker import WorkerSpec
from raes.search.summary import summarize
from raes.storage.checkpoint import Checkpoint, Checkpoints
from raes.storage.location import location
from raes.tasks import Snapshot
from raes.training.build import build_algorithm, make_executor, problem_spec
from raes.training.driver import evaluation_tasks
from raes.training.resume import trained
from raes.types import SETTINGS, RunFailedError

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
        runtime: `ray`, `serial`.
        ray: `ray.address`, as of the training command.
        out: a JSON file for the figures.
    """

    __pydantic_config__ = SETTINGS

    run_dir: str
    checkpoint: str | int = "best"
    episodes: int = 100
    seed: int = 0
    workers: int | str = "auto"
    runtime: Literal["ray", "serial"] = "ray"
    ray: RaySettings = field(default_factory=RaySettings)
    out: str | None = None

    def __post_init__(self) -> None:
        if self.episodes < 1:
            raise ValueError(f"episodes must be at least 1, got {self.episodes}")
        if not 0 <= self.seed < 2**63:
            raise ValueError(f"seed must lie in [0, 2**63), got {self.seed}")
        Size.of(self.workers)
        if self.runtime == "serial" and self.workers not in ("auto", 1):
            raise ValueError(
                f"workers={self.workers}: has no effect with runtime=serial; remove it, or set runtime=ray"
            )


def evaluate(arguments: EvaluateArguments, say: Callable[[str], None] = print) -> dict[str, Any]:
    """The figures: mean, std, 95 % interval, lengths, and what they are of; of a function also the x.

    Args:
        arguments: see there.
        say: shows which Ray this is.

    Raises:
        UserError: there is no such run or checkpoint.
        RunFailedError: every episode failed.
    """
    run_dir = location(arguments.run_dir)
    config = load(run_dir / "config.yaml")
    checkpoint = Checkpoints(run_dir).find(str(arguments.checkpoint))
    config = replace(
        config,
        noise=replace(config.noise, size=NO_TABLE),
        runtime=replace(config.runtime, name=arguments.runtime),
        ray=arguments.ray,
        workers=arguments.workers,
    )
    records = _run(config, arguments, checkpoint, say)
    good = records[~records["fault"]]
    if not good.size:
        raise RunFailedError("every episode failed; run `python -m raes.train` with runtime=serial to see why")
    returns, lengths = summarize(good["return"]), good["length"]
    figures: dict[str, Any] = {
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
    if isinstance(config.env, FunctionSettings):
        figures["x"] = checkpoint.arrays["theta"].tolist()
    return figures


def policy_snapshot(config: Config, checkpoint: Checkpoint) -> Snapshot:
    """theta with the observation statistics it was trained with: one unit."""
    snapshot: Snapshot = build_algorithm(config).snapshot(trained(config, checkpoint))
    return snapshot


def _run(
    config: Config, arguments: EvaluateArguments, checkpoint: Checkpoint, say: Callable[[str], None]
) -> np.ndarray[Any, Any]:
    snapshot, spec = policy_snapshot(config, checkpoint), WorkerSpec(problem_spec(config, checkpoint), arguments.seed)
    if config.runtime.name == "serial":
        with threadpool_limits(1):
            return _gather(make_executor(config, spec), arguments, snapshot)
    from raes.runtime.session import attached

    with (
        attached(config.ray.address, Size.of(config.workers).most, 4 * NO_TABLE) as session,
        threadpool_limits(1),
    ):
        say(session.text)
        return _gather(make_executor(config, spec, session.embedded), arguments, snapshot)


def _gather(executor: Executor, arguments: EvaluateArguments, snapshot: Snapshot) -> np.ndarray[Any, Any]:
    records = np.zeros(arguments.episodes, dtype=RESULT_DTYPE)
    open_episodes = arguments.episodes
    try:
        executor.publish(snapshot, oldest=snapshot.generation)
        executor.submit(evaluation_tasks(Purpose.HELD_OUT, snapshot.generation, arguments.episodes))
        while open_episodes:
            for results in executor.collect(timeout=1.0):
                records[results.records["index"]] = results.records
                open_episodes -= len(results.records)
                for fault in results.faults:
                    print(f"episode {fault.index} failed: {fault.reason}", file=sys.stderr)
            print(*executor.notices, sep="\n", end="\n" if executor.notices else "", file=sys.stderr)
            executor.notices.clear()
    finally:
        executor.close()
    return records


def _text(value: Any) -> str:
    """A figure as it is printed; of many numbers the first."""
    if isinstance(value, list):
        more = f" ... ({len(value)} numbers)" if len(value) > SHOWN else ""
        return " ".join(f"{number:.6g}" for number in value[:SHOWN]) + more
    return f"{value:.2f}" if isinstance(value, float) else str(value)


def main() -> None:
    """The command."""
    arguments = parse(EvaluateArguments, sys.argv[1:], "raes.evaluate", __doc__)
    check_out(arguments.out)
    figures = evaluate(arguments)
    for key, value in figures.items():
        print(f"{key:20s} {_text(value)}")
    if arguments.out is not None:
        Path(arguments.out).write_text(json.dumps(figures, indent=1) + "\n")


if __name__ == "__main__":
    command(main)
