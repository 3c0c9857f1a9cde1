"""The last lines of a training: how it ended, where it is saved, and the commands that come next."""

from __future__ import annotations

import os
import shlex
import shutil
import sys
from pathlib import Path

from raes.config.cli import display_path
from raes.config.schema import Config
from raes.console.colours import CYAN, GREEN, RED, YELLOW
from raes.console.output import show
from raes.models.settings import ModuleSettings
from raes.problems.function import FunctionSettings
from raes.storage.checkpoint import Checkpoints, generation_of
from raes.storage.location import location
from raes.training import ray_job
from raes.training.limits import STOPPED, RunOutcome

MULTIRUN = ("-m", "--multirun")
WIDTH = 17
"""Columns of the labels."""


def show_end(config: Config, outcome: RunOutcome) -> None:
    """Print how a run ended and what can be done with it, with the commands, which can be pasted into this shell."""
    coloured = config.console == "auto"
    run_dir = display_path(outcome.run_dir or config.run_dir)
    show(outcome.text, {0: GREEN, STOPPED: YELLOW}.get(outcome.code, RED) if coloured else "")
    for label, text in [("saved to", run_dir), *next_commands(config, outcome, run_dir)]:
        show(text, CYAN if coloured else "", f"  {label:{WIDTH}} ")
    if outcome.remark:
        show(outcome.remark, label=f"  {'bits may differ':{WIDTH}} ")


def next_commands(config: Config, outcome: RunOutcome, run_dir: str) -> list[tuple[str, str]]:
    """Labels and commands; of a run that failed only those that look for the reason or go on."""
    found = [] if outcome.code == 0 else [("resume it", resume_command(run_dir))]
    if outcome.code in (0, STOPPED):
        words = shlex.quote(run_dir if "=" not in run_dir else f"run_dir={run_dir}")
        words += "" if _has_learnt_best(outcome.run_dir or str(config.run_dir)) else " checkpoint=latest"
        found.append(("evaluate it", f"{raes_command()}evaluate {words}"))
        if isinstance(config.env, ModuleSettings):
            found.append(("export it", f"{raes_command()}export {words} out=model.safetensors"))
        elif not isinstance(config.env, FunctionSettings):
            found.append(("watch it", f"{raes_command()}play {words}"))
    return [*found, ("see the curves", f"{program('tensorboard')} --logdir {shlex.quote(f'{run_dir}/tensorboard')}")]


def resume_command(run_dir: str) -> str:
    """The command that resumes a run: this one, with its run directory."""
    words = [word.removeprefix("++") for word in sys.argv[1:] if not word.startswith(("run_dir=", "resume="))]
    if words[:1] and words[0] in MULTIRUN:
        return f"the same command and resume=auto; the run directory of this job is {run_dir}"
    command = f"{raes_command()}train" if ray_job.submission() is None else f"{ray_job.SUBMIT}python -m raes.train"
    return " ".join([command, *map(shlex.quote, [*words, f"run_dir={run_dir}", "resume=auto"])])


def raes_command() -> str:
    """What stands before a command's name so that this shell finds it: `raes `, or the path of that program."""
    return f"{program('raes')} " if Path(sys.executable).with_name("raes").exists() else "python -m raes."


def program(name: str) -> str:
    """A program of this Python environment as this shell finds it: its name where that is enough, else its path."""
    installed, found = Path(sys.executable).with_name(name), shutil.which(name)
    if not installed.exists() or (found is not None and os.path.samefile(found, installed)):
        return name
    return shlex.quote(display_path(str(installed)))


def _has_learnt_best(run_dir: str) -> bool:
    """Whether an evaluation has chosen a policy that has learnt; a store that does not answer ends no command."""
    try:
        checkpoints = Checkpoints(location(run_dir))
        best = checkpoints.pointed("best")
        return best is not None and (generation_of(best) > 0 or checkpoints.pointed("latest") == best)
    except OSError:
        return True
