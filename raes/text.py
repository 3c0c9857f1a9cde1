"""Text from outside (a user's code, files of a run directory, stores, Ray) made fit for messages: one line, printable,
bounded. It may hold what a terminal obeys, line breaks that forge further messages, halves of letters that no file
takes, or megabytes."""

from __future__ import annotations

import re
from html import escape

from raes.types import check_fault

SHOWN = 1_000
"""Characters of a text from outside that a message shows."""
KEPT = 16_000
"""Characters of a text from outside that are kept, where nobody has to read them at once."""
MESSAGE = 64_000
"""Characters of a message in all: a text from outside that nobody has cut fills no disk."""
COLOURS = re.compile(r"\x1b\[[0-9;]*m")
"""What colours the messages of other libraries; those of a terminal's other commands stay, as escape sequences."""
MARKS = re.compile(r"[\\`*_()!|~]")
"""What Markdown reads as more than letters within a line; square brackets alone are none."""


def printable(text: str) -> str:
    """The same on one line; what cannot be printed becomes its escape sequence, any white space a space."""
    if text.isprintable():
        return text
    return "".join(letter if letter.isprintable() else _escaped(letter) for letter in COLOURS.sub("", text))


def one_line(text: object, limit: int = SHOWN) -> str:
    """A text from outside on one line, cut where it is longer than `limit` characters."""
    whole = text if isinstance(text, str) else _text_of(text)
    shown = printable(" ".join(whole[: limit + 1].split()))
    if len(whole) <= limit and len(shown) <= limit:
        return shown
    return f"{shown[:limit]} ... ({len(whole):,} characters in all)"


def described(error: BaseException, limit: int = SHOWN) -> str:
    """An exception as `Type: message`, on one line; whatever its own code does."""
    text = _text_of(error)
    return one_line(f"{type(error).__name__}: {text}" if text else type(error).__name__, limit)


def markdown(text: object) -> str:
    """A text from outside as Markdown that shows it as it stands, in a table too."""
    return MARKS.sub(r"\\\g<0>", escape(one_line(text), quote=False))


def message(text: str) -> str:
    """A message of RAES, ready for a terminal or a log: its further lines are indented, so that none looks like another
    message."""
    first, *more = map(printable, text[:MESSAGE].strip("\n").split("\n"))
    return "\n".join([first, *(line if line.startswith(" ") else f"  {line}" for line in more)])


def _text_of(value: object) -> str:
    try:
        return str(value)
    except BaseException as error:  # whatever the user's code raises
        check_fault(error)
        return f"its text cannot be had: {type(error).__name__}"


def _escaped(letter: str) -> str:
    return " " if letter.isspace() else letter.encode("unicode_escape").decode("ascii")
