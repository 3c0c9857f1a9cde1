"""Judges whether a run would work on the nodes that were inspected. Pure: facts in, findings out."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from raes.doctor.trial import Disk, Trial
from raes.runtime.host_probe import HostInfo
from raes.runtime.host_survey import NodeFacts
from raes.runtime.memory import GIB, WORKER_BYTES, Room, enlarge, misfits
from raes.runtime.packages import ARITHMETIC, CURE, differing
from raes.runtime.scheduling import Size

CLOCK_SECONDS = 2.0
"""Clocks that differ by more mix up the times in logs; a store such as S3 refuses requests 15 minutes off."""
CORES = 1.5
"""A worker that keeps more cores busy takes them from other workers."""
SLOW = 0.6
"""Share of the fastest host's speed, below which others wait for a host at the end of each generation."""
FILES_BASE, FILES_WORKER = 128, 4
"""Open files of Ray's own processes: 60 and 3 per worker, as counted with Ray 2.60, and a margin."""
CHECKPOINTS = 5
"""Checkpoints in a run directory at a time: three, the best and the one that is being written."""
LOG_BYTES = 50 << 20
"""Bytes of a long run's event files and metrics."""
Level = Literal["fault", "warning", "note"]


@dataclass(frozen=True)
class Finding:
    """One thing that the user should know.

    Attributes:
        level: `fault`: a run would fail, or compute something else; `warning`: it would be slower or less safe; `note`.
        host: the host's name; `all` or `this configuration` where it is about no single host.
        text: what was found, and what was expected.
        cure: the fix; empty where there is nothing to do.
    """

    level: Level
    host: str
    text: str
    cure: str = ""


@dataclass(frozen=True)
class Plan:
    """What a run would need.

    Attributes:
        size: how many workers.
        episodes: of a generation, at least.
        embedded: whether it would run on a Ray of its own, on this machine.
        on_ray: false for `runtime.name=serial`.
        disk: of its run directory; None where that is in a store.
        advice: on the size of the pool, or None.
        token: whether Ray requires a token from its callers.
        absent: addresses of the cluster's file that have not joined.
    """

    size: Size
    episodes: int
    embedded: bool
    on_ray: bool
    disk: Disk | None
    advice: str | None = None
    token: bool = True
    absent: tuple[str, ...] = ()


def findings(plan: Plan, nodes: Sequence[NodeFacts]) -> list[Finding]:
    """All findings, the worst first.

    Args:
        plan: of the run.
        nodes: at least one; the first one is where the driver would be.
    """
    found = [*_cluster(plan, nodes), *_packages(nodes), *_digests(nodes)]
    for node in nodes:
        if node.info is not None:
            found += _host(plan, nodes, node, node.info)
        if node.failure:
            found.append(_silent(node))
        elif isinstance(node.answer, str):
            found.append(Finding("fault", node.host, node.answer, _environment_cure(node.answer, nodes)))
        elif isinstance(node.answer, Trial):
            found += _trial(plan, nodes, node, node.answer)
    found += _disk(plan, nodes)
    order = {"fault": 0, "warning": 1, "note": 2}
    return sorted(found, key=lambda one: order[one.level])


def exit_code(found: Iterable[Finding]) -> int:
    """1 where a run would fail."""
    return int(any(one.level == "fault" for one in found))


def _silent(node: NodeFacts) -> Finding:
    if node.info is None:
        cure = "look at the node in `ray status`; restart Ray there with `ray stop` and `ray start`"
        return Finding("fault", node.host, f"does not answer: {node.failure}", cure)
    return Finding("fault", node.host, f"a worker cannot start there: {node.failure}", CURE)


def _environment_cure(text: str, nodes: Sequence[NodeFacts]) -> str:
    """The fix on a cluster, where the message itself names one for a single machine."""
    if "Python path" in text:
        return "a module of your own travels to every node with `ray job submit --working-dir .`"
    able = [node.host for node in nodes if isinstance(node.answer, Trial)]
    return f"it works on {able[0]}; {CURE}" if able else "see above; it works on no host"


def _cluster(plan: Plan, nodes: Sequence[NodeFacts]) -> list[Finding]:
    found = []
    cpus, wanted = sum(node.cpus for node in nodes), plan.size.most
    if not plan.embedded and plan.on_ray:
        if not cpus and wanted is None:
            cure = "add a node that has some, or let workers=1..N ask the autoscaler for them"
            found.append(Finding("fault", "all", "the cluster has no CPUs to run episodes on", cure))
        elif cpus < (wanted or 0):
            text = f"there are CPUs for {cpus} of {wanted} workers; a run starts with {plan.size.least} or more"
            cure = "an autoscaler starts more nodes; else add some, or set workers=auto"
            found.append(Finding("note" if cpus >= plan.size.least else "warning", "all", text, cure))
        if len({node.address for node in nodes}) > 1 and not plan.token:
            text = "Ray requires no token: whoever reaches its ports can run code on all nodes"
            found.append(Finding("warning", "all", text, "set RAY_AUTH_MODE=token, see cluster/README.md"))
    for address in plan.absent:
        text = (
            "is in the cluster's file and has not joined. Ray lets no node join that has another Ray or Python version "
            "(`Version mismatch` in the log of `ray start`)"
        )
        cure = f"look into /tmp/ray/session_latest/logs/monitor.* on the head; {CURE}"
        found.append(Finding("warning", address, text, cure))
    if plan.advice is not None:
        text, _, cure = plan.advice.partition("; ")
        found.append(Finding("note", "this configuration", text, cure))
    return found


def _packages(nodes: Sequence[NodeFacts]) -> list[Finding]:
    """Hosts whose packages differ from those of the driver's host."""
    expected = nodes[0].info
    if expected is None:
        return []
    used = {name for node in nodes if isinstance(node.answer, Trial) for name in node.answer.used}
    found = []
    for node in nodes[1:]:
        if node.info is None:
            continue
        for name, (have, want) in differing(expected.packages, node.info.packages).items():
            matters = name in ("python", "ray", "raes") or (name in used and name not in ARITHMETIC)
            level: Level = "fault" if matters else "note"
            if name in ARITHMETIC:
                level = "warning"
            text = f"has {name} {have}; {nodes[0].host}, where the driver would be, has {want}"
            found.append(Finding(level, node.host, text, CURE))
    return found


def _digests(nodes: Sequence[NodeFacts]) -> list[Finding]:
    """Hosts that compute other bits than the driver's host."""
    kinds = [(node, node.answer.digest.split()[0]) for node in nodes if isinstance(node.answer, Trial)]
    return [
        Finding(
            "warning",
            node.host,
            f"computes other bits than {kinds[0][0].host}, so theta depends on who runs which episode "
            f"({node.answer.digest} against {kinds[0][0].answer.digest})",
            "use nodes of one CPU type with the same packages",
        )
        for node, kind in kinds[1:]
        if kind != kinds[0][1]
    ]


def _host(plan: Plan, nodes: Sequence[NodeFacts], node: NodeFacts, info: HostInfo) -> list[Finding]:
    """Findings on a host that do not depend on the configuration's episodes."""
    found = []
    if abs(node.clock) > CLOCK_SECONDS + node.clock_error:
        way = "ahead of" if node.clock > 0 else "behind"
        text = f"its clock is {abs(node.clock):.1f} s {way} that of {nodes[0].host}"
        found.append(Finding("warning", node.host, text, "run a time service there, such as chrony"))
    everywhere = plan.size.most or sum(one.cpus for one in nodes)
    there = min(everywhere, node.cpus) if not plan.embedded else everywhere
    need = FILES_BASE + FILES_WORKER * (everywhere if node.here else there)
    if plan.on_ray and info.open_files < need:
        text = f"its processes may open {info.open_files} files; {there} workers there need about {need}"
        found.append(Finding("fault", node.host, text, "run `ulimit -n 65536` before `ray start`"))
    return found


def _trial(plan: Plan, nodes: Sequence[NodeFacts], node: NodeFacts, trial: Trial) -> list[Finding]:
    """Findings on a host from the trial of the configuration's episodes."""
    found = []
    if trial.fault:
        cure = "run it with runtime=serial to see why; fix the environment"
        found.append(Finding("fault", node.host, f"an episode fails there: {trial.fault}", cure))
    if trial.cores > CORES:
        text = f"a worker's matrix products keep {trial.cores:.1f} cores busy, since its BLAS cannot be held to one"
        cure = "set OMP_NUM_THREADS=1, OPENBLAS_NUM_THREADS=1 and VECLIB_MAXIMUM_THREADS=1 before `ray start`"
        found.append(Finding("warning", node.host, text, cure))
    fastest = min(
        (one.answer.step_seconds for one in nodes if isinstance(one.answer, Trial) and one.answer.lengths), default=0
    )
    if trial.lengths and fastest < SLOW * trial.step_seconds:
        share = 100 * fastest / trial.step_seconds
        text = f"one core makes {1 / trial.step_seconds:,.0f} steps per second, {share:.0f} % of the fastest host's"
        found.append(Finding("note", node.host, text, "generations wait for the slowest; other work may run there"))
    if trial.undrawn:
        text, _, cure = trial.undrawn.rpartition("; ")
        found.append(Finding("note", node.host, f"no video can be made there: {text}", cure))
    return found + _room(plan, node, trial)


def _room(plan: Plan, node: NodeFacts, trial: Trial) -> list[Finding]:
    """Findings on a host where the noise table or the workers do not fit."""
    info = node.info
    assert info is not None
    room = Room(memory=trial.memory_free, copies=2 if plan.on_ray else 1)
    if plan.on_ray and plan.embedded:
        room = replace(room, shm_free=info.shm_free)
    elif plan.on_ray and (node.cpus or node.here):
        room = replace(room, store=node.store_bytes, shm_total=info.shm_total)
    found = []
    for one in misfits(4 * trial.table_size, room):
        level: Level = "warning" if one.part == "memory" and not node.here else "fault"
        found.append(Finding(level, node.host, one.text, one.cure))
    if not plan.on_ray:
        return found
    shm = info.shm_total
    if not plan.embedded and shm is not None and shm < node.store_bytes:
        text = (
            f"/dev/shm has {shm / GIB:.2f} GiB, less than its object store of {node.store_bytes / GIB:.2f} GiB, "
            "which therefore lies on a disk, and so does the noise"
        )
        found.append(Finding("warning", node.host, text, enlarge(node.store_bytes)))
    workers = (plan.size.most or node.cpus) if plan.embedded else min(plan.size.most or node.cpus, node.cpus)
    if workers * WORKER_BYTES > trial.memory_free:
        text = f"{workers} workers need about {workers * WORKER_BYTES / GIB:,.0f} GiB, and "
        text += f"{trial.memory_free / GIB:.1f} GiB of memory are free"
        level = "fault" if plan.embedded else "warning"
        found.append(Finding(level, node.host, text, "use fewer workers there, or more nodes: see cluster/README.md"))
    return found


def _disk(plan: Plan, nodes: Sequence[NodeFacts]) -> list[Finding]:
    """Findings on the run directory."""
    host, trial, disk = nodes[0].host, nodes[0].answer, plan.disk
    if disk is None or not isinstance(trial, Trial):
        return []
    if not disk.writable:
        return [Finding("fault", host, f"run_dir: {disk.path} cannot be written", "name a folder that can")]
    found = []
    need = CHECKPOINTS * trial.state_bytes + LOG_BYTES
    if disk.free is not None and disk.free < need:
        text = f"run_dir: {disk.path} has {disk.free / GIB:.2f} GiB free; a run needs about {need / GIB:.2f} GiB"
        found.append(Finding("fault", host, text, "make room, or name another folder"))
    if not plan.embedded and len({node.address for node in nodes}) > 1:
        text = f"run_dir lies on this host's disk ({disk.path}) and is lost with it"
        found.append(Finding("note", host, text, "run_dir=s3://BUCKET/NAME, or a folder that other hosts share"))
    return found
