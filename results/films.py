"""Film a policy as an animated GIF: `python results/films.py RUN_DIR FILE.gif [SECONDS]`, as the README shows one."""

from __future__ import annotations

import sys
from pathlib import Path

from raes.config.stored import load_to_use
from raes.evaluate import recipe
from raes.problems.episode import EpisodeSpec
from raes.problems.renderer import choose
from raes.rng import Purpose
from raes.storage.checkpoint import Checkpoints
from raes.storage.location import run_location
from raes.storage.video import AnimatedGif
from raes.training.film import Subject, capped, play, title


def main() -> None:
    """The command."""
    run_dir, out, seconds = run_location(sys.argv[1]), Path(sys.argv[2]), float((sys.argv[3:] or ["5"])[0])
    config, checkpoint = load_to_use(run_dir, trust=False), Checkpoints(run_dir).find("best")
    spec, snapshot = recipe(config, checkpoint)
    assert isinstance(spec, EpisodeSpec)
    choose(spec)
    subject = Subject(title(config), int(checkpoint.state["generation"]), spec, snapshot, 0, Purpose.HELD_OUT)
    gif = AnimatedGif()
    played = play(subject, 0, capped(gif.add, seconds), 1.0)
    out.write_bytes(gif.content())
    print(f"{out}: {out.stat().st_size:,} bytes, {played}")


if __name__ == "__main__":
    main()
