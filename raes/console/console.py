"""What is shown of a run: a line a generation, and a status with the time left, on a terminal and in a notebook."""

from __future__ import annotations

from collections import deque
from typing import TextIO

from raes.config.schema import Config
from raes.console.screen import Parts, joined, screen
from raes.storage.metrics import Record
from raes.training.events import Event, Progress

SPEED_SECONDS = 15.0
"""Over how long the speed in the status is taken."""


class Console:
    """Shows events of a run, as `console` says: `auto`, `plain` (no status) or `quiet` (notices only)."""

    def __init__(self, config: Config, stream: TextIO | None = None) -> None:
        self._config = config
        self._quiet = config.console == "quiet"
        self._screen = screen(stream, plain=config.console != "auto")
        self._lives: deque[Progress] = deque()
        self._first: Progress | None = None

    def __call__(self, event: Event) -> None:
        """Show one event."""
        kind, content = event
        if kind == "notice":
            self._screen.line(content)
        elif self._quiet:
            return
        elif kind == "record":
            self._screen.record(described(content))
        if self._lives or kind == "live":
            self._status(content if kind == "live" else self._lives[-1])

    def close(self) -> None:
        """Leave the terminal clean."""
        self._screen.close()

    def _status(self, live: Progress) -> None:
        """How far, how long still, the best evaluation, speed, pool and faults."""
        self._first = self._first or live
        if not self._lives or live.seconds > self._lives[-1].seconds:
            self._lives.append(live)
        while len(self._lives) > 2 and live.seconds - self._lives[1].seconds >= SPEED_SECONDS:
            self._lives.popleft()
        share = done(self._config, live)
        self._screen.status(share, self._parts(live, share))

    def _parts(self, live: Progress, share: float | None) -> Parts:
        parts: Parts = []
        if share is not None:
            parts.append((0, f"{100 * share:3.0f} %"))
        left = self._left(live, share)
        parts.append((1, duration(live.seconds)) if left is None else (1, f"{duration(left)} left"))
        of = f"{live.answered}/{live.asked}"
        parts.append((4, f"evaluation {of}" if live.evaluating else f"gen {live.generation} {of}"))
        if live.best is not None:
            parts.append((2, f"best {live.best:.1f}"))
        if (speed := self._speed()) is not None:
            parts.append((5, f"{speed:,.0f} steps/s"))
        pool = f"{live.workers} worker{'s' if live.workers != 1 else ''}"
        parts.append((3, f"{live.starting} of {pool} starting") if live.starting else (6, pool))
        if live.actors_lost:
            parts.append((3, f"lost {live.actors_lost}"))
        if live.quarantined:
            parts.append((3, f"left out {live.quarantined}"))
        parts.append((9, "Ctrl-C stops and keeps everything"))
        return parts

    def _left(self, live: Progress, share: float | None) -> float | None:
        """Seconds to the nearest limit, at the pace since this command began; None while there is none to tell."""
        assert self._first is not None
        before = done(self._config, self._first)
        if share is None or before is None or share <= before:
            return None
        return (1 - share) * (live.seconds - self._first.seconds) / (share - before)

    def _speed(self) -> float | None:
        """Timesteps a second of late."""
        first, last = self._lives[0], self._lives[-1]
        if last.seconds - first.seconds < 1:
            return None
        return max(0.0, (last.timesteps - first.timesteps) / (last.seconds - first.seconds))


def done(config: Config, live: Progress) -> float | None:
    """The share of the nearest limit that is done; None without limits."""
    shares = []
    if config.generations:
        within = live.answered / max(1, live.asked) if not live.evaluating else 0.0
        shares.append((live.generation + within) / config.generations)
    if config.max_timesteps:
        shares.append(live.timesteps / config.max_timesteps)
    if config.max_minutes:
        shares.append(live.seconds / (60 * config.max_minutes))
    return min(1.0, max(shares)) if shares else None


def describe(record: Record) -> str:
    """One line for one generation."""
    return joined(described(record))


def described(record: Record) -> Parts:
    """The same in pieces."""
    parts: Parts = [(0, f"gen {record['progress/generation']:>5g}")]
    if "returns/mean" in record:
        parts.append((1, f"return {record['returns/mean']:9.2f} +-{record['returns/std']:8.2f}"))
        parts.append((6, f"length {record['episode/length_mean']:6.1f}"))
    if "eval/return_mean" in record:
        half = record["eval/return_ci_high"] - record["eval/return_mean"]
        parts.append((2, f"eval {record['eval/return_mean']:9.2f} +-{half:7.2f}"))
    parts.append((4, f"steps {record['progress/timesteps']:>11,.0f}"))
    if "speed/timesteps_per_second" in record:
        parts.append((5, f"{record['speed/timesteps_per_second']:>8,.0f}/s"))
    parts.append((3, duration(record["progress/seconds"])))
    if record["faults/episodes_quarantined"]:
        parts.append((3, f"left out {record['faults/episodes_quarantined']:g}"))
    return parts


def duration(seconds: float) -> str:
    """Hours, minutes and seconds."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}h{minutes:02d}m{rest:02d}s" if hours else f"{minutes}m{rest:02d}s"
