"""Failed episodes, kept so that they can be run again: `run_dir/faults/gen_NNNNNN.npz`, one file per generation.

A file holds the snapshot and the failed tasks with their reasons as plain arrays, without pickles.
"""

from __future__ import annotations

import io
import re
import shlex
from collections.abc import Iterable
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any

import numpy as np

from raes.results import FailedTasks
from raes.rng import Purpose
from raes.storage.files import write_atomically
from raes.storage.location import Location
from raes.storage.reading import names_in, read_arrays, read_file
from raes.tasks import Genomes, Lineages, Snapshot, Tasks
from raes.text import KEPT, described, one_line, printable
from raes.types import UserError

NAME = re.compile(r"gen_[0-9]{1,18}\.npz")
"""The name of a file of failed episodes."""
FILES = 20
"""Files that are kept: an environment that fails in every generation must not fill the disk."""
NAMED = 5
"""Faults per generation that are logged in a line each."""
REASONS_LENGTH = 1_000_000
"""Characters of a generation's reasons that are kept in all, of each an equal share and `KEPT` at most."""
LISTED = 30
"""Numbers that an error message lists."""
LEFT_OUT: dict[int, str] = {
    Purpose.TRAINING: "episode left out",
    Purpose.PROBE: "probe left out",
    Purpose.EVALUATION: "evaluation episode left out",
}


def save(run_dir: Path, snapshot: Snapshot, failed: list[FailedTasks]) -> Path:
    """Write a generation's failed tasks to its file, replacing an earlier one; the file's path.

    Args:
        run_dir: the run.
        snapshot: what the tasks perturbed.
        failed: at least one block, of any purposes.
    """
    assert all(block.tasks.generation == snapshot.generation for block in failed)
    arrays = _arrays("snapshot", snapshot)
    length = min(KEPT, REASONS_LENGTH // sum(len(block.reasons) for block in failed))
    for number, block in enumerate(failed):
        arrays |= _arrays(f"{number}", block.tasks)
        arrays[f"{number}/reasons"] = np.array([printable(reason[:length]) for reason in block.reasons], dtype=np.str_)
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **arrays)  # type: ignore[arg-type]
    path = run_dir / _name(snapshot.generation)
    path.parent.mkdir(exist_ok=True)
    write_atomically(path, buffer.getvalue())
    _prune(run_dir)
    return path


def load(run_dir: Location, generation: int) -> tuple[Snapshot, list[FailedTasks]]:
    """Read a generation's snapshot and its failed tasks, in blocks of one purpose each.

    Raises:
        UserError: nothing is kept of this generation, or its file is damaged.
    """
    path = run_dir / _name(generation)
    content = read_file(path)
    if content is None:
        kept = generations(run_dir)
        others = f"it keeps those of generations {_join_numbers(kept)}" if kept else "no episode of this run has failed"
        raise UserError(f"generation={generation}: {run_dir} has no failed episode of it; {others}")
    try:
        arrays = read_arrays(content)
        return _snapshot(arrays), _blocks(arrays)
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        left = [one for one in generations(run_dir) if one != generation]
        cure = f"replay another generation: {_join_numbers(left)}" if left else "there is no other generation"
        raise UserError(f"{path} is damaged ({described(error)}); {cure}") from error


def find(run_dir: Location, generation: int, purpose: Purpose, index: int) -> tuple[Snapshot, FailedTasks]:
    """Read the snapshot and one failed task.

    Raises:
        UserError: the task is not kept (the message lists those that are), or the file is damaged.
    """
    snapshot, failed = load(run_dir, generation)
    for block in failed:
        rows = np.flatnonzero(block.tasks.index == index)
        if block.tasks.purpose == purpose and rows.size:
            return snapshot, block.take(rows[:1])
    there = "; ".join(
        f"purpose={Purpose(block.tasks.purpose).name.lower()} index {_join_numbers(block.tasks.index.tolist())}"
        for block in failed
    )
    raise UserError(
        f"index={index} purpose={purpose.name.lower()}: this episode of generation {generation} is not kept as "
        f"failed; there are {there}"
    )


def generations(run_dir: Location) -> list[int]:
    """The generations of which failed tasks are kept, in order."""
    return sorted(_generation(name) for name in filter(NAME.fullmatch, names_in(run_dir / "faults")))


def replay_command(run_dir: Path | str, generation: int, index: int, purpose: int) -> str:
    """The command line, ready for a shell, that runs a failed episode again."""
    words = [f"run_dir={run_dir}", f"generation={generation}", f"index={index}"]
    if purpose != Purpose.TRAINING:
        words.append(f"purpose={Purpose(purpose).name.lower()}")
    return shlex.join(["python", "-m", "raes.replay", *words])


def report(run_dir: Path, seed: int, snapshot: Snapshot, failed: list[FailedTasks]) -> list[str]:
    """Write a generation's failed tasks; the lines for the log: one for each of the first few, one for the others.

    Args:
        run_dir: the run.
        seed: of the run.
        snapshot: what the tasks perturbed.
        failed: blocks of any purposes; without any, nothing is written or logged.
    """
    if not failed:
        return []
    path = save(run_dir, snapshot, failed)
    lines = []
    for block in failed:
        purpose, generation = block.tasks.purpose, block.tasks.generation
        kind = LEFT_OUT[purpose]
        lines += [
            f"{kind} (seed={seed}, generation={generation}, index={index}): {one_line(reason)}; "
            f"replay: {replay_command(run_dir, generation, index, purpose)}"
            for index, reason in zip(block.tasks.index.tolist(), block.reasons, strict=True)
        ]
    if len(lines) > NAMED:
        lines[NAMED:] = [f"... and {len(lines) - NAMED} more, kept in {path}"]
    return lines


def _name(generation: int) -> str:
    return f"faults/gen_{generation:06d}.npz"


def _join_numbers(numbers: Iterable[int]) -> str:
    every = [str(number) for number in numbers]
    more = [f"and {len(every) - LISTED} more"] if len(every) > LISTED else []
    return ", ".join(every[:LISTED] + more)


def _generation(name: str) -> int:
    return int(name.removeprefix("gen_").removesuffix(".npz"))


def _prune(run_dir: Path) -> None:
    """Remove the oldest files by time of writing: after a step back to an earlier checkpoint, low numbers are new."""
    files = [run_dir / "faults" / name for name in filter(NAME.fullmatch, names_in(run_dir / "faults"))]
    for path in sorted(files, key=lambda path: (path.stat().st_mtime_ns, _generation(path.name)))[:-FILES]:
        path.unlink()


def _arrays(prefix: str, packed: Any) -> dict[str, np.ndarray]:
    """The fields of a dataclass that are not None, by their path; nested dataclasses are walked too."""
    arrays: dict[str, np.ndarray] = {}
    for field in fields(packed):
        value, name = getattr(packed, field.name), f"{prefix}/{field.name}"
        if is_dataclass(value):
            arrays |= _arrays(name, value)
        elif value is not None:
            arrays[name] = np.asarray(value)
    return arrays


def _values(prefix: str, arrays: dict[str, np.ndarray]) -> dict[str, Any]:
    """The inverse of `_arrays` for a dataclass's own fields."""
    own = {name.removeprefix(f"{prefix}/"): array for name, array in arrays.items() if name.startswith(f"{prefix}/")}
    return {name: array if array.ndim else array.item() for name, array in own.items() if "/" not in name}


def _snapshot(arrays: dict[str, np.ndarray]) -> Snapshot:
    lineages = _values("snapshot/lineages", arrays)
    return Snapshot(**_values("snapshot", arrays), lineages=Lineages(**lineages) if lineages else None)


def _blocks(arrays: dict[str, np.ndarray]) -> list[FailedTasks]:
    blocks: list[FailedTasks] = []
    while f"{len(blocks)}/index" in arrays:
        prefix = f"{len(blocks)}"
        values, genomes = _values(prefix, arrays), Genomes(**_values(f"{prefix}/genomes", arrays))
        purpose, reasons = Purpose(values.pop("purpose")), tuple(values.pop("reasons").tolist())
        blocks.append(FailedTasks(Tasks(purpose, **values, genomes=genomes), reasons))
    return blocks
