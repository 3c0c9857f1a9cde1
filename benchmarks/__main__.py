"""`python -m benchmarks NAME [out=FILE.json] [key=value ...]`: measure RAES itself, a table and the same as JSON."""

from __future__ import annotations

import sys

from raes.bench.measurement import Benchmark, run_named
from raes.config.cli import command

BENCHES = {
    "pool": Benchmark("benchmarks.pool_bench", "results per second, and how busy workers and driver are on Ray"),
    "low_rank": Benchmark("benchmarks.low_rank_bench", "a large network with low-rank noise, against full-rank noise"),
    "bbob": Benchmark("benchmarks.bbob_bench", "the 24 functions of BBOB, against other optimisers"),
    "functions": Benchmark("benchmarks.functions_bench", "how busy workers are with calls of unequal durations"),
    "chaos": Benchmark(
        "benchmarks.chaos_bench", "the bits of theta and the time lost while workers, relays and nodes are killed"
    ),
    "models": Benchmark("benchmarks.models_bench", "a model of GPT-2's size, trained by seeds: memory, time and bytes"),
    "peers": Benchmark("benchmarks.peers_bench", "the same task, network and population with other libraries"),
    "scale": Benchmark("benchmarks.scale_bench", "thousands of virtual workers on virtual nodes; over an hour"),
}
"""The benchmarks that developers run; `python -m raes.bench` has those for users."""


if __name__ == "__main__":
    command(lambda: run_named("benchmarks", BENCHES, sys.argv[1:]))
