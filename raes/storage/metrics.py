"""metrics.jsonl and TensorBoard event files: the same flat keys, one record per generation."""

from __future__ import annotations

import errno
import json
import math
import os
import sys
from collections.abc import Iterable, Mapping, Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import numpy as np

from raes.storage.event_files import EventFiles, metrics_shown
from raes.storage.files import open_own, set_aside, write_atomically
from raes.storage.location import Location
from raes.storage.reading import read_file
from raes.types import UserError

Record = dict[str, float]
Histograms = dict[str, np.ndarray[Any, Any]]
"""Name -> values whose distribution TensorBoard shows."""

GENERATION = "progress/generation"
"""The key by which a record is found."""
LISTED = 6
"""How many keys a message lists."""


def check_key(key: str, records: Sequence[Record]) -> None:
    """Refuse a key that is no metric; one that no record has yet may be one.

    Raises:
        UserError: with the keys that are close.
    """
    known = metrics_shown().union({"progress/timesteps"}, *records)
    if key not in known:
        last = key.rpartition("/")[2]
        close = get_close_matches(key, known, LISTED) or [one for one in sorted(known) if last in one][:LISTED]
        meant = f"; close: {', '.join(close)}" if close else ""
        raise UserError(f"{key}: no record of this run has such a metric{meant}; docs/reference/metrics.md lists all")


class MetricsWriter:
    """Appends records to `metrics.jsonl` and `tensorboard/`.

    A resume first removes every record from the generation on that runs again, in both places, so that no reader
    ever sees two values for one step.
    """

    def __init__(
        self, run_dir: Path, config: Mapping[str, Any], next_generation: int, not_compared: tuple[str, ...] = ()
    ) -> None:
        """Open both, without the records from `next_generation` on.

        Args:
            run_dir: the run.
            config: of the run, shown as text and as hyper-parameters.
            next_generation: the one that is written next.
            not_compared: prefixes of the keys that are no hyper-parameters.
        """
        self._path = run_dir / "metrics.jsonl"
        _cut_records(run_dir, self._path, next_generation)
        by_timesteps = bool(config.get("tensorboard", {}).get("by_timesteps", False))
        self._events = EventFiles(run_dir, next_generation, by_timesteps)
        self._file = open_own(self._path, "a", buffering=1)
        if not next_generation:
            self._events.describe(flatten_config(config), not_compared)

    def write(self, record: Record, histograms: Histograms | None = None) -> None:
        """Append one generation's metrics, and distributions for TensorBoard only.

        JSON has no infinite numbers and no NaN, and TensorBoard draws none: such a metric is left out.
        """
        record = {key: value for key, value in record.items() if math.isfinite(value)}
        self._file.write(json.dumps(record, allow_nan=False) + "\n")
        if self._path.stat().st_size != os.fstat(self._file.fileno()).st_size:
            raise OSError(errno.ESTALE, "it was replaced while the run wrote to it", str(self._path))
        self._events.write(int(record[GENERATION]), record, histograms or {})

    def video(self, generation: int, gif: bytes) -> None:
        """Add an animated GIF to TensorBoard's page of images."""
        self._events.video(generation, gif)

    def flush(self) -> None:
        """Hand everything to the operating system, before a checkpoint relies on it."""
        self._file.flush()
        self._events.flush()

    def close(self) -> None:
        """Flush and close both."""
        self._file.close()
        self._events.close()


def flatten_config(config: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested mappings to dotted keys."""
    flat: dict[str, Any] = {}
    for key, value in config.items():
        if isinstance(value, Mapping) and value:
            flat |= flatten_config(value, f"{prefix}{key}.")
        else:
            flat[f"{prefix}{key}"] = value
    return flat


def read_records(path: Location) -> list[Record]:
    """All complete records of a metrics.jsonl; lines that a kill has cut, or that are none of ours, are skipped."""
    return _records((read_file(path) or b"").split(b"\n"))


def _records(lines: Iterable[bytes]) -> list[Record]:
    """The records among lines, one of each generation, in order."""
    records = list[Record]()
    for record in map(_record, lines):
        if record and (not records or record[GENERATION] > records[-1][GENERATION]):
            records.append(record)
    return records


def _record(line: bytes) -> Record | None:
    """A line's numbers; None where it is no generation's record."""
    try:
        content = json.loads(line)
    except (ValueError, RecursionError):
        return None
    if not isinstance(content, dict) or type(content.get(GENERATION)) is not int:
        return None
    largest = sys.float_info.max
    return {key: value for key, value in content.items() if type(value) in (int, float) and abs(value) <= largest}


def _cut_records(run_dir: Path, path: Path, next_generation: int) -> None:
    """Remove the records from `next_generation` on; what holds lines of something else is kept aside as it was."""
    content = read_file(path)
    lines = (content or b"").split(b"\n")
    if any(_record(line) is None for line in lines[:-1]):
        set_aside(run_dir, path)
    kept = [record for record in _records(lines) if record[GENERATION] < next_generation]
    write_atomically(path, "".join(json.dumps(record) + "\n" for record in kept).encode())
