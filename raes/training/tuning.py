"""A search for good settings with Optuna: what is asked next, which trials end early, and what has been found.

The search is kept in `search.db` of its folder, Optuna's own format in SQLite. A trial that was interrupted runs again
with the same values, and its run goes on from its checkpoint.
"""

from __future__ import annotations

import fcntl
import logging
import math
import shlex
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from raes.storage.files import open_own
from raes.storage.location import location
from raes.storage.metrics import GENERATION, Record, read_records
from raes.training.callbacks import Callback
from raes.types import SETTINGS, UserError

TUNER = "raes.training.tuning:PruneBadTrials"
"""The callback of every trial."""
EVALUATION = "eval/return_mean"
DIGITS = 4
"""Digits of a number that a trial runs with, so that folders, names and commands stay short."""
INTERRUPTED, WORDS = "interrupted", "words"
"""What the search notes on its trials: whether another one took the place of this one, and the overrides."""


@dataclass(frozen=True)
class SearchSettings:
    """The keys `hydra.sweeper.*`.

    Attributes:
        n_trials: of the search, those of earlier commands included.
        n_jobs: trials chosen at once; with `hydra.launcher.parallel` they run at the same time.
        sampler: `tpe` or `random`.
        seed: of the sampler.
        prune: whether bad trials end early: those whose best evaluation so far is below the median of the others'
            evaluations in the same generation.
        prune_after_trials: trials that are never ended early, to have something to compare with.
        prune_after_evaluations: evaluations that every trial has.
    """

    __pydantic_config__ = SETTINGS

    n_trials: int = 20
    n_jobs: int = 1
    sampler: str = "tpe"
    seed: int = 0
    prune: bool = True
    prune_after_trials: int = 4
    prune_after_evaluations: int = 2

    def __post_init__(self) -> None:
        for key in ("n_trials", "n_jobs"):
            if getattr(self, key) < 1:
                raise UserError(f"hydra.sweeper.{key}={getattr(self, key)}: must be positive")
        if self.sampler not in ("tpe", "random"):
            raise UserError(f"hydra.sweeper.sampler={self.sampler}: give tpe or random")


@dataclass
class Trial:
    """One trial that runs.

    Attributes:
        handle: Optuna's.
        words: its overrides.
        pruned: whether it was ended early.
        evaluations: generations whose evaluation was reported.
    """

    handle: Any
    words: list[str]
    pruned: bool = False
    evaluations: set[int] = field(default_factory=set)

    def report(self, record: Record) -> None:
        """Hand an evaluation to Optuna, once."""
        step = int(record[GENERATION])
        if EVALUATION in record and step not in self.evaluations:
            self.evaluations.add(step)
            self.handle.report(record[EVALUATION], step)


@dataclass(frozen=True)
class FinishedTrial:
    """A trial as pictures and tables have it; `state` is complete, pruned or failed, `value` its last evaluation."""

    number: int
    state: str
    value: float | None
    words: list[str]

    @property
    def values(self) -> dict[str, Any]:
        """Key -> value."""
        return {key: yaml.safe_load(value) for key, _, value in (word.partition("=") for word in self.words)}


class Search:
    """A search and its store.

    Attributes:
        keys: that are searched.
    """

    def __init__(self, folder: Path, settings: SearchSettings, space: Mapping[str, Any], resume: bool) -> None:
        """Open the search of a folder, or begin one.

        Args:
            folder: of the sweep.
            settings: how it searches.
            space: key -> Optuna's distribution.
            resume: whether one that is there goes on.

        Raises:
            UserError: Optuna is missing, another command has the search, or one is there that should not go on.
        """
        optuna = _optuna()
        self.keys, self._settings, self._space = list(space), settings, dict(space)
        path = folder / "search.db"
        if path.exists() and not resume:
            raise UserError(f"{path} holds a search; resume=auto continues it, another run_dir begins a new one")
        folder.mkdir(parents=True, exist_ok=True)
        self._lock = open_own(folder / ".search.lock", "w")
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise UserError(f"another command is running the search in {folder}; wait for it, or stop it") from error
        self._study = optuna.create_study(
            study_name="raes",
            storage=f"sqlite:///{path.absolute()}",
            direction="maximize",
            load_if_exists=True,
            pruner=optuna.pruners.MedianPruner(settings.prune_after_trials, 0)
            if settings.prune
            else optuna.pruners.NopPruner(),
        )
        seed = settings.seed + len(self._study.trials)  # a search that goes on draws other values than at its start
        samplers = {"tpe": optuna.samplers.TPESampler, "random": optuna.samplers.RandomSampler}
        self._study.sampler = samplers[settings.sampler](seed=seed)
        self._states = optuna.trial.TrialState
        self._put_back()

    def _put_back(self) -> None:
        """Trials that were interrupted come first, with the values that they had."""
        for one in self._study.get_trials(states=(self._states.RUNNING,)):
            self._study._storage.set_trial_user_attr(one._trial_id, INTERRUPTED, True)
            self._study.tell(one.number, state=self._states.FAIL)
            self._study.enqueue_trial(one.params, skip_if_exists=False)

    def ask(self) -> list[Trial]:
        """The next trials, `n_jobs` at most; none where there are enough.

        Raises:
            UserError: the space is not that of the search so far.
        """
        while count := min(self._settings.n_jobs, self._settings.n_trials - len(self.finished)):
            known = {tuple(one.words): one.value for one in self.finished}
            found: list[Trial] = []
            for _ in range(max(count, 0)):
                try:
                    handle = self._study.ask(self._space)
                except ValueError as error:
                    raise UserError(
                        f"the search was begun with other choices ({error}); use another run_dir"
                    ) from error
                words = [f"{key}={shown(handle.params[key])}" for key in self.keys]
                handle.set_user_attr(WORDS, words)
                if tuple(words) in known:  # the same run, to the last bit
                    value = known[tuple(words)]
                    self._study.tell(handle, value, state=None if value is not None else self._states.FAIL)
                elif words in [one.words for one in found]:
                    handle.set_user_attr(INTERRUPTED, True)
                    self._study.tell(handle, state=self._states.FAIL)
                else:
                    found.append(Trial(handle, words))
            if found or count <= 0:
                return found
        return []

    @contextmanager
    def running(self, trials: Mapping[str, Trial]) -> Iterator[None]:
        """While trials run, their callbacks find them by the name of the run's folder."""
        PruneBadTrials.trials = dict(trials)
        PruneBadTrials.after = self._settings.prune_after_evaluations
        try:
            yield
        finally:
            PruneBadTrials.trials = {}

    def tell(self, trials: Sequence[Trial], values: Sequence[Any]) -> None:
        """Record how trials ended; values are last evaluations, NaN for a run that failed."""
        for trial, value in zip(trials, values, strict=True):
            if trial.pruned:
                self._study.tell(trial.handle, state=self._states.PRUNED)
            elif isinstance(value, float) and math.isfinite(value):
                self._study.tell(trial.handle, value)
            else:
                self._study.tell(trial.handle, state=self._states.FAIL)

    @property
    def finished(self) -> list[FinishedTrial]:
        """All trials that have ended, without those that were put back."""
        states = {self._states.COMPLETE: "complete", self._states.PRUNED: "pruned", self._states.FAIL: "failed"}
        return [
            FinishedTrial(one.number, states[one.state], one.value, list(one.user_attrs.get(WORDS, [])))
            for one in self._study.get_trials(deepcopy=False, states=tuple(states))
            if INTERRUPTED not in one.user_attrs
        ]

    @property
    def best(self) -> FinishedTrial | None:
        """The complete trial with the highest last evaluation."""
        complete = [one for one in self.finished if one.state == "complete" and one.value is not None]
        return max(complete, key=lambda one: one.value or 0.0, default=None)

    def results(self) -> dict[str, Any]:
        """What `optimization_results.yaml` holds."""
        best = self.best
        assert best is not None
        return {"name": "raes", "best_params": best.values, "best_value": best.value, "best_trial": best.number}

    def summary(self) -> str:
        """One line on the search."""
        found, best = self.finished, self.best
        counts = [f"{sum(one.state == state for one in found)} {state}" for state in ("complete", "pruned", "failed")]
        end = "none is complete" if best is None else f"best last evaluation {best.value:g}, trial {best.number}"
        return f"search: {len(found)} trials, {', '.join(counts)}; {end}"


class PruneBadTrials(Callback):
    """Hands a trial's evaluations to Optuna, and ends it where Optuna decides so.

    Attributes:
        trials: those that run, by the name of their run's folder.
        after: evaluations that every trial has.
    """

    trials: Mapping[str, Trial] = {}
    after = 0

    def __init__(self) -> None:
        self._trial: Trial | None = None

    def on_start(self, config: Mapping[str, Any]) -> None:
        """Find the trial; of a run that goes on the earlier evaluations count."""
        path = location(str(config["run_dir"]))
        self._trial = self.trials[path.name]
        for record in read_records(path / "metrics.jsonl"):
            self._trial.report(record)

    def on_generation(self, record: Record) -> bool:
        """Whether the trial is worse than most."""
        trial = self._trial
        if trial is None or EVALUATION not in record:
            return False
        trial.report(record)
        if "returns/mean" in record and len(trial.evaluations) >= self.after and trial.handle.should_prune():
            trial.pruned = True
        return trial.pruned


def distribution(override: Any) -> Any:
    """Optuna's distribution of an override: `interval(a,b)`, `range(a,b,step)`, `choice(...)`, `tag(log,...)`.

    Args:
        override: as Hydra's parser gives it.
    """
    of = _optuna().distributions
    value = override.value()
    if override.is_interval_sweep():
        whole = isinstance(value.start, int) and isinstance(value.end, int)
        kind = of.IntDistribution if whole else of.FloatDistribution
        return kind(value.start, value.end, log="log" in value.tags)
    return of.CategoricalDistribution(list(override.sweep_string_iterator()))


def shown(value: Any) -> str:
    """A value as trials run with it."""
    return f"{value:.{DIGITS}g}" if isinstance(value, float) else str(value)


def command(words: Sequence[str]) -> str:
    """The command of these words, to be pasted."""
    return " ".join(["python -m raes.train", *(shlex.quote(word.removeprefix("++")) for word in words)])


def _optuna() -> Any:
    try:
        import optuna
    except ImportError as error:
        raise UserError("experiment=tune needs Optuna, which is not installed; pip install 'raes[optuna]'") from error
    if int(optuna.__version__.split(".")[0]) < 4:
        raise UserError(f"experiment=tune needs Optuna 4 or newer, not {optuna.__version__}; pip install -U optuna")
    optuna.logging.set_verbosity(logging.WARNING)
    return optuna
