"""What an actor was lost through, from the words that Ray 2.60 has for it, and from the actor's own last words."""

from __future__ import annotations

import pytest
from ray.core.generated.common_pb2 import ActorDiedErrorContext
from ray.exceptions import ActorDiedError, ActorUnavailableError, OutOfMemoryError, RayError, WorkerCrashedError

from raes.runtime.calls import Blame, cause_of_death, explained

PROCESS = "The actor is dead because its worker process has died. Worker exit type: "
LOST = (
    f"{PROCESS}SYSTEM_ERROR Worker exit detail: Worker unexpectedly exits with a connection error code 2. End of file. "
    "Some common causes include: (1) the process was killed by the OOM killer due to high memory usage, (2) ray stop "
    "--force was called, or (3) the worker crashed unexpectedly due to SIGSEGV or another unexpected error."
)
SIGTERM = f"{PROCESS}SYSTEM_ERROR Worker exit detail: Worker exits with an exit code 1. The process receives a SIGTERM."
EXITED = f"{PROCESS}INTENDED_USER_EXIT Worker exit detail: Worker exits by an user request, with an exit code 0."
KILLED = "The actor is dead because it was killed by `ray.kill`."
NODE = "The actor died because its node has died. Node Id: 0123"
MEMORY = (
    "1 worker(s) were killed due to the node running low on memory. Memory on the node (IP: 10.0.0.1) was 2.82GB used"
)


def died(text: str) -> ActorDiedError:
    return ActorDiedError(ActorDiedErrorContext(actor_id=16 * b"a", error_message=text))


@pytest.mark.parametrize(
    ("error", "words", "blame"),
    [
        (died(NODE), "its node died", Blame.NODE),
        (died(SIGTERM), "SIGTERM", Blame.OUTSIDE),
        (died(KILLED), "ray.kill", Blame.OUTSIDE),
        (died(EXITED), "exited", Blame.EPISODE),
        (died(LOST), "its process died", Blame.UNCLEAR),
        (OutOfMemoryError(MEMORY), "ran out of memory", Blame.OUTSIDE),
        (died(MEMORY), "ran out of memory", Blame.OUTSIDE),
        (ActorUnavailableError("RPC error 14", None), "cannot reach it", Blame.OUTSIDE),
        (WorkerCrashedError(), "The worker died unexpectedly", Blame.UNCLEAR),
    ],
)
def test_what_ray_knows(error: RayError, words: str, blame: Blame) -> None:
    cause, found = cause_of_death(error)
    assert words in cause
    assert found is blame
    assert "\n" not in cause


@pytest.mark.parametrize(
    ("ending", "words", "blame"),
    [
        (None, "its process died", Blame.UNCLEAR),
        ("", "killed from outside", Blame.OUTSIDE),
        ("it crashed: Aborted", "its process died: it crashed: Aborted", Blame.EPISODE),
    ],
)
def test_what_the_process_has_left_decides_where_ray_does_not_know(
    ending: str | None, words: str, blame: Blame
) -> None:
    cause, found = explained(died(LOST), ending)
    assert words in cause
    assert found is blame


def test_what_the_process_has_left_counts_for_nothing_where_ray_knows() -> None:
    assert explained(died(NODE), "it crashed: Aborted")[1] is Blame.NODE
    assert explained(WorkerCrashedError(), "")[1] is Blame.UNCLEAR
