"""`python -m raes.bench NAME [out=FILE.json] [key=value ...]`: measure this machine, a table and the same as JSON."""

from __future__ import annotations

import sys

from raes.bench.measurement import Benchmark, run_named
from raes.config.cli import command

BENCHES = {
    "rollout": Benchmark("raes.bench.rollout_bench", "one worker's timesteps per second, and its share in env.step"),
    "atari": Benchmark("raes.bench.atari_bench", "one worker on an Atari game, against the bare emulator"),
    "timestep": Benchmark("raes.bench.timestep_bench", "where a timestep of each policy goes"),
    "workers": Benchmark("raes.bench.workers_bench", "what several workers make of the speed of one"),
    "share": Benchmark("raes.bench.share_bench", "what a run made of this machine, against its environment alone"),
    "update": Benchmark("raes.bench.update_bench", "the weighted noise sum against the machine's memory speed"),
}
"""The benchmarks that a user runs to see their own machine."""


if __name__ == "__main__":
    command(lambda: run_named("raes.bench", BENCHES, sys.argv[1:]))
