"""The search whose state is a log of updates: its arithmetic is that of ES, and its log goes through a checkpoint."""

from __future__ import annotations

import pickle
from typing import Any

import numpy as np
import pytest

from raes.algorithms import ESSettings, SeededES
from raes.results import RESULT_DTYPE, Results, WeightsReport
from raes.runtime.collector import Collector
from raes.runtime.messages import pack_results, pack_tasks, snapshot_bytes
from raes.runtime.rounds import FinishedRound
from raes.runtime.weights_agreement import TRIES, WeightsAgreement, distrusted
from raes.search import running_stats
from raes.search.optimizers import OptimizerSettings
from raes.search.shaping import zscore
from raes.storage import tree
from raes.tasks import UpdateLog
from raes.types import RunFailedError

from .models import a_log

SGD = OptimizerSettings("sgd", stepsize=0.5, stepsize_decay=0.5, momentum=0.0, weight_decay=0.0)


def no_sum(*_: Any, **__: Any) -> Any:
    raise AssertionError


def search(same_tasks: bool = True, **changes: Any) -> tuple[SeededES, Any]:
    keys: dict[str, Any] = {"pairs": 4, "shaping": "zscore", "normalize_observations": False}
    algorithm = SeededES(ESSettings(**(keys | changes)), SGD, 0, 1, same_tasks)
    return algorithm, algorithm.init(np.zeros(0, np.float32), running_stats.init(0))


def one_round(algorithm: SeededES, state: Any, failed: tuple[int, ...] = ()) -> Any:
    """A generation whose returns are the task's index squared; some fail."""
    upcoming = algorithm.next_round(state)
    collector = Collector(upcoming)
    [tasks] = collector.start()
    records = np.zeros(len(tasks), RESULT_DTYPE)
    records["index"], records["length"] = tasks.index, 1
    records["return"], records["fault"] = tasks.index**2, np.isin(tasks.index, failed)
    collector.add(Results(tasks.purpose, tasks.generation, records))
    return algorithm.tell(state, upcoming, collector.batch(), no_sum)[0]


@pytest.mark.parametrize("mirrored", [True, False])
def test_the_log_has_the_weights_of_the_estimate(mirrored: bool) -> None:
    algorithm, state = search(mirrored=mirrored)
    state = one_round(algorithm, state)
    update = state.updates.update(0, 0)
    utilities = zscore(np.arange(8.0).reshape(-1, 2 if mirrored else 1) ** 2)
    weights = (utilities[:, 0] - utilities[:, 1] if mirrored else utilities[:, 0]) / 8
    assert update.pair.tolist() == list(range(4 if mirrored else 8))
    assert np.allclose(update.weight, weights, rtol=1e-6)
    assert update.stepsize == 0.5
    assert one_round(algorithm, state).updates.update(1, 1).stepsize == 0.25


def test_a_pair_with_a_fault_is_not_in_the_log() -> None:
    algorithm, state = search()
    assert one_round(algorithm, state, failed=(3,)).updates.pair.tolist() == [0, 2, 3]


def test_all_members_or_those_of_a_pair_share_their_tasks() -> None:
    for same_tasks, resets in ((True, [0] * 8), (False, [0, 0, 2, 2, 4, 4, 6, 6])):
        algorithm, state = search(same_tasks)
        assert algorithm.ask(state, 0, 4).reset.tolist() == resets


def test_the_state_goes_through_a_checkpoint() -> None:
    algorithm, state = search()
    for failed in ((), (0,), (5, 6)):
        state = one_round(algorithm, state, failed)
    arrays, scalars = tree.flatten(state)
    again = tree.restore(algorithm.init(np.zeros(0, np.float32), running_stats.init(0)), arrays, scalars)
    assert tree.flatten(again)[1] == scalars
    assert again.theta.size == 0
    for row in range(3):
        assert again.updates.update(row, row).pair.tolist() == state.updates.update(row, row).pair.tolist()


def test_a_part_of_a_log_holds_the_same_updates() -> None:
    log = a_log(6)
    part = log.part(2, 5)
    assert len(part) == 3
    for row in range(3):
        ours, theirs = part.update(row, 2 + row), log.update(2 + row, 2 + row)
        assert (ours.pair.tolist(), ours.weight.tolist(), ours.stepsize) == (
            theirs.pair.tolist(), theirs.weight.tolist(), theirs.stepsize,
        )  # fmt: skip
    assert len(UpdateLog.empty().part(0, 0)) == 0


def test_what_travels_is_short_and_arrives() -> None:
    algorithm, state = search(pairs=8)
    for _ in range(50):
        state = one_round(algorithm, state)
    upcoming = algorithm.next_round(state)
    assert upcoming.ask is not None
    tasks = upcoming.ask(0, 8)
    again = pickle.loads(pickle.dumps(tasks.take(slice(3, 5))))
    assert again.index.tolist() == [3, 4]
    assert again.genomes.scale.tolist() == tasks.genomes.scale[3:5].tolist()
    records = np.zeros(1, RESULT_DTYPE)
    records["return"] = 0.1
    results = Results(2, 3, records, weights=(WeightsReport("a.host.of.a.cluster (process 12345)", 3, "0" * 16),))
    assert pickle.loads(pickle.dumps(results)).records.tobytes() == records.tobytes()
    each = len(pack_tasks(tasks.take(slice(0, 1)))) + len(pack_results(results))
    assert each + snapshot_bytes(upcoming.snapshot) / 16 < 1000


def report(worker: str, digest: str) -> WeightsReport:
    return WeightsReport(worker, 3, digest)


@pytest.mark.parametrize(
    ("reports", "wrong"),
    [
        ([("a", "1"), ("b", "1")], ()),
        ([("a", "1"), ("b", "1"), ("c", "2"), ("c", "2"), ("c", "2")], ("2",)),
        ([("a", "1"), ("b", "2")], ("1", "2")),
        ([("a", "1"), ("a", "2"), ("b", "1")], ("2",)),
        ([], ()),
    ],
    ids=["agreement", "a minority that reports often", "a tie", "a worker that has changed", "nobody"],
)
def test_which_digests_are_distrusted(reports: list[tuple[str, str]], wrong: tuple[str, ...]) -> None:
    assert distrusted(report(*one) for one in reports) == wrong


def test_workers_that_never_agree_end_the_run() -> None:
    algorithm, state = search()
    agreement = WeightsAgreement()
    none = np.zeros(0, RESULT_DTYPE)
    finished = FinishedRound(
        algorithm.next_round(state), None, none, (), 0, (report("a", "1"), report("b", "1"), report("c", "2"))
    )
    for _ in range(TRIES):
        again = agreement.repeated(finished)
        assert again is not None
        assert again[0].snapshot.model is not None
        assert again[0].snapshot.model.distrusted == ("2",)
        assert "a: 1" in again[1]
    with pytest.raises(RunFailedError, match="c: 2"):
        agreement.repeated(finished)
