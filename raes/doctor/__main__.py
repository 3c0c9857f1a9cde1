"""`python -m raes.doctor [env=...] [ray.address=...] [any key of raes.train] [out=FILE.json]`: would a run work here?

Looks at every node of the cluster, or at this machine: versions, the environment, the noise table's room, limits and
clocks. Nothing is written to run_dir. Exit code 0: healthy, perhaps with notes; 1: a run would fail, and why; 2: the
configuration is wrong.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from raes.config.cli import check_out, command, display_path
from raes.config.schema import Config
from raes.console.output import show as show_line
from raes.console.tables import table
from raes.doctor import show
from raes.doctor.findings import Finding, Plan, exit_code, findings
from raes.doctor.trial import Disk, Trial, try_out
from raes.runtime.host_survey import NodeFacts
from raes.runtime.scheduling import Size
from raes.storage.location import location
from raes.text import one_line
from raes.train import run_command
from raes.training.launch import advise
from raes.training.prepare import resolve_config
from raes.types import UserError

PATIENCE = 180.0
"""Seconds in which a node must answer; a process that imports everything takes several on a busy machine."""
CLUSTER_FILE = Path("~/ray_bootstrap_config.yaml")
"""Where `ray up` puts the cluster's file on the head."""


def main() -> int:
    """The command; 1 where a run would fail."""
    words = sys.argv[1:]
    if any(word in ("-h", "--help") for word in words):
        print((__doc__ or "").strip())
        return 0
    out = next((word.removeprefix("out=") for word in reversed(words) if word.startswith("out=")), None)
    out = None if out is None else str(location(out, "out"))
    sys.argv[1:] = [word for word in words if not word.startswith("out=")]
    check_out(out)
    if any(word in ("-m", "--multirun") for word in words):
        raise UserError("raes.doctor looks at one configuration; leave out --multirun")
    return run_command(lambda config: examine(config, out))


def examine(config: Config, out: str | None) -> int:
    """Inspect the nodes, print the findings, and return the exit code.

    Raises:
        UserError: the configuration is wrong on every node.
    """
    refused: UserError | None = None
    try:
        config = resolve_config(config).config
    except UserError as error:
        refused = error
    serial = config.runtime.name == "serial"
    nodes, where, embedded, more = _inspect(config, refused)
    good = [node.answer for node in nodes if isinstance(node.answer, Trial)]
    if refused is not None and (not good or isinstance(nodes[0].answer, Trial)):
        raise refused
    plan = Plan(
        size=Size.of(1 if serial else config.workers),
        episodes=config.algorithm.episodes,
        embedded=embedded,
        on_ray=not serial,
        disk=_disk(str(config.run_dir)),
        advice=None,
        token=serial or embedded or _requires_token(),
        absent=() if embedded else _absent(nodes),
    )
    workers = plan.size.most or sum(node.cpus for node in nodes) or 1
    if good and not serial and (advice := advise(config, workers)) is not None:
        plan = Plan(**(vars(plan) | {"advice": advice}))
    found = more + findings(plan, nodes)
    print(f"{where}\n{config.env.name}: {config.algorithm.name}, {config.algorithm.episodes} episodes per generation")
    for section in show.sections(nodes, found):
        print(f"\n{section.title}\n{table(section)}")
    print(f"\n{show.report(found)}", flush=True)
    if out is not None:
        Path(out).write_text(json.dumps(_plain(config, where, nodes, found), indent=1, default=str) + "\n")
    return exit_code(found)


def _inspect(config: Config, refused: UserError | None) -> tuple[list[NodeFacts], str, bool, list[Finding]]:
    """The facts of the nodes; which Ray this is; whether it is embedded; and a finding if it cannot start."""
    from raes.runtime.host_survey import survey_this_host

    if config.runtime.name == "serial":
        if refused is not None:
            raise refused
        return [survey_this_host(try_out, config)], "runtime=serial: this process, 1 worker, no Ray", True, []
    import ray

    from raes.runtime.host_survey import host_survey
    from raes.runtime.session import connect, embeds

    embedded = embeds(config.ray.address)
    if embedded and refused is not None:
        raise refused
    try:
        session = connect(config.ray.address, 1, 0, show_line)
        nodes, text = host_survey(PATIENCE, try_out, config), session.text
    except Exception as error:
        if not embedded:
            raise
        here = survey_this_host(try_out, config)
        known = isinstance(error, UserError)
        message = str(error) if known else f"Ray cannot start: {one_line(error)}; fix that, or use runtime=serial"
        problem, _, cure = message.rpartition("; ")
        return [here], "this machine", True, [Finding("fault", here.host, problem, cure)]
    finally:
        ray.shutdown()
    if embedded:  # which was started with one CPU and a small store
        cpus = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
        nodes = [NodeFacts(**(vars(node) | {"cpus": cpus})) for node in nodes]
        text = f"this machine, {cpus} CPUs, with an embedded Ray"
    return nodes, text, embedded, []


def _disk(run_dir: str) -> Disk | None:
    """The disk of the run directory, or where it would be made; None where it is in a store."""
    import shutil

    if "://" in run_dir:
        return None
    path = Path(run_dir).absolute()
    while not path.exists():
        path = path.parent
    return Disk(
        display_path(str(path)), shutil.disk_usage(path).free, path.is_dir() and os.access(path, os.W_OK | os.X_OK)
    )


def _requires_token() -> bool:
    from raes.runtime.host_survey import requires_token

    return requires_token()


def _absent(nodes: Sequence[NodeFacts]) -> tuple[str, ...]:
    """Addresses in a `local` cluster's file that have not joined the cluster."""
    from omegaconf import OmegaConf

    try:
        file: Any = OmegaConf.to_container(OmegaConf.load(CLUSTER_FILE.expanduser()))
        listed = [str(address) for address in file["provider"].get("worker_ips") or ()]
    except (OSError, KeyError, TypeError, AttributeError, ValueError):
        return ()
    there = {node.address for node in nodes}
    return tuple(address for address in listed if address not in there)


def _plain(config: Config, where: str, nodes: Sequence[NodeFacts], found: Sequence[Finding]) -> dict[str, Any]:
    """All results, for the JSON file."""
    return {
        "date": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
        "where": where,
        "healthy": not exit_code(found),
        "findings": [asdict(one) for one in found],
        "nodes": [asdict(node) | {"host": node.host} for node in nodes],
        "config": config.as_dict(),
    }


if __name__ == "__main__":
    command(main)
