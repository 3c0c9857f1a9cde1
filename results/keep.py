"""Keep a run that is not over, so that another machine can go on: `python results/keep.py RUN_DIR NAME`.

Into results/running/NAME go its configuration, its curve, and its newest and its best checkpoint. Copied to a folder of
its own, it is a run directory for `resume=auto`.
"""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import yaml

from raes.config.stored import load
from raes.storage.checkpoint import Checkpoints, CheckpointStore

FOLDER = Path(__file__).parent / "running"
COPIED = ("metrics.jsonl", "cpu_seconds.json")
"""The second one is of `results/measure.py`."""


def copy(source: Path, target: Path, latest: str, **keys: str | None) -> None:
    """Copy the best and another checkpoint, with other values of some keys.

    Args:
        source: the run directory.
        target: the folder, which is emptied.
        latest: what will be the newest one there, `latest` or `best`.
        keys: that are other ones in the copy.
    """
    shutil.rmtree(target, ignore_errors=True)
    target.mkdir(parents=True)
    config = load(source).as_dict() | keys
    for pointer, chosen in {"best": "best", "latest": latest}.items():
        checkpoint = Checkpoints(source).find(chosen)
        CheckpointStore(target).save(checkpoint.state | {"config": config}, checkpoint.arrays, pointer)
    (target / "config.yaml").write_text(yaml.safe_dump(config, sort_keys=False))


def keep(run_dir: Path, name: str) -> Path:
    """Copy the run; its folder."""
    target = FOLDER / name
    copy(run_dir, target, "latest", run_dir=f"runs/{name}")
    for file in COPIED:
        if (run_dir / file).exists():
            shutil.copy(run_dir / file, target)
    return target


if __name__ == "__main__":
    print(keep(Path(sys.argv[1]), sys.argv[2]))
