"""`python -m raes.train env=... [key=value ...]`: train a policy."""

from __future__ import annotations

import os
import re
import sys
import time
from dataclasses import replace
from pathlib import Path

from raes.command import complain
from raes.config import FREE_TO_CHANGE, Config, conf_dir, explain_hydra, from_tree
from raes.types import RunFailedError, UserError

OPEN_NODES = ("env.kwargs=", "env.kwargs.")
"""Words whose keys are the user's own: Hydra must take them as they come."""


def main() -> None:
    """Compose the configuration, run it (or each of a multirun's), exit with the worst code."""
    sys.exit(run_command())


def run_command() -> int:
    """The command; its exit code."""
    import hydra
    from hydra.core.hydra_config import HydraConfig
    from hydra.errors import HydraException
    from omegaconf import DictConfig
    from omegaconf.errors import OmegaConfBaseException

    os.environ["HYDRA_FULL_ERROR"] = "1"  # hand the errors to us instead of printing them and exiting with 1
    sys.argv[1:] = [f"++{word}" if word.startswith(OPEN_NODES) else word for word in sys.argv[1:]]
    codes: list[int] = []

    def task(tree: DictConfig) -> None:
        job = HydraConfig.get()
        overrides = job.job.override_dirname if "MULTIRUN" in str(job.mode) else ""
        codes.append(_run(tree, overrides))

    try:
        hydra.main(version_base="1.3", config_path=str(conf_dir().resolve()), config_name="config")(task)()
    except (HydraException, OmegaConfBaseException) as error:
        return complain(explain_hydra(error))
    return max(codes, default=0)


def _run(tree: object, overrides: str) -> int:
    from omegaconf import DictConfig
    from omegaconf.errors import OmegaConfBaseException

    assert isinstance(tree, DictConfig)
    try:
        config = prepare(from_tree(tree), overrides)
    except UserError as error:
        return complain(str(error))
    except OmegaConfBaseException as error:
        return complain(explain_hydra(error))
    return train(config)


def prepare(config: Config, overrides: str = "") -> Config:
    """Fill in the run directory and the noise table's size, and refuse what cannot work, before anything starts.

    Args:
        config: as composed.
        overrides: of a multirun's job; each job has a directory of its own below `run_dir`.

    Raises:
        UserError: with the key and the cure.
    """
    from raes.problems.episode import EpisodeSpec, check_start
    from raes.resume import earlier_policy, starting_point, with_table_size
    from raes.rng import Purpose, generator
    from raes.runtime.memory import check_memory
    from raes.search.noise import table_size

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
        checkpoint, _ = starting_point(with_table_size(config, size))
        if config.start_from is not None and checkpoint is None:
            earlier_policy(config.start_from, problem, problem.initial_theta(generator(0, Purpose.INITIAL_THETA)))
    finally:
        problem.close()
    check_memory(4 * size, shared=False)
    config = with_table_size(config, size)
    _check_writable(Path(str(config.run_dir)))
    return config


def train(config: Config) -> int:
    """Run a prepared configuration and say how it ended; the exit code."""
    from raes.console import Console
    from raes.launch import launch

    console = Console(config)
    try:
        outcome = launch(config, console)
    except UserError as error:
        console.close()
        return complain(str(error))
    except (RunFailedError, KeyboardInterrupt) as error:
        console.close()
        print(f"raes: {error or 'interrupted'}", file=sys.stderr)
        return 130 if isinstance(error, KeyboardInterrupt) else 1
    console.close()
    if outcome.code == 2:
        return complain(outcome.reason)
    print(f"{'failed' if outcome.code == 1 else 'done'}: {outcome.reason}", flush=True)
    print(f"  the run lies in   {config.run_dir}")
    if outcome.code == 0:
        print(f"  evaluate it       python -m raes.evaluate run_dir={config.run_dir}")
    else:
        print("  go on with        the same command and resume=auto run_dir=" + str(config.run_dir))
    print(f"  see the curves    tensorboard --logdir {config.run_dir}/tensorboard", flush=True)
    return outcome.code


def _run_dir(config: Config, overrides: str) -> str:
    if config.run_dir is not None:
        ours = [part for part in overrides.split(",") if not part.lstrip("+").startswith((*FREE_TO_CHANGE, "runtime="))]
        below = re.sub(r"[^\w.=,+-]", "_", ",".join(ours))
        return str(Path(config.run_dir) / below) if overrides else config.run_dir
    if config.resume == "auto":
        raise UserError("resume=auto needs run_dir=...: name the run to go on with")
    if config.resume != "never":
        from raes.resume import locate

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


if __name__ == "__main__":
    main()
