"""Calls to Ray actors: waiting for the answers, and why calls fail. Both pools use it."""

from __future__ import annotations

import time
from collections.abc import Iterable
from typing import Any

import ray
from ray.exceptions import ActorDiedError, ActorUnavailableError, RayError, RayTaskError

from raes.text import one_line

GET_SECONDS = 60.0
"""Seconds in which a finished result must be read; after that its actor counts as lost."""


def wait(references: Iterable[Any], timeout: float, gather: float = 0.0) -> list[Any]:
    """The calls that are finished `gather` seconds after the first one, or as soon as all are.

    An empty list means that none finished within `timeout` seconds.
    """
    waiting = list(references)
    if not waiting:
        time.sleep(min(timeout, 0.01))
        return []
    finished, _ = ray.wait(waiting, num_returns=1, timeout=timeout)
    if finished:
        finished, _ = ray.wait(waiting, num_returns=len(waiting), timeout=gather)
    return list(finished)


def answers(references: Iterable[Any]) -> Iterable[tuple[Any, Any]]:
    """(reference, answer or RayError) of finished calls; read in one go where none failed, which is cheaper."""
    references = list(references)
    try:
        return list(zip(references, ray.get(references, timeout=GET_SECONDS), strict=True))
    except RayError:
        return [(reference, _answer(reference)) for reference in references]


def _answer(reference: Any) -> Any:
    try:
        return ray.get(reference, timeout=GET_SECONDS)
    except RayError as error:
        return error


def is_our_fault(answer: Any) -> bool:
    """Whether an actor's own code failed, and not Ray, as on a node that is dying."""
    return isinstance(answer, RayTaskError) and not isinstance(answer.cause, RayError | OSError)


def cause_of_death(error: RayError) -> tuple[str, bool]:
    """Why an actor is gone, in words, and whether its episodes may be the cause."""
    text = str(error)
    if "its node has died" in text or "NodeAffinitySchedulingStrategy doesn't exist" in text:
        return "its node died", False
    if "Out of memory" in text or "OutOfMemory" in text or "memory pressure" in text:
        return "Ray killed it, since the node ran out of memory", True
    if isinstance(error, ActorDiedError):
        if "creation task" in text:  # its own code failed, as where its RAES is another one
            *_, last = text.strip().splitlines()
            return (
                f"it could not be made: {one_line(last)}; `python -m raes.doctor` lists hosts with other packages",
                True,
            )
        return "its process died", True
    if isinstance(error, ActorUnavailableError):  # Ray does not know yet which of them it is
        return "Ray cannot reach it: its process or its node died, or the network between", True
    lines = text.strip().splitlines()
    return one_line(lines[0] if lines else type(error).__name__), True
