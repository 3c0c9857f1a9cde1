"""Starts a driver in this process or on Ray, shows its events, and handles Ctrl-C, SIGTERM and SIGHUP."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from threadpoolctl import threadpool_limits

from raes.config.cli import display_path, stopping_signals
from raes.config.schema import Config
from raes.problems.atari import AtariSettings
from raes.problems.registration import Registered, register, registry_entry
from raes.runtime.scheduling import Size
from raes.training import ray_job
from raes.training.events import Event, EventLog
from raes.training.limits import RunOutcome, StopSignal
from raes.training.prepare import PreparedRun
from raes.training.start import drive
from raes.types import Interrupted, RunFailedError

if TYPE_CHECKING:
    from raes.runtime.sweep_resources import SweepResources

POLL_SECONDS = 0.25
MAX_RESTARTS = 10
"""How often Ray may restart a driver actor whose process dies; it goes on from its newest checkpoint."""

DRIVER_FIRST_SECONDS = 5.0
"""Where the GCS is dead, the driver has this time to write a checkpoint and end, before the command ends it."""

Show = Callable[[Event], str | None]
"""Shows an event; gives a reason where the run should end."""


class SignalHandler(StopSignal):
    """Set by the first Ctrl-C, SIGTERM or SIGHUP (the terminal goes); the second one interrupts at once.

    Attributes:
        at_once: whether the first one interrupts too: there is nothing to save yet.
    """

    at_once = False

    def listen(self) -> None:
        """Take over these signals.

        Python hands signals to the main thread only; in another one nothing is heard.
        """
        if threading.current_thread() is threading.main_thread():
            for number in stopping_signals():
                signal.signal(number, self._handle)

    def _handle(self, number: int, frame: Any) -> None:
        if self.at_once or self.is_set():
            raise Interrupted
        self.set()


@contextmanager
def signals() -> Iterator[SignalHandler]:
    """Hear Ctrl-C, SIGTERM and SIGHUP for as long as something runs."""
    before = {number: signal.getsignal(number) for number in stopping_signals()}
    stop = SignalHandler()
    stop.listen()
    try:
        yield stop
    finally:
        if threading.current_thread() is threading.main_thread():
            for number, handler in before.items():
                signal.signal(number, handler)


def launch(prepared: PreparedRun, show: Show) -> RunOutcome:
    """Run a prepared run to its end.

    Raises:
        UserError: Ray cannot be reached or the noise table does not fit.
    """
    with signals() as stop:
        if prepared.config.runtime.name == "serial":
            return _in_this_process(prepared, show, stop)
        return _on_ray(prepared, show, stop)


def _in_this_process(prepared: PreparedRun, show: Show, stop: StopSignal) -> RunOutcome:
    def report(event: Event) -> None:
        stop.reason = show(event) or stop.reason

    report(("notice", "runtime=serial: this process, 1 worker, no Ray"))
    report(("notice", headline(prepared.config)))
    with threadpool_limits(1):  # the caller's own arithmetic is as it was afterwards
        return drive(prepared, stop, EventLog(report))


def metrics_for_ray(config: Config) -> Callable[[Event], None]:
    """Sets Ray's metrics from events; see `raes.runtime.gauges`."""
    from raes.runtime.gauges import Gauges

    run = Path(str(config.run_dir)).name
    gauges = Gauges({"run": run, "env": config.env.name, "algorithm": config.algorithm.name, "seed": str(config.seed)})

    def measure(event: Event) -> None:
        kind, content = event
        if kind == "record":
            gauges(content)
        elif kind == "progress":
            gauges({"live/answered": content.answered, "live/asked": content.asked, "pool/actors": content.workers})

    return measure


class DriverActor:
    """The driver as a Ray actor; `run` in one thread, `poll` and `stop` in others."""

    def __init__(self, config: Config, environment: Registered | None, shared: SweepResources | None) -> None:
        register(environment)
        self._shared = shared
        self._stop = StopSignal()
        self._events = EventLog(metrics_for_ray(config))

    def run(self, prepared: PreparedRun, embedded: bool) -> RunOutcome:
        """See `drive`; after a restart it goes on from the newest checkpoint."""
        import ray

        restarted = ray.get_runtime_context().was_current_actor_reconstructed
        return drive(prepared, self._stop, self._events, embedded, restarted, self._shared)

    def poll(self, after: int) -> tuple[int, list[tuple[int, Event]]]:
        """This driver's number (another one after a restart) and the events after a sequence number."""
        return self._events.incarnation, self._events.after(after)

    def stop(self) -> None:
        """End soon: abandon the generation in flight, write a checkpoint."""
        self._stop.set()

    def end_after_generation(self, reason: str) -> None:
        """End as at a limit, after the generation that is open."""
        self._stop.reason = reason


def _on_ray(prepared: PreparedRun, show: Show, stop: SignalHandler) -> RunOutcome:
    from raes.runtime.nodes import release
    from raes.runtime.session import attached

    config = prepared.config
    assert config.noise.size is not None
    size = Size.of(config.workers)

    def notify(text: str) -> None:
        show(("notice", text))

    stop.at_once = True
    with attached(config.ray.address, size.most, 4 * config.noise.size, notify) as session:
        stop.at_once = False
        notify(session.text)
        show(("notice", headline(config)))
        if (name := ray_job.submission()) is not None:
            show(("notice", ray_job.steering(name)))
        if (advice := advise(config, size.most or session.cpus)) is not None:
            show(("notice", advice))
        driver = RunningDriver(prepared, show, session.embedded)
        try:
            return _follow(driver, stop)
        finally:
            driver.close()
            with suppress(Exception):  # the driver has done so, if it could
                release()


def headline(config: Config) -> str:
    """What is trained, in one line."""
    limits = (config.generations, config.max_timesteps, config.max_minutes, config.goal.return_mean)
    name, own = config.env.name, config.env.id
    return (
        f"{name if name == own else f'{name} ({own})'}: {config.algorithm.name}, {config.algorithm.episodes} episodes "
        f"per generation, seed {config.seed}, saved to {display_path(config.run_dir)}"
        f"{', until Ctrl-C' if not any(limits) else ''}"
    )


def advise(config: Config, workers: int) -> str | None:
    """A line where the pool is too large for the generation, with the experiment that fills it."""
    episodes = config.algorithm.episodes
    if 4 * workers <= episodes:
        return None
    experiment = "humanoid_paper" if config.env.id.startswith("Humanoid-") else "large"
    if isinstance(config.env, AtariSettings):
        experiment = "atari_paper"
    return (
        f"{workers} workers are more than a quarter of a generation's {episodes} episodes, so some will wait for the "
        f"last ones; experiment={experiment} fills a larger pool, or raise algorithm.{config.algorithm.size_key}"
    )


class RunningDriver:
    """A driver on this node, and its events.

    Attributes:
        running: reference to its outcome.
    """

    def __init__(self, prepared: PreparedRun, show: Show, embedded: bool, shared: SweepResources | None = None) -> None:
        """Start it.

        Args:
            prepared: its run.
            show: is handed its events.
            embedded: whether Ray is this command's own.
            shared: what the jobs of a sweep share.
        """
        import ray
        from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

        from raes.runtime.ray_life import RayLife

        here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
        # Held, and no argument of the constructor, since Ray lets go of those, and could not restart the actor then.
        self._prepared = ray.put(prepared)
        actor_class: Any = ray.remote(DriverActor)
        self._actor = actor_class.options(
            num_cpus=0,
            max_concurrency=4,
            max_restarts=MAX_RESTARTS,
            max_task_retries=-1,
            scheduling_strategy=here,
        ).remote(prepared.config, registry_entry(prepared.config.env), shared)
        self.running = self._actor.run.remote(self._prepared, embedded)
        self._life = RayLife(DRIVER_FIRST_SECONDS)
        self._show, self._incarnation, self._seen, self._stopping = show, 0, 0, False

    def stop(self) -> None:
        """Have it end soon, with a checkpoint."""
        if not self._stopping:
            self._show(("notice", "stopping: the run is being saved; Ctrl-C again ends it at once"))
        self._stopping = True
        self._actor.stop.remote()

    def poll(self) -> None:
        """Show its events since the last call."""
        import ray
        from ray.exceptions import GetTimeoutError, RayActorError

        with suppress(GetTimeoutError, RayActorError):
            now, events = ray.get(self._actor.poll.remote(self._seen), timeout=5)
            if now != self._incarnation:
                if self._incarnation:
                    text = "the driver was lost and restarted; it resumes from its newest checkpoint"
                    self._show(("notice", text))
                self._incarnation, self._seen = now, 0
                _, events = ray.get(self._actor.poll.remote(0), timeout=5)
            for number, event in events:
                self._seen = number
                if (reason := self._show(event)) is not None:
                    ray.get(
                        self._actor.end_after_generation.remote(reason), timeout=5
                    )  # Ray complains of calls that `close` cuts off

    def check_ray(self) -> None:
        """Notice a dead Ray.

        Raises:
            RunFailedError: Ray is dead.
        """
        self._life.check()

    def outcome(self) -> RunOutcome:
        """How it ended; to be called when `running` is ready.

        Raises:
            RunFailedError: it did not end by itself.
        """
        import ray
        from ray.exceptions import RayActorError, RayTaskError

        from raes.runtime.calls import cause_of_death

        try:
            outcome: RunOutcome = ray.get(self.running)
        except RayTaskError as error:
            raise RunFailedError(f"the driver failed: {error}") from error
        except RayActorError as error:
            self._life.check()
            cause, _ = cause_of_death(error)
            raise RunFailedError(f"the driver was lost for good, after {MAX_RESTARTS} restarts: {cause}") from error
        return outcome

    def close(self) -> None:
        """End its process, whatever it does."""
        import ray

        ray.kill(self._actor)


def _follow(driver: RunningDriver, stop: StopSignal) -> RunOutcome:
    """Show the driver's events until it ends."""
    import ray

    while True:
        finished, _ = ray.wait([driver.running], timeout=POLL_SECONDS)
        if stop.is_set() and not finished:
            driver.stop()
        driver.poll()
        if finished:
            return driver.outcome()
        driver.check_ray()
