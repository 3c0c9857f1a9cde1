"""Points: what a checkpoint holds comes back, and pipelining moves every generation exactly one update back."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
import pytest

from raes.storage.checkpoint import Checkpoint
from raes.tasks import Genomes, Tasks
from raes.training.limits import RunCounters
from raes.training.state import QuarantineRecord, RunState
from raes.types import Float32


@dataclass(frozen=True)
class State:
    generation: int
    theta: Float32


def state(generation: int) -> State:
    return State(generation, np.full(3, generation, dtype=np.float32))


def first() -> RunState:
    return RunState(state(0), state(0), RunCounters())


def perturbed(pipeline: int, updates: int) -> list[float]:
    """Whose theta each generation perturbs."""
    point, thetas = first(), []
    for update in range(1, updates + 1):
        thetas.append(float(point.perturbed_by(point.generation).theta[0]))
        if pipeline:
            assert point.perturbed_by(point.generation + 1).generation == point.generation + 1
            assert point.perturbed_by(point.generation + 1).theta is point.state.theta
        point = point.after(state(update), RunCounters(), pipeline)
        assert point.around.generation == point.generation == update
    return thetas


def test_a_generation_perturbs_the_newest_theta_and_with_pipelining_the_one_before() -> None:
    assert perturbed(0, 5) == [0, 1, 2, 3, 4]
    assert perturbed(1, 5) == [0, 0, 1, 2, 3]


@pytest.mark.parametrize("pipeline", [0, 1])
def test_a_point_comes_back_from_a_checkpoint(pipeline: int) -> None:
    point = (
        first().after(state(1), RunCounters(episodes=8), pipeline).after(state(2), RunCounters(episodes=16), pipeline)
    )
    point = replace(point, verdicts=(QuarantineRecord(2, 1, 5, "it hung"), QuarantineRecord(3, 1, 0, "it died")))
    arrays, plain = point.store()
    again = RunState.restored(state(0), Checkpoint(Path("somewhere"), plain, arrays))
    assert asdict(again.progress) == asdict(point.progress)
    assert again.verdicts == point.verdicts
    for mine, theirs in ((again.state, point.state), (again.around, point.around)):
        assert mine.generation == theirs.generation == 2
        assert mine.theta.tobytes() == theirs.theta.tobytes()
    assert arrays["theta"].tolist() == [2, 2, 2], "the newest, which an outside reader expects"
    assert ("in_flight/theta" in arrays) == bool(pipeline)
    # and it goes on alike
    ours, others = again.after(state(3), RunCounters(), pipeline), point.after(state(3), RunCounters(), pipeline)
    assert ours.around.theta.tobytes() == others.around.theta.tobytes()


def test_verdicts_hold_until_their_generation_is_finished() -> None:
    point = replace(first(), verdicts=(QuarantineRecord(0, 1, 5, "it hung"), QuarantineRecord(1, 1, 2, "it died")))
    assert point.after(state(1), RunCounters(), 1).verdicts == (QuarantineRecord(1, 1, 2, "it died"),)


def test_condemned_episodes_do_not_run_again() -> None:
    point = replace(
        first(),
        verdicts=(QuarantineRecord(0, 1, 5, "it hung"), QuarantineRecord(0, 2, 4, "x"), QuarantineRecord(1, 1, 4, "y")),
    )
    index = np.arange(2, 8)
    none = np.zeros(6, dtype=bool)
    tasks = Tasks(1, 0, index, index, none, Genomes(index, none.astype(np.float32)))
    allowed, done = point.quarantined(tasks)
    assert allowed.index.tolist() == [2, 3, 4, 6, 7]
    [results] = done
    assert (results.purpose, results.generation, results.records["index"].tolist()) == (1, 0, [5])
    assert results.records["fault"].all()
    assert results.faults[0].reason == "it hung"
    assert first().quarantined(tasks) == (tasks, [])
