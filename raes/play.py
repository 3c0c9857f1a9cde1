"""`python -m raes.play run_dir=... [checkpoint=best] [episodes=1] [seed=0] [speed=1.0] [out=FILE.mp4|auto]`: watch a
trained policy.

In a window where there is a display, else as an mp4 in the run's `videos/`. The episodes are those of
`python -m raes.evaluate` with the same seed.
"""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from annotated_types import Ge, Le
from threadpoolctl import threadpool_limits

from raes.config.cli import check_out, command, display_path, parse
from raes.config.schema import Config, load
from raes.console.window import Window, has_display
from raes.evaluate import policy_snapshot
from raes.problems.episode import EpisodeSpec
from raes.problems.renderer import choose
from raes.rng import Purpose
from raes.storage.checkpoint import Checkpoint, Checkpoints
from raes.storage.location import location
from raes.storage.video import Mp4File
from raes.training.build import problem_spec
from raes.training.film import Played, Sink, Subject, capped, play, title
from raes.types import SETTINGS, Count, Positive, Seed, UserError


@dataclass(frozen=True)
class PlayArguments:
    """The command line.

    Attributes:
        run_dir: the run.
        checkpoint: `best`, `latest`, or a generation's number.
        episodes: how many.
        seed: of the episodes; another seed gives other episodes.
        speed: 1 for the environment's own frame rate, 2 for twice as fast.
        seconds: of film after which to stop, at most; null for whole episodes.
        out: an mp4 file; `auto`: one in the run's `videos/`, or here where the run lies in a store; null: a window
            where there is a display, else `auto`.
    """

    __pydantic_config__ = SETTINGS

    run_dir: str
    checkpoint: str | int = "best"
    episodes: Count = 1
    seed: Seed = 0
    speed: Annotated[float, Ge(0.01), Le(100)] = 1.0
    seconds: Positive | None = None
    out: str | None = None

    def __post_init__(self) -> None:
        if self.out not in (None, "auto") and not str(self.out).endswith(".mp4"):
            raise ValueError(f"out must be auto or end with .mp4, got {self.out}")


def show(arguments: PlayArguments) -> list[Played]:
    """Show the episodes, and print their returns.

    Raises:
        UserError: there is no such run or checkpoint, or it has nothing that can be seen.
    """
    os.environ.setdefault("PYGAME_HIDE_SUPPORT_PROMPT", "1")
    run_dir = location(arguments.run_dir)
    config = load(run_dir / "config.yaml")
    if arguments.out not in (None, "auto"):
        check_out(arguments.out)
    checkpoint = Checkpoints(run_dir).find(str(arguments.checkpoint))
    subject = _subject(config, checkpoint, arguments.seed)
    window = arguments.out is None and has_display()
    if not window:
        os.environ.setdefault("SDL_VIDEODRIVER", "dummy")  # pygame draws without a display
    note = choose(subject.spec)
    if note is not None:
        print(note)
    threadpool_limits(1)  # as in the workers, whose bits these are
    if window:
        screen = Window(f"{subject.title}, generation {subject.generation}")
        try:
            return _episodes(arguments, subject, screen.show)
        finally:
            screen.close()
    path = Path(str(arguments.out))
    if arguments.out in (None, "auto"):
        name = f"{checkpoint.path.name}_seed{arguments.seed}.mp4"
        path = run_dir / "videos" / name if isinstance(run_dir, Path) else Path(name)
        print(
            f"{'no display: ' if arguments.out is None else ''}the film goes to {display_path(str(path))}", flush=True
        )
    with Mp4File(path) as film:
        return _episodes(arguments, subject, film.add)


def _subject(config: Config, checkpoint: Checkpoint, seed: int) -> Subject:
    spec = problem_spec(config, checkpoint)
    if not isinstance(spec, EpisodeSpec):
        raise UserError(
            f"run_dir={checkpoint.path.parent.parent} is a search on the function {config.env.id}: it has no episodes "
            "to look at; python -m raes.evaluate prints its value"
        )
    snapshot = policy_snapshot(config, checkpoint)
    return Subject(title(config), int(checkpoint.state["generation"]), spec, snapshot, seed, Purpose.HELD_OUT)


def _episodes(arguments: PlayArguments, subject: Subject, sink: Sink) -> list[Played]:
    sink, played = capped(sink, arguments.seconds), list[Played]()
    for index in range(arguments.episodes):
        episode = play(subject, index, sink, arguments.speed)
        played.append(episode)
        result = (
            f"return {episode.total:.2f} after {episode.length} timesteps{', where it was cut' if episode.cut else ''}"
        )
        print(f"episode {index}: {f'failed: {episode.reason}' if episode.reason else result}", flush=True)
        if episode.cut:
            break
    return played


def main() -> int:
    """The command; 1 where every episode failed."""
    played = show(parse(PlayArguments, sys.argv[1:], "raes.play", __doc__))
    return int(all(episode.reason is not None for episode in played))


if __name__ == "__main__":
    command(main)
