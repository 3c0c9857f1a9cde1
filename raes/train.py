"""`python -m raes.train env=... [key=value ...]`: train a policy."""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING

from raes.command import complain, shown
from raes.compose import explain_hydra, opened
from raes.config import PLACES, Config, conf_dir, from_tree
from raes.storage.place import place
from raes.types import RunFailedError, UserError

if TYPE_CHECKING:
    from omegaconf import DictConfig

STOPPED = 130
"""The exit code after Ctrl-C or SIGTERM."""


def main() -> None:
    """Compose the configuration, run it (or each of a multirun's), exit with the worst code."""
    sys.exit(run_command(_run))


def run_command(run: Callable[[Config, str], int]) -> int:
    """Compose the configuration from this command's words, and run it or each of a multirun's.

    Args:
        run: of the configuration and its overrides, for a multirun; the exit code.

    Returns:
        The worst exit code; 2 after a message where the words are wrong.
    """
    import hydra
    from hydra.core.hydra_config import HydraConfig
    from hydra.errors import HydraException
    from omegaconf.errors import OmegaConfBaseException

    try:
        for word in sys.argv[1:]:
            key, _, value = word.partition("=")
            if key in PLACES:
                place(value.strip("\"'"), key)  # a secret in a URL must reach neither Hydra's messages nor a file
    except UserError as error:
        return complain(str(error))
    os.environ["HYDRA_FULL_ERROR"] = "1"  # hand the errors to us instead of printing them and exiting with 1
    words = [opened(word) for word in sys.argv[1:]]
    sys.argv[1:] = sorted(words, key=lambda word: word not in ("-m", "--multirun"))  # Hydra wants these first
    codes: list[int] = []

    def task(tree: DictConfig) -> None:
        job = HydraConfig.get()
        overrides = job.job.override_dirname if "MULTIRUN" in str(job.mode) else ""
        codes.append(_composed(run, tree, overrides))
        if codes[-1] == STOPPED:
            raise KeyboardInterrupt  # also of the other jobs of a multirun

    try:
        hydra.main(version_base="1.3", config_path=str(conf_dir().resolve()), config_name="config")(task)()
    except (HydraException, OmegaConfBaseException) as error:
        return complain(explain_hydra(error))
    except KeyboardInterrupt:
        return STOPPED
    return max(codes, default=0)


def _composed(run: Callable[[Config, str], int], tree: DictConfig, overrides: str) -> int:
    from omegaconf.errors import OmegaConfBaseException

    try:
        return run(from_tree(tree), overrides)
    except UserError as error:
        return complain(str(error))
    except OmegaConfBaseException as error:
        return complain(explain_hydra(error))


def _run(config: Config, overrides: str) -> int:
    from raes.prepare import prepare

    return train(prepare(config, overrides))


def train(config: Config) -> int:
    """Run a prepared configuration and say how it ended; the exit code."""
    from raes.callbacks import watched
    from raes.console import Console

    console = Console(config)
    try:
        outcome = watched(config, console)
    except UserError as error:
        console.close()
        return complain(str(error))
    except (RunFailedError, KeyboardInterrupt) as error:
        console.close()
        print(f"raes: {error or 'interrupted'}", file=sys.stderr)
        return STOPPED if isinstance(error, KeyboardInterrupt) else 1
    console.close()
    if outcome.code == 2:
        return complain(outcome.reason)
    run_dir = shown(config.run_dir)
    print(f"{'failed' if outcome.code == 1 else 'done'}: {outcome.reason}", flush=True)
    print(f"  the run lies in   {run_dir}")
    if outcome.code == 0:
        print(f"  evaluate it       python -m raes.evaluate run_dir={run_dir}")
    else:
        print(f"  go on with        {again(config)}")
    print(f"  see the curves    tensorboard --logdir {run_dir}/tensorboard", flush=True)
    return outcome.code


def again(config: Config) -> str:
    """The command that goes on with a run: this one, with its run directory."""
    words = [word.removeprefix("++") for word in sys.argv[1:] if not word.startswith(("run_dir=", "resume="))]
    if words[:1] == ["-m"] or words[:1] == ["--multirun"]:
        return f"the same command and resume=auto; this job lies in {shown(config.run_dir)}"
    return " ".join(
        ["python -m raes.train", *map(shlex.quote, words), f"run_dir={shown(config.run_dir)}", "resume=auto"]
    )


if __name__ == "__main__":
    main()
