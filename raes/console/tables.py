"""Tables of text for the terminal: columns, sections, and how a value is printed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from raes.text import one_line, printable

Row = dict[str, Any]


@dataclass(frozen=True)
class Column:
    """A column of a table.

    Attributes:
        key: of the rows; a row without it, or with None, shows a dash.
        heading: what stands above it.
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
    return one_line(value) if isinstance(value, str) else printable(format(value, form))
