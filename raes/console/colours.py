"""Colours on a terminal. They are added to a text that has been cleaned, so that no text from outside can set any."""

from __future__ import annotations

import os
from typing import Any

BOLD, RED, GREEN, YELLOW, CYAN = "1", "1;31", "1;32", "33", "36"
"""Parameters of the escape sequence "select graphic rendition" (ECMA-48, 8.3.117)."""


def has_colours(stream: Any) -> bool:
    """Whether a stream is a terminal that shows colours, and NO_COLOR (no-color.org) does not refuse them."""
    if os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb":
        return False
    try:
        return bool(stream.isatty())
    except (ValueError, AttributeError):  # closed, or none
        return False


def painted(text: str, style: str, stream: Any) -> str:
    """A clean text in a style, where the stream is a terminal that shows it."""
    return f"\x1b[{style}m{text}\x1b[0m" if style and text and has_colours(stream) else text
