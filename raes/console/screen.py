"""Where the console writes: a terminal whose last line is overwritten, a pipe, or a notebook's cell.

No library: what is needed is one line that is cleared and written again, at the width that the terminal has now, and
whose least important pieces go where there is no room. `rich` hides the cursor, leaves rows behind on a terminal that
has become narrower, fails where an encoding lacks a character, and needs ipywidgets in a notebook.
"""

from __future__ import annotations

import io
import os
import shutil
import sys
from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from typing import Any, Protocol, TextIO

from raes.console.colours import YELLOW, painted
from raes.console.output import put
from raes.text import message, printable

KEPT_FREE = 3
"""Columns at the right edge: some terminals wrap after the last one, and a terminal writes ^C behind the status."""
Parts = list[tuple[int, str]]
"""A line in pieces from left to right, each with its rank: where there is no room for all, the highest rank goes."""
Styles = Mapping[int, str]
NO_STYLES: Styles = {}
WARNING = "warning:"
"""How a line begins that a terminal shows in another colour."""


class Screen(Protocol):
    """What the console needs.

    Attributes:
        has_status: whether a status is seen.
    """

    has_status: bool

    def line(self, text: str) -> None:
        """A line that stays."""

    def record(self, parts: Parts, styles: Styles = NO_STYLES) -> None:
        """One generation's line; `styles` of its pieces where there are colours, by their rank."""

    def status(self, bar: float | None, parts: Parts) -> None:
        """The line that changes all the time: a share that is done, if there is one, and figures."""

    def close(self) -> None:
        """Leave it clean."""


class Plain:
    """Lines and nothing else, for a pipe or a file; no escape sequences, no status."""

    has_status = False

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def line(self, text: str) -> None:
        """See `Screen`."""
        self._put(message(text) + "\n")

    def record(self, parts: Parts, styles: Styles = NO_STYLES) -> None:
        """See `Screen`; whole, whatever its length."""
        self.line(joined(parts))

    def status(self, bar: float | None, parts: Parts) -> None:
        """Not shown."""

    def close(self) -> None:
        """Nothing is to be cleaned."""

    def _put(self, text: str) -> None:
        """Write what the stream's encoding can hold; a program that calls us may have lost its output."""
        put(self._stream, text)


class Terminal(Plain):
    """The status is the last line; it never wraps, and it follows the terminal's width."""

    has_status = True

    def __init__(self, stream: TextIO) -> None:
        super().__init__(stream)
        self._glyphs = glyphs(getattr(stream, "encoding", None) or "utf-8")
        self._shown = 0
        if os.name == "nt":
            os.system("")  # lets the console of Windows understand escape sequences

    def line(self, text: str) -> None:
        """See `Screen`."""
        style = YELLOW if text.startswith(WARNING) else ""
        self._put(self._cleared() + painted(message(text), style, self._stream) + "\n")

    def record(self, parts: Parts, styles: Styles = NO_STYLES) -> None:
        """See `Screen`; as much of it as one line holds."""
        shown = fitting(parts, self._width())  # clean from here on
        texts = [painted(text, styles.get(rank, ""), self._stream) for rank, text in shown]
        self._put(f"{self._cleared()}{'  '.join(texts)}\n")

    def status(self, bar: float | None, parts: Parts) -> None:
        """See `Screen`."""
        width = self._width()
        text = with_bar(bar, parts, width, self._glyphs)
        self._put(self._cleared(width) + text)
        self._shown = len(text)

    def close(self) -> None:
        """Take the status away; the cursor, which was never hidden, stands at the beginning of an empty line."""
        self._put(self._cleared())

    def _width(self) -> int:
        """Columns that may be used at this moment."""
        try:
            columns = os.get_terminal_size(self._stream.fileno()).columns
        except (OSError, ValueError, AttributeError):  # no real terminal behind it
            columns = 0
        return max(1, (columns or shutil.get_terminal_size((80, 24)).columns) - KEPT_FREE)

    def _cleared(self, width: int | None = None) -> str:
        """What removes the status, also where the terminal has become narrower and has broken it into several rows."""
        if not self._shown:
            return ""
        rows = (self._shown - 1) // ((width or self._width()) + KEPT_FREE)
        self._shown = 0
        return "\r" + (f"\x1b[{rows}A" if rows else "") + "\x1b[J"


class Notebook:
    """Lines are printed; the newest generation and the status replace each other in one place below them."""

    WIDTH = 110
    has_status = True

    def __init__(self) -> None:
        self._handle: Any = None
        self._record, self._status = "", ""

    def line(self, text: str) -> None:
        """See `Screen`."""
        put(sys.stdout, message(text) + "\n")

    def record(self, parts: Parts, styles: Styles = NO_STYLES) -> None:
        """See `Screen`; without colours."""
        self._record = joined(parts)
        self._show()

    def status(self, bar: float | None, parts: Parts) -> None:
        """See `Screen`."""
        self._status = with_bar(bar, parts, self.WIDTH, glyphs("utf-8"))
        self._show()

    def close(self) -> None:
        """The last generation's line stays."""
        self._status = ""
        if self._handle is not None:
            self._show()

    def _show(self) -> None:
        display = import_module("IPython.display").display
        content = {"text/plain": "\n".join(text for text in (self._record, self._status) if text)}
        if self._handle is None:
            self._handle = display(content, raw=True, display_id=True)
        else:
            self._handle.update(content, raw=True)


def screen(stream: TextIO | None, plain: bool) -> Screen:
    """The one that fits what the lines are written to; by default to stdout."""
    if stream is None and not plain and in_notebook():
        return Notebook()
    stream = stream or sys.stdout or io.StringIO()  # a program without an output
    lively = not plain and stream.isatty() and os.environ.get("TERM") != "dumb"
    return Terminal(stream) if lively else Plain(stream)


def in_notebook() -> bool:
    """Whether this process is the kernel of a notebook."""
    shell = sys.modules["IPython"].get_ipython() if "IPython" in sys.modules else None
    return hasattr(shell, "kernel")


def show_film(path: Path) -> None:
    """Show an mp4 below the cell of a notebook, which keeps it."""
    module: Any = import_module("IPython.display")
    module.display(module.Video(str(path), embed=True))


def joined(parts: Parts) -> str:
    """The pieces as one line."""
    return printable("  ".join(text for _, text in parts))


def fitting(parts: Parts, width: int) -> Parts:
    """As many of the pieces as fit; those of the highest rank go first, and the last one is cut where it must be."""
    while len(parts) > 1 and len(joined(parts)) > width:
        worst = max(range(len(parts)), key=lambda place: parts[place][0])
        parts = parts[:worst] + parts[worst + 1 :]
    return [(rank, printable(text)[:width]) for rank, text in parts]


def with_bar(share: float | None, parts: Parts, width: int, marks: tuple[str, str]) -> str:
    """The pieces behind a bar that takes the room they leave, of 8 to 30 columns; none where it is narrow."""
    if share is None or width < 40:
        return joined(fitting(parts, width))
    text = joined(fitting(parts, width - 10))
    columns = min(30, width - 2 - len(text))
    filled = round(columns * share)
    return f"{marks[0] * filled}{marks[1] * (columns - filled)}  {text}"


def glyphs(encoding: str) -> tuple[str, str]:
    """Done and to do, as the encoding can write them: cp1252 and ASCII have no blocks."""
    try:
        "█░".encode(encoding)
    except (UnicodeEncodeError, LookupError):
        return "#", "."
    return "█", "░"
