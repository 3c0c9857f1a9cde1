"""What is shown of a run: a line per generation, and a status with the time left, on a terminal and in a notebook."""

from __future__ import annotations

from collections import deque
from typing import TextIO

from raes.config.schema import Config
from raes.console.colours import BOLD, GREEN
from raes.console.screen import Parts, joined, screen
from raes.storage.metrics import Record
from raes.training.events import Event, Progress

LARGE = 1e9
"""Returns from here on are printed with an exponent."""
SPEED_SECONDS = 15.0
"""Over how long the speed in the status is taken."""
EVALUATION = 2
"""The rank of the pieces about an evaluation in a generation's line."""


class Console:
    """Shows events of a run, by the key `console`: `auto`, `plain` (no status) or `quiet` (notices only)."""

    def __init__(self, config: Config, stream: TextIO | None = None) -> None:
        self._config = config
        self._quiet = config.console == "quiet"
        self._screen = screen(stream, plain=config.console != "auto")
        self._recent: deque[Progress] = deque()
        self._first: Progress | None = None
        self._new_best: float | None = None

    def __call__(self, event: Event) -> None:
        """Show one event."""
        kind, content = event
        if kind == "notice":
            self._screen.line(content)
        elif self._quiet:
            return
        elif kind == "best":
            self._new_best = content
        elif kind == "record":
            best = self._new_best is not None and content.get("eval/return_mean") == self._new_best
            self._new_best = None if best else self._new_best
            self._screen.record(described(content, best), {EVALUATION: GREEN if best else BOLD})
        if self._recent or kind == "progress":
            self._status(content if kind == "progress" else self._recent[-1])

    def close(self) -> None:
        """Leave the terminal clean."""
        self._screen.close()

    def _status(self, progress: Progress) -> None:
        """How far, how long still, the best evaluation, speed, pool and faults."""
        self._first = self._first or progress
        if not self._recent or progress.seconds > self._recent[-1].seconds:
            self._recent.append(progress)
        while len(self._recent) > 2 and progress.seconds - self._recent[1].seconds >= SPEED_SECONDS:
            self._recent.popleft()
        if progress.filming is not None:
            self._screen.status(None, filming(*progress.filming))
            return
        share = done(self._config, progress)
        self._screen.status(share, self._parts(progress, share))

    def _parts(self, progress: Progress, share: float | None) -> Parts:
        parts: Parts = []
        if share is not None:
            parts.append((0, f"{100 * share:3.0f} %"))
        left = self._left(progress, share)
        parts.append((1, duration(progress.seconds)) if left is None else (1, f"{duration(left)} left"))
        of = f"{progress.answered}/{progress.asked}"
        parts.append((4, f"evaluation {of}" if progress.evaluating else f"gen {progress.generation} {of}"))
        if progress.best is not None:
            parts.append((2, f"best {progress.best:.1f}"))
        if (speed := self._speed()) is not None:
            parts.append((5, f"{speed:,.0f} steps/s"))
        pool = f"{progress.workers} worker{'s' if progress.workers != 1 else ''}"
        parts.append((3, f"{progress.starting} of {pool} starting") if progress.starting else (6, pool))
        if progress.actors_lost:
            parts.append((3, f"lost {progress.actors_lost}"))
        if progress.quarantined:
            parts.append((3, f"left out {progress.quarantined}"))
        parts.append((9, "Ctrl-C stops and keeps everything"))
        return parts

    def _left(self, progress: Progress, share: float | None) -> float | None:
        """Seconds to the nearest limit, at the pace since this command began; None while there is none to tell."""
        assert self._first is not None
        before = done(self._config, self._first)
        if share is None or before is None or share <= before:
            return None
        return (1 - share) * (progress.seconds - self._first.seconds) / (share - before)

    def _speed(self) -> float | None:
        """Timesteps a second of late."""
        first, last = self._recent[0], self._recent[-1]
        if last.seconds - first.seconds < 1:
            return None
        return max(0.0, (last.timesteps - first.timesteps) / (last.seconds - first.seconds))


def done(config: Config, progress: Progress) -> float | None:
    """The share of the nearest limit that is done; None without limits."""
    shares = []
    if config.generations:
        within = progress.answered / max(1, progress.asked) if not progress.evaluating else 0.0
        shares.append((progress.generation + within) / config.generations)
    if config.max_timesteps:
        shares.append(progress.timesteps / config.max_timesteps)
    if config.max_minutes:
        shares.append(progress.seconds / (60 * config.max_minutes))
    return min(1.0, max(shares)) if shares else None


def filming(generation: int, seconds: float) -> Parts:
    """The status while the end of a run waits for a video."""
    return [(0, f"filming generation {generation}"), (1, duration(seconds)), (2, "Ctrl-C skips the video")]


def describe(record: Record) -> str:
    """One line for one generation."""
    return joined(described(record))


def described(record: Record, best: bool = False) -> Parts:
    """The same in pieces; `best`: its evaluation is better than all before."""
    parts: Parts = [(0, f"gen {record['progress/generation']:>5g}")]
    if "episode/length_mean" in record:
        returned, spread = figure(record.get("returns/mean"), 9), figure(record.get("returns/std"), 8)
        parts.append((1, f"return {returned} std {spread}"))
        parts.append((6, f"length {record['episode/length_mean']:6.1f}"))
    if "eval/return_mean" in record:
        mean, high = record["eval/return_mean"], record.get("eval/return_ci_high")
        parts.append((EVALUATION, f"eval {figure(mean, 9)}{'' if high is None else f' +-{figure(high - mean, 7)}'}"))
    parts.append((4, f"steps {record['progress/timesteps']:>11,.0f}"))
    if "speed/timesteps_per_second" in record:
        parts.append((5, f"{record['speed/timesteps_per_second']:>8,.0f}/s"))
    parts.append((3, duration(record["progress/seconds"])))
    if record["faults/episodes_quarantined"]:
        parts.append((3, f"left out {record['faults/episodes_quarantined']:g}"))
    if best:
        parts.append((EVALUATION, "new best"))
    return parts


def figure(value: float | None, width: int) -> str:
    """A return with two decimals, or where that would be long or nothing with three digits; a dash for none."""
    if value is None:
        return "-".rjust(width)
    return f"{value:{width}.2f}" if value == 0 or 0.01 <= abs(value) < LARGE else f"{value:{width}.3g}"


def duration(seconds: float) -> str:
    """Hours, minutes and seconds."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}h{minutes:02d}m{rest:02d}s" if hours else f"{minutes}m{rest:02d}s"
