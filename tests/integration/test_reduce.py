"""Noise tables by node and the shared weighted sum, on real Ray: the same bits whoever computes what, or dies."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
import ray
from ray.cluster_utils import Cluster
from ray.exceptions import RayError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from raes.runtime import scheduling
from raes.runtime.noise_tables import NodeTables
from raes.runtime.reduce import ReducerActor, Reducers
from raes.runtime.rollout_actor import RolloutActor
from raes.runtime.session import connect
from raes.search import noise
from raes.types import Float32, Int64, RunFailedError

from .helpers import ended
from .shared_ray import SharedRay

SIZE = 1 << 20
NUM_PARAMS = 5 * noise.SUM_SLICE + 1000
PAIRS = 300


@pytest.fixture(scope="module", autouse=True)
def small_sums_are_shared() -> Iterator[None]:
    """And a reducer may be slow, on a machine that does other work too."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(scheduling, "SHARE_WORK", 1000)
        patch.setattr(scheduling, "LEAST_PATIENCE", 60.0)
        yield


@pytest.fixture(scope="module")
def pairs() -> tuple[Int64, Float32]:
    rng = np.random.default_rng(1)
    return rng.integers(0, SIZE - NUM_PARAMS + 1, PAIRS), rng.standard_normal(PAIRS).astype(np.float32)


@pytest.fixture(scope="module")
def expected(pairs: tuple[Int64, Float32]) -> bytes:
    return noise.weighted_sum(noise.make_table(SIZE), *pairs, NUM_PARAMS).tobytes()


@pytest.fixture(scope="module")
def here(shared_ray: SharedRay) -> Iterator[NodeTables]:
    """The table of this machine."""
    connect(shared_ray.address, 1, 4 * SIZE)
    yield NodeTables(SIZE)
    ray.shutdown()


@pytest.fixture
def reducers(here: NodeTables) -> Iterator[Reducers]:
    made = Reducers(here)
    yield made
    made.close()


def wait_for(condition: Callable[[], object], seconds: float = 60.0) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "timed out"
        time.sleep(0.02)


def started(reducers: Reducers, nodes: dict[str, int], pairs: tuple[Int64, Float32]) -> None:
    """Let them start, which the first sum makes them do."""
    reducers.resize(nodes)
    wait_for(lambda: len(reducers.sum(*pairs, NUM_PARAMS)) and reducers.ready == sum(nodes.values()))


def processes(name: str) -> list[psutil.Process]:
    """What runs below this process and has this in its name."""
    found = []
    for process in psutil.Process().children(recursive=True):
        with suppress(psutil.NoSuchProcess):
            if name in process.name():
                found.append(process)
    return found


@pytest.mark.parametrize("count", [0, 1, 2])
def test_any_number_of_reducers_gives_the_same_bits(
    reducers: Reducers, here: NodeTables, pairs: tuple[Int64, Float32], expected: bytes, count: int
) -> None:
    started(reducers, {here.node: count}, pairs)
    assert len(processes("ray::ReducerAct")) == count
    before = [sum(process.cpu_times()[:2]) for process in processes("ray::ReducerAct")]
    for _ in range(3):
        assert reducers.sum(*pairs, NUM_PARAMS).tobytes() == expected
    after = [sum(process.cpu_times()[:2]) for process in processes("ray::ReducerAct")]
    assert all(later > earlier for earlier, later in zip(before, after, strict=True))  # they did work
    assert reducers.lost == 0


def test_a_small_sum_starts_nobody(
    reducers: Reducers, here: NodeTables, pairs: tuple[Int64, Float32], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scheduling, "SHARE_WORK", NUM_PARAMS * PAIRS + 1)
    reducers.resize({here.node: 2})
    reducers.sum(*pairs, NUM_PARAMS)
    assert reducers._reducers == []


def test_fewer_allowed_ends_the_others(
    reducers: Reducers, here: NodeTables, pairs: tuple[Int64, Float32], expected: bytes
) -> None:
    started(reducers, {here.node: 2}, pairs)
    reducers.resize({here.node: 1})
    assert reducers.ready == 1
    wait_for(lambda: len(processes("ray::ReducerAct")) == 1)
    assert reducers.sum(*pairs, NUM_PARAMS).tobytes() == expected
    reducers.resize({})
    wait_for(lambda: not processes("ray::ReducerAct"))
    assert reducers.lost == 0


def test_a_reducer_killed_in_the_middle_changes_no_bit_and_is_replaced(
    reducers: Reducers, here: NodeTables, pairs: tuple[Int64, Float32], expected: bytes
) -> None:
    started(reducers, {here.node: 2}, pairs)
    victim = processes("ray::ReducerAct")[0]
    victim.send_signal(signal.SIGSTOP)  # so that it has been given its share and cannot have finished it
    timer = threading.Timer(0.4, victim.send_signal, [signal.SIGKILL])
    timer.start()
    begin = time.monotonic()
    total = reducers.sum(*pairs, NUM_PARAMS)
    assert time.monotonic() - begin > 0.3
    timer.join()
    assert total.tobytes() == expected
    assert reducers.lost == 1
    assert len(reducers.notices) == 1
    assert "too slow" not in reducers.notices[0]
    started(reducers, {here.node: 2}, pairs)
    assert reducers.sum(*pairs, NUM_PARAMS).tobytes() == expected
    assert reducers.lost == 1


def test_a_reducer_that_stands_still_is_given_up(
    reducers: Reducers,
    here: NodeTables,
    pairs: tuple[Int64, Float32],
    expected: bytes,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(scheduling, "LEAST_PATIENCE", 0.3)
    started(reducers, {here.node: 1}, pairs)
    [process] = processes("ray::ReducerAct")
    process.send_signal(signal.SIGSTOP)
    begin = time.monotonic()
    assert reducers.sum(*pairs, NUM_PARAMS).tobytes() == expected
    assert time.monotonic() - begin < 10
    assert ["too slow" in notice for notice in reducers.notices] == [True]
    wait_for(lambda: ended(process))


def test_a_node_whose_reducers_only_die_gets_no_more(
    reducers: Reducers, here: NodeTables, pairs: tuple[Int64, Float32], expected: bytes
) -> None:
    reducers.resize({"0" * 56: 1})  # a node that does not exist
    wait_for(lambda: reducers.sum(*pairs, NUM_PARAMS).tobytes() == expected and reducers.lost == 3)
    for _ in range(3):
        reducers.sum(*pairs, NUM_PARAMS)
    assert reducers._reducers == []
    here.keep(())


def test_a_sum_that_fails_for_itself_fails(reducers: Reducers, here: NodeTables, pairs: tuple[Int64, Float32]) -> None:
    started(reducers, {here.node: 1}, pairs)
    actor = reducers._reducers[0].actor
    reference = actor.sum.remote((pairs[0], pairs[1][:1]), NUM_PARAMS, range(1), False)
    with pytest.raises(RunFailedError, match="reducer of the weighted noise sum failed"):
        reducers._receive(reducers._reducers[0], reference)


# On a cluster of two nodes, both on this machine.


class TwoNodes:
    """A cluster whose head is this process's node."""

    def __init__(self) -> None:
        node = {"num_cpus": 1, "object_store_memory": 128 << 20}
        self.cluster = Cluster(initialize_head=True, head_node_args={**node, "include_dashboard": False})
        self._handle = self.cluster.add_node(**node)
        ray.init(address=self.cluster.address, log_to_driver=False)
        self.other: str = self._handle.node_id

    def pinned(self, function: Any) -> Any:
        """A task or an actor class that runs on the other node."""
        strategy = NodeAffinitySchedulingStrategy(self.other, soft=False)
        return ray.remote(function).options(num_cpus=0, scheduling_strategy=strategy)

    def kill_other(self) -> None:
        """The other node dies unannounced."""
        self.cluster.remove_node(self._handle, allow_graceful=False)


@pytest.fixture
def two_nodes(ray_folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[TwoNodes]:
    ray.shutdown()
    monkeypatch.setenv("RAY_TMPDIR", str(ray_folder))
    nodes = TwoNodes()
    yield nodes
    ray.shutdown()
    nodes.cluster.shutdown()


def places(reference: Any) -> list[str]:
    """The nodes whose stores hold an object."""
    found: list[str] = ray.experimental.get_object_locations([reference])[reference]["node_ids"]
    return found


@pytest.mark.cluster
def test_each_node_has_its_own_table_and_its_reducer_reads_it(
    two_nodes: TwoNodes, pairs: tuple[Int64, Float32], expected: bytes
) -> None:
    def described(table: Float32) -> tuple[str, bool, bool, str]:  # in here, so that Ray sends its code along
        node = ray.get_runtime_context().get_node_id()
        return node, table.flags.writeable, table.flags.owndata, noise.fingerprint(table)

    tables, other = NodeTables(SIZE), two_nodes.other
    assert tables.node != other
    assert places(tables.on(tables.node)) == [tables.node]
    reference = tables.on(other)
    assert tables.on(other) is reference
    ray.wait([reference], fetch_local=False)
    wait_for(lambda: places(reference))  # the owner hears of the place a moment after it hears that the table is there
    assert places(reference) == [other]
    assert tables.fingerprint == noise.fingerprint(tables.local)
    assert ray.get(two_nodes.pinned(described).remote(reference)) == (other, False, False, tables.fingerprint)
    reducers = Reducers(tables)
    started(reducers, {tables.node: 1, other: 1}, pairs)
    assert reducers.sum(*pairs, NUM_PARAMS).tobytes() == expected
    assert places(reference) == [other]  # nobody has fetched it
    assert places(tables.on(tables.node)) == [tables.node]
    two_nodes.kill_other()
    assert reducers.sum(*pairs, NUM_PARAMS).tobytes() == expected
    assert reducers.lost == 1
    reducers.close()


@pytest.mark.cluster
def test_a_node_that_dies_while_it_makes_the_table_hangs_nobody(two_nodes: TwoNodes) -> None:
    tables = NodeTables(SIZE)
    tables.size = 1 << 24  # long enough to die in the middle of it
    reference = tables.on(two_nodes.other)
    reducer = two_nodes.pinned(ReducerActor).remote(reference)
    rollout = ray.remote(RolloutActor).options(num_cpus=0).remote(None, reference, "")  # here, and needs it from there
    waiting = [reducer.ready.remote(), rollout.ready.remote()]
    wait_for(lambda: processes("make_table"))
    assert not ray.wait([reference], timeout=0, fetch_local=False)[0]
    two_nodes.kill_other()
    for answer in (reference, *waiting):
        with pytest.raises(RayError):
            ray.get(answer, timeout=60)
    again = tables.on(two_nodes.other)
    assert again is not reference
    with pytest.raises(RayError):  # and it is gone for good
        ray.get(again, timeout=60)
    tables.keep(())
    assert places(tables.on(tables.node)) == [tables.node]  # this process's own node stays


@pytest.mark.cluster
def test_a_table_whose_maker_dies_is_made_again(two_nodes: TwoNodes) -> None:
    tables = NodeTables(SIZE)
    tables.size = 1 << 24  # long enough to die in the middle of it
    first = tables.on(two_nodes.other)

    wait_for(lambda: processes("make_table"))
    processes("make_table")[0].kill()
    with pytest.raises(RayError):
        ray.get(first, timeout=60)
    again = tables.on(two_nodes.other)
    ray.wait([again], timeout=60, fetch_local=False)
    wait_for(lambda: places(again))
    assert places(again) == [two_nodes.other]
    assert tables.on(two_nodes.other) is again
    tables.keep(())
    assert tables.on(two_nodes.other) is not again
