"""`python -m benchmarks chaos [nodes=3] [cpus=2] [generations=20] [actor_kills=50] [node_kills=5] [seed=0]`: kills.

ES trains HalfCheetah on a cluster of virtual nodes on this machine, twice: undisturbed, and while rollout actors,
relays and whole nodes are killed and nodes are added again. Theta must be the same, bit for bit, and the time lost
must stay below the bar. Then 500 generations of CartPole show whether the driver's memory stays flat. Further keys:
out=FILE.json relay_kills pairs steps relays memory memory_generations.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import numpy as np
import psutil
from annotated_types import Ge

from benchmarks.killer import Killer, plan
from benchmarks.machines import Machines
from raes.bench.measurement import BenchArguments, BenchReport
from raes.bench.trainings import prepare_run, records_of, theta_digest
from raes.console.tables import Column, Row, Section
from raes.training.events import Event, EventLog
from raes.training.limits import StopSignal
from raes.training.prepare import PreparedRun
from raes.training.recorder import FAULT_COUNTS
from raes.training.start import drive
from raes.types import Count, Natural, RunFailedError

TABLE = 1 << 22
"""Floats of the noise table: 16 MiB per node, made in a moment wherever a node joins."""
QUIET_FACTOR = 1.5
ACTOR_SECONDS = 3.0
NODE_SECONDS = 8.0
"""The bar: 1.5 times the quiet run, plus 3 s per killed actor or relay and 8 s per killed node."""
MEMORY_GROWTH = 0.05
"""The bar: the driver's resident memory grows by less, from a fifth of the generations to the end."""
RUN_COLUMNS = (
    Column("run", "run"),
    Column("seconds", "seconds", ".1f"),
    Column("generations", "generations", "d"),
    Column("actors_lost", "actors lost", "d"),
    Column("tasks_reissued", "reissued", "d"),
    Column("tasks_copied", "copied", "d"),
    Column("results_discarded", "discarded", "d"),
    Column("episodes_quarantined", "quarantined", "d"),
    Column("theta", "sha256 of theta", ".12"),
)
CHAOS_COLUMNS = (
    Column("actor_kills", "actors killed", "d"),
    Column("relay_kills", "relays killed", "d"),
    Column("node_kills", "nodes killed", "d"),
    Column("nodes_added", "nodes added", "d"),
    Column("identical", "same bits"),
    Column("complete", "complete"),
    Column("seconds_lost", "s lost", ".1f"),
    Column("seconds", "s", ".1f"),
    Column("bar", "at most", ".1f"),
    Column("met", "met"),
)
MEMORY_COLUMNS = (
    Column("generation", "generation", "d"),
    Column("megabytes", "MB", ".1f"),
    Column("growth", "growth", ".3f"),
    Column("bar", "below", ".2f"),
    Column("met", "met"),
)


@dataclass(frozen=True)
class ChaosBenchArguments(BenchArguments):
    """The keys.

    Attributes:
        nodes: virtual nodes besides the head, which has no CPUs.
        cpus: of each.
        generations: of each of the two runs.
        actor_kills: rollout actors that are killed.
        relay_kills: relays that are killed, where there are any.
        node_kills: nodes that are killed; another one is added for each.
        seed: of the plan of kills and of the run.
        pairs: of a generation.
        steps: of an episode.
        relays: whether the nodes have relays.
        memory: whether the driver's memory is measured too.
        memory_generations: generations of that run.
    """

    nodes: Count = 3
    cpus: Count = 2
    generations: Count = 20
    actor_kills: Natural = 50
    relay_kills: Natural = 3
    node_kills: Natural = 5
    seed: Natural = 0
    pairs: Count = 100
    steps: Count = 250
    relays: bool = True
    memory: bool = True
    memory_generations: Annotated[int, Ge(5)] = 500


def cheetah(run_dir: Path, arguments: ChaosBenchArguments) -> PreparedRun:
    """The run that is trained."""
    return prepare_run(
        run_dir,
        "env=HalfCheetah",
        f"+env.kwargs.max_episode_steps={arguments.steps}",
        f"algorithm.pairs={arguments.pairs}",
        f"generations={arguments.generations}",
        f"seed={arguments.seed}",
        f"runtime.relays={str(arguments.relays).lower()}",
        f"noise.size={TABLE}",
        "evaluation.every=5",
        "evaluation.episodes=4",
    )


def train(run: PreparedRun, report: Callable[[Event], None], meanwhile: Callable[[Callable[[], bool]], None]) -> None:
    """Run the driver in a thread and `meanwhile` in this one; its argument tests whether the driver still runs.

    Raises:
        RunFailedError: the run did not reach its end.
    """
    stop = StopSignal()
    with ThreadPoolExecutor(1) as thread:
        future = thread.submit(drive, run, stop, EventLog(report), embedded=False)
        try:
            meanwhile(lambda: not future.done())
            outcome = future.result()
        finally:
            stop.set()
    if outcome.code:
        raise RunFailedError(outcome.reason)


def summary(name: str, run_dir: Path) -> Row:
    """A row with the outcome of a run, from its run directory."""
    records = records_of(run_dir)
    last = records[-1]
    return {
        "run": name,
        "seconds": last["progress/seconds"],
        "generations": len({record["progress/generation"] for record in records if "returns/mean" in record}),
        "episodes_quarantined": last["faults/episodes_quarantined"],
        "theta": theta_digest(run_dir),
        **{key: last[f"faults/{key}"] for key in FAULT_COUNTS},
    }


def measure_chaos(machines: Machines, arguments: ChaosBenchArguments, folder: Path) -> tuple[list[Row], Row]:
    """Rows of the quiet run and the run under kills, and the row that compares them."""
    train(cheetah(folder / "quiet", arguments), lambda event: None, lambda running: None)
    quiet = summary("quiet", folder / "quiet")
    each = [record["speed/generation_seconds"] for record in records_of(folder / "quiet") if "returns/mean" in record]
    killer = Killer(machines, arguments.cpus, float(np.median(each)))
    kills = {"actor": arguments.actor_kills, "relay": arguments.relay_kills * arguments.relays}
    kills["node"] = arguments.node_kills
    schedule = plan(arguments.seed, arguments.generations, kills)
    train(cheetah(folder / "chaos", arguments), killer.on_event, lambda running: killer.carry_out(schedule, running))
    chaos = summary("chaos", folder / "chaos")
    return [quiet, chaos], compare(quiet, chaos, killer.done, arguments.generations) | {"nodes_added": killer.added}


def compare(quiet: Row, chaos: Row, kills: dict[str, int], generations: int) -> Row:
    """The bits and the time against the bar.

    Args:
        quiet: the undisturbed run, as `summary` gives it.
        chaos: the other one.
        kills: kind -> how many there were.
        generations: that each run should have.
    """
    allowed = QUIET_FACTOR * quiet["seconds"]
    allowed += ACTOR_SECONDS * (kills["actor"] + kills["relay"]) + NODE_SECONDS * kills["node"]
    identical = quiet["theta"] == chaos["theta"]
    complete = chaos["generations"] == generations and not chaos["episodes_quarantined"]
    return {
        **{f"{kind}_kills": count for kind, count in kills.items()},
        "identical": identical,
        "complete": complete,
        "seconds_lost": chaos["seconds"] - quiet["seconds"],
        "seconds": chaos["seconds"],
        "bar": allowed,
        "met": identical and complete and chaos["seconds"] <= allowed,
    }


def measure_memory(generations: int, folder: Path) -> list[Row]:
    """Resident memory of this process, in which the driver runs, five times in a run of tiny generations."""
    rows: list[Row] = []

    def look(event: Event) -> None:
        if event[0] == "record" and (done := event[1]["progress/generation"] + 1) % (generations // 5) == 0:
            rows.append({"generation": done, "megabytes": psutil.Process().memory_info().rss / 2**20})

    words = ("env=CartPole", "policy=linear", "algorithm.pairs=4", f"generations={generations}", "evaluation.every=0")
    train(prepare_run(folder / "memory", *words, f"noise.size={TABLE}"), look, lambda running: None)
    growth = rows[4]["megabytes"] / rows[0]["megabytes"] - 1
    return [*rows[:4], rows[4] | {"growth": growth, "bar": MEMORY_GROWTH, "met": growth < MEMORY_GROWTH}]


def run(arguments: ChaosBenchArguments) -> BenchReport:
    """All tables."""
    import ray

    from raes.runtime.session import connect

    machines = Machines()
    try:
        for _ in range(arguments.nodes):
            machines.add(arguments.cpus)
        print(connect(machines.address, None, 4 * TABLE).text, flush=True)
        with tempfile.TemporaryDirectory() as name:
            memory = measure_memory(arguments.memory_generations, Path(name)) if arguments.memory else []
            runs, chaos = measure_chaos(machines, arguments, Path(name))
    finally:
        ray.shutdown()
        machines.close()
    title = f"ES on HalfCheetah, {arguments.generations} generations of {arguments.pairs} pairs"
    sections = [
        Section("runs", f"{title}, {arguments.nodes} nodes with {arguments.cpus} CPUs", RUN_COLUMNS, runs),
        Section("chaos", "Under kills", CHAOS_COLUMNS, [chaos]),
    ]
    if memory:
        sections.append(Section("memory", "The driver's resident memory, CartPole", MEMORY_COLUMNS, memory))
    return BenchReport("chaos", sections)
