"""A plan of kills, determined by a seed, and a killer that carries it out while a driver runs.

Driver and killer have a thread each; new nodes are added in the main thread, as Ray requires.
"""

from __future__ import annotations

import random
import signal
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import psutil

from benchmarks.machines import Machines
from raes.training.events import Event

TITLES = {"actor": "ray::RolloutActor", "relay": "ray::RelayActor"}
"""Process titles of each kind of victim."""
LOOK_SECONDS = 0.02


@dataclass(frozen=True, order=True)
class Kill:
    """One kill.

    Attributes:
        generation: finished generations before it.
        share: of a quiet generation's time that passes after them, in [0, 1).
        kind: `actor`, `relay` or `node`.
        draw: selects the victim among the live ones, in [0, 1).
    """

    generation: int
    share: float
    kind: str
    draw: float


def plan(seed: int, generations: int, kills: Mapping[str, int]) -> list[Kill]:
    """Kills in their order, spread over the run: the n kills of a kind lie in the n equal parts of it, one in each.

    Args:
        seed: fixes the plan.
        generations: of the run.
        kills: kind -> how many.
    """
    rng = random.Random(seed)
    schedule = []
    for kind, count in kills.items():
        for number in range(count):
            time_of_kill = (number + rng.random()) / count * generations
            generation = min(int(time_of_kill), generations - 1)
            schedule.append(Kill(generation, min(time_of_kill - generation, 0.999), kind, rng.random()))
    return sorted(schedule)


@dataclass
class Killer:
    """Carries out a plan.

    Attributes:
        machines: the cluster.
        cpus: of a node that is added for one that was killed.
        generation_seconds: what a generation takes undisturbed.
        done: kind -> kills so far.
        added: nodes added so far.
        finished: generations that the driver has recorded.
    """

    machines: Machines
    cpus: int
    generation_seconds: float
    done: dict[str, int] = field(default_factory=lambda: {"actor": 0, "relay": 0, "node": 0})
    added: int = 0
    finished: int = 0
    _since: float = field(default_factory=time.monotonic)

    def on_event(self, event: Event) -> None:
        """Handle the driver's events: a record means that a generation is finished and the next one has begun."""
        if event[0] == "record":
            self.finished, self._since = self.finished + 1, time.monotonic()

    def carry_out(self, kills: Sequence[Kill], running: Callable[[], bool]) -> None:
        """Kill, and add nodes, until the run has ended."""
        with ThreadPoolExecutor(1) as thread:
            killing = thread.submit(self._kill, kills, running)
            while running():
                if self.added < self.done["node"]:
                    self.machines.add(self.cpus, wait=False)
                    self.added += 1
                time.sleep(LOOK_SECONDS)
            killing.result()

    def _kill(self, kills: Sequence[Kill], running: Callable[[], bool]) -> None:
        for kill in kills:
            while running() and not (self._is_due(kill) and self._strike(kill)):
                time.sleep(LOOK_SECONDS)

    def _is_due(self, kill: Kill) -> bool:
        passed = (time.monotonic() - self._since) / self.generation_seconds
        return self.finished > kill.generation or (self.finished == kill.generation and passed >= kill.share)

    def _strike(self, kill: Kill) -> bool:
        """Kill a victim; whether there was one."""
        victims: list[Any] = self.machines.nodes if kill.kind == "node" else processes(TITLES[kill.kind])
        if not victims:
            return False
        victim = victims[int(kill.draw * len(victims))]
        if kill.kind == "node":
            self.machines.kill(victim)
        else:
            with suppress(psutil.NoSuchProcess):
                victim.send_signal(signal.SIGKILL)
        self.done[kill.kind] += 1
        return True


def processes(title: str) -> list[psutil.Process]:
    """The descendants of this process whose title begins with `title`, the oldest first."""
    found = []
    for process in psutil.Process().children(recursive=True):
        with suppress(psutil.Error):
            if " ".join(process.cmdline()).startswith(title):
                found.append((process.create_time(), process.pid, process))
    return [process for _, _, process in sorted(found, key=lambda one: one[:2])]
