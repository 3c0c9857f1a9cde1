"""metrics.jsonl and TensorBoard event files: the same flat keys, one record per generation."""

from __future__ import annotations

import errno
import json
import math
import os
import sys
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import numpy as np

from raes.storage.files import open_own, set_aside, write_atomically
from raes.storage.location import Location
from raes.storage.reading import names_in, read_file
from raes.text import markdown
from raes.types import UserError

Record = dict[str, float]
Histograms = dict[str, np.ndarray[Any, Any]]
"""Name -> values whose distribution TensorBoard shows."""

GENERATION = "progress/generation"
"""The key by which a record is found."""
FLUSH_SECONDS = 10.0
"""Seconds after which TensorBoard sees new records."""

BINS = 40
"""Bins of a histogram."""
LARGEST = 1e150
"""Values above, whose squares are no numbers, have no histogram."""
LARGEST_SCALAR = float(np.finfo(np.float32).max)
"""TensorBoard keeps scalars as float32."""
MOST_VALUES = 10_000
"""Values of a histogram at most: of a large policy's parameters only every n-th, so that it costs no time."""
RESULTS = ("eval/return_mean", "returns/mean", "progress/timesteps", "progress/seconds")
"""Results in TensorBoard's table of hyper-parameters."""
LAYOUT: dict[str, dict[str, tuple[str, ...]]] = {
    "1 returns": {
        "evaluation: mean and 95 % interval": ("eval/return_mean", "eval/return_ci_low", "eval/return_ci_high"),
        "perturbed policies: mean, worst, best": ("returns/mean", "returns/min", "returns/max"),
        "standard deviation": ("returns/std", "eval/return_std"),
        "timesteps per episode": ("episode/length_mean", "eval/length_mean"),
    },
    "2 health of the search": {
        "step relative to theta": ("search/update_ratio",),
        "gradient": ("search/grad_norm",),
        "size of theta": ("search/theta_norm",),
        "sigma": ("search/sigma", "search/sigma_min", "search/sigma_max"),
        "novelty": ("search/novelty_mean", "search/archive_spread"),
    },
    "3 speed": {
        "timesteps per second": ("speed/timesteps_per_second",),
        "busy": ("speed/worker_busy_fraction", "speed/driver_busy_fraction"),
        "where the driver's seconds go": (
            "speed/wait_seconds", "speed/reduce_seconds", "speed/update_seconds", "speed/log_seconds",
            "speed/checkpoint_seconds", "speed/dispatch_seconds", "speed/ask_seconds",
        ),
        "workers": ("pool/actors",),
    },
    "4 faults": {
        "since the beginning": (
            "faults/actors_lost", "faults/tasks_reissued", "faults/tasks_copied", "faults/results_discarded",
            "faults/episodes_quarantined", "faults/may_differ",
        ),
    },
}  # fmt: skip
"""TensorBoard's page of custom scalars: group -> chart -> tags."""
MARGINS = ("eval/return_mean", "returns/mean")
"""First tags of the charts whose other two tags are the borders of a shaded area."""


FRAME = 16
"""Bytes of an event file around each event."""
LONGEST_CUT = 1 << 14
"""Bytes at the end of an event file that a kill may have cut; where more cannot be read, the file is damaged."""
LISTED = 6
"""How many keys a message lists."""


def check_key(key: str, records: Sequence[Record]) -> None:
    """Refuse a key that is no metric; one that no record has yet may be one.

    Raises:
        UserError: with the keys that are close.
    """
    known = {tag for charts in LAYOUT.values() for tags in charts.values() for tag in tags}.union(RESULTS, *records)
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
        with _hidden("torch"):
            from tensorboardX.event_file_writer import EventsWriter

        self._path = run_dir / "metrics.jsonl"
        folder = run_dir / "tensorboard"
        _cut_records(run_dir, self._path, next_generation)
        _cut_events(run_dir, folder, next_generation)
        self._file = open_own(self._path, "a", buffering=1)
        folder.mkdir(exist_ok=True)
        # Not SummaryWriter: its queue loses events at a kill, also after its flush().
        self._events = EventsWriter(str(folder / "events"), f".from_{next_generation:06d}")
        self._flushed_at = 0.0
        if not next_generation:
            self._describe(flatten_config(config), not_compared)

    def write(self, record: Record, histograms: Histograms | None = None) -> None:
        """Append one generation's metrics, and distributions for TensorBoard only.

        JSON has no infinite numbers and no NaN, and TensorBoard draws none: such a metric is left out.
        """
        from tensorboardX.summary import histogram, scalar

        record = {key: value for key, value in record.items() if math.isfinite(value)}
        self._file.write(json.dumps(record, allow_nan=False) + "\n")
        if self._path.stat().st_size != os.fstat(self._file.fileno()).st_size:
            raise OSError(errno.ESTALE, "it was replaced while the run wrote to it", str(self._path))
        step = int(record[GENERATION])
        for key, value in record.items():
            if abs(value) <= LARGEST_SCALAR:
                self._add(scalar(key, value), step)
        for name, values in (histograms or {}).items():
            some = values.ravel()[:: -(-values.size // MOST_VALUES)]
            with (
                suppress(ValueError),
                np.errstate(over="ignore", invalid="ignore"),
            ):  # numbers too large or too close to each other for bins
                self._add(histogram(f"histograms/{name}", some, BINS), step)
        if time.monotonic() - self._flushed_at >= FLUSH_SECONDS:
            self._flush_events()

    def video(self, generation: int, gif: bytes) -> None:
        """Add an animated GIF to TensorBoard's page of images."""
        from tensorboardX.proto.summary_pb2 import Summary

        columns, rows = (int.from_bytes(gif[at : at + 2], "little") for at in (6, 8))
        image = Summary.Image(height=rows, width=columns, colorspace=3, encoded_image_string=gif)
        self._add(Summary(value=[Summary.Value(tag="video", image=image)]), generation)
        self._flush_events()

    def flush(self) -> None:
        """Hand everything to the operating system, before a checkpoint relies on it."""
        self._file.flush()
        self._flush_events()

    def close(self) -> None:
        """Flush and close both."""
        self._file.close()
        self._events.close()

    def _add(self, summary: Any, step: int) -> None:
        from tensorboardX.proto.event_pb2 import Event

        self._events.write_event(Event(wall_time=time.time(), step=step, summary=summary))

    def _flush_events(self) -> None:
        self._events.flush()
        self._flushed_at = time.monotonic()

    def _describe(self, config: Mapping[str, Any], not_compared: tuple[str, ...]) -> None:
        """Write the resolved configuration as text and as hyper-parameters, and the layout of the charts."""
        from tensorboardX.summary import custom_scalars, hparams, text

        values = {
            key: value if isinstance(value, bool | int | float | str) else str(value)
            for key, value in config.items()
            if not key.startswith(not_compared)
        }
        for summary in hparams(values, dict.fromkeys(RESULTS)):
            self._add(summary, 0)
        lines = "\n".join(f"| {markdown(key)} | {markdown(value)} |" for key, value in config.items())
        self._add(text("config", f"| key | value |\n| --- | --- |\n{lines}"), 0)
        charts = {
            group: {
                title: ["Margin" if tags[0] in MARGINS and len(tags) == 3 else "Multiline", [*tags]]
                for title, tags in content.items()
            }
            for group, content in LAYOUT.items()
        }
        self._add(custom_scalars(charts), 0)


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


@contextmanager
def _hidden(package: str) -> Iterator[None]:
    """Hide a package while another is imported that would import it and can do without.

    tensorboardX imports PyTorch where it is installed, only for its types, which takes longer than the rest of a short
    run.
    """
    if package in sys.modules:
        yield
        return
    sys.modules[package] = None  # type: ignore[assignment]
    try:
        yield
    finally:
        del sys.modules[package]


def _cut_records(run_dir: Path, path: Path, next_generation: int) -> None:
    """Remove the records from `next_generation` on; what holds lines of something else is kept aside as it was."""
    content = read_file(path)
    lines = (content or b"").split(b"\n")
    if any(_record(line) is None for line in lines[:-1]):
        set_aside(run_dir, path)
    kept = [record for record in _records(lines) if record[GENERATION] < next_generation]
    write_atomically(path, "".join(json.dumps(record) + "\n" for record in kept).encode())


def _cut_events(run_dir: Path, folder: Path, next_generation: int) -> None:
    """Rewrite the event files without the steps from `next_generation` on; set aside those that cannot be read."""
    files = [folder / name for name in names_in(folder) if name.startswith("events.out.tfevents.")]
    if not next_generation:
        for path in files:
            path.unlink()
    if not next_generation or not files:
        return
    from google.protobuf.message import DecodeError
    from tensorboard.backend.event_processing.event_file_loader import RawEventFileLoader
    from tensorboardX.proto.event_pb2 import Event
    from tensorboardX.record_writer import RecordWriter

    for path in files:
        temporary, read = path.with_name(".writing"), 0  # a name that TensorBoard does not read
        open_own(temporary, "wb").close()
        writer = RecordWriter(str(temporary))
        with suppress(DecodeError):
            for raw in RawEventFileLoader(str(path)).Load() if path.is_file() else ():
                if Event.FromString(raw).step < next_generation:
                    writer.write(raw)
                read += len(raw) + FRAME
        writer.close()
        if path.is_dir() or path.stat().st_size - read > LONGEST_CUT:
            set_aside(run_dir, path)
        temporary.rename(path)
