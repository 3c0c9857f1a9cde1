"""What the pool decides, as pure functions of its status; the pool carries it out."""

from __future__ import annotations

import math

BLOCK_SECONDS = 0.25
"""A block of episodes should not keep a worker busy for longer than about this."""
MAX_BLOCK = 256
QUEUE_SHARE = 4
"""A block takes at most a quarter of what would be an even share of the queue, so the blocks shrink to the end."""
IN_FLIGHT = 2
"""Blocks an actor holds: one that it runs and one that waits, so that it never idles for the driver."""
MAX_STARTS_LOST = 3
"""Actors lost in a row before any was ready: then the fault is in the set-up, not in a machine."""


def block_size(queued: int, workers: int, seconds_per_episode: float) -> int:
    """Episodes of the next block: guided self-scheduling, bounded in time.

    Args:
        queued: episodes that wait.
        workers: live workers.
        seconds_per_episode: measured mean, 0 before the first result.
    """
    share = math.ceil(queued / (QUEUE_SHARE * max(1, workers)))
    timely = int(BLOCK_SECONDS / seconds_per_episode) if seconds_per_episode > 0 else 1
    return max(1, min(share, timely, MAX_BLOCK))


def blocks_to_hold(queued: int, workers: int) -> int:
    """Blocks an actor should hold: none waits behind another where every worker can have one at once."""
    return IN_FLIGHT if queued > workers else 1


def give_up_starting(starts_lost: int, ready: int) -> bool:
    """Whether actors die so early and so often that starting more is useless; never while some are ready."""
    return starts_lost >= MAX_STARTS_LOST and not ready
