"""Inspects every node of the cluster, by a `HostProbe` on each that needs no CPU of Ray and ends afterwards."""

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
from raes.runtime.host_probe import HostInfo, HostProbe

CLOCK_READINGS = 3


@dataclass(frozen=True)
class NodeFacts:
    """The result of inspecting one node.

    Attributes:
        node_id: Ray's id of it; empty without Ray.
        address: its IP address.
        cpus: for workers, as Ray counts them.
        store_bytes: size of its object store, as Ray counts it.
        here: whether the command, and so a run's driver, is on this node.
        info: what the host reports of itself; None where it did not answer.
        clock: seconds that its clock is ahead of this host's.
        clock_error: how far off `clock` may be.
        answer: the function's result there; None where it failed.
        failure: why `info` or `answer` is None.
    """

    node_id: str
    address: str
    cpus: int
    store_bytes: int
    here: bool
    info: HostInfo | None = None
    clock: float = 0.0
    clock_error: float = 0.0
    answer: Any = None
    failure: str = ""

    @property
    def host(self) -> str:
        """Its name, for messages."""
        return self.address if self.info is None else self.info.host


def survey_this_host(function: Callable[..., Any], *arguments: Any) -> NodeFacts:
    """Inspect this machine as `host_survey` inspects nodes, in this process, without Ray."""
    own, cpus = HostProbe(), len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    answer = own.call(function, *arguments)
    return NodeFacts("", "127.0.0.1", cpus or 1, 0, here=True, info=own.info(), answer=answer)


def requires_token() -> bool:
    """Whether this Ray lets in only callers that have its token."""
    mode = getattr(_raylet, "get_authentication_mode", None)  # newer than the oldest Ray that RAES runs on
    return mode is not None and mode() == vars(_raylet)["AuthenticationMode"].TOKEN


def host_survey(patience: float, function: Callable[..., Any], *arguments: Any) -> list[NodeFacts]:
    """Inspect all live nodes, this process's own first.

    Args:
        patience: seconds in which a node must give each answer.
        function: is called once on each node, with the arguments.
    """
    cloudpickle.register_pickle_by_value(packages)
    cloudpickle.register_pickle_by_value(host_probe)
    try:
        return _probe_nodes(patience, function, arguments)
    finally:
        cloudpickle.unregister_pickle_by_value(packages)
        cloudpickle.unregister_pickle_by_value(host_probe)


def _probe_nodes(patience: float, function: Callable[..., Any], arguments: tuple[Any, ...]) -> list[NodeFacts]:
    own = ray.get_runtime_context().get_node_id()
    nodes = sorted((node for node in ray.nodes() if node["Alive"]), key=lambda node: node["NodeID"] != own)
    actor_class: Any = ray.remote(num_cpus=0, max_restarts=0)(HostProbe)
    probes = []
    for node in nodes:
        there = NodeAffinitySchedulingStrategy(node["NodeID"], soft=False)
        probes.append(actor_class.options(scheduling_strategy=there).remote())
    infos = [probe.info.remote() for probe in probes]
    calls = [probe.call.remote(function, *arguments) for probe in probes]
    found = []
    for node, probe, info, call in zip(nodes, probes, infos, calls, strict=True):
        resources = node["Resources"]
        facts: dict[str, Any] = {
            "node_id": node["NodeID"],
            "address": node["NodeManagerAddress"],
            "cpus": int(resources.get("CPU", 0)),
            "store_bytes": int(resources.get("object_store_memory", 0)),
            "here": node["NodeID"] == own,
        }
        try:
            facts["info"] = ray.get(info, timeout=patience)
            facts["answer"] = ray.get(call, timeout=patience)
        except RayError as error:
            facts["failure"] = _reason(error, patience)
        if facts.get("info") is not None:
            facts["clock"], facts["clock_error"] = _clock(probe, patience)
        found.append(NodeFacts(**facts))
        ray.kill(probe)
    return found


def _clock(probe: Any, patience: float) -> tuple[float, float]:
    """Seconds by which a host's clock is ahead, and their error: half of the shortest round trip."""
    best = (0.0, float("inf"))
    for _ in range(CLOCK_READINGS):
        before = time.time()
        try:
            there = ray.get(probe.now.remote(), timeout=patience)
        except RayError:
            return best
        after = time.time()
        if (error := (after - before) / 2) < best[1]:
            best = (there - (before + after) / 2, error)
    return best


def _reason(error: RayError, patience: float) -> str:
    """A failure in one line: the last line of its text, which names it."""
    if isinstance(error, ray.exceptions.GetTimeoutError):
        return f"no answer within {patience:.0f} s"
    cause = getattr(error, "cause", None)
    lines = str(error if cause is None else cause).strip().splitlines()
    return lines[-1] if lines else type(error).__name__
