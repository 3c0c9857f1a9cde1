"""Videos of a run in training: a separate process films the policy of every so many generations.

The process has the lowest priority and a copy of the policy. One works at a time; where several generations fall due
meanwhile, the newest one is next. What goes wrong there is logged and changes nothing here.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO

import cloudpickle

from raes.config.schema import Config
from raes.problems.episode import EpisodeSpec
from raes.problems.problem import ProblemSpec
from raes.tasks import Snapshot
from raes.text import described, one_line

FINISH_SECONDS = 300.0
"""How long the end of a run waits for its last video."""
LOOK_SECONDS = 0.1
"""How often it looks then."""
MESSAGE_PREFIX = "raes: "
"""What a line for the user begins with."""


@dataclass(frozen=True)
class VideoJob:
    """What the filming process is given.

    Attributes:
        config: of the run.
        spec: of its episodes.
        generation: that perturbs the policy.
        snapshot: the policy.
        path: of the video.
    """

    config: Config
    spec: EpisodeSpec
    generation: int
    snapshot: Snapshot
    path: Path


@dataclass(frozen=True)
class FinishedVideo:
    """A video that is there, or why there is none.

    Attributes:
        generation: see `VideoJob`.
        gif: the same, small, as an animated GIF; None where it failed.
        text: what went wrong, or what drew it; may be empty.
    """

    generation: int
    gif: bytes | None
    text: str


@dataclass(frozen=True)
class _Process:
    job: VideoJob
    process: subprocess.Popen[bytes]
    gif: IO[bytes]
    errors: IO[bytes]
    begun: float


class Videos:
    """The videos of a run; at most one process films at a time.

    Attributes:
        skipped: videos that were due and never began, because a newer one was due before.
    """

    def __init__(self, config: Config, spec: ProblemSpec, run_dir: Path) -> None:
        """Nothing is filmed yet.

        Args:
            config: its group `video` counts here.
            spec: of the run's problem.
            run_dir: videos go into its `videos/`.
        """
        self._config, self._folder = config, run_dir / "videos"
        self._spec = spec if config.video.every and isinstance(spec, EpisodeSpec) else None
        self._running: _Process | None = None
        self._next: VideoJob | None = None
        self._unstarted: FinishedVideo | None = None
        self.skipped = 0

    @property
    def filming(self) -> tuple[int, float] | None:
        """The generation that is filmed at this moment, and for how many seconds; None where none is."""
        running = self._running
        return None if running is None else (running.job.generation, time.monotonic() - running.begun)

    def offer(self, generation: int, snapshot: Snapshot, last: bool = False) -> None:
        """Film this policy, if it is its turn.

        Args:
            generation: that perturbs it.
            snapshot: the policy.
            last: whether the run ends with it; such a policy is always filmed.
        """
        every = self._config.video.every
        if self._spec is None or not every or not (last or generation % every == 0):
            return
        self.skipped += self._next is not None
        alone = replace(snapshot, lineages=None, spread=None)  # theta and its observation statistics
        self._next = VideoJob(self._config, self._spec, generation, alone, self._folder / f"gen_{generation:06d}.mp4")
        self._begin()

    def finished(self) -> FinishedVideo | None:
        """The video that is done since the last call; the next one begins."""
        if self._unstarted is not None:
            done, self._unstarted = self._unstarted, None
            return done
        running = self._running
        if running is None or running.process.poll() is None:
            return None
        self._running = None
        done = _finish(running)
        if running.process.returncode == 2:  # nothing to see, or nothing that draws: the next one would fail alike
            self._spec = self._next = None
        self._begin()
        return done

    def wait(self, report: Callable[[FinishedVideo], None], poll: Callable[[], bool]) -> None:
        """Until all that was offered is filmed, or a stop, or the patience of a run's end is over.

        Args:
            report: called with each video.
            poll: called all the time; whether a stop ends the wait.
        """
        end = time.monotonic() + FINISH_SECONDS
        while (self._running or self._unstarted) is not None and not poll() and time.monotonic() < end:
            if (done := self.finished()) is not None:
                report(done)
            else:
                time.sleep(LOOK_SECONDS)

    def abandon(self) -> list[int]:
        """Stop filming; the generations whose videos will not be made."""
        jobs = [] if self._next is None else [self._next]
        self._next = None
        if self._running is not None:
            jobs.insert(0, self._running.job)
            self._running.process.kill()
            self._running.process.wait()
            _finish(self._running)
            self._running = None
        return [job.generation for job in jobs]

    def close(self) -> None:
        """Abandon what is not finished."""
        self.abandon()

    def _begin(self) -> None:
        """Start the next job, if there is one and nothing else is filmed."""
        if self._next is None or self._running is not None:
            return
        job, self._next = self._next, None
        try:
            self._running = _start_filming(job)
        except OSError as error:  # no memory, no room for temporary files
            self._unstarted = FinishedVideo(job.generation, None, described(error))


def _start_filming(job: VideoJob) -> _Process:
    """The process at work; it reads and writes files, not pipes, so that nobody waits for the other."""
    gif, errors = tempfile.TemporaryFile(), tempfile.TemporaryFile()  # noqa: SIM115
    with tempfile.TemporaryFile() as job_file:
        cloudpickle.dump(job, job_file)  # by value what only this process knows
        job_file.seek(0)
        command = [sys.executable, "-m", "raes.training.film"]
        process = subprocess.Popen(
            command, stdin=job_file, stdout=gif, stderr=errors, env=_environment(), start_new_session=True
        )
    return _Process(job, process, gif, errors, time.monotonic())


def _environment() -> dict[str, str]:
    """The process finds what this one finds, draws with one thread, and has no display."""
    quiet = {
        "LP_NUM_THREADS": "1",
        "OMP_NUM_THREADS": "1",
        "SDL_VIDEODRIVER": "dummy",
        "PYGAME_HIDE_SUPPORT_PROMPT": "1",
    }
    return os.environ | quiet | {"PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}


def _finish(running: _Process) -> FinishedVideo:
    with running.gif as gif, running.errors as errors:
        gif.seek(0)
        errors.seek(0)
        picture, lines = gif.read(), errors.read().decode(errors="replace").strip().splitlines()
    messages = [line.removeprefix(MESSAGE_PREFIX) for line in lines if line.startswith(MESSAGE_PREFIX)] or lines[-1:]
    messages = [one_line(text) for text in messages]
    code, generation = running.process.returncode, running.job.generation
    if code == 0 and picture:
        return FinishedVideo(generation, picture, messages[0] if messages else "")
    how = f"its process died of signal {-code}" if code < 0 else f"its process ended with exit code {code}"
    return FinishedVideo(generation, None, messages[-1] if messages else how)
