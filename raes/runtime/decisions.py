"""What the pool decides, as pure functions of its status; the pool carries it out."""

from __future__ import annotations

import itertools
import math
from collections import Counter
from collections.abc import Mapping

BLOCK_SECONDS = 0.25
"""A block of episodes should not keep a worker busy for longer than about this."""
MAX_BLOCK = 256
QUEUE_SHARE = 4
"""A block takes at most a quarter of what would be an even share of the queue, so the blocks shrink to the end."""
IN_FLIGHT = 2
"""Blocks an actor holds: one that it runs and one that waits, so that it never idles for the driver."""
MAX_STARTS_LOST = 3
"""Actors lost in a row before any was ready: then the fault is in the set-up, not in a machine."""
SHARE_WORK = 1 << 27
"""Numbers to add for which a reducer is worth its messages: it saves several times the 4 ms that they cost."""
MAX_REDUCERS = 7
"""Reducers at most: with the driver 8 shares, after which gathering takes longer than summing."""
LEAST_PATIENCE = 1.0
"""Seconds that a share of the weighted noise sum may always be late."""


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


def reducers(work: int, slices: int, allowed: int) -> int:
    """How many reducers should help with a weighted noise sum: none where sending costs more than it saves.

    Args:
        work: numbers to add, d times pairs.
        slices: parts that the sum can be cut into; this process takes one at least.
        allowed: reducers that there may be.
    """
    return max(0, min(work // SHARE_WORK, slices - 1, allowed, MAX_REDUCERS))


def shares(slices: int, processes: int) -> list[range]:
    """Cut the slices into consecutive shares, one a process, even to one slice, the larger ones first."""
    least, more = divmod(slices, processes)
    ends = [least * process + min(process, more) for process in range(processes + 1)]
    return [range(begin, end) for begin, end in itertools.pairwise(ends)]


def placement(allowed: Mapping[str, int], wanted: int, own: str) -> dict[str, int]:
    """Where reducers should live: one a node in turn, since nodes do not share their memory's speed; the own one last.

    Args:
        allowed: node id -> how many may live there.
        wanted: how many there should be, all told; fewer where fewer are allowed.
        own: the node of the process that computes a share too.
    """
    order = sorted(allowed, key=lambda node: (node == own, node))
    turns = [(turn, place) for place, node in enumerate(order) for turn in range(allowed[node])]
    return dict(Counter(order[place] for _, place in sorted(turns)[:wanted]))


def patience(own_seconds: float) -> float:
    """Seconds to wait for the other shares after one's own took so long; then they are computed here."""
    return max(LEAST_PATIENCE, 2 * own_seconds)
