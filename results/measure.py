"""Trains a preset with several seeds, evaluates the best policy of each, and keeps the figures.

    python results/measure.py NAME bar=NUMBER [seeds=0,1,2] [variant=WORD] [folder=PATH] [episodes=100] [key=value ...]
    python results/measure.py table

The first writes results/NAME.json, or results/NAME_WORD.json: commands, date, machine, versions, the evaluations' curve
of each seed, the minutes and core-minutes of its training, and what `raes.evaluate checkpoint=best episodes=100` says
of it. Core-minutes are CPU time, which other work on the machine hardly changes; they are known with runtime=serial,
where one process does everything. With `folder` the runs stay there, as seed0, seed1, ..., and those that it holds are
gone on with. NAME is the environment, unless a key env=... names another; keys that are not named here are those of
raes.train. The second prints all of them as the README's table.
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
WORDS = ("bar", "seeds", "variant", "folder", "episodes")
"""What is said to this file; the other words are keys of the training."""


def run(words: list[str]) -> None:
    """A command that must succeed; its words are shown."""
    print("$ python", *words, flush=True)
    subprocess.run([sys.executable, *words], check=True)


def train(words: list[str], spent: Path) -> float:
    """Train, or go on, as a command, and return the CPU seconds of the run so far, which `spent` remembers."""
    before = _seconds_of_children()
    try:
        run(words)
    finally:
        seconds = _seconds_of_children() - before + (float(spent.read_text()) if spent.exists() else 0.0)
        if spent.parent.exists():
            spent.write_text(f"{seconds}\n")
    return seconds


def _seconds_of_children() -> float:
    """User and system seconds of the processes that this one has started and that have ended."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def measure_seed(keys: list[str], seed: int, run_dir: Path, episodes: str) -> dict[str, object]:
    """Train and evaluate one seed."""
    words = ["-m", "raes.train", *keys, f"seed={seed}", f"run_dir={run_dir}", "resume=auto", "console=plain"]
    seconds = train(words, run_dir / "cpu_seconds.txt")
    out = run_dir / "evaluation.json"
    runtime = [key for key in keys if key == "runtime=serial"]  # the same figures either way
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


def measure(name: str, words: dict[str, str], keys: list[str]) -> None:
    """All seeds of one task, one after the other; seeds that the same command has measured before are kept.

    Args:
        name: of the task.
        words: `bar`, and where given `seeds`, `variant`, `folder` and `episodes`.
        keys: of the training.
    """
    bar, seeds = float(words["bar"]), [int(seed) for seed in words.get("seeds", "0,1,2").split(",")]
    keys = keys if any(key.startswith("env=") for key in keys) else [f"env={name}", *keys]
    command = " ".join(["python -m raes.train", *keys])
    report: dict[str, object] = {"task": name, "bar": bar, "command": command, "date": time.strftime("%Y-%m-%d")}
    report |= {"machine": machine(), "versions": versions()}
    path = HERE / ("_".join([name, words["variant"]] if "variant" in words else [name]) + ".json")
    with tempfile.TemporaryDirectory() as temporary:
        for seed in seeds:
            run_dir = Path(words.get("folder", temporary)) / f"seed{seed}"
            result = measure_seed(keys, seed, run_dir, words.get("episodes", "100"))
            before = json.loads(path.read_text()) if path.exists() else {}
            others = before["seeds"] if before.get("command") == command else []
            results = [other for other in others if other["seed"] != seed] + [result]
            report["seeds"] = sorted(results, key=lambda one: one["seed"])
            path.write_text(json.dumps(report, indent=1) + "\n")


def table() -> None:
    """The README's table of results."""
    print("| task | bar | seed: evaluation mean [95 % interval], timesteps, minutes (core-minutes) | command |")
    print("| --- | --- | --- | --- |")
    for path in sorted(HERE.glob("*.json")):
        report = json.loads(path.read_text())
        if "bar" not in report:
            continue
        cells = []
        for one in report["seeds"]:
            figures = one["evaluation"]
            cpu = f" ({one['cpu_minutes']:.1f})" if "cpu_minutes" in one else ""
            cells.append(
                f"{one['seed']}: **{figures['return_mean']:,.1f}** [{figures['return_ci_low']:,.1f}, "
                f"{figures['return_ci_high']:,.1f}], {one['timesteps'] / 1e6:.2f}e6, {one['minutes']:.1f}{cpu}"
            )
        print(f"| {report['task']} | {report['bar']:,g} | {'<br>'.join(cells)} | `{report['command']}` |")


def main() -> None:
    """The command."""
    if sys.argv[1:] == ["table"]:
        table()
        return
    name, *words = sys.argv[1:]
    ours = {key: value for key, _, value in (word.partition("=") for word in words) if key in WORDS}
    measure(name, ours, [word for word in words if word.partition("=")[0] not in WORDS])


if __name__ == "__main__":
    main()
