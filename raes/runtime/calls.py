"""Calls to Ray actors: waiting for the answers, and why calls fail. Both pools use it."""

from __future__ import annotations

import time
from collections.abc import Iterable
from enum import Enum, auto
from typing import Any

import ray
from ray.exceptions import ActorDiedError, ActorUnavailableError, OutOfMemoryError, RayError, RayTaskError

from raes.text import one_line

GET_SECONDS = 60.0
"""Seconds in which a finished result must be read; after that its actor counts as lost."""


def wait(references: Iterable[Any], timeout: float, gather: float = 0.0, awaited: int = 1) -> list[Any]:
    """The calls that are finished `gather` seconds after the first ones, or as soon as all are.

    Args:
        references: of the calls.
        timeout: seconds for the first ones; where they take longer, what has finished is all.
        gather: seconds for those that follow.
        awaited: how many the first ones are.
    """
    waiting = list(references)
    if not waiting:
        time.sleep(min(timeout, 0.01))
        return []
    finished, _ = ray.wait(waiting, num_returns=min(awaited, len(waiting)), timeout=timeout)
    if finished and awaited == 1:
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


class Blame(Enum):
    """What an actor was lost through."""

    NODE = auto()
    """Its node: none of its episodes is the cause."""
    OUTSIDE = auto()
    """Somebody or the system killed it; where it comes again and again, an episode may be what fills the memory."""
    UNCLEAR = auto()
    """Perhaps its episodes, perhaps not."""
    EPISODE = auto()
    """The episode that it ran made it crash or exit."""


def cause_of_death(error: RayError) -> tuple[str, Blame]:
    """Why an actor is gone, in words, as far as Ray knows."""
    text = str(error)
    if "its node has died" in text or "NodeAffinitySchedulingStrategy doesn't exist" in text:
        return "its node died", Blame.NODE
    if isinstance(error, OutOfMemoryError) or "low on memory" in text or "OutOfMemory" in text:
        return "Ray killed it, since the node ran out of memory", Blame.OUTSIDE
    if isinstance(error, ActorDiedError):
        if "creation task" in text:  # its own code failed, as where its RAES is another one
            *_, last = text.strip().splitlines()
            cause = f"it could not be made: {one_line(last)}; `python -m raes.doctor` lists hosts with other packages"
            return cause, Blame.EPISODE
        if "INTENDED_USER_EXIT" in text:
            return "its process exited", Blame.EPISODE
        if "SIGTERM" in text or "ray.kill" in text:
            return (
                f"its process was ended from outside ({'SIGTERM' if 'SIGTERM' in text else 'ray.kill'})",
                Blame.OUTSIDE,
            )
        return "its process died", Blame.UNCLEAR
    if isinstance(error, ActorUnavailableError):  # Ray does not know yet which of them it is
        return "Ray cannot reach it: its process or its node died, or the network between", Blame.OUTSIDE
    lines = text.strip().splitlines()
    return one_line(lines[0] if lines else type(error).__name__), Blame.UNCLEAR


def explained(error: RayError, ending: str | None) -> tuple[str, Blame]:
    """As `cause_of_death`, with what the process itself has left; see `LastWords.read`."""
    cause, blame = cause_of_death(error)
    if blame is not Blame.UNCLEAR or ending is None or not isinstance(error, ActorDiedError):
        return cause, blame
    if ending:
        return f"its process died: {ending}", Blame.EPISODE
    return "its process was killed from outside, by hand or by the system when memory ran out", Blame.OUTSIDE
