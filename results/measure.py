"""Trains presets with several seeds, evaluates the best policy of each, and stores the results.

    python results/measure.py all [folder=PATH] [jobs=1]
    python results/measure.py NAME ... [folder=PATH] [jobs=1]

NAME is an entry of results/measurements.yaml, which has the keys of its training and its seeds. Each is written to
results/measured/NAME.json: command, date, machine, versions, and for each seed the curve of its evaluations, minutes
and core-minutes of its training, and the result of `raes.evaluate checkpoint=best episodes=100`. Seeds that the file
has already, of the same command, are not trained again. With `folder` the runs stay there, as NAME/seed0, ..., and runs
that it contains are gone on with; without, only whole runs outlast Ctrl-C. `jobs` runs are trained at a time, one core
each. Core-minutes are CPU time, which other load on the machine hardly changes.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from raes.storage.metrics import read_records
from raes.storage.provenance import machine, versions

REGISTER = Path(__file__).with_name("measurements.yaml")
FOLDER = Path(__file__).with_name("measured")
EPISODES = 100
POINTS = 60
"""Evaluations that the file keeps of a curve, at most twice as many and the last one."""
WRITING = threading.Lock()


@dataclass(frozen=True)
class Measurement:
    """An entry of results/measurements.yaml.

    Attributes:
        task: the environment's name.
        bar: the return that is to be reached.
        keys: of `raes.train`.
        seeds: that are reported; none of them was used to choose the keys.
        chosen_on: seeds on which settings were tried.
    """

    task: str
    bar: float
    keys: str
    seeds: tuple[int, ...]
    chosen_on: tuple[int, ...] = ()

    @property
    def command(self) -> str:
        """The training, without seed and folder."""
        return f"python -m raes.train {self.keys}"


def measurements() -> dict[str, Measurement]:
    """All entries by name, in the order of the file."""
    found = yaml.safe_load(REGISTER.read_text())
    return {name: Measurement(**{"task": name.partition("_")[0], **entry}) for name, entry in found.items()}


def stored(name: str, command: str) -> list[dict[str, Any]]:
    """The seeds that results/measured/NAME.json has of this command."""
    path = FOLDER / f"{name}.json"
    report = json.loads(path.read_text()) if path.exists() else {}
    return list(report["seeds"]) if report.get("command") == command else []


def run(arguments: list[str]) -> float:
    """Run a Python command that must succeed; its CPU seconds."""
    print("$ python", *arguments, flush=True)
    process = subprocess.Popen([sys.executable, *arguments])
    _, status, usage = os.wait4(process.pid, 0)  # unlike `resource`, the figures of this process alone
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise subprocess.CalledProcessError(process.returncode, arguments)
    return usage.ru_utime + usage.ru_stime


def train(arguments: list[str], run_dir: Path) -> float:
    """Train or resume; the CPU seconds of all parts, where those of a part that was killed are its clock's."""
    spent = run_dir / "cpu_seconds.json"
    before = json.loads(spent.read_text()) if spent.exists() else {"cpu": 0.0, "clock": 0.0}
    began = _clock(run_dir)
    cpu = before["cpu"] + max(0.0, began - before["clock"]) + run(arguments)
    spent.write_text(json.dumps({"cpu": cpu, "clock": _clock(run_dir)}) + "\n")
    return float(cpu)


def _clock(run_dir: Path) -> float:
    """Seconds of training that a run has behind it."""
    path = run_dir / "metrics.jsonl"
    records = read_records(path) if path.exists() else []
    return float(records[-1]["progress/seconds"]) if records else 0.0


def measure_seed(entry: Measurement, seed: int, run_dir: Path) -> dict[str, Any]:
    """Train and evaluate one seed."""
    keys = [*entry.keys.split(), f"seed={seed}", f"run_dir={run_dir}", "resume=auto", "console=plain"]
    cpu = train(["-m", "raes.train", *keys], run_dir)
    out = run_dir / "evaluation.json"
    chosen = [f"run_dir={run_dir}", "checkpoint=best", f"episodes={EPISODES}", "runtime=serial", f"out={out}"]
    run(["-m", "raes.evaluate", *chosen])
    evaluation = json.loads(out.read_text())
    records = read_records(run_dir / "metrics.jsonl")
    curve = [
        [round(record["progress/timesteps"]), round(record["progress/seconds"]), round(record["eval/return_mean"], 2)]
        for record in records
        if "eval/return_mean" in record
    ]
    kept = ("checkpoint", "episodes", "return_mean", "return_std", "return_ci_low", "return_ci_high", "length_mean")
    return {
        "seed": seed,
        "timesteps": records[-1]["progress/timesteps"],
        "minutes": round(records[-1]["progress/seconds"] / 60, 2),
        "cpu_minutes": round(cpu / 60, 2),
        "evaluation": {key: evaluation[key] for key in kept},
        "curve_timesteps_seconds_eval_mean": [*curve[:-1][:: max(1, len(curve) // POINTS)], curve[-1]],
    }


def measure(name: str, entry: Measurement, seed: int, folder: Path) -> None:
    """Train and evaluate one seed, and add it to results/measured/NAME.json."""
    result = measure_seed(entry, seed, folder / name / f"seed{seed}")
    with WRITING:
        others = [one for one in stored(name, entry.command) if one["seed"] != seed]
        report = {"task": entry.task, "bar": entry.bar, "command": entry.command, "chosen_on": list(entry.chosen_on)}
        report |= {"date": time.strftime("%Y-%m-%d"), "machine": machine(), "versions": versions()}
        report["seeds"] = sorted([*others, result], key=lambda one: one["seed"])
        FOLDER.mkdir(exist_ok=True)
        (FOLDER / f"{name}.json").write_text(json.dumps(report, indent=1) + "\n")
    evaluation = result["evaluation"]
    print(f"{name} seed {seed}: {evaluation['return_mean']:,.1f} of {entry.bar:,g}", flush=True)


def main() -> int:
    """Measure what is missing; 1 where a training or an evaluation failed."""
    words = [word for word in sys.argv[1:] if "=" not in word]
    own = dict(word.split("=", 1) for word in sys.argv[1:] if "=" in word)
    entries = measurements()
    unknown = [*(word for word in words if word not in (*entries, "all")), *(own.keys() - {"folder", "jobs"})]
    if unknown or not words:
        print(f"{', '.join(unknown) or 'no name'}: name all, or some of {', '.join(entries)}", file=sys.stderr)
        return 2
    names = list(entries) if "all" in words else words
    there = {name: {one["seed"] for one in stored(name, entries[name].command)} for name in names}
    missing = [(name, seed) for name in names for seed in entries[name].seeds if seed not in there[name]]
    print(f"{len(missing)} runs of {len(names)} entries are missing", flush=True)
    with tempfile.TemporaryDirectory() as temporary, ThreadPoolExecutor(int(own.get("jobs", 1))) as pool:
        folder = Path(own.get("folder", temporary)).absolute()
        futures = {pool.submit(measure, name, entries[name], seed, folder): (name, seed) for name, seed in missing}
        try:
            failed = [f"{name} seed {seed}: {why}" for one, (name, seed) in futures.items() if (why := one.exception())]
        except KeyboardInterrupt:
            pool.shutdown(cancel_futures=True)
            print("stopped; the same command goes on", file=sys.stderr)
            return 130
    print("".join(f"{one}\n" for one in failed), end="", file=sys.stderr)
    return int(bool(failed))


if __name__ == "__main__":
    sys.exit(main())
