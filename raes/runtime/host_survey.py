"""Asks every node of the cluster: a host_probe on each, which needs no CPU of Ray's and is gone afterwards."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import ray
from ray import _raylet, cloudpickle
from ray.exceptions import RayError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from raes.runtime import host_probe, packages
from raes.runtime.host_probe import HostInfo, Witness

CLOCK_LOOKS = 3


@dataclass(frozen=True)
class NodeFacts:
    """What was found of one node.

    Attributes:
        node_id: Ray's name of it; empty without Ray.
        address: its IP address.
        cpus: for workers, as Ray has them.
        store_bytes: of its object store, as Ray has them.
        here: whether the command, and so a run's driver, is on this node.
        statement: the host's own; None where it did not answer.
        clock: seconds that its clock is ahead of this host's.
        clock_error: how far off that may be.
        answer: what the function said there; None where it failed.
        failure: why something is None.
    """

    node_id: str
    address: str
    cpus: int
    store_bytes: int
    here: bool
    statement: HostInfo | None = None
    clock: float = 0.0
    clock_error: float = 0.0
    answer: Any = None
    failure: str = ""

    @property
    def host(self) -> str:
        """What to call it."""
        return self.address if self.statement is None else self.statement.host


def alone(function: Callable[..., Any], *arguments: Any) -> NodeFacts:
    """The same of this machine, in this process, without Ray."""
    own, cpus = Witness(), len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    answer = own.call(function, *arguments)
    return NodeFacts("", "127.0.0.1", cpus or 1, 0, here=True, statement=own.look(), answer=answer)


def asks_for_token() -> bool:
    """Whether this Ray lets in only callers that have its token."""
    asked = getattr(_raylet, "get_authentication_mode", None)  # newer than the oldest Ray that RAES runs on
    return asked is not None and asked() == vars(_raylet)["AuthenticationMode"].TOKEN


def host_survey(patience: float, function: Callable[..., Any], *arguments: Any) -> list[NodeFacts]:
    """All live nodes, this process's own first.

    Args:
        patience: seconds that a node may take for each answer.
        function: is called once on each node, with the arguments.
    """
    cloudpickle.register_pickle_by_value(packages)
    cloudpickle.register_pickle_by_value(host_probe)
    try:
        return _survey(patience, function, arguments)
    finally:
        cloudpickle.unregister_pickle_by_value(packages)
        cloudpickle.unregister_pickle_by_value(host_probe)


def _survey(patience: float, function: Callable[..., Any], arguments: tuple[Any, ...]) -> list[NodeFacts]:
    own = ray.get_runtime_context().get_node_id()
    nodes = sorted((node for node in ray.nodes() if node["Alive"]), key=lambda node: node["NodeID"] != own)
    actor_class: Any = ray.remote(num_cpus=0, max_restarts=0)(Witness)
    witnesses = []
    for node in nodes:
        there = NodeAffinitySchedulingStrategy(node["NodeID"], soft=False)
        witnesses.append(actor_class.options(scheduling_strategy=there).remote())
    looks = [one.look.remote() for one in witnesses]
    calls = [one.call.remote(function, *arguments) for one in witnesses]
    found = []
    for node, one, look, call in zip(nodes, witnesses, looks, calls, strict=True):
        resources = node["Resources"]
        facts: dict[str, Any] = {
            "node_id": node["NodeID"],
            "address": node["NodeManagerAddress"],
            "cpus": int(resources.get("CPU", 0)),
            "store_bytes": int(resources.get("object_store_memory", 0)),
            "here": node["NodeID"] == own,
        }
        try:
            facts["statement"] = ray.get(look, timeout=patience)
            facts["answer"] = ray.get(call, timeout=patience)
        except RayError as error:
            facts["failure"] = _reason(error, patience)
        if facts.get("statement") is not None:
            facts["clock"], facts["clock_error"] = _clock(one, patience)
        found.append(NodeFacts(**facts))
        ray.kill(one)
    return found


def _clock(one: Any, patience: float) -> tuple[float, float]:
    """How far the host_probe's clock is ahead, and the error of that: half the shortest way there and back."""
    best = (0.0, float("inf"))
    for _ in range(CLOCK_LOOKS):
        before = time.time()
        try:
            there = ray.get(one.now.remote(), timeout=patience)
        except RayError:
            return best
        after = time.time()
        if (error := (after - before) / 2) < best[1]:
            best = (there - (before + after) / 2, error)
    return best


def _reason(error: RayError, patience: float) -> str:
    """One line: the last one of a failure there, which names it."""
    if isinstance(error, ray.exceptions.GetTimeoutError):
        return f"no answer within {patience:.0f} s"
    cause = getattr(error, "cause", None)
    lines = str(error if cause is None else cause).strip().splitlines()
    return lines[-1] if lines else type(error).__name__
