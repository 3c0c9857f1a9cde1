"""The file of a search of a function, `RUN_DIR/search.npz`, from which it goes on after a stop or a kill.

It holds plain arrays and JSON, no pickles, and is replaced as a whole.
"""

from __future__ import annotations

import io
import json
import time
from pathlib import Path
from typing import Any

import numpy as np

from raes.api.progress import Progress
from raes.storage import tree
from raes.storage.files import write_atomically
from raes.storage.reading import read_arrays, read_file
from raes.text import described
from raes.types import UserError

NAME = "search.npz"
SCALARS, FACTS = "__scalars__", "__facts__"
LEAST_SECONDS = 1.0
"""Between two writes of a search that goes on."""
COST = 50.0
"""A write comes at the earliest after so many times the seconds that the last one took."""


class SearchFile:
    """Writes and reads the file of one search."""

    def __init__(self, run_dir: str | Path, resume: str, facts: dict[str, Any]) -> None:
        """Make the folder.

        Args:
            run_dir: of the search.
            resume: `never`, which refuses a folder that holds a search, or `auto`.
            facts: what decides the points of the search, as JSON has it.

        Raises:
            UserError: there is a search already, or the folder cannot be made.
        """
        if resume not in ("never", "auto"):
            raise UserError(f"resume={resume!r}: must be 'never' or 'auto'")
        self._path, self._facts = Path(run_dir) / NAME, json.loads(json.dumps(facts))
        self._due = time.monotonic() + LEAST_SECONDS
        self._newest: Progress | None = None
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise UserError(f"run_dir={run_dir} cannot be made: {described(error)}") from error
        if resume == "never" and self._path.exists():
            raise UserError(f"run_dir={run_dir} holds a search; give resume='auto' to go on, or another run_dir")

    def load(self, template: Progress) -> Progress | None:
        """What was written last, with the fields of a template; None where there is nothing yet.

        Raises:
            UserError: it is damaged, or of another search.
        """
        content = read_file(self._path)
        if content is None:
            return None
        try:
            arrays = read_arrays(content)
            scalars, facts = (json.loads(str(arrays.pop(name))) for name in (SCALARS, FACTS))
            if facts == self._facts:
                return tree.restore(template, arrays, scalars)
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise UserError(f"{self._path} is damaged ({described(error)}); remove it to start over") from error
        changed = [key for key in sorted(facts.keys() | self._facts.keys()) if facts.get(key) != self._facts.get(key)]
        what = ", ".join(f"{key}: {facts.get(key)} -> {self._facts.get(key)}" for key in changed)
        raise UserError(f"{self._path} was made with other arguments ({what}); give the same ones, or another run_dir")

    def save_if_due(self, progress: Progress) -> None:
        """Write it where the last write is long ago; it is remembered in any case."""
        self._newest = progress
        if time.monotonic() >= self._due:
            self.save(progress)

    def save_last(self) -> None:
        """Write what was given last, if anything."""
        if self._newest is not None:
            self.save(self._newest)

    def save(self, progress: Progress) -> None:
        """Write it."""
        begun = time.monotonic()
        arrays, scalars = tree.flatten(progress)
        named = arrays | {SCALARS: np.array(json.dumps(scalars)), FACTS: np.array(json.dumps(self._facts))}
        buffer = io.BytesIO()
        np.savez(buffer, **named)
        write_atomically(self._path, buffer.getvalue())
        now = time.monotonic()
        self._due = now + max(LEAST_SECONDS, COST * (now - begun))
