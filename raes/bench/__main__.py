"""`python -m raes.bench NAME [out=FILE.json] [key=value ...]`: measure this machine, a table and the same as JSON."""

from __future__ import annotations

import importlib
import sys

from raes.bench.report import print_report, write_report
from raes.command import check_out, command, parse
from raes.types import UserError

BENCHES = {
    "rollout": "one worker's timesteps a second, and its share inside env.step",
    "atari": "one worker on an Atari game, against the bare emulator, and where its time goes",
    "low_rank": "a large network with low-rank perturbations, against full ones",
    "update": "the weighted noise sum against the machine's memory speed, and by two processes",
    "pool": "results a second, and how busy workers and driver are on Ray",
    "chaos": "the bits of theta and the time lost while workers, relays and nodes are killed; the driver's memory",
    "scale": "thousands of virtual workers on virtual nodes, with and without relays; an hour and a quarter",
}
"""Name -> what it measures; the module `raes.bench.NAME` holds `Arguments` and `run`."""


def usage() -> str:
    """How to call the command, with the names."""
    names = "\n".join(f"  {name:9s} {text}" for name, text in BENCHES.items())
    return f"usage: python -m raes.bench NAME [out=FILE.json] [key=value ...]\n{names}\nkeys of one: NAME --help"


def main(words: list[str]) -> None:
    """Run one benchmark.

    Raises:
        UserError: there is none of this name, or one of its keys is wrong.
    """
    if not words:
        raise UserError(usage())
    name, *rest = words
    if name in ("-h", "--help"):
        print(usage())
        return
    if name not in BENCHES:
        raise UserError(f"{name}: there is no such benchmark; there are {', '.join(BENCHES)}")
    bench = importlib.import_module(f"raes.bench.{name}")
    arguments = parse(bench.Arguments, rest, f"raes.bench {name}", bench.__doc__)
    check_out(arguments.out)
    report = bench.run(arguments)
    print_report(report)
    if arguments.out is not None:
        write_report(report, arguments)


if __name__ == "__main__":
    command(lambda: main(sys.argv[1:]))
