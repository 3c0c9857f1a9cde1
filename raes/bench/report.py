"""What the benchmarks share: their arguments, tables for the terminal, and JSON with the machine and the versions."""

from __future__ import annotations

import json
import math
import os
import platform
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

from raes.types import SETTINGS

Row = dict[str, Any]
PACKAGES = ("numpy", "scipy", "ray", "gymnasium", "mujoco", "ale-py", "raes")


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

    seconds: float = 5.0

    def __post_init__(self) -> None:
        if not (self.seconds > 0 and math.isfinite(self.seconds)):
            raise ValueError(f"seconds must be positive, got {self.seconds}")


@dataclass(frozen=True)
class Column:
    """A column of a table.

    Attributes:
        key: of the rows; a row without it, or with None, shows a dash.
        heading: what the table says above it.
        form: a format specification, as in `format(value, form)`.
    """

    key: str
    heading: str
    form: str = ""


@dataclass(frozen=True)
class Section:
    """One table: its key in the JSON file, its title, its columns and its rows, which may hold more than is shown."""

    key: str
    title: str
    columns: Sequence[Column]
    rows: Sequence[Row]


@dataclass(frozen=True)
class Report:
    """All that a benchmark found."""

    name: str
    sections: Sequence[Section]


BAR_COLUMNS = (Column("bar", "bar", ".2f"), Column("met", "met"))


def against_bar(value: float, bar: float | None) -> Row:
    """The columns `bar` and `met` of a row: yes where the value is at least the bar."""
    return {"bar": bar, "met": None if bar is None else value >= bar}


def machine() -> Row:
    """The processor and the cores that this process may use."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return {"cpu": _cpu_model(), "cores": cores, "system": platform.platform(), "load": list(os.getloadavg())}


def versions() -> dict[str, str]:
    """Python's and the packages' versions."""
    return {"python": platform.python_version()} | {name: version(name) for name in PACKAGES}


def print_report(report: Report) -> None:
    """The tables on the terminal."""
    here = machine()
    print(f"{here['cpu']}, {here['cores']} cores, load {here['load'][0]:.1f}")
    for section in report.sections:
        print(f"\n{section.title}\n{table(section)}", flush=True)


def write_report(report: Report, arguments: BenchArguments) -> None:
    """The same figures as JSON, with the machine, the versions and the date, to `arguments.out`."""
    assert arguments.out is not None
    content = {
        "bench": report.name,
        "date": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
        "machine": machine(),
        "versions": versions(),
        "arguments": asdict(arguments),
    } | {section.key: list(section.rows) for section in report.sections}
    Path(arguments.out).write_text(json.dumps(content, indent=1) + "\n")


def table(section: Section) -> str:
    """A section as aligned text, numbers to the right."""
    lines = [[column.heading for column in section.columns]]
    lines += [[cell(row.get(column.key), column.form) for column in section.columns] for row in section.rows]
    widths = [max(map(len, cells)) for cells in zip(*lines, strict=True)]
    left = [not column.form for column in section.columns]
    return "\n".join(
        "  ".join(
            cell.ljust(width) if to_left else cell.rjust(width)
            for cell, width, to_left in zip(line, widths, left, strict=True)
        ).rstrip()
        for line in lines
    )


def cell(value: Any, form: str) -> str:
    """A value as a table shows it; None is a dash."""
    if value is None:
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "NO"
    return format(value, form)


def _cpu_model() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()
