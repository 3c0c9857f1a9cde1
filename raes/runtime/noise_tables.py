"""The noise tables of a cluster: one per node, made there from the seed, so that none crosses the network."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any, Protocol

import ray
from ray import ObjectRef
from ray.exceptions import RayError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from raes.search import noise
from raes.types import Float32


class Tables(Protocol):
    """The noise tables of one size on all nodes, as an executor and its reducers need them.

    Attributes:
        size: floats of a table.
        node: the id of this process's own node.
        local: this node's table, float32 (size,), read-only.
        fingerprint: the table's digest, see `noise.fingerprint`.
    """

    size: int
    node: str
    local: Float32
    fingerprint: str

    def on(self, node_id: str) -> ObjectRef[Float32]:
        """The table of a node."""

    def keep(self, nodes: Collection[str]) -> None:
        """Free the tables of all other nodes."""


class NodeTables:
    """Noise tables in the nodes' object stores, owned by the process that holds this object.

    An actor that is given a node's table reads it there without a copy, and its death loses no table; the death of
    this process loses all of them. While a table is made it is held twice for a moment: by the process that fills it
    and in its node's store.

    Attributes:
        size: floats of a table.
        node: the id of this process's own node.
        local: this node's table, float32 (size,), read-only, in the store.
        fingerprint: the table's digest, see `noise.fingerprint`.
    """

    def __init__(self, size: int) -> None:
        self.size = size
        self.node: str = ray.get_runtime_context().get_node_id()
        table = noise.make_table(size)
        self.fingerprint = noise.fingerprint(table)
        self._references: dict[str, ObjectRef[Float32]] = {self.node: ray.put(table)}
        self._made: dict[str, ObjectRef[None]] = {}
        del table
        self.local: Float32 = ray.get(self._references[self.node])

    def on(self, node_id: str) -> ObjectRef[Float32]:
        """The table of a node; the first call for a node starts to make it and does not wait.

        Where the node or its worker dies before the table is made, reading it raises a `RayError`, and so does every
        call of an actor that is given it; nothing waits for ever. The next call of `on` makes it again.
        """
        if node_id not in self._references or self._failed(node_id):
            pinned = NodeAffinitySchedulingStrategy(node_id, soft=False)
            # No retries: Ray would try a lost table again on the node that is gone.
            options = {"num_cpus": 0, "num_returns": 2, "max_retries": 0, "scheduling_strategy": pinned}
            make: Any = ray.remote(_make_table).options(**options)
            self._made[node_id], self._references[node_id] = make.remote(self.size)
        return self._references[node_id]

    def keep(self, nodes: Collection[str]) -> None:
        """Free the tables of all other nodes, which have left; this process's own stays."""
        for node_id in self._made.keys() - nodes:
            del self._references[node_id], self._made[node_id]

    def _failed(self, node_id: str) -> bool:
        """Whether making a table has failed; reads the None, not the table."""
        if node_id not in self._made or not ray.wait([self._made[node_id]], timeout=0)[0]:
            return False
        try:
            ray.get(self._made[node_id])
        except RayError:
            return True
        return False


def _make_table(size: int) -> tuple[None, Float32]:
    """None, which can be read from any node at no cost once the table is made, and the table.

    In this order: where a call fails, Ray marks one result after the other as failed. Whoever finds the table failed
    must not find the None still awaited.
    """
    return None, noise.make_table(size)
