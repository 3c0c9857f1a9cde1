"""`python -m raes.bench share run_dir=RUN [seconds=3] [out=FILE.json]`: what a run made of this machine.

The environment is stepped under the run's best policy by one process, and by as many at once as the run had workers,
and the seconds inside `env.step` and `env.reset` alone count. "Share" is the run's median timesteps per second, in
which everything counts, over those of the environments at once. Above 1, workers with their networks were faster than
the environment is by itself, as the native step of MuJoCo tasks can be. Measure on the machine that the run was on.
"""

from __future__ import annotations

import time
from dataclasses import dataclass

import numpy as np

from raes.api.runs import load
from raes.bench.at_once import Measure, speed_at_once
from raes.bench.measurement import BenchReport, TimedArguments
from raes.console.tables import Column, Row, Section
from raes.types import Positive, UserError

SPEED, WORKERS = "speed/timesteps_per_second", "pool/actors"
COLUMNS = (
    Column("environment", "environment"),
    Column("workers", "workers", "d"),
    Column("run", "run, steps/s", ",.0f"),
    Column("one", "env.step/s, one", ",.0f"),
    Column("at_once", "env.step/s, all at once", ",.0f"),
    Column("share", "share", ".2f"),
)


@dataclass(frozen=True)
class ShareArguments(TimedArguments):
    """The keys.

    Attributes:
        run_dir: the run.
        trust: whether code of its own that a run of somebody else names may be used.
    """

    seconds: Positive = 3.0
    run_dir: str = ""
    trust: bool = False

    def __post_init__(self) -> None:
        if not self.run_dir:
            raise ValueError("run_dir is missing; name a run, e.g. run_dir=runs/first")


def bare_environment(run_dir: str, trust: bool) -> Measure:
    """The environment of a run under its policy, where the seconds inside the environment alone count."""
    run = load(run_dir, trust=trust)
    env, policy, clock = run.make_env(), run.policy, time.perf_counter
    episode, observation = 0, env.reset(seed=0)[0]

    def measure(seconds: float) -> float:
        nonlocal episode, observation
        end, inside, timesteps = clock() + seconds, 0.0, 0
        while clock() < end:
            action = policy(observation)
            start = clock()
            observation, _, terminated, truncated, _ = env.step(action)
            ended = terminated or truncated
            if ended:
                episode += 1
                observation = env.reset(seed=episode)[0]
            inside += clock() - start
            timesteps += 1
            if ended:
                policy.reset()
        return timesteps / max(inside, 1e-9)

    return measure


def run(arguments: ShareArguments) -> BenchReport:
    """The table.

    Raises:
        UserError: there is no such run, or it has no environment, or no generation yet.
    """
    trained = load(arguments.run_dir, trust=arguments.trust)
    name = trained.config["env"]["name"]
    records = [record for record in trained.records if SPEED in record]
    if not records:
        raise UserError(f"run_dir={arguments.run_dir}: has no generation yet; let it run longer")
    workers = int(np.median([record[WORKERS] for record in records]))
    speed = float(np.median([record[SPEED] for record in records]))
    one, at_once = (
        speed_at_once(count, arguments.seconds, bare_environment, arguments.run_dir, arguments.trust)
        for count in (1, workers)
    )
    row: Row = {
        "environment": name, "workers": workers, "run": speed, "one": one, "at_once": at_once, "share": speed / at_once,
    }  # fmt: skip
    return BenchReport("share", [Section("rows", "A run's speed, and that of its environment alone", COLUMNS, [row])])
