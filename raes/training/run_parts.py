"""What a run is made of, besides its state."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from raes.algorithms import Algorithm
from raes.runtime.executor import Executor
from raes.search.spread import SpreadWatch
from raes.training.arithmetic import ArithmeticWatch
from raes.training.checkpointing import Checkpointer
from raes.training.events import RunLog
from raes.training.model_weights import ModelWeights
from raes.training.recorder import MetricsRecorder
from raes.training.videos import Videos


@dataclass(frozen=True)
class RunParts:
    """What a run is made of; whoever opened them closes them."""

    algorithm: Algorithm[Any]
    executor: Executor
    log: RunLog
    recorder: MetricsRecorder
    checkpointer: Checkpointer
    videos: Videos
    spread: SpreadWatch
    arithmetic: ArithmeticWatch
    weights: ModelWeights | None = None
