"""What the jobs of a sweep share on one Ray: a noise table a node, and the CPUs.

An object outlives nothing: it is gone when its owner dies. So the tables belong to an actor of the sweep, which
outlives each job; the jobs' drivers and workers read them where they lie, without a copy.
"""

from __future__ import annotations

import uuid
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

import ray
from ray import ObjectRef
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from raes.runtime.noise_tables import NodeTables
from raes.runtime.scheduling import Share
from raes.types import Float32


class CommonsActor:
    """Owns the tables and deals the CPUs; on the node of the sweep's command, where the drivers are too."""

    def __init__(self, places: int) -> None:
        self._tables: dict[int, NodeTables] = {}
        self._jobs = set(range(places))

    def table(self, size: int, node_id: str) -> tuple[list[ObjectRef[Float32]], str]:
        """A node's table, made where there is none yet, and its fingerprint; in a list, so that Ray hands on the
        reference and not the table."""
        if size not in self._tables:
            self._tables[size] = NodeTables(size)
        return [self._tables[size].on(node_id)], self._tables[size].fingerprint

    def keep(self, size: int, nodes: Collection[str]) -> None:
        """Let go of the tables of all other nodes, which have gone."""
        self._tables[size].keep(nodes)

    def leave(self, job: int) -> None:
        """The job in a place has ended and no other takes it: the others share its CPUs."""
        self._jobs.discard(job)

    def share(self, job: int) -> Share:
        """Which part of the CPUs the job in a place has at this moment."""
        return Share(sorted(self._jobs).index(job), len(self._jobs)) if job in self._jobs else Share()


@dataclass(frozen=True)
class SweepResources:
    """One job's hand on the shared; travels to its driver.

    Attributes:
        name: of the `CommonsActor` on this Ray; not its handle, which Ray would keep in the object store with the
            driver's arguments.
        job: the job's place, which no other running job has.
    """

    name: str
    job: int = 0

    @property
    def actor(self) -> Any:
        """The handle."""
        return ray.get_actor(self.name)

    def share(self) -> Share:
        """Which part of the CPUs this job has at this moment."""
        found: Share = ray.get(self.actor.share.remote(self.job))
        return found


def start_sweep_resources(places: int) -> tuple[SweepResources, Any]:
    """Start the actor on this node, and its handle: the actor ends when the handle or this process is gone.

    Args:
        places: jobs that run at a time, each of which has a share from the beginning.
    """
    here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
    shared = SweepResources(f"raes-shared-{uuid.uuid4().hex}")
    actor_class: Any = ray.remote(CommonsActor)
    return shared, actor_class.options(name=shared.name, num_cpus=0, scheduling_strategy=here).remote(places)


class SharedTables:
    """The same as `NodeTables`, with tables that the sweep's shared own."""

    def __init__(self, shared: SweepResources, size: int) -> None:
        self.size, self._actor = size, shared.actor
        self.node: str = ray.get_runtime_context().get_node_id()
        [self._own], self.fingerprint = ray.get(self._actor.table.remote(size, self.node))
        self.local: Float32 = ray.get(self._own)
        self._nodes: frozenset[str] = frozenset()

    def on(self, node_id: str) -> ObjectRef[Float32]:
        """See `NodeTables.on`."""
        [reference], _ = ray.get(self._actor.table.remote(self.size, node_id))
        found: ObjectRef[Float32] = reference
        return found

    def keep(self, nodes: Collection[str]) -> None:
        """See `NodeTables.keep`."""
        if self._nodes != (now := frozenset(nodes)):
            self._nodes = now
            self._actor.keep.remote(self.size, now)
