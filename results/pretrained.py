"""Make a policy that comes along from a run: `python results/pretrained.py NAME RUN_DIR COMMAND`.

Into `raes/pretrained/NAME/` go the best checkpoint, the configuration, the records of the evaluations, and
`evaluation.json`: 100 episodes on seeds that nothing else used, with the command, the date and the machine.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

from keep import copy

from raes.evaluate import EvaluateArguments, evaluate
from raes.storage.metrics import read_records
from raes.storage.pretrained import FOLDER
from raes.storage.provenance import machine, versions

KEPT = ("eval/", "progress/", "returns/")
"""Metrics that are kept."""


def main() -> None:
    """The command."""
    name, run_dir, command = sys.argv[1], Path(sys.argv[2]), sys.argv[3]
    target = FOLDER / name
    copy(run_dir, target, "best", run_dir=f"runs/{name}", resume="never", start_from=None)
    records = [record for record in read_records(run_dir / "metrics.jsonl") if "eval/return_mean" in record]
    kept = [{key: value for key, value in record.items() if key.startswith(KEPT)} for record in records]
    (target / "metrics.jsonl").write_text("".join(json.dumps(record) + "\n" for record in kept))
    metrics = evaluate(EvaluateArguments(str(run_dir), "best", 100, runtime="serial"), print)
    place = {"command": command, "date": time.strftime("%Y-%m-%d"), "machine": machine(), "versions": versions()}
    (target / "evaluation.json").write_text(json.dumps(metrics | {"run_dir": name} | place, indent=1) + "\n")


if __name__ == "__main__":
    main()
