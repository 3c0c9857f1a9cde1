"""Records the lengths of a run's perturbed episodes, for `python -m benchmarks scale`.

    python -m raes.train env=Humanoid algorithm=es policy=linear runtime=serial max_minutes=2 run_dir=RUN
    python results/lengths.py RUN falling "what the policy does" "the command that trained it" [pairs=250]

Runs the pairs of the generation after the run's newest checkpoint, and writes their lengths under the given name into
benchmarks/lengths.json, with the command, the date and a description.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

from threadpoolctl import threadpool_limits

from raes.config.stored import load
from raes.runtime.worker import Worker, WorkerSpec
from raes.search.noise import make_table
from raes.storage.checkpoint import read
from raes.training.build import build_algorithm, problem_spec
from raes.training.resume import locate, restore

FILE = Path(__file__).parent.parent / "benchmarks" / "lengths.json"


def record(run_dir: str, pairs: int) -> tuple[int, list[int]]:
    """The generation, and its episodes' lengths in task order."""
    config = load(Path(run_dir))
    assert config.noise.size is not None
    spec, algorithm = problem_spec(config), build_algorithm(config)
    state = restore(config, read(locate(run_dir, "run_dir"))).base
    with threadpool_limits(1):
        worker = Worker(WorkerSpec(spec, config.seed), make_table(config.noise.size))
        results = worker.run(algorithm.ask(state, 0, pairs), algorithm.snapshot(state))
    assert not results.faults
    return state.generation, results.records["length"].tolist()


def main() -> None:
    """Record the lengths and write the file."""
    run_dir, name, description, command, *rest = sys.argv[1:]
    pairs = int(rest[0].removeprefix("pairs=")) if rest else 250
    generation, lengths = record(run_dir, pairs)
    content = json.loads(FILE.read_text()) if FILE.exists() else {}
    content[name] = {
        "description": f"{description}, generation {generation}",
        "command": f"{command}; python results/lengths.py",
        "date": time.strftime("%Y-%m-%d"),
        "lengths": lengths,
    }
    entries = [f" {json.dumps(key)}: {json.dumps(content[key])}" for key in sorted(content)]
    FILE.write_text("{\n" + ",\n".join(entries) + "\n}\n")
    print(f"{name}: {len(lengths)} episodes, mean {sum(lengths) / len(lengths):.1f}, longest {max(lengths)}")


if __name__ == "__main__":
    main()
