"""The report on the terminal: the tables that fit a screen or two; the page has all rows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from raes.console.tables import Section, table

SHOWN = ("final", "across_tasks", "atari", "time_to_threshold", "left_out")
"""Tables that the terminal shows."""
LINES = 56
"""Lines of all of them together at most."""
AROUND = 4
"""Lines of a table besides its rows: title, heading, the number of further rows, an empty one."""


def on_terminal(sections: Sequence[Section]) -> str:
    """Tables as text, of each as many rows as there is room for."""
    parts = [_of_runs(section) for section in sections if section.key in SHOWN]
    room = LINES - AROUND * len(parts)
    most = max((len(part.rows) for part in parts), default=0)
    while sum(min(most, len(part.rows)) for part in parts) > room:
        most -= 1
    return "\n\n".join(_cut(part, most) for part in parts)


def _of_runs(section: Section) -> Section:
    """Without the games that no run here played."""
    return replace(section, rows=[row for row in section.rows if section.key != "atari" or "method" in row])


def _cut(section: Section, most: int) -> str:
    more = len(section.rows) - most
    lines = [section.title, table(replace(section, rows=section.rows[:most]))]
    return "\n".join([*lines, *([f"... and {more} more on the page"] if more > 0 else [])])
