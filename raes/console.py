"""What the terminal shows: one line a generation, a progress line on a terminal, plain lines in a pipe."""

from __future__ import annotations

import shutil
import sys
from typing import TextIO

from raes.config import Config
from raes.journal import Event
from raes.storage.metrics import Record


class Console:
    """Shows events of a run.

    One line a generation; on a terminal a status line with the time left stays below them.
    """

    def __init__(self, config: Config, stream: TextIO | None = None) -> None:
        self._config = config
        self._stream = stream or sys.stdout
        self._quiet = config.console == "quiet"
        self._live = config.console == "auto" and self._stream.isatty()
        self._best: float | None = None
        self._status = False

    def __call__(self, event: Event) -> None:
        """Show one event."""
        kind, content = event
        if kind == "notice":
            self.line(content)
        elif not self._quiet:
            self._record(content)

    def line(self, text: str) -> None:
        """A line that stays."""
        self._clear()
        self._stream.write(text + "\n")
        self._stream.flush()

    def close(self) -> None:
        """Leave the terminal clean."""
        self._clear()
        self._stream.flush()

    def _record(self, record: Record) -> None:
        evaluation = record.get("eval/return_mean")
        if evaluation is not None and (self._best is None or evaluation > self._best):
            self._best = evaluation
        self.line(describe(record))
        if self._live:
            self._show_status(record)

    def _show_status(self, record: Record) -> None:
        """The last line: how far, how long still, the best evaluation, speed and pool."""
        share, left = self._left(record)
        parts = []
        if share is not None:
            filled = round(20 * share)
            parts.append(f"[{'#' * filled}{'.' * (20 - filled)}] {100 * share:3.0f} %")
            parts.append(f"{duration(left)} left" if left is not None else "")
        if self._best is not None:
            parts.append(f"best {self._best:.1f}")
        if "speed/timesteps_per_second" in record:
            parts.append(f"{record['speed/timesteps_per_second']:,.0f} steps/s")
        parts.append(f"{record['pool/actors']:g} workers")
        parts.append("Ctrl-C stops and keeps everything")
        width = shutil.get_terminal_size((80, 24)).columns
        self._stream.write("  ".join(part for part in parts if part)[: width - 1])
        self._stream.flush()
        self._status = True

    def _left(self, record: Record) -> tuple[float | None, float | None]:
        """The share of the nearest limit that is done, and the seconds that are left to it."""
        config, seconds = self._config, record["progress/seconds"]
        shares = []
        if config.generations:
            shares.append((record["progress/generation"] + 1) / config.generations)
        if config.max_timesteps:
            shares.append(record["progress/timesteps"] / config.max_timesteps)
        if config.max_minutes:
            shares.append(seconds / (60 * config.max_minutes))
        if not shares:
            return None, None
        share = min(1.0, max(shares))
        return share, seconds * (1 - share) / share if share > 0 else None

    def _clear(self) -> None:
        if self._status:
            self._stream.write("\r\x1b[2K")
            self._status = False


def describe(record: Record) -> str:
    """One line for one generation."""
    parts = [f"gen {record['progress/generation']:>5g}"]
    if "returns/mean" in record:
        parts.append(f"return {record['returns/mean']:9.2f} +-{record['returns/std']:8.2f}")
        parts.append(f"length {record['episode/length_mean']:6.1f}")
    if "eval/return_mean" in record:
        half = record["eval/return_ci_high"] - record["eval/return_mean"]
        parts.append(f"eval {record['eval/return_mean']:9.2f} +-{half:7.2f}")
    parts.append(f"steps {record['progress/timesteps']:>11,.0f}")
    if "speed/timesteps_per_second" in record:
        parts.append(f"{record['speed/timesteps_per_second']:>8,.0f}/s")
    parts.append(duration(record["progress/seconds"]))
    if record["faults/episodes_quarantined"]:
        parts.append(f"left out {record['faults/episodes_quarantined']:g}")
    return "  ".join(parts)


def duration(seconds: float) -> str:
    """Hours, minutes and seconds."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}h{minutes:02d}m{rest:02d}s" if hours else f"{minutes}m{rest:02d}s"
