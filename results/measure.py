"""Trains a preset with several seeds, evaluates the best policy of each, and stores the results.

    python results/measure.py NAME bar=NUMBER [seeds=0,1,2] [variant=NAME] [folder=PATH] [episodes=100] [key=value ...]
    python results/measure.py table

The first command writes results/NAME.json, or results/NAME_VARIANT.json: command, date, machine, versions, and for each
seed the curve of its evaluations, the minutes and core-minutes of its training, and the result of `raes.evaluate
checkpoint=best episodes=100`. Core-minutes are CPU time, which other load on the machine hardly changes; they are
measured with runtime=serial, where one process does everything. With `folder` the runs stay there, as seed0, seed1,
..., and runs that it already contains are resumed. NAME is the environment, unless a key env=... names another; further
keys are those of raes.train. The second command prints all results as a table.
"""

from __future__ import annotations

import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from raes.storage.metrics import read_records
from raes.storage.provenance import machine, versions

HERE = Path(__file__).parent
OWN_KEYS = ("bar", "seeds", "variant", "folder", "episodes")
"""Arguments of this program; all others are keys of `raes.train`."""


def run(arguments: list[str]) -> None:
    """Print and run a Python command that must succeed."""
    print("$ python", *arguments, flush=True)
    subprocess.run([sys.executable, *arguments], check=True)


def train(arguments: list[str], spent: Path) -> float:
    """Train or resume, and return the CPU seconds of the run so far, which the file `spent` stores."""
    before = _seconds_of_children()
    try:
        run(arguments)
    finally:
        seconds = _seconds_of_children() - before + (float(spent.read_text()) if spent.exists() else 0.0)
        if spent.parent.exists():
            spent.write_text(f"{seconds}\n")
    return seconds


def _seconds_of_children() -> float:
    """User and system seconds of the finished child processes."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def measure_seed(keys: list[str], seed: int, run_dir: Path, episodes: str) -> dict[str, object]:
    """Train and evaluate one seed."""
    arguments = ["-m", "raes.train", *keys, f"seed={seed}", f"run_dir={run_dir}", "resume=auto", "console=plain"]
    seconds = train(arguments, run_dir / "cpu_seconds.txt")
    out = run_dir / "evaluation.json"
    runtime = [key for key in keys if key == "runtime=serial"]  # the results are the same with Ray
    chosen = [f"run_dir={run_dir}", "checkpoint=best", f"episodes={episodes}"]
    run(["-m", "raes.evaluate", *chosen, f"out={out}", *runtime])
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
        **({"cpu_minutes": round(seconds / 60, 2)} if "runtime=serial" in keys else {}),
        "evaluation": {key: evaluation[key] for key in kept},
        "curve_timesteps_seconds_eval_mean": curve[:: max(1, len(curve) // 60)] + curve[-1:],
    }


def measure(name: str, own: dict[str, str], keys: list[str]) -> None:
    """Measure all seeds of one task, one after the other; other seeds that the same command has measured are kept.

    Args:
        name: of the task.
        own: `bar`, and optionally `seeds`, `variant`, `folder` and `episodes`.
        keys: of the training.
    """
    bar, seeds = float(own["bar"]), [int(seed) for seed in own.get("seeds", "0,1,2").split(",")]
    keys = keys if any(key.startswith("env=") for key in keys) else [f"env={name}", *keys]
    command = " ".join(["python -m raes.train", *keys])
    report: dict[str, object] = {"task": name, "bar": bar, "command": command, "date": time.strftime("%Y-%m-%d")}
    report |= {"machine": machine(), "versions": versions()}
    path = HERE / ("_".join([name, own["variant"]] if "variant" in own else [name]) + ".json")
    with tempfile.TemporaryDirectory() as temporary:
        for seed in seeds:
            run_dir = Path(own.get("folder", temporary)) / f"seed{seed}"
            result = measure_seed(keys, seed, run_dir, own.get("episodes", "100"))
            before = json.loads(path.read_text()) if path.exists() else {}
            others = before["seeds"] if before.get("command") == command else []
            results = [other for other in others if other["seed"] != seed] + [result]
            report["seeds"] = sorted(results, key=lambda one: one["seed"])
            path.write_text(json.dumps(report, indent=1) + "\n")


def table() -> None:
    """Print all results as a table."""
    print("| task | bar | seed: evaluation mean [95 % interval], timesteps, minutes (core-minutes) | command |")
    print("| --- | --- | --- | --- |")
    for path in sorted(HERE.glob("*.json")):
        report = json.loads(path.read_text())
        if "bar" not in report:
            continue
        cells = []
        for one in report["seeds"]:
            evaluation = one["evaluation"]
            cpu = f" ({one['cpu_minutes']:.1f})" if "cpu_minutes" in one else ""
            cells.append(
                f"{one['seed']}: **{evaluation['return_mean']:,.1f}** [{evaluation['return_ci_low']:,.1f}, "
                f"{evaluation['return_ci_high']:,.1f}], {one['timesteps'] / 1e6:.2f}e6, {one['minutes']:.1f}{cpu}"
            )
        print(f"| {report['task']} | {report['bar']:,g} | {'<br>'.join(cells)} | `{report['command']}` |")


def main() -> None:
    """Measure a task, or print the table."""
    if sys.argv[1:] == ["table"]:
        table()
        return
    name, *arguments = sys.argv[1:]
    own = {key: value for key, _, value in (argument.partition("=") for argument in arguments) if key in OWN_KEYS}
    measure(name, own, [argument for argument in arguments if argument.partition("=")[0] not in OWN_KEYS])


if __name__ == "__main__":
    main()
