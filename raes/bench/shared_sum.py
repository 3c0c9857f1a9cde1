"""The weighted noise sum by one process and by two, on Ray: this one and a reducer. A part of `raes.bench update`.

Both read the same table in the object store, in turns, and must give the same bits. Seconds are of the wall clock, and
Ray gives its processes a low priority, so the machine should have two idle cores.
"""

from __future__ import annotations

import time
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
from threadpoolctl import threadpool_limits

from raes.bench.measurement import BAR_COLUMNS, against_bar
from raes.bench.timing import interleave, median_ratio, wall_clock
from raes.console.tables import Column, Row
from raes.runtime.memory import check_memory
from raes.search import noise
from raes.types import RunFailedError

if TYPE_CHECKING:
    from raes.runtime.noise_tables import NodeTables
    from raes.runtime.reduce import Reducers

BAR = 1.7
"""The least speed of two processes, as a multiple of one's."""
CASE = (1_700_000, 5_000)
"""(parameters, pairs)."""
MIN_ROUNDS = 5
START_SECONDS = 60.0
COLUMNS = (
    Column("parameters", "parameters", ",d"),
    Column("pairs", "pairs", ",d"),
    Column("one_seconds", "one s", ".4f"),
    Column("two_seconds", "two s", ".4f"),
    Column("one_gigabytes_per_second", "one GB/s", ".1f"),
    Column("two_gigabytes_per_second", "two GB/s", ".1f"),
    Column("times_one", "x one", ".2f"),
    *BAR_COLUMNS,
    Column("same_bits", "same bits"),
    Column("reducers_lost", "lost", "d"),
)


def measure(num_params: int, pairs: int, seconds: float) -> Row:
    """The row of the table, on an embedded Ray of its own.

    Raises:
        RunFailedError: the reducer does not start.
    """
    import ray

    from raes.runtime.noise_tables import NodeTables
    from raes.runtime.reduce import Reducers
    from raes.runtime.session import connect

    size = noise.table_size(num_params)
    check_memory(4 * size, copies=2)
    connect("local", 1, 4 * size)
    try:
        with threadpool_limits(1):
            tables = NodeTables(size)
            reducers = Reducers(tables)
            reducers.resize({tables.node: 1})
            return compare(tables, reducers, num_params, pairs, seconds)
    finally:
        ray.shutdown()


def compare(tables: NodeTables, reducers: Reducers, num_params: int, pairs: int, seconds: float) -> Row:
    """One process against two, in turns."""
    rng = np.random.default_rng(0)
    index = rng.integers(0, tables.size - num_params + 1, size=pairs)
    weights = rng.standard_normal(pairs, dtype=np.float32)
    alone = partial(noise.weighted_sum, tables.local, index, weights, num_params)
    shared = partial(reducers.sum, index, weights, num_params)
    shared()
    end = time.monotonic() + START_SECONDS
    while not reducers.ready:
        if time.monotonic() > end or reducers.lost:
            raise RunFailedError(f"the reducer does not start; {pairs} pairs of {num_params} may be too few for one")
        time.sleep(0.05)
    same_bits = shared().tobytes() == alone().tobytes()  # before the clock runs: the reducer sees its table first
    taken = interleave({"one": alone, "two": shared}, seconds, MIN_ROUNDS, wall_clock)
    times, size = median_ratio(taken["one"], taken["two"]), 4e-9 * num_params * pairs
    one, two = float(np.median(taken["one"])), float(np.median(taken["two"]))
    return {
        "parameters": num_params,
        "pairs": pairs,
        "one_seconds": one,
        "two_seconds": two,
        "one_gigabytes_per_second": size / one,
        "two_gigabytes_per_second": size / two,
        "times_one": times,
        **against_bar(times, BAR),
        "same_bits": same_bits,
        "reducers_lost": reducers.lost,
        "rounds": len(taken["one"]),
    }
