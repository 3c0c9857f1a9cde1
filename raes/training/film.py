"""Noiseless episodes of a policy as pictures; the episodes are those of an evaluation, and so are their returns.

`python -m raes.training.film` is the process that films a run in training, see `raes.training.videos`; not for users.
"""

from __future__ import annotations

import os
import pickle
import sys
from collections.abc import Callable
from contextlib import closing, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from threadpoolctl import threadpool_limits

from raes.config.schema import Config
from raes.problems.camera import FilmedSpec, Shot
from raes.problems.episode import EpisodeSpec
from raes.problems.picture import add_caption, side_by_side
from raes.problems.renderer import choose
from raes.rng import Purpose
from raes.runtime.worker import Worker, WorkerSpec
from raes.search.noise import make_table
from raes.storage.video import AnimatedGif, Mp4File
from raes.tasks import Snapshot, evaluation_tasks
from raes.text import described, one_line
from raes.training.videos import MESSAGE_PREFIX, VideoJob
from raes.types import UInt8, UserError

Sink = Callable[[UInt8, float], bool]
"""Is given each picture, uint8 (rows, columns, 3), and how many are a second; returns whether to go on."""


@dataclass(frozen=True)
class Subject:
    """What a film is of.

    Attributes:
        title: what stands on each picture.
        generation: of the policy; it stands there too.
        spec: of the episodes.
        snapshot: the policy with its observation statistics.
        seed: of the run, or of the evaluation.
        purpose: EVALUATION for the episodes of a run's own evaluations, HELD_OUT for those of `raes.evaluate`.
    """

    title: str
    generation: int
    spec: EpisodeSpec
    snapshot: Snapshot
    seed: int
    purpose: Purpose


@dataclass(frozen=True)
class Played:
    """An episode that was shown.

    Attributes:
        index: its number among the evaluation's.
        total: the undiscounted return, of what was shown where it was cut.
        length: timesteps.
        cut: whether the sink ended it.
        reason: why it has no result, None where it has one.
    """

    index: int
    total: float
    length: int
    cut: bool
    reason: str | None


def play(subject: Subject, index: int, sink: Sink, speed: float = 1.0) -> Played:
    """One episode, shown as it happens, as a worker runs it.

    Args:
        subject: see there.
        index: the episode's number among the evaluation's.
        sink: see there; what it raises is raised here.
        speed: 1 for the environment's own frame rate.

    Raises:
        UserError: the environment cannot be made.
    """
    left = f"episode {index}"
    errors: list[Exception] = []
    cut = False

    def show(shot: Shot) -> bool:
        nonlocal cut
        corners = (subject.title, f"generation {subject.generation}", f"{left}   timestep {shot.timestep}",
                   f"return {shot.total:.2f}")  # fmt: skip
        try:
            for screen in shot.screens:
                picture = screen if shot.observation is None else side_by_side(screen, shot.observation)
                cut = cut or not sink(add_caption(picture, corners), shot.rate)
        except Exception as error:  # not the episode's fault, which is what the problem would take it for
            errors.append(error)
            cut = True
        return not cut

    spec = WorkerSpec(FilmedSpec(subject.spec, show, speed), subject.seed)
    with closing(Worker(spec, make_table(1))) as worker:  # theta itself is played: no noise, and a fresh environment
        tasks = evaluation_tasks(subject.purpose, subject.snapshot.generation, index + 1)
        results = worker.run(tasks.take(slice(index, index + 1)), subject.snapshot)
    if errors:
        raise errors[0]
    record = results.records[0]
    reason = results.faults[0].reason if results.faults else None
    return Played(index, float(record["return"]), int(record["length"]), cut, reason)


def capped(sink: Sink, seconds: float | None) -> Sink:
    """The same sink, which ends after so many seconds of film."""
    shown = 0.0

    def limited(picture: UInt8, rate: float) -> bool:
        nonlocal shown
        shown += 1 / rate
        return sink(picture, rate) and (seconds is None or shown + 0.5 / rate < seconds)

    return limited


def title(config: Config) -> str:
    """What a film of this run's policy is called."""
    return config.env.id if config.env.name in ("gymnasium", "atari") else config.env.name


def film(job: VideoJob) -> bytes:
    """Write the video of a run in training; the same as an animated GIF.

    Raises:
        UserError: there is nothing to see, or nothing that draws it.
    """
    if (note := choose(job.spec)) is not None:
        print(f"{MESSAGE_PREFIX}{note}", file=sys.stderr)
    config, gif, parent = job.config, AnimatedGif(), os.getppid()
    subject = Subject(title(config), job.generation, job.spec, job.snapshot, config.seed, Purpose.EVALUATION)
    with Mp4File(job.path) as file:
        sink = capped(partial(_both, file, gif, parent), config.video.seconds)
        for index in range(config.video.episodes):
            episode = play(subject, index, sink)
            if episode.reason is not None:
                raise RuntimeError(f"episode {index} failed: {one_line(episode.reason)}")
            if episode.cut:
                break
    return gif.content()


def _both(file: Mp4File, gif: AnimatedGif, parent: int, picture: UInt8, rate: float) -> bool:
    if os.getppid() != parent:
        raise RuntimeError("the run is gone")
    return file.add(picture, rate) and gif.add(picture, rate)


def _beside_a_run() -> None:
    """The process: a job comes in, a GIF goes out; exit code 2 where no video of this run can be made."""
    os.nice(19)
    with suppress(OSError):  # Linux shares CPUs among sessions first, and niceness counts within one only
        Path("/proc/self/autogroup").write_text("19")
    threadpool_limits(1)
    out = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what libraries print is not part of the GIF
    try:
        out.write(film(pickle.load(sys.stdin.buffer)))
        out.close()
    except UserError as error:
        print(f"{MESSAGE_PREFIX}{one_line(error)}", file=sys.stderr)
        sys.exit(2)
    except Exception as error:
        print(f"{MESSAGE_PREFIX}{described(error)}", file=sys.stderr)
        sys.exit(1)


if __name__ == "__main__":
    _beside_a_run()
