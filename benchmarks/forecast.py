"""How long a generation takes: the ideal schedule of its episodes, and what driver and relays add. Pure.

`benchmarks.scale_model` derives the model of driver, relays and lost time from what `python -m benchmarks scale`
measures. A generation at full speed takes the ideal schedule plus the lost time, or as long as the driver or a relay
computes, whichever is longer.
"""

from __future__ import annotations

import heapq
from dataclasses import dataclass

from raes.runtime.scheduling import report_seconds
from raes.types import Float64


@dataclass(frozen=True)
class Model:
    """The terms of the model, in seconds unless noted; without relays only the first two count.

    Attributes:
        constant, per_result, per_call: the driver's CPU.
        relay_per_result, relay_per_call: the relays' CPU.
        calls_per_node, calls_per_pause: numbers of calls.
        lost_pauses, lost_episodes: lost time, in pauses and in mean episodes.
        worst: the largest relative error of the driver's CPU seconds among the measurements.
    """

    constant: float
    per_result: float
    per_call: float = 0.0
    relay_per_result: float = 0.0
    relay_per_call: float = 0.0
    calls_per_node: float = 0.0
    calls_per_pause: float = 0.0
    lost_pauses: float = 0.0
    lost_episodes: float = 0.0
    worst: float = 0.0

    def calls(self, nodes: int, taken: float) -> float:
        """Calls to relays in a generation of `taken` seconds, where no call has to wait for CPU."""
        return nodes * (self.calls_per_node + self.calls_per_pause * taken / report_seconds(nodes))

    def driver(self, episodes: int, calls: float) -> float:
        """The driver's CPU seconds per generation."""
        return self.constant + self.per_result * episodes + self.per_call * calls

    def relay(self, episodes: int, nodes: int, calls: float) -> float:
        """One relay's CPU seconds per generation."""
        return (self.relay_per_result * episodes + self.relay_per_call * calls) / nodes

    def lost(self, nodes: int, mean_seconds: float) -> float:
        """Seconds per generation beyond the ideal schedule, where nothing but waiting costs time."""
        return self.lost_pauses * report_seconds(nodes) + self.lost_episodes * mean_seconds


@dataclass(frozen=True)
class Forecast:
    """The expected time of a generation.

    Attributes:
        seconds: of the generation.
        ideal: seconds if neither messages nor updates took any time.
        driver_busy, relay_busy: the share of it in which the driver, or a relay, computes.
        limit: what would have to change to make it shorter: more `workers`; `episodes`, which are too few or too uneven
            for twice the workers to save a quarter; the `driver` or the `relays`.
    """

    seconds: float
    ideal: float
    driver_busy: float
    relay_busy: float
    limit: str


def forecast(model: Model, seconds: Float64, workers: int, nodes: int) -> Forecast:
    """A generation at full speed.

    Args:
        model: of messages.
        seconds: float64 (episodes,), of each episode on one worker.
        workers: of all nodes together.
        nodes: that they are on.
    """
    ideal = list_schedule(seconds, workers)
    waited = ideal + model.lost(nodes, float(seconds.mean()))
    # Where the driver or a relay is the limit, calls come later, not more often: each waits for the one before it.
    calls = model.calls(nodes, waited)
    driver, relay = model.driver(seconds.size, calls), model.relay(seconds.size, nodes, calls)
    spent = {"workers": waited, "driver": driver, "relays": relay}
    limit = max(spent, key=lambda name: spent[name])
    taken = spent[limit]
    if limit == "workers" and list_schedule(seconds, 2 * workers) > 0.75 * ideal:
        limit = "episodes"
    return Forecast(taken, ideal, driver / taken, relay / taken, limit)


def list_schedule(seconds: Float64, workers: int) -> float:
    """Seconds of a list schedule: each free worker takes the next episode in order, at once (Graham 1966)."""
    ends = [0.0] * workers
    for one in seconds.tolist():
        heapq.heapreplace(ends, ends[0] + one)
    return max(ends)
