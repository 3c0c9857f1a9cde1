"""metrics.jsonl and TensorBoard event files: the same flat keys, one record a generation."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from raes.storage.files import write_atomically
from raes.storage.place import Place

Record = dict[str, float]

FLUSH_SECONDS = 10.0
"""How long TensorBoard may lag behind."""


class MetricsWriter:
    """Appends records to `metrics.jsonl` and `tensorboard/`.

    A resume first removes every record from the generation on that runs again, in both places, so that no reader
    ever sees two values for one step.
    """

    def __init__(self, run_dir: Path, config: Mapping[str, Any], next_generation: int) -> None:
        from tensorboardX.event_file_writer import EventsWriter

        self._path = run_dir / "metrics.jsonl"
        folder = run_dir / "tensorboard"
        _cut_records(self._path, next_generation)
        _cut_events(folder, next_generation)
        self._file = self._path.open("a", buffering=1)
        folder.mkdir(exist_ok=True)
        # Not SummaryWriter: its queue loses events at a kill, also after its flush().
        self._events = EventsWriter(str(folder / "events"), f".from_{next_generation:06d}")
        self._flushed_at = 0.0
        if not next_generation:
            self._describe(config)

    def write(self, record: Record) -> None:
        """One generation's figures."""
        from tensorboardX.summary import scalar

        self._file.write(json.dumps(record) + "\n")
        step = int(record["progress/generation"])
        for key, value in record.items():
            self._add(scalar(key, value), step)
        if time.monotonic() - self._flushed_at >= FLUSH_SECONDS:
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

    def _describe(self, config: Mapping[str, Any]) -> None:
        """The resolved configuration as hyper-parameters and as text."""
        from tensorboardX.summary import hparams, text

        flat = flatten_config(config)
        values = {
            key: value if isinstance(value, bool | int | float | str) else str(value) for key, value in flat.items()
        }
        for summary in hparams(values, {"eval/return_mean": 0.0}):
            self._add(summary, 0)
        lines = "\n".join(f"| {key} | {value} |" for key, value in flat.items())
        self._add(text("config", f"| key | value |\n| --- | --- |\n{lines}"), 0)


def flatten_config(config: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested mappings to dotted keys."""
    flat: dict[str, Any] = {}
    for key, value in config.items():
        if isinstance(value, Mapping) and value:
            flat |= flatten_config(value, f"{prefix}{key}.")
        else:
            flat[f"{prefix}{key}"] = value
    return flat


def read_records(path: Place) -> list[Record]:
    """All whole records of a metrics.jsonl; a line cut short by a kill is passed over."""
    records = []
    if path.exists():
        for line in path.read_text().splitlines():
            try:
                records.append(json.loads(line))
            except ValueError:
                continue
    return records


def _cut_records(path: Path, next_generation: int) -> None:
    records = [record for record in read_records(path) if record["progress/generation"] < next_generation]
    write_atomically(path, "".join(json.dumps(record) + "\n" for record in records).encode())


def _cut_events(folder: Path, next_generation: int) -> None:
    """Rewrite the event files without the steps from `next_generation` on."""
    files = sorted(folder.glob("events.out.tfevents.*")) if folder.exists() else []
    if not next_generation:
        for path in files:
            path.unlink()
    if not next_generation or not files:
        return
    from tensorboard.backend.event_processing.event_file_loader import RawEventFileLoader
    from tensorboardX.proto.event_pb2 import Event
    from tensorboardX.record_writer import RecordWriter

    for path in files:
        temporary = path.with_name(".writing")  # a name that TensorBoard does not read
        writer = RecordWriter(str(temporary))
        for raw in RawEventFileLoader(str(path)).Load():
            if Event.FromString(raw).step < next_generation:
                writer.write(raw)
        writer.close()
        temporary.rename(path)
