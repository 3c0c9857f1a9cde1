"""Records of generations, and events, without a driver."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from raes.problems.function import FunctionSettings, FunctionSpec
from raes.results import RESULT_DTYPE, Batch
from raes.runtime.rounds import FinishedRound, RoundClock
from raes.runtime.serial import SerialExecutor
from raes.runtime.worker import WorkerSpec
from raes.storage.metrics import read_records
from raes.tasks import Genomes, Round, Snapshot
from raes.training.events import Event, EventLog, Progress, RunLog
from raes.training.recorder import MetricsRecorder
from raes.training.state import RunCounters


@pytest.fixture
def executor() -> Iterator[SerialExecutor]:
    spec = FunctionSpec(FunctionSettings(call="test:sum", dim=1), lambda x: float(x.sum()))
    serial = SerialExecutor(WorkerSpec(spec, 0), 1000)
    yield serial
    serial.close()


class Written:
    """A run directory, and its events."""

    def __init__(self, run_dir: Path) -> None:
        self.events: list[Event] = []
        self.run_dir = run_dir
        self.log = RunLog(run_dir, {"seed": 0}, 0, EventLog(self.events.append))

    def records(self) -> list[dict[str, float]]:
        return read_records(self.run_dir / "metrics.jsonl")


@pytest.fixture
def written(tmp_path: Path) -> Iterator[Written]:
    there = Written(tmp_path)
    yield there
    there.log.close()


def finished(evaluation: list[float], faults: int = 0) -> FinishedRound:
    """Two pairs, and an evaluation of which the first episodes failed."""
    returns = np.array([[1.0, 3.0], [5.0, 7.0]])
    genomes = Genomes(np.zeros(2, np.int64), np.ones(2, np.float32))
    batch = Batch(np.arange(2), genomes, returns, returns, np.full((2, 2), 10), capped_share=0.25)
    records = np.zeros(len(evaluation), RESULT_DTYPE)
    records["return"], records["length"] = evaluation, 10
    records["fault"][:faults] = True
    return FinishedRound(Round(Snapshot(4, np.zeros(1, np.float32))), batch, records, (), surplus=2)


def test_a_record_is_complete_once_and_goes_to_the_file_and_to_the_events(
    written: Written, executor: SerialExecutor
) -> None:
    recorder, clock = MetricsRecorder(written.log, executor), RoundClock(executor.counters)
    recorder.add_search({"sigma": 0.5})
    recorder.write(RunCounters(), clock)
    assert written.records() == [], "before the first generation there is nothing to write"
    recorder.begin(4, finished([100.0, 2.0, 4.0], faults=1))
    metrics = recorder.add_evaluation(finished([100.0, 2.0, 4.0], faults=1))
    recorder.add_search({"sigma": 0.25})
    recorder.write(RunCounters(episodes=4, timesteps=40, quarantined=1), clock)
    recorder.write(RunCounters(), clock)
    [record] = written.records()
    assert metrics is not None
    assert metrics["eval/return_mean"] == record["eval/return_mean"] == 3.0
    expected = {
        "progress/generation": 4, "returns/mean": 4.0, "returns/min": 1.0, "returns/max": 7.0, "episode/timesteps": 40,
        "episode/surplus": 2, "episode/capped_share": 0.25, "eval/episodes": 2, "search/sigma": 0.25,
        "progress/episodes": 4, "progress/timesteps": 40, "faults/episodes_quarantined": 1, "pool/actors": 1,
    }  # fmt: skip
    assert expected.items() <= record.items()
    assert "progress/frames" not in record
    assert [event for event in written.events if event[0] == "record"] == [("record", record)]


def test_an_evaluation_without_a_result_adds_nothing(written: Written, executor: SerialExecutor) -> None:
    recorder = MetricsRecorder(written.log, executor)
    assert recorder.add_evaluation(finished([1.0], faults=1)) is None
    assert recorder.add_evaluation(finished([])) is None


def test_seconds_and_faults_go_on_from_the_checkpoint(written: Written, executor: SerialExecutor) -> None:
    earlier = {"seconds": 1000.0, "faults": {"actors_lost": 3}}
    recorder = MetricsRecorder(written.log, executor, frame_skip=4, earlier=earlier)
    executor.counters.actors_lost = 2
    totals = recorder.totals()
    assert totals["seconds"] >= 1000
    assert totals["faults"]["actors_lost"] == 5
    assert totals["faults"]["tasks_reissued"] == 0
    recorder.begin(0, finished([]))
    recorder.write(RunCounters(timesteps=40), RoundClock(executor.counters))
    [record] = written.records()
    assert record["progress/frames"] == 160
    assert record["progress/seconds"] >= 1000


def test_events_are_numbered_and_of_progress_only_the_newest_stays() -> None:
    log = EventLog()
    for event in (("notice", "one"), ("progress", 1), ("notice", "two"), ("progress", 2)):
        log.emit(event)
    assert log.after(0) == [(1, ("notice", "one")), (2, ("notice", "two")), (2, ("progress", 2))]
    assert log.after(2) == [(2, ("progress", 2))]


def test_progress_is_emitted_now_and_then_and_notices_are_logged(written: Written) -> None:
    made = Progress(1, 2, 3, 4, 5.0, 6, 0, None, 0, 0, evaluating=False)
    for _ in range(50):
        written.log.progress(lambda: made)
    written.log.notice(7, "a worker was lost")
    assert [kind for kind, _ in written.events] == ["progress", "notice"]
    assert (written.run_dir / "log.txt").read_text().endswith(" generation 7: a worker was lost\n")
