"""`python -m raes.play run_dir=... [checkpoint=best] [episodes=1] [seed=0] [speed=1.0] [seconds=auto]
[out=FILE.mp4|auto]`: watch a trained policy.

In a window where there is a display, else as an mp4 in the run's `videos/`. The episodes are those of
`python -m raes.evaluate` with the same seed.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from annotated_types import Ge, Le
from threadpoolctl import threadpool_limits

from raes.config.cli import check_out, command, display_path, parse
from raes.config.schema import Config
from raes.config.stored import load_to_use
from raes.console.busy import Busy
from raes.console.output import show as show_line
from raes.console.window import Window, has_display
from raes.evaluate import recipe
from raes.models.settings import ModuleSettings
from raes.problems.episode import EpisodeSpec
from raes.problems.function import FunctionSettings
from raes.problems.renderer import choose
from raes.rng import Purpose
from raes.storage.checkpoint import Checkpoint, Checkpoints
from raes.storage.files import refuse_links
from raes.storage.location import run_location
from raes.storage.pretrained import is_pretrained
from raes.storage.video import Mp4File
from raes.training.film import Played, Sink, Subject, capped, play, title
from raes.types import SETTINGS, Count, Positive, Seed, UInt8, UserError

USUAL_SECONDS = 60.0
"""Of a film, at most: an episode of 1,000 timesteps of the slowest MuJoCo task is 50."""


@dataclass(frozen=True)
class PlayArguments:
    """The command line.

    Attributes:
        run_dir: the run.
        checkpoint: `best`, `latest`, or a generation's number.
        episodes: how many.
        seed: of the episodes; another seed gives other episodes.
        speed: 1 for the environment's own frame rate, 2 for twice as fast.
        seconds: of film after which to stop; null: whole episodes; `auto`: 60 of a file, and whole ones in a window.
        out: an mp4 file; `auto`: one in the run's `videos/`, or here where the run lies in a store; null: a window
            where there is a display, else `auto`.
        trust: whether code of its own that a run of somebody else names may be used.
    """

    __pydantic_config__ = SETTINGS

    run_dir: str
    checkpoint: str | int = "best"
    episodes: Count = 1
    seed: Seed = 0
    speed: Annotated[float, Ge(0.01), Le(100)] = 1.0
    seconds: Positive | Literal["auto"] | None = "auto"
    out: str | None = None
    trust: bool = False

    def __post_init__(self) -> None:
        if self.out not in (None, "auto") and not str(self.out).endswith(".mp4"):
            raise ValueError(f"out must be auto or end with .mp4, got {self.out}")


def show(arguments: PlayArguments) -> list[Played]:
    """Show the episodes, and print their returns.

    Raises:
        UserError: there is no such run or checkpoint, or it has nothing that can be seen.
    """
    os.environ.setdefault("PYGAME_HIDE_SUPPORT_PROMPT", "1")
    run_dir = run_location(arguments.run_dir)
    config = load_to_use(run_dir, arguments.trust)
    if arguments.out not in (None, "auto"):
        check_out(arguments.out)
    with Busy() as busy:
        busy.show([(0, f"reading {arguments.run_dir}")])
        checkpoint = Checkpoints(run_dir).find(str(arguments.checkpoint))
        subject = _subject(config, checkpoint, arguments.seed)
        busy.show([(0, f"trying what can draw {subject.title}")])
        window = arguments.out is None and has_display()
        if not window:
            os.environ.setdefault("SDL_VIDEODRIVER", "dummy")  # pygame draws without a display
        if (note := choose(subject.spec)) is not None:
            busy.line(note)
    threadpool_limits(1)  # as in the workers, whose bits these are
    most = limit(arguments, window)
    if window:
        screen = Window(f"{subject.title}, generation {subject.generation}")
        try:
            return _episodes(arguments, subject, Counted(screen.show, most), show_line)
        finally:
            screen.close()
    path = Path(str(arguments.out))
    if arguments.out in (None, "auto"):
        of = f"{run_dir.name}_" if is_pretrained(run_dir) else ""
        name = f"{of}{checkpoint.path.name}_seed{arguments.seed}.mp4"
        path = Path(name)
        if isinstance(run_dir, Path) and not is_pretrained(run_dir):
            refuse_links(run_dir)
            path = run_dir / "videos" / name
        why = "no display: " if arguments.out is None else ""
        show_line(f"{why}the film goes to {display_path(str(path))}")
    with Busy() as busy, Mp4File(path) as film:
        played = _episodes(arguments, subject, Counted(film.add, most, busy), busy.line)
    show_line(f"film: {display_path(str(path))}")
    return played


class Counted:
    """A sink that counts the seconds that it shows, and reports them where they are not seen.

    Attributes:
        seconds: of film so far.
        limit: at most; None for none.
        closed: whether the sink itself has ended the film.
    """

    def __init__(self, sink: Sink, limit: float | None, busy: Busy | None = None) -> None:
        self._sink, self._busy, self.limit = sink, busy, limit
        self.seconds, self.closed = 0.0, False
        self._report()

    def __call__(self, picture: UInt8, rate: float) -> bool:
        self.closed = not self._sink(picture, rate)
        self.seconds += 1 / rate
        self._report()
        return not self.closed

    def _report(self) -> None:
        if self._busy is None:
            return
        most = "" if self.limit is None else f", at most {self.limit:g} s"
        parts = [(0, f"filmed {self.seconds:.1f} s{most}"), (2, "Ctrl-C ends it without a film")]
        self._busy.show(parts, None if self.limit is None else min(1.0, self.seconds / self.limit))


def limit(arguments: PlayArguments, window: bool) -> float | None:
    """Seconds of film, at most; None for whole episodes."""
    if arguments.seconds == "auto":
        return None if window else USUAL_SECONDS
    return arguments.seconds


def _subject(config: Config, checkpoint: Checkpoint, seed: int) -> Subject:
    if isinstance(config.env, FunctionSettings):
        raise UserError(
            f"run_dir={checkpoint.path.parent.parent} is a search on the function {config.env.id}: it has no episodes "
            "to look at; python -m raes.evaluate prints its value"
        )
    if isinstance(config.env, ModuleSettings):
        raise UserError(
            f"run_dir={checkpoint.path.parent.parent} trained the model {config.env.id}, which has no episodes to look "
            "at; python -m raes.evaluate gives its reward, and python -m raes.export its weights"
        )
    spec, snapshot = recipe(config, checkpoint)
    assert isinstance(spec, EpisodeSpec)
    return Subject(title(config), int(checkpoint.state["generation"]), spec, snapshot, seed, Purpose.HELD_OUT)


def _episodes(arguments: PlayArguments, subject: Subject, sink: Counted, line: Callable[[str], None]) -> list[Played]:
    """Show them one after the other, with a line about each and about what was cut."""
    played, last = list[Played](), arguments.episodes - 1
    limited = capped(sink, sink.limit)
    for index in range(arguments.episodes):
        episode = play(subject, index, limited, arguments.speed)
        played.append(episode)
        result = (
            f"return {episode.total:.2f} after {episode.length} timesteps{', where it was cut' if episode.cut else ''}"
        )
        line(f"episode {index}: {f'failed: {episode.reason}' if episode.reason else result}")
        if episode.cut:
            break
    if played[-1].cut and not sink.closed:
        others = f", so that {last - index} of {last + 1} episodes are not shown" if index < last else ""
        line(f"cut after seconds={sink.limit:g} of film{others}; seconds=null shows whole episodes")
    return played


def main() -> int:
    """The command; 1 where every episode failed."""
    played = show(parse(PlayArguments, sys.argv[1:], "raes.play", __doc__))
    return int(all(episode.reason is not None for episode in played))


if __name__ == "__main__":
    command(main)
