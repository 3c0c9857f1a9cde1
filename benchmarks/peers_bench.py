"""`python -m benchmarks peers python=PATH [out=FILE.json] [seconds=60] [workers=2] [names=[raes,evotorch,...]]
[cases=[[HalfCheetah-v5,64-64,16],...]] [picture=FILE.png]`: RAES and other libraries on the same task, side by side.

Each contender is a program of its own with the same task, network, population and number of worker processes; those of
other libraries run with the interpreter `python`, of an environment that has `raes[peers]`. They run a generation in
turns while the others wait. Timesteps per CPU second count the time of all of a contender's processes, so that other
work on the machine counts little; timesteps per second are of the wall clock. Start-up lasts from the start of the
program to the end of its first generation; memory is what a worker process shares with no other.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

import numpy as np
import psutil

from benchmarks.peers.contender import DONE, GO, Case
from raes.bench.measurement import BAR_COLUMNS, BenchReport, TimedArguments, against_bar
from raes.console.tables import Column, Row, Section
from raes.types import Count, Positive, RunFailedError, UserError

NAMES = {"raes": "RAES", "evotorch": "EvoTorch GymNE", "vector": "vector environment", "evosax": "evosax + Gymnasium"}
WORKERS = {"raes": "ray::RolloutActor", "evotorch": "ray::EvaluationActor", "vector": "", "evosax": "spawn_main"}
"""What is in the title of a contender's worker processes; empty where they are the children of its program."""
CASES = (("HalfCheetah-v5", "64-64", 16), ("HalfCheetah-v5", "256-256", 16), ("Humanoid-v5", "256-256", 400))
BARS = {CASES[0][:2]: 5.0, CASES[1][:2]: 4.0, CASES[2][:2]: 2.8}
"""The least speed of RAES as a multiple of EvoTorch's."""
SIGMA = 0.02
MIN_ROUNDS = 3
QUIET = {
    "RAY_worker_niceness": "0",
    "RAY_USAGE_STATS_ENABLED": "0",
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
}
"""For all contenders: one thread for each process, and workers of the driver's priority."""
COLUMNS = (
    Column("task", "task"),
    Column("policy", "policy"),
    Column("name", "contender"),
    Column("per_cpu_second", "steps/CPU s", ",.0f"),
    Column("per_second", "steps/s", ",.0f"),
    Column("raes_cpu", "RAES x, CPU", ".2f"),
    Column("raes_wall", "RAES x, wall", ".2f"),
    *BAR_COLUMNS,
    Column("start_seconds", "start s", ".1f"),
    Column("worker_megabytes", "MB/worker", ".0f"),
    Column("timesteps", "steps/generation", ",.0f"),
    Column("rounds", "rounds", "d"),
)


@dataclass(frozen=True)
class PeersBenchArguments(TimedArguments):
    """The keys.

    Attributes:
        seconds: how long a case is measured, all contenders together.
        python: the interpreter of the environment with the other libraries.
        workers: worker processes of each contender.
        names: contenders.
        cases: (task, hidden layers, episodes of a generation).
        picture: a PNG file; needs matplotlib.
    """

    seconds: Positive = 60.0
    python: str = sys.executable
    workers: Count = 2
    names: tuple[str, ...] = tuple(NAMES)
    cases: tuple[tuple[str, str | int, int], ...] = CASES
    picture: str | None = None

    def __post_init__(self) -> None:
        if unknown := [name for name in self.names if name not in NAMES]:
            raise ValueError(f"names: there is no {', '.join(unknown)}; choose from {', '.join(NAMES)}")
        if "raes" not in self.names:
            raise ValueError("names: raes must be among them, since all are compared with it")


@dataclass
class Generation:
    """One generation of a contender.

    Attributes:
        timesteps: of its episodes.
        wall, cpu: seconds, of the clock and of all processes.
    """

    timesteps: int
    wall: float
    cpu: float


class Contender:
    """A contender's program.

    Attributes:
        name: of NAMES.
        start_seconds: until its first generation had ended.
    """

    def __init__(self, name: str, case: Case, python: str) -> None:
        self.name = name
        program = [sys.executable if name == "raes" else python, "-W", "ignore", "-m"]
        program += [f"benchmarks.peers.{name}_contender", *case.words]
        begun = time.perf_counter()
        root = Path(__file__).parents[1]
        self._process = subprocess.Popen(
            program,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            cwd=root,
            env=os.environ | QUIET | {"PYTHONPATH": f"{root}{os.pathsep}{os.environ.get('PYTHONPATH', '')}"},
        )
        self.generation()
        self.start_seconds = time.perf_counter() - begun

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        children = self._family()[1:]
        self._process.terminate()
        self._process.wait()
        for child in children:
            with suppress(psutil.Error):
                child.kill()

    def generation(self) -> Generation:
        """Run a generation.

        Raises:
            RunFailedError: the program has ended.
        """
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        cpu, begun = self._cpu_seconds(), time.perf_counter()
        with suppress(BrokenPipeError):
            print(GO, file=self._process.stdin, flush=True)
        done, _, timesteps = self._process.stdout.readline().partition(" ")
        if done != DONE:
            raise RunFailedError(
                f"the contender {self.name} ended with {self._process.wait()}; run it by itself to see why"
            )
        return Generation(int(timesteps), time.perf_counter() - begun, self._cpu_seconds() - cpu)

    def worker_megabytes(self) -> float:
        """Memory of a worker process that it shares with no other, the mean."""
        program, *family = self._family()
        title, sizes = WORKERS[self.name], []
        for process in family:
            with suppress(psutil.Error):
                line = " ".join(process.cmdline())
                own_child = process.ppid() == program.pid and "resource_tracker" not in line
                if title in line if title else own_child:
                    sizes.append(process.memory_full_info().uss)
        return float(np.mean(sizes)) / 1e6 if sizes else float("nan")

    def _family(self) -> list[psutil.Process]:
        with suppress(psutil.Error):
            program = psutil.Process(self._process.pid)
            return [program, *program.children(recursive=True)]
        return []

    def _cpu_seconds(self) -> float:
        total = 0.0
        for process in self._family():
            with suppress(psutil.Error):
                times = process.cpu_times()
                total += times.user + times.system
        return total


def measure(case: Case, arguments: PeersBenchArguments) -> list[Row]:
    """The rows of one case."""
    with ExitStack() as stack:
        contenders = [stack.enter_context(Contender(name, case, arguments.python)) for name in arguments.names]
        taken: dict[str, list[Generation]] = {name: [] for name in arguments.names}
        end, rounds = time.perf_counter() + arguments.seconds, 0
        while rounds < MIN_ROUNDS or time.perf_counter() < end:
            for turn in range(len(contenders)):
                contender = contenders[(rounds + turn) % len(contenders)]
                taken[contender.name].append(contender.generation())
            rounds += 1
        memory = {one.name: one.worker_megabytes() for one in contenders}
        start = {one.name: one.start_seconds for one in contenders}
    speeds = {name: (_rates(taken[name], "cpu"), _rates(taken[name], "wall")) for name in arguments.names}
    rows: list[Row] = []
    policy = "-".join(map(str, case.hidden))
    for name, (per_cpu, per_second) in speeds.items():
        ours_cpu, ours_wall = speeds["raes"]
        times = float(np.median(ours_cpu / per_cpu))
        rows.append(
            {
                "task": case.task.partition("-")[0],
                "policy": policy,
                "name": NAMES[name],
                "per_cpu_second": float(np.median(per_cpu)),
                "per_second": float(np.median(per_second)),
                "raes_cpu": times,
                "raes_wall": float(np.median(ours_wall / per_second)),
                **against_bar(times, BARS.get((case.task, policy)) if name == "evotorch" else None),
                "start_seconds": start[name],
                "worker_megabytes": memory[name],
                "timesteps": float(np.mean([one.timesteps for one in taken[name]])),
                "rounds": rounds,
            }
        )
    return rows


def _rates(generations: Sequence[Generation], clock: str) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    return np.array([one.timesteps / max(1e-9, getattr(one, clock)) for one in generations])


def run(arguments: PeersBenchArguments) -> BenchReport:
    """All cases.

    Raises:
        UserError: there is no such interpreter.
    """
    if not Path(arguments.python).exists():
        raise UserError(f"python={arguments.python}: there is no such file; give the interpreter of raes[peers]")
    rows: list[Row] = []
    for task, hidden, population in arguments.cases:
        case = Case(task, tuple(int(units) for units in str(hidden).split("-")), population, arguments.workers, SIGMA)
        rows += measure(case, arguments)
        print(f"{task} {hidden}: measured", flush=True)
    title = f"The same task, network and population in turns, {arguments.workers} worker processes each"
    report = BenchReport("peers", [Section("rows", title, COLUMNS, rows)])
    if arguments.picture is not None:
        draw(rows, arguments.picture)
    return report


def draw(rows: Sequence[Row], path: str) -> None:
    """Bars of the timesteps per CPU second."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    cases = list(dict.fromkeys((row["task"], row["policy"]) for row in rows))
    figure, panels = pyplot.subplots(1, len(cases), figsize=(3.6 * len(cases), 2.6), squeeze=False)
    for panel, case in zip(panels[0], cases, strict=True):
        chosen = [row for row in rows if (row["task"], row["policy"]) == case][::-1]
        colours = ["tab:blue" if row["name"] == NAMES["raes"] else "tab:gray" for row in chosen]
        panel.barh([row["name"] for row in chosen], [row["per_cpu_second"] for row in chosen], color=colours)
        panel.set_title(" ".join(case))
        panel.set_xlabel("timesteps per CPU second")
        panel.spines[["top", "right"]].set_visible(False)
        if panel is not panels[0][0]:
            panel.set_yticklabels([])
    figure.tight_layout()
    figure.savefig(path, dpi=150)
    pyplot.close(figure)
