"""The weighted noise sum, shared by this process and a few reducer actors; the same bits whoever computes what."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import ray
from ray.exceptions import RayError, RayTaskError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy
from threadpoolctl import threadpool_limits

from raes.runtime import scheduling
from raes.runtime.calls import GET_SECONDS, cause_of_death
from raes.runtime.noise_tables import Tables
from raes.search import noise
from raes.text import one_line
from raes.types import Float32, Int64, RunFailedError


class ReducerActor:
    """Sums slices of its node's noise table, which it reads from the object store without a copy."""

    def __init__(self, table: Float32) -> None:
        threadpool_limits(1)
        self._table = table

    def ready(self) -> None:
        """Returns once the table is there."""

    def sum(self, pairs: tuple[Int64, Float32], num_params: int, slices: range, squared: bool) -> Float32:
        """Some slices of the sum over pairs of (noise index, weight); see `noise.weighted_sum`."""
        return noise.weighted_sum(self._table, *pairs, num_params, slices, squared)


@dataclass(eq=False)
class _Reducer:
    """An actor, its node, and the reference to its call of `ready`; None once that was answered."""

    actor: Any
    node: str
    starting: Any


class Reducers:
    """Reducer actors that help with large sums; they need no CPU of Ray, since they idle at all other times.

    They are started by the first sum that is large enough, and help as soon as they are ready. The share of a reducer
    that dies, or is much slower than this process, is computed here.

    Attributes:
        notices: messages for the user since they were last taken; the reader empties the list.
        lost: reducers that died, or were ended because they were too slow.
    """

    def __init__(self, tables: Tables) -> None:
        self._tables = tables
        self._allowed: dict[str, int] = {}
        self._reducers: list[_Reducer] = []
        self._losses: Counter[str] = Counter()
        self.notices: list[str] = []
        self.lost = 0

    @property
    def ready(self) -> int:
        """Reducers that have started."""
        self._mark_ready()
        return sum(reducer.starting is None for reducer in self._reducers)

    def resize(self, nodes: Mapping[str, int]) -> None:
        """Set how many reducers each node may have. Ends those beyond that; `sum` starts them.

        Args:
            nodes: node id -> how many.
        """
        self._allowed = {node: count for node, count in nodes.items() if count > 0}
        for node in self._losses.keys() - self._allowed.keys():
            del self._losses[node]
        kept: Counter[str] = Counter()
        for reducer in list(self._reducers):
            kept[reducer.node] += 1
            if kept[reducer.node] > self._allowed.get(reducer.node, 0):
                self._end(reducer)

    def sum(self, noise_index: Int64, weights: Float32, num_params: int, squared: bool = False) -> Float32:
        """sum_i weights[i] * noise slice i, float32 (d,): the same bits as `noise.weighted_sum`.

        Args:
            noise_index: int64 (n,).
            weights: float32 (n,).
            num_params: d.
            squared: whether to sum the squares of the noise.

        Raises:
            RunFailedError: the code of the sum failed in a reducer, as it would in any other process.
        """

        def compute(slices: range | None) -> Float32:
            return noise.weighted_sum(self._tables.local, noise_index, weights, num_params, slices, squared)

        helpers = self._helpers(num_params, len(noise_index))
        if not helpers:
            return compute(None)
        own, *shares = scheduling.shares(noise.num_slices(num_params), 1 + len(helpers))
        pairs = ray.put((noise_index, weights))
        waiting = {
            reducer.actor.sum.remote(pairs, num_params, share, squared): (reducer, share)
            for reducer, share in zip(helpers, shares, strict=True)
        }
        parts: dict[range, Float32] = {}
        begin = time.perf_counter()
        parts[own] = compute(own)
        now = time.perf_counter()
        deadline = now + scheduling.patience(now - begin)
        while waiting:
            seconds = max(0.0, deadline - time.perf_counter())
            finished, late = ray.wait(list(waiting), num_returns=1, timeout=seconds)
            for reference in finished or late:
                reducer, share = waiting.pop(reference)
                part = self._receive(reducer, reference) if finished else None
                if not finished:
                    self._lose(reducer, "it was too slow")
                if part is None:
                    part = compute(share)
                parts[share] = part
        return noise.join_slices(parts, num_params)

    def close(self) -> None:
        """End the reducers."""
        for reducer in list(self._reducers):
            self._end(reducer)

    def _helpers(self, num_params: int, pairs: int) -> list[_Reducer]:
        """The ready reducers that should help with a sum; starts missing ones, for the next sums."""
        self._mark_ready()
        allowed = {
            node: count for node, count in self._allowed.items() if not scheduling.start_is_hopeless(self._losses[node])
        }
        wanted = scheduling.reducers(num_params * pairs, noise.num_slices(num_params), sum(allowed.values()))
        living = Counter(reducer.node for reducer in self._reducers)
        for node, count in scheduling.placement(allowed, wanted, self._tables.node).items():
            for _ in range(count - living[node]):
                self._start(node)
        return [reducer for reducer in self._reducers if reducer.starting is None][:wanted]

    def _start(self, node: str) -> None:
        pinned = NodeAffinitySchedulingStrategy(node, soft=False)
        options = {"num_cpus": 0, "max_restarts": 0, "max_task_retries": 0, "scheduling_strategy": pinned}
        actor: Any = ray.remote(ReducerActor).options(**options).remote(self._tables.on(node))
        self._reducers.append(_Reducer(actor, node, actor.ready.remote()))

    def _mark_ready(self) -> None:
        """Find out which reducers have started since the last call."""
        starting = {reducer.starting: reducer for reducer in self._reducers if reducer.starting is not None}
        if starting:
            finished, _ = ray.wait(list(starting), num_returns=len(starting), timeout=0)
            for reference in finished:
                reducer = starting[reference]
                try:
                    ray.get(reference, timeout=GET_SECONDS)
                    reducer.starting = None
                except RayError as error:
                    self._lose(reducer, cause_of_death(error)[0])

    def _receive(self, reducer: _Reducer, reference: Any) -> Float32 | None:
        """The sum of a finished share; None where the reducer died."""
        try:
            part: Float32 = ray.get(reference, timeout=GET_SECONDS)
        except RayTaskError as error:
            raise RunFailedError(f"a reducer of the weighted noise sum failed: {one_line(error)}") from error
        except RayError as error:
            self._lose(reducer, cause_of_death(error)[0])
            return None
        self._losses[reducer.node] = 0
        return part

    def _lose(self, reducer: _Reducer, cause: str) -> None:
        self._losses[reducer.node] += 1
        self.lost += 1
        self.notices.append(f"a reducer of the weighted noise sum was lost ({cause}); others compute its share")
        self._end(reducer)

    def _end(self, reducer: _Reducer) -> None:
        self._reducers.remove(reducer)
        ray.kill(reducer.actor)
