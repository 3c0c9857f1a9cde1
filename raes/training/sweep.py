"""Several runs side by side on one Ray: they share its CPUs and one noise table per node."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from raes.config.schema import Config
from raes.console.console import describe
from raes.console.output import show
from raes.runtime.scheduling import Size
from raes.text import one_line
from raes.training.callbacks import Callbacks
from raes.training.events import Event
from raes.training.launch import POLL_SECONDS, RunningDriver, headline, signals
from raes.training.limits import STOPPED, RunOutcome, StopSignal
from raes.training.prepare import PreparedRun
from raes.types import RunFailedError, UserError


@dataclass(frozen=True)
class SweepJob:
    """One run of a sweep.

    Attributes:
        words: the overrides that make it what it is.
        prepared: the run.
    """

    words: tuple[str, ...]
    prepared: PreparedRun

    @property
    def name(self) -> str:
        """For messages."""
        return ",".join(self.words)

    @property
    def config(self) -> Config:
        """The run's."""
        return self.prepared.config


@dataclass(frozen=True)
class RefusedJob:
    """A job that cannot run, and why."""

    name: str
    reason: str


def side_by_side(jobs: Sequence[SweepJob], parallel: int | str) -> list[RunOutcome]:
    """Run all jobs, some of them at a time, whatever becomes of the others; how each ended, in their order.

    Each running job has every n-th CPU of the cluster, where n jobs run; a job that ends makes room for the next one,
    and where none waits the others share its CPUs. So every job gets whole CPUs from its first moment to its last, and
    those that wait have their turn.

    Args:
        jobs: with a run directory each.
        parallel: how many at a time; `auto` for as many as there are CPUs for.

    Raises:
        UserError: Ray cannot be reached, the noise tables do not fit, or a job would keep the others waiting for ever.
    """
    from raes.runtime.nodes import release, request
    from raes.runtime.ray_life import shut_down
    from raes.runtime.session import connect

    given = check(jobs, parallel)
    sizes = [Size.of(job.config.workers) for job in jobs]
    least = max(size.least for size in sizes)
    tables = 4 * sum({int(job.config.noise.size or 0) for job in jobs})
    crowded = given is not None and given * least > (os.cpu_count() or 1)  # more CPUs than there are, as asked for
    with signals() as stop:
        stop.at_once = True
        session = connect(jobs[0].config.ray.address, given * least if given and crowded else None, tables, show)
        stop.at_once = False
        try:
            slots = min(len(jobs), given or max(1, session.cpus // least))
            show(session.text)
            show(f"{len(jobs)} jobs, {slots} at a time, which share {session.cpus} CPUs")
            most = max((size.most or 0 for size in sizes), default=0)
            if most:
                request(slots * most)
            return _Sweep(jobs, slots, session.embedded, stop).run()
        finally:
            release()
            shut_down()


def check(jobs: Sequence[SweepJob], parallel: int | str) -> int | None:
    """How many jobs at a time; None for as many as there are CPUs for.

    Raises:
        UserError: they cannot run side by side, with the key and the cure.
    """
    given = None if parallel == "auto" else parallel
    if given is not None and (not isinstance(given, int) or isinstance(given, bool) or given < 1):
        raise UserError(f"hydra.launcher.parallel={parallel}: give a number that is at least 1, or auto")
    for job in jobs:
        config = job.config
        if config.runtime.name != "ray":
            raise UserError(
                f"{job.name}: runtime={config.runtime.name} runs in this process alone; use hydra.launcher.parallel=1"
            )
        limits = (config.generations, config.max_timesteps, config.max_minutes)
        if not any(limits) and (given is None or given < len(jobs)):
            raise UserError(
                f"{job.name} may never end, and others would wait for ever; give generations, max_timesteps or "
                f"max_minutes, or hydra.launcher.parallel={len(jobs)}"
            )
        if config.ray != jobs[0].config.ray:
            raise UserError(f"{job.name}: jobs side by side need one ray.address; use hydra.launcher.parallel=1")
    return given


LEAVE_SECONDS = 5.0
"""How long it may take to withdraw a slot's share, which a dead Ray never does."""


class _Sweep:
    """The jobs of a sweep on a Ray that this process is connected to."""

    def __init__(self, jobs: Sequence[SweepJob], slots: int, embedded: bool, stop: StopSignal) -> None:
        from raes.runtime.sweep_resources import start_sweep_resources

        self._jobs, self._embedded, self._stop = jobs, embedded, stop
        self._shared, self._actor = start_sweep_resources(slots)
        names = labels([job.words for job in jobs])
        self._loggers = [JobLogger(name, job.config) for name, job in zip(names, jobs, strict=True)]
        self._waiting = list(range(len(jobs)))
        self._free = list(range(slots))
        self._running: dict[Any, tuple[int, int, RunningDriver]] = {}
        self._outcomes: dict[int, RunOutcome] = {}

    def run(self) -> list[RunOutcome]:
        """All jobs, to their ends; where Ray dies, they fail together."""
        try:
            self._run()
        except RunFailedError as error:
            self._waiting.clear()
            for number, slot, _ in self._running.values():
                self._loggers[number].callbacks.end(str(error))
                self._record(number, slot, RunOutcome(1, str(error)))
        return [self._outcomes.get(number, RunOutcome(STOPPED, "not begun")) for number in range(len(self._jobs))]

    def _run(self) -> None:
        """Start jobs and follow them, until none is left.

        Raises:
            RunFailedError: Ray is dead.
        """
        import ray

        while True:
            self._fill()
            if not self._running:
                return
            finished, _ = ray.wait(list(self._running), timeout=POLL_SECONDS)
            for _, _, driver in self._running.values():
                if self._stop.is_set():
                    driver.stop()
                driver.poll()
            for reference in finished:
                self._end(reference)
            for _, _, driver in self._running.values():
                driver.check_ray()

    def _fill(self) -> None:
        """Start jobs that wait in the slots that are free; a slot that nobody wants any more has no share."""
        import ray

        while self._free and self._waiting and not self._stop.is_set():
            self._start(self._waiting.pop(0), self._free.pop(0))
        for slot in self._free:
            ray.wait([self._actor.leave.remote(slot)], timeout=LEAVE_SECONDS)

    def _start(self, number: int, slot: int) -> None:
        """Start a job in a slot."""
        config, logger = self._jobs[number].config, self._loggers[number]
        logger.notice(headline(config))
        try:
            logger.callbacks.start(config.as_dict())
        except UserError as error:
            self._record(number, slot, RunOutcome(2, str(error)))
            return
        shared = replace(self._shared, job=slot)
        driver = RunningDriver(self._jobs[number].prepared, logger, self._embedded, shared)
        self._running[driver.running] = (number, slot, driver)

    def _end(self, reference: Any) -> None:
        """A job has ended."""
        number, slot, driver = self._running.pop(reference)
        try:
            outcome = driver.outcome()
        except RunFailedError as error:
            outcome = RunOutcome(1, str(error))
        driver.close()
        self._loggers[number].callbacks.end(outcome.reason)
        self._record(number, slot, outcome)

    def _record(self, number: int, slot: int, outcome: RunOutcome) -> None:
        """Keep how a job ended, and free its slot."""
        self._outcomes[number] = outcome
        self._free.append(slot)
        self._loggers[number].notice(ended(outcome))


def labels(jobs: Sequence[Sequence[str]]) -> list[str]:
    """Short names of jobs: of the overrides of each those that not all others have too."""
    common = set.intersection(*map(set, jobs))
    return [",".join(word for word in words if word not in common) or ",".join(words) for words in jobs]


class JobLogger:
    """Shows a job's events as lines that begin with its label, and hands them to its callbacks.

    Attributes:
        callbacks: the job's.
    """

    def __init__(self, label: str, config: Config) -> None:
        """Nothing is logged yet.

        Raises:
            UserError: a callback cannot be made.
        """
        self._label, self._quiet = label, config.console == "quiet"
        self.callbacks = Callbacks(config.callbacks, self.notice)

    def notice(self, text: str) -> None:
        """A line for the user."""
        show(f"[{self._label}] {text}")

    def __call__(self, event: Event) -> str | None:
        """Show one event; why the job should end, if a callback wants it to."""
        kind, content = event
        if kind == "notice":
            self.notice(content)
        elif kind == "record" and not self._quiet:
            self.notice(describe(content))
        return self.callbacks(event)


def ended(outcome: RunOutcome) -> str:
    """How a run ended, in one line."""
    return outcome.text + (f"; bits may differ {outcome.remark}" if outcome.remark else "")


def summary(outcomes: Sequence[tuple[str, RunOutcome]]) -> str:
    """What became of a sweep's jobs: how many are done, and each of the others by its name."""
    others = [(name, outcome) for name, outcome in outcomes if outcome.code]
    lines = [f"sweep: {len(outcomes) - len(others)} of {len(outcomes)} jobs are done"]
    lines += [f"  {name}: exit code {outcome.code}, {one_line(ended(outcome))}" for name, outcome in others]
    return "\n".join(lines)
