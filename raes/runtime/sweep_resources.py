"""What the jobs of a sweep share on one Ray: one noise table per node, and the CPUs.

Ray frees an object when its owner dies. So the tables are owned by an actor of the sweep, which outlives each job; the
jobs' drivers and workers read them without a copy.
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


class SweepResourcesActor:
    """Owns the noise tables and divides the CPUs; on the node of the sweep's command, where the drivers are too."""

    def __init__(self, jobs: int) -> None:
        self._tables: dict[int, NodeTables] = {}
        self._jobs = set(range(jobs))

    def table(self, size: int, node_id: str) -> tuple[list[ObjectRef[Float32]], str]:
        """A node's table, made where there is none yet, and its fingerprint.

        The reference is in a list, so that Ray passes on the reference and not the table.
        """
        if size not in self._tables:
            self._tables[size] = NodeTables(size)
        return [self._tables[size].on(node_id)], self._tables[size].fingerprint

    def keep(self, size: int, nodes: Collection[str]) -> None:
        """Free the tables of all other nodes, which have left."""
        self._tables[size].keep(nodes)

    def leave(self, job: int) -> None:
        """Divide the CPUs of a job among the others: it has ended and no other job takes its place."""
        self._jobs.discard(job)

    def share(self, job: int) -> Share:
        """A job's part of the CPUs at this moment."""
        return Share(sorted(self._jobs).index(job), len(self._jobs)) if job in self._jobs else Share()


@dataclass(frozen=True)
class SweepResources:
    """One job's access to what a sweep shares; it is sent to the job's driver.

    Attributes:
        name: of the `SweepResourcesActor` on this Ray. Its handle would stay in the object store with the driver's
            arguments.
        job: the job's number, which no other running job has.
    """

    name: str
    job: int = 0

    @property
    def actor(self) -> Any:
        """The actor's handle."""
        return ray.get_actor(self.name)

    def share(self) -> Share:
        """This job's part of the CPUs at this moment."""
        found: Share = ray.get(self.actor.share.remote(self.job))
        return found


def start_sweep_resources(jobs: int) -> tuple[SweepResources, Any]:
    """Start the actor on this node; the actor ends when its handle, also returned, or this process is gone.

    Args:
        jobs: how many jobs run at a time, each of which has a share from the beginning.
    """
    here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
    shared = SweepResources(f"raes-shared-{uuid.uuid4().hex}")
    actor_class: Any = ray.remote(SweepResourcesActor)
    handle = actor_class.options(name=shared.name, num_cpus=0, scheduling_strategy=here).remote(jobs)
    ray.get(handle.share.remote(0))  # a name is known only once its actor has started
    return shared, handle


class SharedTables:
    """The `Tables` of a job in a sweep: they belong to the `SweepResourcesActor`."""

    def __init__(self, shared: SweepResources, size: int) -> None:
        self.size, self._actor = size, shared.actor
        self.node: str = ray.get_runtime_context().get_node_id()
        [self._own], self.fingerprint = ray.get(self._actor.table.remote(size, self.node))
        self.local: Float32 = ray.get(self._own)
        self._nodes: frozenset[str] = frozenset()

    def on(self, node_id: str) -> ObjectRef[Float32]:
        """The table of a node; the first call for a node starts to make it and does not wait."""
        [reference], _ = ray.get(self._actor.table.remote(self.size, node_id))
        found: ObjectRef[Float32] = reference
        return found

    def keep(self, nodes: Collection[str]) -> None:
        """Free the tables of all other nodes."""
        if self._nodes != (now := frozenset(nodes)):
            self._nodes = now
            self._actor.keep.remote(self.size, now)
