"""Formats the findings and the facts of the nodes for the terminal. Pure."""

from __future__ import annotations

import textwrap
from collections import Counter
from collections.abc import Sequence

from raes.console.tables import Column, Row, Section
from raes.doctor.findings import Finding
from raes.doctor.trial import Trial
from raes.runtime.host_survey import NodeFacts
from raes.runtime.packages import MODULES
from raes.text import printable

SHOWN = 20
"""Hosts in a table; those with findings come first."""
WIDTH = 110
GB = 1e9
HOSTS = (
    Column("host", "host"),
    Column("address", "address"),
    Column("cpus", "CPUs", "d"),
    Column("works", "env"),
    Column("steps", "steps/s", ",.0f"),
    Column("cores", "BLAS", ".1f"),
    Column("store", "store GB", ".1f"),
    Column("shm", "shm GB", ".1f"),
    Column("files", "files", ",d"),
    Column("clock", "clock", "+.2f"),
    Column("draws", "videos"),
    Column("digest", "arithmetic"),
)


def sections(nodes: Sequence[NodeFacts], found: Sequence[Finding]) -> list[Section]:
    """The tables of hosts and packages."""
    with_findings = {one.host for one in found}
    first = sorted(nodes, key=lambda node: (not node.here, node.host not in with_findings))
    shown, left = first[:SHOWN], len(nodes) - SHOWN
    more = f" ({left} more are not shown; out=FILE.json holds all)" if left > 0 else ""
    names = [name for name in ("python", *MODULES) if any(name in _packages(node) for node in nodes)]
    columns = [Column("host", "host"), *(Column(name, name) for name in names)]
    versions = [{"host": node.host} | _packages(node) for node in shown]
    return [
        Section("hosts", f"Hosts{more}", HOSTS, [_host(node) for node in shown]),
        Section("packages", "Their packages", columns, versions),
    ]


def report(found: Sequence[Finding]) -> str:
    """The findings as text; the last line states whether a run would work."""
    lines = []
    for one in found:
        text = f"{one.level.upper() if one.level == 'fault' else one.level:8} {one.host}: {one.text}"
        lines += textwrap.wrap(text, WIDTH, subsequent_indent=" " * 9, break_long_words=False, break_on_hyphens=False)
        if one.cure:
            lines += textwrap.wrap(
                f"cure: {one.cure}",
                WIDTH,
                initial_indent=" " * 9,
                subsequent_indent=" " * 15,
                break_long_words=False,
                break_on_hyphens=False,
            )
    count = Counter(one.level for one in found)
    parts = [
        f"{count[level]} {level}{'s' * (count[level] > 1)}" for level in ("fault", "warning", "note") if count[level]
    ]
    result = "not healthy, a run would fail" if count["fault"] else "healthy"
    return "\n".join([*map(printable, lines), f"{result}{': ' if parts else ''}{', '.join(parts)}"])


def _packages(node: NodeFacts) -> dict[str, str]:
    return {} if node.info is None else {key: value.partition(" (")[0] for key, value in node.info.packages.items()}


def _host(node: NodeFacts) -> Row:
    row: Row = {"host": node.host, "address": node.address, "cpus": node.cpus, "clock": node.clock}
    row["store"] = node.store_bytes / GB or None
    if node.info is not None:
        info = node.info
        row |= {"shm": info.shm_total and info.shm_total / GB, "files": info.open_files}
    if isinstance(node.answer, Trial):
        trial = node.answer
        row |= {
            "works": not trial.fault,
            "draws": not trial.undrawn,
            "cores": trial.cores,
            "digest": trial.digest.split()[0],
        }
        row["steps"] = 1 / trial.step_seconds if trial.lengths else None
    else:
        row["works"] = False
    return row
