"""Runs of the training inside benchmarks, composed as by a command, and readers of their results."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from raes.config.compose import compose
from raes.storage.checkpoint import CheckpointStore
from raes.storage.metrics import Record
from raes.training.prepare import PreparedRun, prepare


def prepare_run(run_dir: Path, *words: str) -> PreparedRun:
    """Prepare the run that `python -m raes.train run_dir=... words...` makes."""
    return prepare(compose([*words, f"run_dir={run_dir}"]))


def records_of(run_dir: Path) -> list[Record]:
    """The lines of metrics.jsonl."""
    return [json.loads(line) for line in (run_dir / "metrics.jsonl").read_text().splitlines()]


def mean(records: Sequence[Record], key: str) -> float:
    """A figure of several generations, each weighted by its time."""
    seconds = [record["speed/generation_seconds"] for record in records]
    return float(np.average([record[key] for record in records], weights=seconds))


def theta_digest(run_dir: Path) -> str:
    """SHA-256 of the bytes of theta in the newest checkpoint."""
    return hashlib.sha256(CheckpointStore(run_dir).find("latest").arrays["theta"].tobytes()).hexdigest()
