"""TensorBoard's event files of a run: metrics, distributions, videos, the configuration, the layout of the pages."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np

from raes.storage.files import open_own, set_aside
from raes.storage.reading import names_in
from raes.text import markdown

FLUSH_SECONDS = 10.0
"""Seconds after which TensorBoard sees new records."""

BINS = 40
"""Bins of a histogram."""
LARGEST_SCALAR = float(np.finfo(np.float32).max)
"""TensorBoard keeps scalars as float32."""
MOST_VALUES = 10_000
"""Values of a histogram at most: of a large policy's parameters only every n-th, so that it costs no time."""
BY_TIMESTEPS = ("eval/return_mean", "progress/seconds", "returns/max", "returns/mean", "returns/min")
"""Metrics that TensorBoard has a second time, as `by_timesteps/KEY`, whose step is the run's timesteps.

In TensorBoard's order of tags they are the first: the first charts, and the first results of its table of runs.
"""
PREFIX = "by_timesteps/"
FIRST = {
    "env": ("env.id", "env.game", "env.call", "env.name"),
    "algorithm": ("algorithm.name",),
    "seed": ("seed",),
    "sigma": ("algorithm.sigma",),
    "stepsize": ("optimizer.stepsize", "algorithm.stepsize"),
    "population": ("algorithm.population",),
    "pairs": ("algorithm.pairs",),
}
"""First columns of TensorBoard's table of hyper-parameters -> their keys, of which the first that there is counts."""
LAYOUT: dict[str, dict[str, tuple[str, ...]]] = {
    "1 evaluation": {
        "evaluation against timesteps": (f"{PREFIX}eval/return_mean",),
        "evaluation: mean and 95 % interval": ("eval/return_mean", "eval/return_ci_low", "eval/return_ci_high"),
    },
    "2 training": {
        "standard deviation": ("returns/std", "eval/return_std"),
        "timesteps per episode": ("episode/length_mean", "eval/length_mean"),
        "perturbed policies: mean, worst, best": ("returns/mean", "returns/min", "returns/max"),
    },
    "3 health of the search": {
        "step relative to theta": ("search/update_ratio",),
        "gradient": ("search/grad_norm",),
        "size of theta": ("search/theta_norm",),
        "sigma": ("search/sigma", "search/sigma_min", "search/sigma_max"),
        "novelty": ("search/novelty_mean", "search/archive_spread"),
    },
    "4 speed": {
        "timesteps per second": ("speed/timesteps_per_second",),
        "busy": ("speed/worker_busy_fraction", "speed/driver_busy_fraction"),
        "where the driver's seconds go": (
            "speed/wait_seconds", "speed/reduce_seconds", "speed/update_seconds", "speed/log_seconds",
            "speed/checkpoint_seconds", "speed/dispatch_seconds", "speed/ask_seconds",
        ),
        "workers": ("pool/actors",),
    },
    "5 faults": {
        "since the beginning": (
            "faults/actors_lost", "faults/tasks_reissued", "faults/tasks_copied", "faults/results_discarded",
            "faults/episodes_quarantined", "faults/may_differ",
        ),
    },
}  # fmt: skip
"""TensorBoard's page of custom scalars: group -> chart -> tags. The page shows those of `MARGINS` last."""
MARGINS = ("eval/return_mean", "returns/mean")
"""First tags of the charts whose other two tags are the borders of a shaded area."""
FRAME = 16
"""Bytes of an event file around each event."""
LONGEST_CUT = 1 << 14
"""Bytes at the end of an event file that a kill may have cut; where more cannot be read, the file is damaged."""


class EventFiles:
    """Writes the event files in `RUN/tensorboard`.

    They describe no experiment, so that TensorBoard itself finds the hyper-parameters in which the runs differ.
    """

    def __init__(self, run_dir: Path, next_generation: int, by_timesteps: bool) -> None:
        """Open a file, and remove what the others have from `next_generation` on.

        Args:
            run_dir: the run.
            next_generation: the one that is written next.
            by_timesteps: whether there are curves against timesteps too.
        """
        with _hidden("torch"):
            from tensorboardX.event_file_writer import EventsWriter

        folder = run_dir / "tensorboard"
        _cut_events(run_dir, folder, next_generation)
        folder.mkdir(exist_ok=True)
        # Not SummaryWriter: its queue loses events at a kill, also after its flush().
        self._events = EventsWriter(str(folder / "events"), f".from_{next_generation:06d}")
        self._by_timesteps = by_timesteps
        self._flushed_at = 0.0

    def write(self, step: int, record: Mapping[str, float], histograms: Mapping[str, np.ndarray[Any, Any]]) -> None:
        """Add one generation's metrics and distributions.

        Curves against timesteps follow those of their generation, by which a resume finds them.
        """
        from tensorboardX.summary import histogram, scalar

        shown = {key: value for key, value in record.items() if abs(value) <= LARGEST_SCALAR}
        for key, value in shown.items():
            self._add(scalar(key, value), step)
        if self._by_timesteps and "progress/timesteps" in record:
            for key in BY_TIMESTEPS:
                if key in shown:
                    self._add(scalar(f"{PREFIX}{key}", shown[key]), int(record["progress/timesteps"]))
        for name, values in histograms.items():
            some = values.ravel()[:: -(-values.size // MOST_VALUES)]
            # Numbers may be too large or too close to each other for bins.
            with suppress(ValueError), np.errstate(over="ignore", invalid="ignore"):
                self._add(histogram(f"histograms/{name}", some, BINS), step)
        if time.monotonic() - self._flushed_at >= FLUSH_SECONDS:
            self.flush()

    def video(self, generation: int, gif: bytes) -> None:
        """Add an animated GIF to TensorBoard's page of images."""
        from tensorboardX.proto.summary_pb2 import Summary

        columns, rows = (int.from_bytes(gif[at : at + 2], "little") for at in (6, 8))
        image = Summary.Image(height=rows, width=columns, colorspace=3, encoded_image_string=gif)
        self._add(Summary(value=[Summary.Value(tag="video", image=image)]), generation)
        self.flush()

    def describe(self, config: Mapping[str, Any], not_compared: tuple[str, ...]) -> None:
        """Write a configuration as text and as hyper-parameters, and the layout of the charts.

        Args:
            config: dotted key -> value.
            not_compared: prefixes of the keys that are no hyper-parameters.
        """
        from tensorboardX.summary import custom_scalars, hparams, text

        _, *session = hparams(hyper_parameters(config, not_compared), {})
        for summary in session:
            self._add(summary, 0)
        lines = "\n".join(f"| {markdown(key)} | {markdown(value)} |" for key, value in config.items())
        self._add(text("config", f"| key | value |\n| --- | --- |\n{lines}"), 0)
        charts = {
            group: {
                title: ["Margin" if tags[0] in MARGINS and len(tags) == 3 else "Multiline", [*tags]]
                for title, tags in content.items()
                if self._by_timesteps or not tags[0].startswith(PREFIX)
            }
            for group, content in LAYOUT.items()
        }
        self._add(custom_scalars(charts), 0)

    def flush(self) -> None:
        """Hand everything to the operating system."""
        self._events.flush()
        self._flushed_at = time.monotonic()

    def close(self) -> None:
        """Flush and close."""
        self._events.close()

    def _add(self, summary: Any, step: int) -> None:
        from tensorboardX.proto.event_pb2 import Event

        self._events.write_event(Event(wall_time=time.time(), step=step, summary=summary))


def hyper_parameters(config: Mapping[str, Any], not_compared: tuple[str, ...]) -> dict[str, bool | int | float | str]:
    """The hyper-parameters of a configuration; TensorBoard shows those that differ first, in the order of their names.

    `FIRST` have a number before their names.

    Args:
        config: dotted key -> value.
        not_compared: prefixes of the keys that are no hyper-parameters.
    """
    named, taken = dict[str, Any](), set[str]()
    for number, (name, keys) in enumerate(FIRST.items(), 1):
        there = [key for key in keys if config.get(key) is not None]
        if there:
            named[f"{number} {name}"] = config[there[0]]
            taken.update(there)
    named |= {key: value for key, value in config.items() if key not in taken and not key.startswith(not_compared)}
    return {key: value if isinstance(value, bool | int | float | str) else str(value) for key, value in named.items()}


def metrics_shown() -> set[str]:
    """The metrics that charts show."""
    tags = {tag for charts in LAYOUT.values() for tags in charts.values() for tag in tags}
    return {tag.removeprefix(PREFIX) for tag in tags}.union(BY_TIMESTEPS)


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
        writer, stays = RecordWriter(str(temporary)), True
        with suppress(DecodeError):
            for raw in RawEventFileLoader(str(path)).Load() if path.is_file() else ():
                event = Event.FromString(raw)
                if not any(value.tag.startswith(PREFIX) for value in event.summary.value):
                    stays = event.step < next_generation
                if stays:
                    writer.write(raw)
                read += len(raw) + FRAME
        writer.close()
        if path.is_dir() or path.stat().st_size - read > LONGEST_CUT:
            set_aside(run_dir, path)
        temporary.rename(path)
