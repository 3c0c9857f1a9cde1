"""A folder for TensorBoard in which runs have the names of the report; TensorBoard names a run after its folder."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from pathlib import Path

from raes.report.groups import RunGroup

EVENTS = "tensorboard"
"""The folder of a run that has its event files."""


def link_runs(groups: Sequence[RunGroup], folder: Path) -> None:
    """Make `TASK/METHOD/seed N` in the folder, a link to the event files of each run on this machine.

    A link is no copy: TensorBoard shows what a run writes later too. What an earlier report linked is removed.
    """
    if folder.is_dir() and not folder.is_symlink():
        _remove_links(folder)
    for group in groups:
        for run in group.runs:
            events = Path(run.path) / EVENTS
            if events.is_dir():
                link = folder / _name(group.task) / _name(group.method) / f"seed {run.seed}"
                link.parent.mkdir(parents=True, exist_ok=True)
                link.symlink_to(os.path.relpath(events.resolve(), link.parent.resolve()), target_is_directory=True)


def _name(text: str) -> str:
    """A part of a path that every file system takes."""
    return re.sub(r"[^\w.=, +-]", "_", text)[:100].strip(". ") or "_"


def _remove_links(folder: Path) -> None:
    """Remove the links and the folders that then are empty; files of anybody else stay."""
    for path, folders, files in os.walk(folder, topdown=False):
        for name in (*folders, *files):
            if (Path(path) / name).is_symlink():
                (Path(path) / name).unlink()
        if not os.listdir(path):
            os.rmdir(path)
