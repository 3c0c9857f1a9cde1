"""The pools on real Ray when actors, relays and nodes fail at a bad moment: they try again, later, and never hang."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import ray
from ray.exceptions import ActorUnavailableError, ObjectLostError, RayTaskError, WorkerCrashedError

from benchmarks.killer import processes
from benchmarks.pool_bench import TRIVIAL_TABLE, Trivial, TrivialSpec, generation
from benchmarks.virtual_workers import CountingRelay
from raes.rng import Purpose
from raes.runtime import scheduling
from raes.runtime.calls import Blame, cause_of_death, is_our_fault
from raes.runtime.node_relay import RayRelay
from raes.runtime.noise_tables import NodeTables
from raes.runtime.ray_executor import NodeRollouts, RayExecutor
from raes.runtime.relay_pool import RelayPool
from raes.runtime.scheduling import Size
from raes.runtime.session import connect
from raes.runtime.worker import WorkerSpec
from raes.runtime.worker_pool import ActorPool
from raes.tasks import Snapshot, evaluation_tasks

from .helpers import ended, wait_for
from .shared_ray import SharedRay

NOWHERE = "0" * 56
"""The id of a node that does not exist, as one that has just died."""


@dataclass(frozen=True)
class FailingSpec:
    """A problem whose first builds kill their process: those with a number in `bad`, counted in a folder."""

    folder: str
    bad: range

    def build(self) -> Trivial:
        """Make it, or die."""
        number = 0
        while True:
            try:
                (Path(self.folder) / str(number)).touch(exist_ok=False)
                break
            except FileExistsError:
                number += 1
        if number in self.bad:
            os.kill(os.getpid(), signal.SIGKILL)
        return Trivial()


@pytest.fixture(scope="module")
def tables(shared_ray: SharedRay) -> Iterator[NodeTables]:
    """A table on a Ray with 3 CPUs, whose workers get this file's classes sent along."""
    ray.cloudpickle.register_pickle_by_value(sys.modules[__name__])
    connect(shared_ray.address, 3, 4 * TRIVIAL_TABLE)
    yield NodeTables(TRIVIAL_TABLE)
    ray.shutdown()


@pytest.fixture(autouse=True)
def short_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scheduling, "RETRY_SECONDS", 1.0)


def rollouts(tables: NodeTables, spec: Any) -> NodeRollouts:
    return NodeRollouts(ray.put(WorkerSpec(spec, 0)), tables.on(tables.node))


def collect_until(pool: ActorPool | RelayPool, condition: Callable[[], bool], seconds: float = 60.0) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, pool.notices
        pool.collect(0.1)


def test_a_node_where_actors_could_not_start_is_tried_again(tables: NodeTables, tmp_path: Path) -> None:
    """The second actor and its replacements die before they are ready, more often than is taken for bad luck."""
    start = rollouts(tables, FailingSpec(str(tmp_path), range(1, 7)))
    pool = ActorPool(start, lambda: {tables.node: 2})
    try:
        collect_until(pool, lambda: sum(slot.ready for slot in pool._slots.values()) == 2)
        assert any("left alone" in notice for notice in pool.notices)
    finally:
        pool.close()


def test_a_node_whose_relay_gave_up_is_tried_again(tables: NodeTables, tmp_path: Path) -> None:
    starts = {"good": rollouts(tables, TrivialSpec()), "bad": rollouts(tables, FailingSpec(str(tmp_path), range(3)))}
    placed = {"good": 1, "bad": 1}
    pool = RelayPool(lambda name: RayRelay(tables.node, starts[name], None), lambda: placed)
    try:
        collect_until(pool, lambda: any("left alone" in notice for notice in pool.notices))
        collect_until(pool, lambda: pool.workers == 2 and len(list(tmp_path.iterdir())) == 4)
    finally:
        pool.close()


@pytest.mark.parametrize("relays", [True, False])
def test_a_node_that_has_gone_and_is_still_listed_is_no_reason_to_stop(tables: NodeTables, relays: bool) -> None:
    placed, start = {NOWHERE: 2}, rollouts(tables, TrivialSpec())
    pool: ActorPool | RelayPool
    if relays:
        pool = RelayPool(lambda node: RayRelay(node, start, None), lambda: placed)
    else:
        pool = ActorPool(start, lambda: placed)
    try:
        end = time.monotonic() + 1.8
        while time.monotonic() < end:
            pool.collect(0.1)
        assert len(pool.notices) <= 1
        placed = {tables.node: 2}
        collect_until(pool, lambda: pool.workers == 2)
    finally:
        pool.close()


def test_a_node_that_dies_without_an_episode_in_hand_is_lost_and_one_that_leaves_is_not(tables: NodeTables) -> None:
    placed, start = {"dies": 1, "leaves": 1, "stays": 1}, rollouts(tables, TrivialSpec())
    pool = RelayPool(lambda name: RayRelay(tables.node, start, None), lambda: placed)
    try:
        collect_until(pool, lambda: pool.workers == 3)
        placed = {"leaves": 0, "stays": 1}
        collect_until(pool, lambda: pool.workers == 1)
        assert pool.counters.actors_lost == 1
        [notice] = pool.notices
        assert "node dies was lost with 1 workers (its node died)" in notice
    finally:
        pool.close()


def test_a_relay_that_hangs_is_replaced(tables: NodeTables, monkeypatch: pytest.MonkeyPatch) -> None:
    executor = RayExecutor(WorkerSpec(TrivialSpec(), 0), TRIVIAL_TABLE, Size(1, 1), relays=True, deadline=None)
    try:
        generation(executor, 2)
        [relay] = processes("ray::RelayActor")
        relay.send_signal(signal.SIGSTOP)
        monkeypatch.setattr(scheduling, "REPORT_PATIENCE", 5.0)
        generation(executor, 2)
        assert any("has not reported" in notice for notice in executor.notices)
        assert executor.counters.tasks_reissued
        wait_for(lambda: ended(relay), 60, lambda: "the abandoned relay still exists")  # Ray kills it
    finally:
        executor.close()


def test_a_relay_is_called_once_for_a_short_generation_and_not_between_two(
    tables: NodeTables, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: Counter[str] = Counter()
    monkeypatch.setattr(CountingRelay, "calls", calls, raising=False)
    monkeypatch.setattr("raes.runtime.ray_executor.RayRelay", CountingRelay)
    executor = RayExecutor(WorkerSpec(TrivialSpec(), 0), TRIVIAL_TABLE, Size(1, 1), relays=True, deadline=None)
    try:
        generation(executor, 2)
        for _ in range(20):
            executor.collect(0.1)
        calls.clear()
        generation(executor, 2)
        assert calls == {"take": 1}
    finally:
        executor.close()


@pytest.mark.parametrize("relays", [True, False])
def test_a_second_snapshot_of_a_generation_takes_the_place_of_the_first(
    tables: NodeTables, monkeypatch: pytest.MonkeyPatch, relays: bool
) -> None:
    """Whether snapshots travel within the calls or by way of the object store."""
    executor = RayExecutor(WorkerSpec(TrivialSpec(), 0), TRIVIAL_TABLE, Size(2, 2), relays=relays, deadline=None)
    try:
        # Twice each, as where novelty search asks for its agents' behaviours before a generation. The purposes differ
        # as they do there: a copy of a slow episode may be answered when the next round has begun.
        rounds = [(True, 7, Purpose.PROBE, 1.0), (True, 7, Purpose.EVALUATION, 2.0)]
        rounds += [(False, 8, Purpose.PROBE, 3.0), (False, 8, Purpose.EVALUATION, 4.0)]
        for small, generation_number, purpose, value in rounds:
            monkeypatch.setattr(scheduling, "SMALL_SNAPSHOT", scheduling.SMALL_SNAPSHOT if small else 0)
            tasks = evaluation_tasks(purpose, generation_number, 6)
            snapshot = Snapshot(generation_number, np.full(2, value, dtype=np.float32))
            executor.publish(snapshot, oldest=generation_number)
            executor.submit(tasks)
            returns: list[float] = []
            while len(returns) < len(tasks):
                finished = [results for results in executor.collect(1.0) if results.purpose == purpose]
                returns += [one for results in finished for one in results.records["return"].tolist()]
            assert returns == [2 * value] * len(tasks)
    finally:
        executor.close()


def test_tables_of_nodes_that_have_gone_are_let_go(tables: NodeTables) -> None:
    executor = RayExecutor(WorkerSpec(TrivialSpec(), 0), TRIVIAL_TABLE, Size(1, 1), relays=False, deadline=None)
    try:
        executor._tables.on(NOWHERE)
        generation(executor, 2)
        assert NOWHERE not in executor._tables._made
    finally:
        executor.close()


@pytest.mark.parametrize(
    ("answer", "ours"),
    [
        (RayTaskError("run", "", ValueError("wrong shape")), True),
        (RayTaskError("run", "", ObjectLostError(NOWHERE, None, "")), False),
        (RayTaskError("take", "", BrokenPipeError("the raylet has gone")), False),
        (WorkerCrashedError(), False),
        ("a result", False),
    ],
)
def test_only_our_own_code_fails_the_run(answer: Any, ours: bool) -> None:
    assert is_our_fault(answer) is ours


def test_an_actor_that_ray_cannot_reach_is_said_to_be_lost_in_words() -> None:
    cause, blame = cause_of_death(ActorUnavailableError("RpcError: RPC error 14", None))
    assert cause == "Ray cannot reach it: its process or its node died, or the network between"
    assert blame is Blame.OUTSIDE
