"""From a checked configuration to one that can run: what is left open is filled in, what cannot work is refused."""

from __future__ import annotations

import re
import time
from dataclasses import replace
from pathlib import Path

from raes.config import FREE_TO_CHANGE, Config
from raes.problems.episode import EpisodeSpec, check_start
from raes.resume import earlier_policy, locate, starting_point
from raes.rng import Purpose, generator
from raes.runtime.memory import check_memory
from raes.search.noise import table_size
from raes.types import UserError


def prepare(config: Config, overrides: str = "") -> Config:
    """Fill in the run directory and the noise table's size, and refuse what cannot work, before anything starts.

    Args:
        config: as composed.
        overrides: of a multirun's job; each job has a directory of its own below `run_dir`.

    Raises:
        UserError: with the key and the cure.
    """
    config = replace(config, run_dir=_run_dir(config, overrides))
    problem = check_start(EpisodeSpec(config.env, config.policy))
    try:
        size = config.noise.size if config.noise.size is not None else table_size(problem.num_params)
        if size < 2 * problem.num_params:
            raise UserError(
                f"noise.size={size} is too small for a policy of {problem.num_params} parameters; "
                f"give at least {2 * problem.num_params}, or null"
            )
        if config.algorithm.action_noise and not problem.policy.head.continuous:
            raise UserError(
                f"algorithm.action_noise={config.algorithm.action_noise} needs continuous actions and env.id="
                f"{config.env.id} with policy.bins={config.policy.bins} has none; set algorithm.action_noise=0"
            )
        config = replace(config, noise=replace(config.noise, size=size))
        checkpoint, _ = starting_point(config)
        if config.start_from is not None and checkpoint is None:
            earlier_policy(config.start_from, problem, problem.initial_theta(generator(0, Purpose.INITIAL_THETA)))
    finally:
        problem.close()
    check_memory(4 * size, shared=False)
    _check_writable(Path(str(config.run_dir)))
    return config


def _run_dir(config: Config, overrides: str) -> str:
    if config.run_dir is not None:
        ours = [part for part in overrides.split(",") if not part.lstrip("+").startswith((*FREE_TO_CHANGE, "runtime="))]
        below = re.sub(r"[^\w.=,+-]", "_", ",".join(ours))
        return str(Path(config.run_dir) / below) if overrides else config.run_dir
    if config.resume == "auto":
        raise UserError("resume=auto needs run_dir=...: name the run to go on with")
    if config.resume != "never":
        return str(locate(config.resume, "resume").parent.parent)
    stamp = time.strftime("%Y%m%d-%H%M%S")
    base = Path("runs") / f"{config.env.name}-{config.algorithm.name}-seed{config.seed}-{stamp}"
    path, number = base, 1
    while path.exists():
        number += 1
        path = base.with_name(f"{base.name}-{number}")
    return str(path)


def _check_writable(run_dir: Path) -> None:
    try:
        (run_dir / "checkpoints").mkdir(parents=True, exist_ok=True)
        probe = run_dir / ".writable"
        probe.write_text("")
        probe.unlink()
    except OSError as error:
        raise UserError(f"run_dir={run_dir} cannot be written ({error}); name a folder that can") from error
