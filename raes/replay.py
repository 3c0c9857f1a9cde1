"""`python -m raes.replay run_dir=R generation=G index=I [purpose=training|probe|evaluation] [seconds=60]`: a failed
episode, once more.

It runs in a process of its own, so that a crash or a hang is reported too. Exit code 0 where the fault does not show, 1
where it does, 2 where there is no such episode.
"""

from __future__ import annotations

import faulthandler
import multiprocessing
import os
import signal
import sys
import time
from contextlib import suppress
from dataclasses import dataclass, replace
from multiprocessing.connection import Connection
from multiprocessing.context import SpawnProcess
from typing import Annotated, Any, Literal

from annotated_types import Gt, Le
from threadpoolctl import threadpool_limits

from raes.config.cli import command, parse
from raes.config.schema import Config
from raes.config.stored import load_to_use
from raes.console.output import show
from raes.models.settings import ModuleSettings
from raes.results import Results
from raes.rng import Purpose, reset_seed, seed_generation
from raes.runtime.model_worker import make_worker
from raes.runtime.worker import WorkerSpec
from raes.search.noise import make_table
from raes.storage.failed_episodes import find
from raes.storage.location import run_location
from raes.tasks import Snapshot, Tasks
from raes.text import described
from raes.training.build import problem_spec
from raes.training.model_files import version_at, with_weights
from raes.types import SETTINGS, UserError

START_SECONDS = 300.0
"""How long the child may take to start, fill the noise table and make the environment."""
DUMP_SECONDS = 0.5
"""How long a child that hangs gets to print where it stands."""
END_SECONDS = 10.0
"""How long a child that has closed its pipe may take to end."""


@dataclass(frozen=True)
class ReplayArguments:
    """The command line.

    Attributes:
        run_dir: the run.
        generation: the generation of the episode.
        index: the episode's number in it.
        purpose: what the episode was for.
        seconds: after which an episode that still runs is killed.
        trust: whether code of its own that a run of somebody else names may be used.
    """

    __pydantic_config__ = SETTINGS

    run_dir: str
    generation: int
    index: int
    purpose: Literal["training", "probe", "evaluation"] = "training"
    seconds: Annotated[float, Gt(0), Le(1e6)] = 60.0
    trust: bool = False


@dataclass(frozen=True)
class Replayed:
    """What happened this time: whether the episode failed, in words, and its reason where the worker gave one."""

    failed: bool
    text: str
    reason: str | None = None


def replay(arguments: ReplayArguments) -> bool:
    """Run one failed episode again and print what happens; whether it fails.

    Raises:
        UserError: there is no such run or episode, or its environment cannot be made.
    """
    run_dir = run_location(arguments.run_dir)
    config = load_to_use(run_dir, arguments.trust)
    purpose = Purpose[arguments.purpose.upper()]
    snapshot, failed = find(run_dir, arguments.generation, purpose, arguments.index)
    if isinstance(config.env, ModuleSettings):
        snapshot = replace(snapshot, model=version_at(config, run_dir, snapshot.generation))
        snapshot = with_weights(run_dir, snapshot)
    generation = seed_generation(purpose, snapshot.generation)
    seed = reset_seed(config.seed, purpose, generation, int(failed.tasks.reset[0]))
    show(
        f"episode   generation {snapshot.generation}, {arguments.purpose} episode {arguments.index} of {config.env.id}"
    )
    show(f"reset     env.reset(seed={seed})")
    show(f"recorded  {failed.reasons[0]}")
    replayed = run_apart(config, failed.tasks, snapshot, arguments.seconds)
    show(f"replayed  {replayed.text}")
    if not replayed.failed:
        show(
            "the fault did not show: the episode ended well this time. Perhaps it needs the machine, the environment "
            "variables or the earlier episodes of the worker it failed in."
        )
    elif replayed.reason is None:
        show("the episode fails again")
    elif replayed.reason.startswith(failed.reasons[0]):
        show("the episode fails again, for the recorded reason")
    else:
        show("the episode fails again, but for another reason than the recorded one")
    return replayed.failed


def run_apart(config: Config, tasks: Tasks, snapshot: Snapshot, seconds: float) -> Replayed:
    """Run one episode in a process of its own, which is gone afterwards.

    Args:
        config: of the run.
        tasks: one task.
        snapshot: what it perturbs.
        seconds: the episode may take.

    Raises:
        UserError: the environment cannot be made, or policy and snapshot do not fit.
    """
    assert config.noise.size is not None
    spec = WorkerSpec(problem_spec(config), config.seed)
    context = multiprocessing.get_context("spawn")
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=_play, args=(sender, spec, config.noise.size, tasks, snapshot))
    try:
        process.start()
        sender.close()  # so that the child's end is the last one
        kind, content = _next(receiver, process, START_SECONDS)
        begun = kind == "ready"
        if begun:
            kind, content = _next(receiver, process, seconds)
    finally:
        _end(process)
    if kind == "unfit":
        raise UserError(
            f"the episode cannot be run: {content}; config.yaml and the environment must be those of the run"
        )
    if kind == "done":
        return _read_result(content)
    if kind == "late":
        content = f"still running after {seconds if begun else START_SECONDS:g} s"
    return Replayed(True, content if begun else f"before the episode began: {content}")


def _play(sender: Connection, spec: WorkerSpec, table_size: int, tasks: Tasks, snapshot: Snapshot) -> None:
    """The child: builds a worker as an actor does, and runs the episode."""
    os.setsid()  # a group of its own: what the environment starts can be killed with it
    faulthandler.enable()
    faulthandler.register(signal.SIGUSR1)
    try:
        threadpool_limits(1)
        worker = make_worker(spec, make_table(table_size))
        sender.send(("ready", None))
        sender.send(("done", worker.run(tasks, snapshot)))
    except Exception as error:
        sender.send(("unfit", str(error) if isinstance(error, UserError) else described(error)))


def _next(receiver: Connection, process: SpawnProcess, seconds: float) -> tuple[str, Any]:
    """The child's next message; ("dead", how) where it has died, ("late", None) where it neither speaks nor dies."""
    if receiver.poll(seconds):
        with suppress(EOFError, OSError):
            message: tuple[str, Any] = receiver.recv()
            return message
        process.join(END_SECONDS)
    if process.exitcode is not None:
        return "dead", _death(process.exitcode)
    with suppress(ProcessLookupError):
        os.kill(int(process.pid or 0), signal.SIGUSR1)  # faulthandler prints the stack: that is where it hangs
    time.sleep(DUMP_SECONDS)
    return "late", None


def _end(process: SpawnProcess) -> None:
    """Kill what is left of the child and of what it has started."""
    if process.pid is None:
        return
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
    process.kill()  # where it had no group of its own yet
    process.join()


def _death(exitcode: int) -> str:
    """In words, from an exit code as multiprocessing has it: negative for a signal."""
    if exitcode >= 0:
        return f"the process ended with exit code {exitcode}"
    names = {number.value: number.name for number in signal.Signals}
    return f"the process died of signal {-exitcode} ({names.get(-exitcode, 'no name')})"


def _read_result(results: Results) -> Replayed:
    """The worker's result of the one episode."""
    if results.faults:
        return Replayed(True, results.faults[0].reason, results.faults[0].reason)
    record = results.records[0]
    return Replayed(False, f"return {float(record['return'])!r} after {int(record['length'])} timesteps")


def main() -> int:
    """The command; 1 where the fault shows."""
    return int(replay(parse(ReplayArguments, sys.argv[1:], "raes.replay", __doc__)))


if __name__ == "__main__":
    command(main)
