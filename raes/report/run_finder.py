"""Finds runs, on a disk or in a store, and reads their results without changing them."""

from __future__ import annotations

import fcntl
import glob
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from omegaconf import OmegaConf

from raes.config.schema import conf_dir, current
from raes.config.stored import read_tree
from raes.storage import lease
from raes.storage.location import Location, RemotePath, StoreError, location
from raes.storage.metrics import Record, flatten_config, read_records
from raes.storage.reading import is_there, read_file
from raes.text import described
from raes.types import Float64, UserError

AXES = {"timesteps": "timesteps", "episodes": "episodes", "minutes": "wall-clock minutes"}
"""What curves are drawn against -> the axis label."""
FAULTS = ("actors_lost", "tasks_reissued", "results_discarded", "episodes_quarantined")
MARKS = ("config.yaml", "metrics.jsonl")
"""A folder that has one of these is a run."""
TRAINED = {"returns/mean", "episode/length_mean"}
"""A record of a generation has one of these; that of an evaluation alone has none."""
HELD_OUT = "evaluation.json"
"""The file that `python -m raes.evaluate run_dir=RUN out=RUN/evaluation.json` writes."""


@dataclass(frozen=True)
class StoredRun:
    """The results of one training run.

    Attributes:
        path: of the run directory.
        status: `finished`; `unfinished` (it runs, or was interrupted or killed); `failed`.
        reason: of the status, in words; empty where it finished.
        config: dotted key -> value.
        axes: float64 (n,) for each of `AXES` that is known, at the evaluations.
        returns: float64 (n,), the evaluations' means.
        held_out: mean return of `raes.evaluate`, and its episodes; None where it was not run.
        totals: timesteps, minutes, timesteps per second, faults, ... of the whole run.
    """

    path: str
    status: str
    reason: str
    config: Mapping[str, Any]
    axes: Mapping[str, Float64]
    returns: Float64
    held_out: tuple[float, int] | None = None
    totals: Mapping[str, float] = field(default_factory=dict)

    @property
    def seed(self) -> int:
        """The run's seed."""
        return int(self.config["seed"])

    @property
    def met_goal(self) -> bool:
        """Whether it ended since it had met `goal.return_mean`: in its last evaluations before the one at the end."""
        goal, count = self.config.get("goal.return_mean"), int(self.config.get("goal.consecutive", 1))
        last = self.returns[-1 - count : -1]
        return self.status == "finished" and goal is not None and last.size == count and bool((last >= goal).all())

    @property
    def game(self) -> str | None:
        """The ROM of an Atari run."""
        game = self.config.get("env.game")
        return None if game is None else str(game)

    @property
    def task(self) -> str:
        """The environment with its version, and its own arguments where it has some."""
        config = self.config
        name = str(self.game or config.get("env.id") or config.get("env.call") or config["env.name"])
        kwargs = [f"{key.removeprefix('env.kwargs.')}={value}" for key, value in sorted(config.items())
                  if key.startswith("env.kwargs.")]  # fmt: skip
        return " ".join([name, *kwargs])


@dataclass(frozen=True)
class Unreadable:
    """A run that cannot be used, and why; `status` is one word for it."""

    path: str
    reason: str
    status: str = "unreadable"


@dataclass(frozen=True)
class RandomPlay:
    """The score of random actions in an Atari game, as `results/constant_actions.py` measures it."""

    path: str
    game: str
    score: float


Found = StoredRun | Unreadable | RandomPlay


def find(words: Sequence[str]) -> list[Location]:
    """Find run directories and files of measured runs, in the order given, each once.

    Args:
        words: run directories, folders of them at any depth, URLs of both, globs, `results/NAME.json`,
            `results/actions_GAME.json`.

    Raises:
        UserError: an argument names nothing.
    """
    found: dict[Location, None] = {}
    for word in words:
        runs = [run for path in _locations(word) for run in _below(path)]
        if not runs:
            raise UserError(f"{word}: there is no run; name run directories, folders of them, or a glob in quotes")
        found |= dict.fromkeys(runs)
    return list(found)


def _locations(word: str) -> list[Location]:
    """The locations that an argument names; brackets in it belong to a glob unless there is such a folder."""
    if "://" in word or Path(word).exists() or not glob.has_magic(word):
        return [location(word, "runs")]
    return [Path(path) for path in sorted(glob.glob(word))]


def _below(path: Location) -> Iterator[Location]:
    """The runs at or under a path."""
    if isinstance(path, RemotePath):
        folders = {folder for folder, _, name in (file.rpartition("/") for file in path.files()) if name in MARKS}
        yield from (path / folder if folder else path for folder in sorted(folders))
        return
    if path.is_file() and path.suffix == ".json":
        yield path
        return
    for folder, below, names in os.walk(path):
        if any(mark in names for mark in MARKS) or "checkpoints" in below:
            below.clear()
            yield Path(folder)
        below.sort()


def read(path: Location) -> list[Found]:
    """The run of a directory, or what a measured file holds.

    Raises:
        StoreError: a store does not answer.
    """
    try:
        return list(_measured(path)) if isinstance(path, Path) and path.is_file() else [_read(path)]
    except StoreError:
        raise
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        return [Unreadable(str(path), f"damaged: {described(error)}")]
    except Exception as error:  # of the YAML reader, which has errors of its own
        return [Unreadable(str(path), f"damaged: {described(error, 200)}")]


def _read(path: Location) -> StoredRun | Unreadable:
    if not is_there(path / "config.yaml"):
        return Unreadable(str(path), "it has no config.yaml: it ended before its first generation")
    config = flatten_config(current(read_tree(path)))
    for key in ("algorithm.name", "env.name"):
        config[key]  # a KeyError names what is missing
    config |= {"seed": int(config["seed"])}
    records = read_records(path / "metrics.jsonl")
    points = [record for record in records if np.isfinite(record.get("eval/return_mean", np.nan))]
    status, reason = _status(path, records)
    if not points:
        return Unreadable(str(path), reason or "no evaluation of it is finite", status)
    return StoredRun(
        path=str(path),
        status=status,
        reason=reason,
        config=config,
        axes={
            "timesteps": _column(points, "progress/timesteps"),
            "episodes": _column(points, "progress/episodes"),
            "minutes": _column(points, "progress/seconds") / 60,
        },
        returns=_column(points, "eval/return_mean"),
        held_out=_held_out(path / HELD_OUT),
        totals=_totals(records),
    )


def _column(records: Sequence[Record], key: str) -> Float64:
    return np.array([record[key] for record in records], dtype=np.float64)


def _status(path: Location, records: Sequence[Record]) -> tuple[str, str]:
    """Status and reason of a run; the last record of a run that ended by itself has only an evaluation."""
    if records and TRAINED.isdisjoint(records[-1]):
        return "finished", ""
    lines = (read_file(path / "log.txt") or b"").decode("utf-8", "replace").splitlines()
    if lines and "the run stops: " in lines[-1]:
        return "failed", lines[-1].partition("the run stops: ")[2]
    if _is_locked(path):
        return "unfinished", "it is still running"
    if not records:
        return "unfinished", "metrics.jsonl holds no record: it was interrupted or killed in its first generation"
    return "unfinished", f"it was interrupted or killed after generation {records[-1]['progress/generation']:g}"


def _is_locked(run_dir: Location) -> bool:
    """Whether a driver holds the run at this moment."""
    if isinstance(run_dir, RemotePath):
        return lease.is_held(run_dir)
    try:
        with (run_dir / ".lock").open() as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        return False
    return False


def _held_out(path: Location) -> tuple[float, int] | None:
    content = read_file(path)
    if content is None:
        return None
    figures = json.loads(content)
    return float(figures["return_mean"]), int(figures["episodes"])


def _totals(records: Sequence[Record]) -> dict[str, float]:
    last = records[-1]
    seconds, timesteps = last["progress/seconds"], last["progress/timesteps"]
    busy = [record["speed/worker_busy_fraction"] for record in records if not TRAINED.isdisjoint(record)]
    totals = {
        "timesteps": timesteps,
        "episodes": last["progress/episodes"],
        "minutes": seconds / 60,
        "timesteps_per_second": timesteps / max(seconds, 1e-9),
        "workers": float(np.median([record["pool/actors"] for record in records])),
        "generations": last["progress/generation"],
    }
    if "progress/frames" in last:
        totals["frames"] = last["progress/frames"]
    if busy:
        totals["worker_busy"] = float(np.mean(busy))
    return totals | {name: last[f"faults/{name}"] for name in FAULTS if f"faults/{name}" in last}


def _measured(path: Path) -> Iterator[Found]:
    """The runs in a file of `results/measure.py`, which keeps the evaluations' curve of each seed, or random play."""
    report = json.loads(path.read_text())
    if "game" in report:
        score = next(row["return_mean"] for row in report["rows"] if row["actions"] == "random")
        yield RandomPlay(str(path), str(report["game"]), float(score))
        return
    config = _config_of(str(report["command"]), str(report["task"]))
    for one in report["seeds"]:
        points = np.array(one["curve_timesteps_seconds_eval_mean"], dtype=np.float64)
        evaluation = one["evaluation"]
        yield StoredRun(
            path=f"{path} seed {one['seed']}",
            status="finished",
            reason="",
            config=config | {"seed": one["seed"]},
            axes={"timesteps": points[:, 0], "minutes": points[:, 1] / 60},
            returns=points[:, 2],
            held_out=(float(evaluation["return_mean"]), int(evaluation["episodes"])),
            totals={
                "timesteps": one["timesteps"],
                "minutes": one["minutes"],
                "timesteps_per_second": one["timesteps"] / (60 * one["minutes"]),
            },
        )


def _config_of(command: str, task: str) -> dict[str, Any]:
    """The configuration in a training command, by dotted keys."""
    groups = ("env", "algorithm", "policy", "optimizer")
    words = [word.split("=", 1) for word in command.split() if "=" in word]
    tree = OmegaConf.from_dotlist(
        [f"{key}.name={value}" if key in groups else f"{key}={value}" for key, value in words]
    )
    plain = OmegaConf.to_container(tree)
    assert isinstance(plain, dict)
    config = flatten_config({str(key): value for key, value in plain.items()})
    path = conf_dir() / "env" / f"{config.setdefault('env.name', task)}.yaml"
    preset = OmegaConf.to_container(OmegaConf.load(path)) if path.exists() else {}
    assert isinstance(preset, dict)
    chosen = [entry for entry in preset.get("defaults", []) if "override /algorithm" in entry]
    config.setdefault("algorithm.name", chosen[0]["override /algorithm"] if chosen else "es")
    if "env.id" not in config:
        config |= flatten_config({"env": {"id": preset.get("env", {}).get("id", task)}})
    return config
