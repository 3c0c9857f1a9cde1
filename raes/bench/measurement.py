"""Common parts of all benchmarks: arguments, tables for the terminal, JSON with machine and versions, the command."""

from __future__ import annotations

import importlib
import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from raes.config.cli import arguments_of, check_out, parse
from raes.console.tables import Column, Row, Section, table
from raes.storage.provenance import machine, versions
from raes.types import SETTINGS, Positive, UserError


@dataclass(frozen=True)
class BenchArguments:
    """The key of every benchmark.

    Attributes:
        out: a JSON file for the figures.
    """

    __pydantic_config__ = SETTINGS

    out: str | None = None


@dataclass(frozen=True)
class TimedArguments(BenchArguments):
    """The keys of those that measure for a given time.

    Attributes:
        seconds: how long a row is measured; a longer time gives steadier figures.
    """

    seconds: Positive = 5.0


@dataclass(frozen=True)
class BenchReport:
    """The tables of a benchmark."""

    name: str
    sections: Sequence[Section]


PLACES = ("out", "picture", "python", "run_dir")
"""Keys that say where something lies on the machine, which is no part of a measurement."""
BAR_COLUMNS = (Column("bar", "bar", ".2f"), Column("met", "met"))


def against_bar(value: float, bar: float | None) -> Row:
    """The columns `bar` and `met` of a row: yes where the value is at least the bar."""
    return {"bar": bar, "met": None if bar is None else value >= bar}


def print_report(report: BenchReport) -> None:
    """Print a report's tables."""
    here = machine()
    print(f"{here['cpu']}, {here['cores']} cores, load {here['load'][0]:.1f}")
    for section in report.sections:
        print(f"\n{section.title}\n{table(section)}", flush=True)


def write_report(report: BenchReport, arguments: BenchArguments) -> None:
    """Write a report's tables as JSON, with the machine, the versions and the date, to `arguments.out`."""
    assert arguments.out is not None
    content = {
        "bench": report.name,
        "date": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
        "machine": machine(),
        "versions": versions(),
        "arguments": {key: value for key, value in asdict(arguments).items() if key not in PLACES},
    } | {section.key: list(section.rows) for section in report.sections}
    Path(arguments.out).write_text(json.dumps(content, indent=1) + "\n")


@dataclass(frozen=True)
class Benchmark:
    """A benchmark by name: its module, which holds its arguments and `run`, and a summary."""

    module: str
    summary: str


def usage(program: str, benches: Mapping[str, Benchmark]) -> str:
    """The command's usage, with the names of its benchmarks."""
    names = "\n".join(f"  {name:9s} {bench.summary}" for name, bench in benches.items())
    return f"usage: python -m {program} NAME [out=FILE.json] [key=value ...]\n{names}\nkeys of one: NAME --help"


def run_named(program: str, benches: Mapping[str, Benchmark], words: list[str]) -> None:
    """Run the benchmark that a command line names.

    Args:
        program: `raes.bench` or `benchmarks`.
        benches: name -> benchmark.
        words: the command line after the program.

    Raises:
        UserError: there is none of this name, or one of its keys is wrong.
    """
    if not words:
        raise UserError(usage(program, benches))
    name, *rest = words
    if name in ("-h", "--help"):
        print(usage(program, benches))
        return
    if name not in benches:
        raise UserError(f"{name}: there is no such benchmark; there are {', '.join(benches)}")
    bench = importlib.import_module(benches[name].module)
    arguments = parse(arguments_of(bench), rest, f"{program} {name}", bench.__doc__)
    check_out(arguments.out)
    report = bench.run(arguments)
    print_report(report)
    if arguments.out is not None:
        write_report(report, arguments)
