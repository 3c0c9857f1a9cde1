"""The trained policies that come along: `pretrained:NAME` in the place of a run directory that is read."""

from __future__ import annotations

from pathlib import Path

from raes.types import UserError
from raes.validation import no_such

PREFIX = "pretrained:"
FOLDER = Path(__file__).parents[1] / "pretrained"
"""Run directories, each with its best checkpoint, its evaluations, and how it was made."""


def names() -> list[str]:
    """The policies that there are."""
    return sorted(path.parent.name for path in FOLDER.glob("*/config.yaml"))


def pretrained(text: str) -> Path | None:
    """The run directory of `pretrained:NAME`; None where a text names something else.

    Raises:
        UserError: there is no such policy.
    """
    if not text.startswith(PREFIX):
        return None
    name = text.removeprefix(PREFIX)
    if name not in names():
        raise UserError(f"{text}: {no_such('policy', name, names())}")
    return FOLDER / name


def is_pretrained(run_dir: object) -> bool:
    """Whether it is one of them, in which nothing is written."""
    return isinstance(run_dir, Path) and run_dir.parent == FOLDER
