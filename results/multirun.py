"""Gathers the runs of a sweep, one row each: the keys in which they differ, and their metrics.

    python results/multirun.py NAME RUN_DIR [RUN_DIR ...] [command="python -m raes.train -m ..."] [keys=KEY,KEY,...]

It writes results/NAME.json from the run directories, with `keys` only these of the keys in which they differ;
`<!-- made: sweep NAME -->` in a page of docs/ shows its table.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import Any

from raes.config.stored import load
from raes.storage.metrics import flatten_config, read_records
from raes.storage.provenance import machine, versions

HERE = Path(__file__).parent
OWN = ("run_dir", "algorithm.layers")
"""Keys that differ in every run, or depend on other keys."""


def row(run_dir: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """The configuration of a run with its folder's name, and its metrics."""
    config = {"run": run_dir.name} | flatten_config(load(run_dir).as_dict())
    if config["start_from"]:
        config["start_from"] = Path(config["start_from"]).name
    records = read_records(run_dir / "metrics.jsonl")
    evaluations = [record for record in records if "eval/return_mean" in record]
    perturbed = [record["returns/mean"] for record in records if "returns/mean" in record]
    best = max(evaluations, key=lambda record: float(record["eval/return_mean"]))
    metrics = {
        "timesteps": records[-1]["progress/timesteps"],
        "episodes": records[-1]["progress/episodes"],
        "frames": records[-1].get("progress/frames"),
        "hours": round(records[-1]["progress/seconds"] / 3600, 2),
        "generations": len(perturbed),
        "perturbed, first 3": sum(perturbed[:3]) / len(perturbed[:3]),
        "perturbed, last 3": sum(perturbed[-3:]) / len(perturbed[-3:]),
        "first evaluation": evaluations[0]["eval/return_mean"],
        "last evaluation": evaluations[-1]["eval/return_mean"],
        "best evaluation": best["eval/return_mean"],
        "best's 95 % interval": [best.get("eval/return_ci_low"), best.get("eval/return_ci_high")],
        "curve_timesteps_eval_mean": [[one["progress/timesteps"], one["eval/return_mean"]] for one in evaluations],
    }
    return config, metrics


def gather(name: str, run_dirs: list[str], command: str, chosen: list[str]) -> None:
    """Write the rows of all runs, with the chosen keys or, where none is, all keys in which they differ."""
    configs, metrics = zip(*(row(Path(run_dir)) for run_dir in run_dirs), strict=True)
    keys = chosen or sorted({key for config in configs for key in config if key not in ("run", *OWN)})
    differ = ["run", *(key for key in keys if len({str(config.get(key)) for config in configs}) > 1)]
    rows = [{key: config.get(key) for key in differ} | one for config, one in zip(configs, metrics, strict=True)]
    report = {"command": command, "date": time.strftime("%Y-%m-%d"), "machine": machine(), "versions": versions()}
    (HERE / f"{name}.json").write_text(json.dumps(report | {"keys": differ, "rows": rows}, indent=1) + "\n")


def main() -> None:
    """Gather the runs that the command line names."""
    name, *words = sys.argv[1:]
    own = {key: value for key, _, value in (word.partition("=") for word in words) if key in ("command", "keys")}
    run_dirs = [word for word in words if word.partition("=")[0] not in own]
    gather(name, run_dirs, own.get("command", ""), [key for key in own.get("keys", "").split(",") if key])


if __name__ == "__main__":
    main()
