"""`python -m raes.bench update [out=FILE.json] [seconds=5] [cases=[[5126,1000],...]] [shared=[1700000,5000]]`.

The weighted noise sum. Its rivals, interleaved on the same noise slices with one BLAS thread: a plain np.dot of every
slice, which reads the same bytes and writes nothing; the copy of all slices into one matrix and a product; and one
long np.dot, which is the machine's memory speed. Seconds are CPU seconds. The last table compares one process with
two on Ray (`raes.bench.shared_sum`).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from threadpoolctl import threadpool_limits

from raes.bench import shared_sum
from raes.bench.measurement import BAR_COLUMNS, BenchReport, TimedArguments, against_bar
from raes.bench.timing import cpu_clock, interleave, median_ratio, seconds_of
from raes.console.tables import Column, Row, Section
from raes.runtime.memory import check_memory
from raes.search import noise
from raes.search.perturbation import Decoder
from raes.tasks import Genomes, Snapshot
from raes.types import Count, Float32, Int64

BAR = 0.70
"""The least speed, as a share of np.dot's over the same slices."""
CASES = ((5_126, 1_000), (166_161, 1_000), (1_700_000, 100))
"""(parameters, pairs)."""
MIN_ROUNDS = 5
LONG = 1 << 26
"""Floats of each long vector, if the table has as many."""
DECODES = 100
COLUMNS = (
    Column("parameters", "parameters", ",d"),
    Column("pairs", "pairs", ",d"),
    Column("sum_seconds", "sum s", ".4f"),
    Column("dots_seconds", "dots s", ".4f"),
    Column("stacked_seconds", "stacked s", ".4f"),
    Column("sum_gigabytes_per_second", "sum GB/s", ".1f"),
    Column("memory_gigabytes_per_second", "memory GB/s", ".1f"),
    Column("share_of_memory", "of memory", ".2f"),
    Column("share_of_dots", "of np.dot", ".2f"),
    *BAR_COLUMNS,
    Column("faster_than_stacked", "x stacked", ".1f"),
    Column("decode_gigabytes_per_second", "decode GB/s", ".1f"),
)
TABLE_COLUMNS = (
    Column("floats", "floats", ",d"),
    Column("seconds", "seconds", ".2f"),
    Column("gigabytes_per_second", "GB/s", ".2f"),
)


@dataclass(frozen=True)
class UpdateBenchArguments(TimedArguments):
    """The keys.

    Attributes:
        cases: (parameters, pairs) of each row.
        shared: (parameters, pairs) of the sum that two processes share.
    """

    cases: tuple[tuple[Count, Count], ...] = CASES
    shared: tuple[Count, Count] = shared_sum.CASE

    def __post_init__(self) -> None:
        if not self.cases:
            raise ValueError("cases=[]: must hold pairs [parameters, pairs]")


class UpdateContest:
    """The sum over the same slices, done in several ways."""

    def __init__(self, table: Float32, num_params: int, pairs: int) -> None:
        rng = np.random.default_rng(0)
        self._table = table[: noise.table_size(num_params)]  # a table begins with the numbers of a smaller one
        self._num_params = num_params
        self._index: Int64 = rng.integers(0, self._table.size - num_params + 1, size=pairs)
        self._weights = rng.standard_normal(pairs, dtype=np.float32)
        self._vector = rng.standard_normal(num_params, dtype=np.float32)
        self._decode = Decoder(table, num_params)
        long = min(LONG, table.size // 2)
        self._long = table[:long], table[long : 2 * long]
        self.long_bytes = 8 * long
        self.sum_bytes = 4 * num_params * pairs
        self.decode_bytes = 4 * num_params * min(pairs, DECODES)

    def sum(self) -> Float32:
        """The one that RAES uses."""
        return noise.weighted_sum(self._table, self._index, self._weights, self._num_params)

    def dots(self) -> None:
        """Every slice read once, nothing written."""
        table, vector, length, dot = self._table, self._vector, self._num_params, np.dot
        for start in self._index.tolist():
            dot(table[start : start + length], vector)

    def stacked(self) -> Float32:
        """The slices copied into a matrix first."""
        slices = np.stack([self._table[start : start + self._num_params] for start in self._index.tolist()])
        return np.asarray(self._weights @ slices)

    def long_dot(self) -> None:
        """Two long vectors, as fast as memory gives them."""
        np.dot(*self._long)

    def decodes(self) -> None:
        """Parameters of some episodes."""
        genomes, snapshot = Genomes(self._index, self._weights), Snapshot(0, self._vector)
        for row in range(min(len(self._index), DECODES)):
            self._decode(snapshot, genomes, row)


def measure(table: Float32, num_params: int, pairs: int, seconds: float) -> Row:
    """One row of the table."""
    contest = UpdateContest(table, num_params, pairs)
    loops = {
        "sum": contest.sum,
        "dots": contest.dots,
        "stacked": contest.stacked,
        "long": contest.long_dot,
        "decode": contest.decodes,
    }
    taken = interleave(loops, seconds, MIN_ROUNDS, cpu_clock)
    median = {name: float(np.median(values)) for name, values in taken.items()}
    share = median_ratio(taken["dots"], taken["sum"])
    memory_share = median_ratio(taken["long"] / contest.long_bytes, taken["sum"] / contest.sum_bytes)
    return {
        "parameters": num_params,
        "pairs": pairs,
        "sum_seconds": median["sum"],
        "dots_seconds": median["dots"],
        "stacked_seconds": median["stacked"],
        "sum_gigabytes_per_second": contest.sum_bytes / median["sum"] / 1e9,
        "dots_gigabytes_per_second": contest.sum_bytes / median["dots"] / 1e9,
        "memory_gigabytes_per_second": contest.long_bytes / median["long"] / 1e9,
        "share_of_memory": memory_share,
        "share_of_dots": share,
        **against_bar(share, BAR),
        "faster_than_stacked": median_ratio(taken["stacked"], taken["sum"]),
        "decode_gigabytes_per_second": contest.decode_bytes / median["decode"] / 1e9,
        "rounds": len(taken["sum"]),
    }


def run(arguments: UpdateBenchArguments) -> BenchReport:
    """All rows."""
    size = max(noise.table_size(num_params) for num_params, _ in arguments.cases)
    stacked = max(num_params * pairs for num_params, pairs in arguments.cases)
    check_memory(4 * (size + stacked), copies=1)
    with threadpool_limits(1):
        filled: list[Float32] = []
        fill_seconds = seconds_of(lambda: filled.append(noise.make_table(size)), cpu_clock)
        rows = [measure(filled[0], *case, arguments.seconds) for case in arguments.cases]
    fill = {"floats": size, "seconds": fill_seconds, "gigabytes_per_second": 4 * size / fill_seconds / 1e9}
    filled.clear()
    shared = shared_sum.measure(*arguments.shared, arguments.seconds)
    title = "The weighted noise sum; GB of noise per second, of memory: against one long np.dot; CPU seconds"
    return BenchReport(
        "update",
        [
            Section("rows", title, COLUMNS, rows),
            Section("table", "Filling the noise table", TABLE_COLUMNS, [fill]),
            Section("shared", "The sum by one process and by two on Ray, seconds", shared_sum.COLUMNS, [shared]),
        ],
    )
