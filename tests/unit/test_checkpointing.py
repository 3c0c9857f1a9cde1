"""When checkpoints are written and what they hold, with a state of two fields."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from raes.storage.checkpoint import CheckpointStore, read
from raes.training import checkpointing
from raes.training.checkpointing import Checkpointer, RunFacts
from raes.training.quarantine import QuarantineRecord
from raes.training.state import RunCounters, RunState
from raes.types import Float32

FACTS = RunFacts({"seed": 3}, "abc", {"reference": np.arange(4, dtype=np.uint8)})


@dataclass(frozen=True)
class State:
    generation: int
    theta: Float32


def run_state(generation: int) -> RunState:
    search = State(generation, np.full(3, generation, np.float32))
    return RunState(search, search, RunCounters(episodes=10 * generation))


class Written(Checkpointer):
    """Writes to a folder, and counts how often totals were asked for."""

    def __init__(self, folder: Path, every: int | str) -> None:
        self.store, self.calls = CheckpointStore(folder, keep=9), 0
        super().__init__(self.store, every, FACTS, self.totals)

    def totals(self) -> dict[str, Any]:
        self.calls += 1
        return {"seconds": 1.5, "faults": {"actors_lost": 2}}


def test_a_checkpoint_holds_the_state_the_facts_and_the_totals(tmp_path: Path) -> None:
    Written(tmp_path, "auto").save(run_state(4))
    there = read(tmp_path / "checkpoints" / "gen_000004")
    assert there.arrays["theta"].tolist() == [4, 4, 4]
    assert there.arrays["reference"].tolist() == [0, 1, 2, 3]
    expected = {"config": {"seed": 3}, "noise_fingerprint": "abc", "seconds": 1.5, "faults": {"actors_lost": 2}}
    assert expected.items() <= there.state.items()
    again = RunState.restore(State(0, np.zeros(3, np.float32)), there)
    assert (again.generation, again.counters.episodes) == (4, 40)


def test_one_is_due_every_so_many_generations_but_not_at_the_first(tmp_path: Path) -> None:
    checkpointer = Written(tmp_path, 3)
    for generation in range(8):
        checkpointer.save_if_due(run_state(generation))
    assert checkpointer.store.names() == ["gen_000003", "gen_000006"]
    checkpointer.save(run_state(7))
    checkpointer.save(run_state(7))
    assert checkpointer.calls == 3, "the same generation is not written twice"


def test_auto_writes_as_often_as_its_share_of_the_time_allows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    now = 0.0
    monkeypatch.setattr(checkpointing.time, "perf_counter", lambda: now)
    checkpointer = Written(tmp_path, "auto")
    write = checkpointer._write

    def slow(state: RunState, pointer: str) -> None:
        nonlocal now
        now += 1.0
        write(state, pointer)

    monkeypatch.setattr(checkpointer, "_write", slow)
    for generation in range(1, 121):
        now += 1.0
        checkpointer.save_if_due(run_state(generation))
    written = [int(name.removeprefix("gen_")) for name in checkpointer.store.names()]
    assert written == [1, 51, 101], "a second of writing for 50 seconds"


def test_the_best_is_this_generation_or_a_branch_of_the_one_before(tmp_path: Path) -> None:
    checkpointer, state = Written(tmp_path, "auto"), run_state(4)
    checkpointer.save_best(state, state.search)
    assert checkpointer.store.pointed("best") == "gen_000004"
    assert not read(tmp_path / "checkpoints" / "gen_000004").state["branch"]
    later = run_state(7)
    evaluated = State(7, np.full(3, 6.5, np.float32))  # what generation 7 perturbs with runtime.pipeline=1
    checkpointer.save_best(replace(later, base=evaluated), evaluated)
    assert checkpointer.store.pointed("best") == "gen_000006"
    branch = read(tmp_path / "checkpoints" / "gen_000006")
    assert branch.state["branch"]
    assert branch.arrays["theta"].tolist() == [6.5] * 3


def test_quarantine_is_on_the_disk_at_once(tmp_path: Path) -> None:
    checkpointer, record = Written(tmp_path, 100), QuarantineRecord(5, 1, 7, "its worker hung")
    checkpointer.save(run_state(5))
    checkpointer.save_quarantine(replace(run_state(5), quarantine=(record,)))
    there = read(tmp_path / "checkpoints" / "gen_000005")
    assert RunState.restore(State(0, np.zeros(3, np.float32)), there).quarantine == (record,)
