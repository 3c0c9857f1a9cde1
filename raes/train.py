"""`python -m raes.train env=... [key=value ...]`: train a policy."""

from __future__ import annotations

import gc
import os
import re
import sys
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from raes.config.cli import complain, display_path, ending, hear_interrupts, leave
from raes.config.compose import checked, explain_hydra
from raes.config.environment_word import with_presets
from raes.config.overrides import opened, plain_text, refuse_dashes, refuse_spaces
from raes.config.schema import PLACES, Config, conf_dir
from raes.console.closing import MULTIRUN, resume_command, show_end
from raes.console.output import PATIENCE, protect_output
from raes.storage.location import location
from raes.storage.metrics import read_records
from raes.training.limits import STOPPED, RunOutcome
from raes.training.sweep import RefusedJob, SweepJob, side_by_side, summary
from raes.types import RunFailedError, UserError

if TYPE_CHECKING:
    from raes.training.prepare import PreparedRun


def main() -> None:
    """Compose the configuration, run it (or each of a multirun's), exit with the worst code.

    A run that could not print is as good as any other: its lines are in log.txt.
    """
    protect_output(PATIENCE)
    hear_interrupts()
    leave(ending(run_command))


def run_command(examine: Callable[[Config], int] | None = None) -> int:
    """Compose the configuration from this command's words, and run it or each of a multirun's.

    Args:
        examine: what another command does with the configuration in the place of a run; its exit code.

    Returns:
        The worst exit code; 2 after a message where the words are wrong.
    """
    import hydra
    from hydra.errors import HydraException
    from omegaconf import DictConfig
    from omegaconf.errors import OmegaConfBaseException

    try:
        for word in sys.argv[1:]:
            key, _, value = word.partition("=")
            if key in PLACES:
                location(plain_text(value), key)  # a secret in a URL must reach neither Hydra's messages nor a file
        refuse_dashes(sys.argv[1:])
        refuse_spaces(sys.argv[1:])
        words = hydra_words(sys.argv[1:])
    except UserError as error:
        return complain(str(error))
    os.environ["HYDRA_FULL_ERROR"] = "1"  # hand the errors to us instead of printing them and exiting with 1
    sys.argv[1:] = words
    runs = Runs()

    def task(tree: DictConfig) -> float:
        return runs.one(tree) if examine is None else runs.examined(tree, examine)

    vars(task)["runs"] = runs  # for the launcher of hydra_plugins, which runs several of them side by side
    try:
        hydra.main(version_base="1.3", config_path=str(conf_dir().resolve()), config_name="config")(task)()
    except (HydraException, OmegaConfBaseException) as error:
        return complain(explain_hydra(error, words))
    except UserError as error:
        return complain(str(error))
    except KeyboardInterrupt:
        return STOPPED
    finally:
        if len(runs.ended) > 1:
            print(summary(runs.ended), flush=True)
    return max((outcome.code for _, outcome in runs.ended), default=0)


def hydra_words(words: Sequence[str]) -> list[str]:
    """The command line as Hydra must have it; of a sweep with the folder for Hydra's record of it, multirun.yaml.

    Raises:
        UserError: `env=...` names what a sweep cannot have.
    """
    words = with_presets(words)
    sweep = [word for word in words if word in MULTIRUN]
    if not sweep:
        return [opened(word) for word in words]
    rest = [opened(word, sweep=True) for word in words if word not in MULTIRUN]
    values = dict(word.split("=", 1) for word in rest if "=" in word)
    where = values.get("run_dir", "null")
    if "hydra.sweep.dir" not in values and where != "null" and not re.search(r"://|,|\w\(", where):
        rest.append(f"hydra.sweep.dir={where}")
    return [*sweep, *rest]


class Runs:
    """The runs of one command.

    Attributes:
        ended: name and outcome of each so far; the name is what makes a multirun's job what it is.
    """

    def __init__(self) -> None:
        self.ended: list[tuple[str, RunOutcome]] = []
        self._folders: set[str | None] = set()

    def one(self, tree: Any) -> float:
        """Run what Hydra has composed; its last evaluation's mean, for sweepers that look for the best.

        Raises:
            KeyboardInterrupt: after Ctrl-C, which ends the other jobs of a multirun too.
        """
        try:
            prepared = self.prepare(tree)
        except UserError as error:
            complain(str(error))
            self.ended.append((job_name(), RunOutcome(2, str(error))))
            return float("nan")
        config = prepared.config
        outcome = train(prepared)
        gc.collect()  # the noise table, up to 1 GB, before the next job makes its own
        self.ended.append((job_name(), outcome))
        if outcome.code == STOPPED:
            raise KeyboardInterrupt
        return last_evaluation(config)

    def examined(self, tree: Any, examine: Callable[[Config], int]) -> float:
        """Hand what Hydra has composed to another command."""
        try:
            code = examine(composed(tree))
        except UserError as error:
            code = complain(str(error))
        self.ended.append(("", RunOutcome(code, "")))
        return float("nan")

    def side_by_side(self, jobs: Sequence[SweepJob | RefusedJob], parallel: int | str) -> list[float]:
        """Run a multirun's jobs on one Ray; the last evaluation's mean of each.

        Raises:
            KeyboardInterrupt: after Ctrl-C.
            UserError: they cannot run side by side.
        """
        ready = [job for job in jobs if isinstance(job, SweepJob)]
        outcomes = iter(side_by_side(ready, parallel) if ready else [])
        ended = [(job.name, next(outcomes) if isinstance(job, SweepJob) else RunOutcome(2, job.reason)) for job in jobs]
        self.ended += ended
        if any(outcome.code == STOPPED for _, outcome in ended):
            raise KeyboardInterrupt
        return [last_evaluation(job.config) if isinstance(job, SweepJob) else float("nan") for job in jobs]

    def job(self, tree: Any) -> SweepJob | RefusedJob:
        """One of them, from what Hydra has composed, or why it cannot run."""
        from raes.training.prepare import job_words

        try:
            prepared = self.prepare(tree)
        except UserError as error:
            complain(f"{job_name()}: {error}")
            return RefusedJob(job_name(), str(error))
        return SweepJob(tuple(job_words(job_overrides())), prepared)

    def prepare(self, tree: Any) -> PreparedRun:
        """A run that can start, from what Hydra has composed.

        Raises:
            UserError: it cannot.
        """
        from raes.training.prepare import prepare

        prepared = prepare(composed(tree), job_overrides())
        config = prepared.config
        if config.run_dir in self._folders:
            raise UserError(
                f"run_dir={display_path(config.run_dir)} belongs to another job of this sweep; give the jobs other "
                "values than limits alone"
            )
        self._folders.add(config.run_dir)
        return prepared


def composed(tree: Any) -> Config:
    """The checked configuration that Hydra has composed.

    Raises:
        UserError: a value is wrong.
    """
    from hydra.core.hydra_config import HydraConfig
    from omegaconf.errors import OmegaConfBaseException

    try:
        return checked(tree, HydraConfig.get().overrides.task)
    except OmegaConfBaseException as error:
        raise UserError(explain_hydra(error)) from error


def job_overrides() -> list[str]:
    """What a multirun's job overrides; nothing for a single run."""
    from hydra.core.hydra_config import HydraConfig

    hydra = HydraConfig.get()
    hidden = hydra.job.config.override_dirname.exclude_keys
    words = hydra.overrides.task if "MULTIRUN" in str(hydra.mode) else []
    return [str(word) for word in words if str(word).lstrip("+").partition("=")[0] not in hidden]


def job_name() -> str:
    """A multirun's job for messages."""
    from raes.training.prepare import job_words

    return ",".join(job_words(job_overrides()))


def last_evaluation(config: Config) -> float:
    """The mean of a run's last evaluation; NaN where there was none."""
    records = read_records(location(str(config.run_dir)) / "metrics.jsonl")
    return next((one["eval/return_mean"] for one in reversed(records) if "eval/return_mean" in one), float("nan"))


def train(prepared: PreparedRun) -> RunOutcome:
    """Run a prepared run and print how it ended."""
    from raes.console.console import Console
    from raes.training.callbacks import run_with_callbacks

    config = prepared.config
    console = Console(config)
    try:
        outcome = run_with_callbacks(prepared, console)
    except UserError as error:
        outcome = RunOutcome(2, str(error))
    except (RunFailedError, KeyboardInterrupt) as error:
        console.close()
        if isinstance(error, KeyboardInterrupt):
            complain("interrupted")
            return RunOutcome(STOPPED, "interrupted")
        complain(f"{error}; resume it with: {resume_command(display_path(config.run_dir))}")
        return RunOutcome(1, str(error))
    console.close()
    if outcome.code == 2:
        complain(outcome.reason)
        return outcome
    show_end(config, outcome)
    return outcome


if __name__ == "__main__":
    main()
