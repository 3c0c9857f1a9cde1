"""The state of a run: a checkpoint gives it back, and pipelining moves every generation exactly one update back."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
import pytest

from raes.storage.checkpoint import Checkpoint
from raes.tasks import Genomes, Tasks
from raes.training.quarantine import QuarantineRecord, admit
from raes.training.state import RunCounters, RunState
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
    run, thetas = first(), []
    for update in range(1, updates + 1):
        thetas.append(float(run.base_of(run.generation).theta[0]))
        if pipeline:
            assert run.base_of(run.generation + 1).generation == run.generation + 1
            assert run.base_of(run.generation + 1).theta is run.search.theta
        run = run.after(state(update), RunCounters(), pipeline)
        assert run.base.generation == run.generation == update
    return thetas


def test_a_generation_perturbs_the_newest_theta_and_with_pipelining_the_one_before() -> None:
    assert perturbed(0, 5) == [0, 1, 2, 3, 4]
    assert perturbed(1, 5) == [0, 0, 1, 2, 3]


@pytest.mark.parametrize("pipeline", [0, 1])
def test_a_run_state_comes_back_from_a_checkpoint(pipeline: int) -> None:
    run = first().after(state(1), RunCounters(episodes=8), pipeline).after(state(2), RunCounters(episodes=16), pipeline)
    run = replace(run, quarantine=(QuarantineRecord(2, 1, 5, "it hung"), QuarantineRecord(3, 1, 0, "it died")))
    arrays, plain = run.store()
    again = RunState.restore(state(0), Checkpoint(Path("somewhere"), plain, arrays))
    assert asdict(again.counters) == asdict(run.counters)
    assert again.quarantine == run.quarantine
    for mine, theirs in ((again.search, run.search), (again.base, run.base)):
        assert mine.generation == theirs.generation == 2
        assert mine.theta.tobytes() == theirs.theta.tobytes()
    assert arrays["theta"].tolist() == [2, 2, 2], "the newest, which an outside reader expects"
    assert ("in_flight/theta" in arrays) == bool(pipeline)
    # and it goes on alike
    ours, others = again.after(state(3), RunCounters(), pipeline), run.after(state(3), RunCounters(), pipeline)
    assert ours.base.theta.tobytes() == others.base.theta.tobytes()


def test_quarantine_holds_until_their_generation_is_finished() -> None:
    run = replace(first(), quarantine=(QuarantineRecord(0, 1, 5, "it hung"), QuarantineRecord(1, 1, 2, "it died")))
    assert run.after(state(1), RunCounters(), 1).quarantine == (QuarantineRecord(1, 1, 2, "it died"),)


def test_quarantined_episodes_do_not_run_again() -> None:
    run = replace(
        first(),
        quarantine=(
            QuarantineRecord(0, 1, 5, "it hung"),
            QuarantineRecord(0, 2, 4, "x"),
            QuarantineRecord(1, 1, 4, "y"),
        ),
    )
    index = np.arange(2, 8)
    none = np.zeros(6, dtype=bool)
    tasks = Tasks(1, 0, index, index, none, Genomes(index, none.astype(np.float32)))
    allowed, done = admit(run.quarantine, tasks)
    assert allowed.index.tolist() == [2, 3, 4, 6, 7]
    [results] = done
    assert (results.purpose, results.generation, results.records["index"].tolist()) == (1, 0, [5])
    assert results.records["fault"].all()
    assert results.faults[0].reason == "it hung"
    assert admit((), tasks) == (tasks, [])
