"""What a contender's program speaks: its case on the command line, then a line per generation on its standard streams.

It imports nothing outside the standard library, since it runs in the environments of other libraries too.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import sys
from collections.abc import Callable
from dataclasses import dataclass

GO = "go"
DONE = "done"


@dataclass(frozen=True)
class Case:
    """What all contenders run.

    Attributes:
        task: a name of Gymnasium's, as `HalfCheetah-v5`.
        hidden: units of the tanh network's hidden layers.
        population: episodes of a generation, one for each candidate.
        workers: processes that run episodes.
        sigma: the standard deviation of the perturbations.
    """

    task: str
    hidden: tuple[int, ...]
    population: int
    workers: int
    sigma: float

    @property
    def words(self) -> list[str]:
        """The case as a command line."""
        return [self.task, ",".join(map(str, self.hidden)), str(self.population), str(self.workers), str(self.sigma)]


def serve(start: Callable[[Case], Callable[[], int]]) -> None:
    """Run one contender until its standard input ends.

    Args:
        start: makes it ready for a case; the returned function runs a generation and returns its timesteps.
    """
    parser = argparse.ArgumentParser()
    for name in ("task", "hidden", "population", "workers", "sigma"):
        parser.add_argument(name)
    given = parser.parse_args()
    hidden = tuple(int(units) for units in given.hidden.split(","))
    case = Case(given.task, hidden, int(given.population), int(given.workers), float(given.sigma))
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # libraries print on the standard output, which is for the answers
    with contextlib.redirect_stdout(sys.stderr):
        generation = start(case)
        for line in sys.stdin:
            if line.strip() == GO:
                print(DONE, generation(), file=answers, flush=True)
