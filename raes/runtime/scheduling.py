"""The scheduling decisions of the pools, as pure functions of their status. No clock, no Ray."""

from __future__ import annotations

import itertools
import math
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

BLOCK_SECONDS = 0.25
"""A block of episodes should not keep a worker busy for longer than about this."""
MAX_BLOCK = 256
QUEUE_SHARE = 4
"""A block takes at most a quarter of what would be an even share of the queue, so the blocks shrink to the end."""
POOL_SECONDS = 0.001
"""A block lasts at least so long for each worker of the pool, which needs about half of it to serve one."""
TOGETHER_SECONDS = 0.005
"""Answers that come within this time are taken in together: a turn of a pool costs it as much as an answer."""
END_SECONDS = 0.001
"""The same where nothing is queued any more, so that an idle worker may take over what waits for another."""
IN_FLIGHT = 2
"""Blocks that an actor holds: one that it runs and one that waits, so that it need not wait for the driver."""
MAX_STARTS_LOST = 3
"""After so many actors of a node lost in a row before they were ready, the set-up is taken for the cause."""
RETRY_SECONDS = 30.0
"""How long a node on which nothing could start is left alone, where there are others."""
GONE_SECONDS = 2.0
"""How long a node that has died is left alone, until Ray no longer lists it."""
SHARE_WORK = 1 << 27
"""Numbers to add per reducer: with so many it saves several times the 4 ms that its messages cost."""
MAX_REDUCERS = 7
"""Reducers at most: with the driver 8 shares, after which gathering takes longer than summing."""
LEAST_PATIENCE = 1.0
"""Seconds by which a share of the weighted noise sum may be late in any case."""
FIRST_DEADLINE = 600.0
LEAST_DEADLINE = 60.0
DEADLINE_FACTOR = 20.0
"""runtime.deadline=auto: 20 times the longest episode so far, at least a minute; 10 minutes before the first ends."""
LATE_SECONDS = 1.0
LATE_FACTOR = 4.0
"""A block is late after 1 s and 4 times what its episodes take on average: then idle workers try it too."""
RELAY_CALLS = 16.0
"""Periodic reports per second, from all relays together; a call costs the driver 1 to 2 ms."""
TAIL_CALLS = 100.0
"""`RELAY_CALLS` while nothing is left to hand out: then the driver must know which relays are behind."""
LOW_SECONDS = 0.0025
"""A relay whose workers have work for less than this requests more: the messages take as long."""
CALL_SECONDS = 0.0012
"""Driver seconds of a call to a relay and its answer."""
ROUND_SHARE = 0.1
"""A queue is handed out piece by piece where a call to each relay takes less than this share of its time."""
SHARE_SECONDS = 0.02
"""Episodes that a relay would not begin within this time are shared with an idle one."""
GATHER_SECONDS = 0.004
"""Where a queue is short and each relay reports once, the driver gathers reports for so long; no longer, since
meanwhile nodes that have finished get none of the others' work."""
SMALL_SNAPSHOT = 50_000
"""Bytes of a snapshot up to which each relay is sent its own copy. A snapshot by reference costs the driver 0.7 ms per
node, since Ray asks the owner where copies are; arguments from 100 kB on Ray would store itself."""
LEAST_REPORT_SECONDS = 0.02
REPORT_PATIENCE = 120.0
"""A relay that has not reported for so long hangs: relays report twice per second, also without results."""


@dataclass(frozen=True)
class Size:
    """How many workers a run needs: `workers=auto` is Size(1, None), `workers=8` Size(8, 8), `workers=2..8` Size(2, 8).

    Attributes:
        least: workers that must be there before the run begins.
        most: more are never started; None for all that the cluster has CPUs for.
    """

    least: int = 1
    most: int | None = None

    @staticmethod
    def of(workers: int | str) -> Size:
        """The size that the key `workers` means.

        Raises:
            ValueError: it is none.
        """
        if workers == "auto":
            return Size()
        numbers = re.fullmatch(r"(\d+)(?:\.\.(\d+))?", str(workers))
        least, most = (int(numbers[1]), int(numbers[2] or numbers[1])) if numbers else (0, 0)
        if not 1 <= least <= most:
            raise ValueError(f"workers must be auto, a number that is at least 1, or LEAST..MOST, got {workers}")
        return Size(least, most)


@dataclass(frozen=True)
class Node:
    """A live machine of the cluster.

    Attributes:
        node_id: Ray's id of it.
        cpus: how many workers it has room for.
        draining: whether it is about to be taken away.
    """

    node_id: str
    cpus: int
    draining: bool = False


@dataclass(frozen=True)
class Share:
    """A job's part of the CPUs where several share a cluster: each CPU whose number is `rank` modulo `jobs`.

    Attributes:
        rank: of the job, from 0.
        jobs: that run at this moment.
    """

    rank: int = 0
    jobs: int = 1


def place_workers(nodes: Sequence[Node], most: int | None, share: Share = Share()) -> dict[str, int]:
    """How many workers each node should have; nodes that leave get none.

    Args:
        nodes: in the order they joined, so that a new one does not move the workers of the others.
        most: of all nodes together; None for every CPU.
        share: which CPUs, dealt over all nodes in turn, are this job's.
    """
    room = math.inf if most is None else most
    placed: dict[str, int] = {}
    dealt = 0
    for node in nodes:
        mine = 0
        if not node.draining:
            mine = len(range((share.rank - dealt) % share.jobs, node.cpus, share.jobs))
            dealt += node.cpus
        placed[node.node_id] = count = int(min(mine, room))
        room -= count
    return placed


def block_size(queued: int, workers: int, seconds_per_episode: float) -> int:
    """Episodes of the next block: guided self-scheduling, bounded in time.

    Where workers are many and episodes short, a block lasts so long that the pool can serve all workers meanwhile, as
    far as there is as much for each of them.

    Args:
        queued: episodes that wait.
        workers: live workers.
        seconds_per_episode: measured mean, 0 before the first result.
    """
    if seconds_per_episode <= 0:
        return 1
    even = queued / max(1, workers)
    served = workers * POOL_SECONDS / seconds_per_episode
    wanted = max(math.ceil(even / QUEUE_SHARE), min(math.ceil(even), math.ceil(served)))
    return max(1, min(wanted, int(min(MAX_BLOCK, BLOCK_SECONDS / seconds_per_episode))))


def results_together(queued: int, workers: int, seconds_per_episode: float) -> int:
    """Answers of workers that a pool takes in at a time: those that come within `TOGETHER_SECONDS`.

    Args:
        queued: episodes that wait; where there are none, an answer may be the last one.
        workers: live workers; each has another block while there are episodes that wait.
        seconds_per_episode: measured mean, 0 before the first result.
    """
    if not queued or seconds_per_episode <= 0:
        return 1
    block_seconds = block_size(queued, workers, seconds_per_episode) * seconds_per_episode
    return max(1, int(workers * TOGETHER_SECONDS / block_seconds))


def blocks_to_hold(queued: int, workers: int) -> int:
    """Blocks that an actor should hold: one where every worker can have one at once, else `IN_FLIGHT`."""
    return IN_FLIGHT if queued > workers else 1


def start_is_hopeless(starts_lost: int) -> bool:
    """Whether so many actors of a node died in a row before they were ready that starting more there is useless."""
    return starts_lost >= MAX_STARTS_LOST


def deadline(given: float | None, longest: float) -> float:
    """Seconds that one episode may take.

    Args:
        given: `runtime.deadline`; None for automatic.
        longest: the longest episode so far, in seconds; 0 before the first.
    """
    if given is not None:
        return given
    return max(LEAST_DEADLINE, DEADLINE_FACTOR * longest) if longest > 0 else FIRST_DEADLINE


def is_late(age: float, episodes: int, seconds_per_episode: float) -> bool:
    """Whether a block has run for so long that an idle worker should try it too.

    Args:
        age: seconds since its worker began it.
        episodes: of the block.
        seconds_per_episode: measured mean.
    """
    return age > LATE_SECONDS + LATE_FACTOR * episodes * seconds_per_episode


def report_seconds(relays: int, tail: bool = False) -> float:
    """How long a relay gathers results before it reports: the driver's work grows with nodes, not with workers.

    Args:
        relays: how many there are.
        tail: whether nothing is left to hand out.
    """
    return max(LEAST_REPORT_SECONDS, relays / (TAIL_CALLS if tail else RELAY_CALLS))


def report_is_overdue(age: float, first: bool) -> bool:
    """Whether a relay counts as lost because its report is late.

    Args:
        age: seconds since it was asked.
        first: whether it has never reported, so that it may still be starting.
    """
    return age > (FIRST_DEADLINE if first else REPORT_PATIENCE)


def is_short(queued: int, workers: int, relays: int, mean: float) -> bool:
    """Whether the queue is so short that handing it out piece by piece would not be worth the driver's calls.

    Args:
        queued: episodes that wait at the driver.
        workers: of all relays.
        relays: how many there are.
        mean: mean seconds of an episode; 0 before the first result.
    """
    return 0 < queued * mean < workers * relays * CALL_SECONDS / ROUND_SHARE


def relay_room(
    queued: int, outstanding: int, workers: int, all_workers: int, pause: float, mean: float, short: bool = False
) -> int:
    """How many more episodes a relay should get: enough to keep its workers busy until its next report is answered.

    Args:
        queued: episodes that wait at the driver, before any relay gets its share of them.
        outstanding: episodes that the relay has.
        workers: of the relay.
        all_workers: of all relays.
        pause: seconds between two reports of a relay.
        mean: mean seconds of an episode; 0 before the first result.
        short: whether the queue goes out whole (`is_short`); else a quarter stays, for those who are ready first.
    """
    if not workers or not queued:
        return 0
    reserve = workers if mean <= 0 else math.ceil(workers * min(MAX_BLOCK, 2 * pause / mean))
    even = queued * workers / max(workers, all_workers)
    fair = math.ceil(even if short else 0.75 * even)
    wanted = max(workers - outstanding, min(workers + reserve - outstanding, fair))
    return max(0, min(queued, wanted))


def spare(outstanding: int, workers: int, age: float, mean: float) -> int:
    """Episodes that a relay should share with an idle one: half of those that it has not begun, by estimate.

    None where they are fewer than half its workers and few enough to be begun soon: copies would be wasted.

    Args:
        outstanding: without an answer, by its last report.
        workers: of the relay.
        age: seconds since then.
        mean: mean seconds of an episode; 0 before the first result.
    """
    done = workers * age / mean if mean > 0 else 0.0
    waiting = math.floor(outstanding - workers - done)
    worth_it = 2 * waiting >= workers or waiting * mean > workers * SHARE_SECONDS
    return math.ceil(waiting / 2) if worth_it else 0


def is_low(queued: int, workers: int, mean: float) -> bool:
    """Whether a relay's queue will be empty before the driver can answer.

    Args:
        queued: episodes that wait for a worker.
        workers: of the relay.
        mean: mean seconds of an episode; 0 before the first result.
    """
    return queued * mean <= workers * LOW_SECONDS


def many_are_idle(idle: int, workers: int) -> bool:
    """Whether so many of a relay's workers are idle, a tenth, that it should report at once."""
    return 10 * idle >= workers > 0


def reducers(work: int, slices: int, allowed: int) -> int:
    """How many reducers should help with a weighted noise sum; none where messages cost more than they save.

    Args:
        work: numbers to add, d times pairs.
        slices: parts that the sum can be cut into; this process takes one at least.
        allowed: reducers that there may be.
    """
    return max(0, min(work // SHARE_WORK, slices - 1, allowed, MAX_REDUCERS))


def shares(slices: int, processes: int) -> list[range]:
    """Cut the slices into consecutive shares, one per process, equal up to one slice, the larger ones first."""
    least, more = divmod(slices, processes)
    ends = [least * process + min(process, more) for process in range(processes + 1)]
    return [range(begin, end) for begin, end in itertools.pairwise(ends)]


def placement(allowed: Mapping[str, int], wanted: int, own: str) -> dict[str, int]:
    """Node id -> reducers that should run there.

    Nodes get one in turn, since each node has its own memory bandwidth; this process's own node comes last.

    Args:
        allowed: node id -> how many may run there.
        wanted: how many there should be in all; fewer where fewer are allowed.
        own: the node of the process that computes a share too.
    """
    order = sorted(allowed, key=lambda node: (node == own, node))
    turns = [(turn, place) for place, node in enumerate(order) for turn in range(allowed[node])]
    return dict(Counter(order[place] for _, place in sorted(turns)[:wanted]))


def patience(own_seconds: float) -> float:
    """Seconds to wait for the reducers' shares of a sum after this process's own share took `own_seconds`."""
    return max(LEAST_PATIENCE, 2 * own_seconds)
