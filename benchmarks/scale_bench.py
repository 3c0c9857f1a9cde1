"""`python -m benchmarks scale [out=FILE.json] [workers=[64,1440,4096]] [nodes=16] [episodes=10000] [relays=both]
[policy=both] [pipelined=[1440]] [fewer=true] [seconds=60] [rate=250] [stretch=...] [picture=FILE.png]`: thousands of
workers.

Real Ray actors, many in one process, on virtual nodes; each waits as long as recorded episodes of Humanoid would take.
All times are stretched by a factor, so that the few cores of this machine can stand in for all nodes; the pools' clocks
are slowed by the same factor, so that the pools decide as at full speed. CPU seconds are not stretched: how busy a
driver or a relay would be at full speed is computed from them.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated, Literal

from annotated_types import Ge, MultipleOf

from benchmarks import scale_model, scale_picture
from benchmarks.forecast import list_schedule
from benchmarks.recorded_lengths import SECONDS_PER_STEP, Lengths, lengths, recorded
from raes.bench.measurement import BenchReport, TimedArguments, against_bar
from raes.config.cli import check_out
from raes.console.tables import Column, Row, Section
from raes.types import Count, Positive, UserError

if TYPE_CHECKING:
    from benchmarks.virtual_workers import VirtualCluster

POLICIES = ("falling", "walking")
OF_IDEAL = 0.95
"""The least share of the ideal schedule's speed, with relays."""
OUTRIGHT = 0.90
"""The least share of all worker time spent in episodes, with runtime.pipeline=1."""
BUSY = 0.25
"""The driver must be busy for less than this share of its time, with relays, at full speed."""
BARS = (1440, 4096)
"""Numbers of workers to which the bars apply; the last two bars apply to the first of them only."""
START_SECONDS = 0.0032
"""Seconds of this machine for one start of an episode and its answer: 6.4 ms of CPU on 2 cores."""
START_SHARE = 0.0125
"""The share of a generation that simultaneous starts of all workers may take for that reason: at its beginning, and
once more when most long episodes end together."""
COLUMNS = (
    Column("policy", "policy"),
    Column("workers", "workers", ",d"),
    Column("nodes", "nodes", "d"),
    Column("with_relays", "relays"),
    Column("stretch", "stretch", ",.0f"),
    Column("generation_seconds", "s/generation", ".3f"),
    Column("ideal_seconds", "ideal s", ".3f"),
    Column("of_ideal", "of ideal", ".3f"),
    Column("efficiency", "useful", ".3f"),
    Column("bar", "bar", ".2f"),
    Column("met", "met"),
    Column("driver_cpu_seconds", "driver s", ".3f"),
    Column("driver_ms", "driver ms/1,000", ".1f"),
    Column("driver_busy", "driver busy", ".3f"),
    Column("busy_bar", "below", ".2f"),
    Column("busy_met", "met"),
    Column("relay_ms", "relay ms/1,000", ".0f"),
    Column("relay_busy", "relay busy", ".3f"),
    Column("calls", "relay calls", ",.0f"),
)


@dataclass(frozen=True)
class ScaleBenchArguments(TimedArguments):
    """The keys.

    Attributes:
        seconds: how long a row is measured at least, in whole generations.
        idle: how long the same processes are measured while they idle, for the CPU time that waiting takes.
        workers: virtual workers; a row for each.
        nodes: virtual nodes, besides the head.
        episodes: of a generation.
        relays: with, without or both.
        policy: whose episode lengths.
        pipelined: numbers of workers that are also measured with runtime.pipeline=1.
        fewer: whether fewer nodes and half the episodes are measured too.
        rate: results per second that this machine should handle; determines `stretch` where that is not given.
        stretch: the factor by which times are stretched.
        picture: a PNG file; needs matplotlib.
    """

    seconds: Positive = 60.0
    idle: Annotated[float, Ge(1)] = 60.0
    workers: list[int] = field(default_factory=lambda: [64, 1440, 4096])
    nodes: Count = 16
    episodes: Annotated[int, Ge(2), MultipleOf(2)] = 10_000
    relays: bool | Literal["both"] = "both"
    policy: Literal["both", "falling", "walking"] = "both"
    pipelined: list[int] = field(default_factory=lambda: [1440])
    fewer: bool = True
    rate: Annotated[float, Ge(1)] = 250.0
    stretch: Annotated[float, Ge(1)] | None = None
    picture: str | None = None

    def __post_init__(self) -> None:
        if not self.workers or min([*self.workers, *self.pipelined]) < self.nodes:
            raise ValueError(f"workers and pipelined must be lists of numbers from nodes={self.nodes} on")

    @property
    def policies(self) -> tuple[str, ...]:
        """The names that `policy` selects."""
        return POLICIES if self.policy == "both" else (self.policy,)


@dataclass(frozen=True)
class Case:
    """One row of a table: which pool is measured on which generations."""

    section: str
    policy: str
    workers: int
    nodes: int
    relays: bool
    pipeline: int
    episodes: int


def cases(arguments: ScaleBenchArguments) -> Iterator[Case]:
    """The rows: with and without relays; two generations at a time; fewer nodes and fewer episodes."""
    nodes, episodes = arguments.nodes, arguments.episodes
    both = [True, False] if arguments.relays == "both" else [arguments.relays]
    for policy in arguments.policies:
        for workers in arguments.workers:
            for relays in both:
                yield Case("rows", policy, workers, nodes, relays, 0, episodes)
        for workers in arguments.pipelined:
            for relays in both:
                yield Case("pipelined", policy, workers, nodes, relays, 1, episodes)
    if True not in both or not arguments.fewer:
        return
    middle = sorted(arguments.workers)[(len(arguments.workers) - 1) // 2]
    for fewer in (nodes // 4, nodes // 2):
        if fewer:
            yield Case("nodes", arguments.policies[-1], middle, fewer, True, 0, episodes)
    yield Case("nodes", arguments.policies[-1], middle, nodes, True, 0, max(2, episodes // 4 * 2))


CPU_FIGURES = (
    "driver_cpu_seconds",
    "relay_cpu_seconds",
    "idle_cpu",
    "host_cpu_seconds",
    "ray_cpu_seconds",
    "cpu_stretch",
    "gives",
    "takes",
    "calls",
)
"""Keys of a row that come from the measurement with the smaller factor."""


def measure(cluster: VirtualCluster, case: Case, arguments: ScaleBenchArguments) -> Row:
    """Measure one row. All seconds are those of an unstretched run, except `wall_seconds`.

    Where there is a bar, time and CPU seconds of a generation are measured with two factors: time with a large one, so
    that starting thousands of workers on a few cores hardly counts, and CPU seconds with a small one, so that the cost
    of waiting does not exceed that of the work.
    """
    drawn = lengths(case.policy)
    small = arguments.stretch or max(1.0, case.workers / (drawn.mean_seconds * arguments.rate))
    large = arguments.stretch or _large_stretch(case, drawn, small)
    row = _measured(cluster, case, drawn, small, arguments)
    if large > small:
        costs = {key: row[key] for key in CPU_FIGURES}
        row = _measured(cluster, case, drawn, large, arguments) | costs
    return row | judge(row, drawn, range(row["first"], row["first"] + row["generations"]))


def _large_stretch(case: Case, drawn: Lengths, small: float) -> float:
    """The factor at which starting all workers at once hardly counts, which real nodes do in parallel.

    It is needed where there is a bar on the time of single generations.
    """
    if case.section != "rows" or not _barred(case.relays, case.workers, case.pipeline):
        return small
    ideal = list_schedule(drawn.seconds(1, case.episodes), case.workers)
    return max(small, case.workers * START_SECONDS / (START_SHARE * ideal))


def _measured(
    cluster: VirtualCluster, case: Case, drawn: Lengths, stretch: float, arguments: ScaleBenchArguments
) -> Row:
    """Measure with one factor.

    CPU seconds do not include what the same processes take while they wait (`idle_cpu`, per second of wall time), since
    stretching would multiply that; at full speed it counts once.
    """
    from benchmarks.scale_run import generations
    from raes.runtime.clock import Clock

    with cluster.fleet(case.workers, case.nodes, case.relays, drawn, Clock(stretch)) as fleet:
        measured = generations(
            fleet,
            case.episodes,
            case.workers,
            case.pipeline,
            arguments.seconds,
            arguments.idle,
            cluster.cpu_seconds,
        )
        discarded = fleet.pool.counters.results_discarded
    cost, each = measured.cost, 1 / len(measured.numbers)
    idle, idle_relays = measured.idle.driver / measured.idle.wall, measured.idle.others["relays"] / measured.idle.wall
    return {
        "policy": case.policy,
        "workers": case.workers,
        "nodes": case.nodes,
        "relays": case.relays,
        "with_relays": "yes" if case.relays else "no",
        "pipeline": case.pipeline,
        "episodes": case.episodes,
        "stretch": stretch,
        "cpu_stretch": stretch,
        "first": measured.numbers.start,
        "generations": len(measured.numbers),
        "wall_seconds": cost.wall,
        "generation_seconds": cost.wall * each / stretch,
        "mean_seconds": drawn.mean_seconds,
        "driver_cpu_seconds": max(0.0, cost.driver - idle * cost.wall) * each,
        "relay_cpu_seconds": max(0.0, cost.others["relays"] - idle_relays * cost.wall) * each if case.relays else None,
        "idle_cpu": idle,
        "host_cpu_seconds": cost.others["hosts"] * each,
        "ray_cpu_seconds": cost.others["ray"] * each,
        "gives": cost.calls["give"] * each,
        "takes": cost.calls["take"] * each,
        "calls": cost.calls.total() * each if case.relays else None,
        "useful_seconds": measured.useful * each,
        "results_discarded": discarded,
        "driver_busy_measured": cost.driver / cost.wall,
    }


def _barred(relays: bool, workers: int, pipeline: int) -> bool:
    return relays and workers in (BARS[:1] if pipeline else BARS)


def judge(row: Row, drawn: Lengths, measured: range) -> Row:
    """Derived columns: share of the ideal schedule's speed, useful time, load of driver and relays at full speed."""
    episodes, workers, taken = row["episodes"], row["workers"], row["generation_seconds"]
    seconds = [drawn.seconds(generation, episodes) for generation in measured]
    ideal = sum(list_schedule(one, workers) for one in seconds) / len(seconds)
    useful = sum(float(one.sum()) for one in seconds) / len(seconds)
    of_ideal = ideal / taken
    # With two generations at a time, one is partly done at both ends of the measurement: the workers have counted it.
    efficiency = (row["useful_seconds"] if row["pipeline"] else useful) / (workers * taken)
    # At full speed a generation takes no less than the ideal schedule; two at a time no less than their useful time.
    full_speed = useful / workers if row["pipeline"] else ideal
    driver_busy = row["driver_cpu_seconds"] / full_speed + row["idle_cpu"]
    judged: Row = {
        "ideal_seconds": ideal,
        "of_ideal": None if row["pipeline"] else of_ideal,
        "ideal_efficiency": useful / (workers * ideal),
        "efficiency": efficiency,
        "driver_ms": 1e6 * row["driver_cpu_seconds"] / episodes,
        "driver_busy": driver_busy,
        "relay_ms": None,
        "relay_busy": None,
    }
    if row["relays"]:
        judged["relay_ms"] = 1e6 * row["relay_cpu_seconds"] / episodes
        judged["relay_busy"] = row["relay_cpu_seconds"] / (row["nodes"] * full_speed)
    barred = _barred(row["relays"], workers, row["pipeline"])
    judged |= against_bar(
        *((efficiency, OUTRIGHT) if row["pipeline"] else (of_ideal, OF_IDEAL)) if barred else (0, None)
    )
    if barred and workers == BARS[0]:
        judged |= {"busy_bar": BUSY, "busy_met": driver_busy < BUSY}
    return judged


def run(arguments: ScaleBenchArguments) -> BenchReport:
    """All tables.

    Raises:
        UserError: a picture is wanted and matplotlib is missing.
    """
    from benchmarks.virtual_workers import VirtualCluster

    check_out(arguments.picture)
    if arguments.picture is not None and not scale_picture.possible():
        raise UserError(f"picture={arguments.picture}: matplotlib is missing; pip install 'raes[plot]'")
    rows: dict[str, list[Row]] = {"rows": [], "pipelined": [], "nodes": []}
    cluster = VirtualCluster(arguments.nodes)
    try:
        for case in cases(arguments):
            row = measure(cluster, case, arguments)
            rows[case.section].append(row)
            print(_progress(case, row), flush=True)
    finally:
        cluster.close()
    report = BenchReport("scale", [*_sections(arguments, rows), *scale_model.sections(rows, arguments.policies)])
    if arguments.picture is not None:
        scale_picture.draw(report, arguments.picture)
    return report


def _progress(case: Case, row: Row) -> str:
    of_ideal = f", {row['of_ideal']:.3f} of ideal" if row["of_ideal"] else ""
    return (
        f"{case.section}: {case.policy}, {case.workers} workers, {case.nodes} nodes, relays={case.relays}, "
        f"pipeline={case.pipeline}: {row['efficiency']:.3f} useful{of_ideal}, "
        f"driver {row['driver_ms']:.1f} ms/1,000 results, {row['wall_seconds']:.0f} s"
    )


def _sections(arguments: ScaleBenchArguments, rows: dict[str, list[Row]]) -> list[Section]:
    sources = [{"policy": name, **recorded()[name]} for name in arguments.policies]
    for source in sources:
        drawn = source.pop("lengths")
        source |= {"episodes": len(drawn), "mean": sum(drawn) / len(drawn), "longest": max(drawn)}
    return [
        Section(
            "lengths",
            f"Episode lengths, at {1e3 * SECONDS_PER_STEP:.2f} ms per timestep",
            (
                Column("policy", "policy"),
                Column("mean", "mean", ".0f"),
                Column("longest", "longest", "d"),
                Column("episodes", "episodes", "d"),
                Column("description", "recorded from"),
                Column("date", "date"),
            ),
            sources,
        ),
        Section("rows", f"Generations of {arguments.episodes:,} episodes, one after the other", COLUMNS, rows["rows"]),
        Section("pipelined", "The same with runtime.pipeline=1: two at a time", COLUMNS, rows["pipelined"]),
        Section("nodes", "Fewer nodes, and half the episodes", COLUMNS, rows["nodes"]),
    ]
