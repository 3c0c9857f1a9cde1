"""A model of driver, relays and lost time, fitted to what `raes.bench scale` measured; it predicts larger clusters.

All terms are non-negative least squares of relative errors:
    driver CPU seconds a generation = constant + per result + per call to a relay
    relay CPU seconds a generation  = per result + per call
    calls a generation              = nodes * (per node + per pause, of those in which relays gather)
    lost seconds a generation       = share of the pause + share of a mean episode
A generation at full speed takes the ideal schedule and what is lost, or as long as the driver or a relay computes,
whichever is more.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass

import numpy as np
from scipy.optimize import nnls

from raes.bench.report import Column, Row, Section
from raes.bench.schedule import lengths, list_schedule
from raes.runtime.decisions import report_seconds
from raes.types import Float64

PREDICTED = (64, 1440, 4096, 8192, 65536)
NODE_CORES = 64
EPISODES_PER_WORKER = 7
"""Of a predicted generation: 10,000 episodes on 1,440 workers, and as many for each of more."""
LEAST_EPISODES = 10_000


@dataclass(frozen=True)
class Model:
    """The terms, in seconds where nothing else is said; without relays only the first two count.

    Attributes:
        constant, per_result, per_call: the driver's CPU.
        relay_per_result, relay_per_call: the relays' CPU.
        calls_per_node, calls_per_pause: numbers of calls.
        lost_pauses, lost_episodes: lost time, in pauses and in mean episodes.
        worst: the largest relative error of the driver's CPU seconds among the rows fitted.
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
        """Calls to relays in a generation of so many seconds, where no call has to wait for CPU."""
        return nodes * (self.calls_per_node + self.calls_per_pause * taken / report_seconds(nodes))

    def driver(self, episodes: int, calls: float) -> float:
        """The driver's CPU seconds a generation."""
        return self.constant + self.per_result * episodes + self.per_call * calls

    def relay(self, episodes: int, nodes: int, calls: float) -> float:
        """One relay's CPU seconds a generation."""
        return (self.relay_per_result * episodes + self.relay_per_call * calls) / nodes

    def lost(self, nodes: int, mean_seconds: float) -> float:
        """Seconds a generation beyond the ideal schedule, where nothing but waiting costs time."""
        return self.lost_pauses * report_seconds(nodes) + self.lost_episodes * mean_seconds


def fit_terms(terms: Sequence[Sequence[float]], values: Sequence[float]) -> tuple[Float64, float]:
    """Non-negative factors, (number of terms,), and the largest relative error.

    Args:
        terms: a row for each value.
        values: positive.
    """
    scaled = np.asarray(terms, dtype=np.float64) / np.asarray(values, dtype=np.float64)[:, None]
    factors, _ = nnls(scaled, np.ones(len(values)))
    return factors, float(np.abs(scaled @ factors - 1).max())


def fit(rows: Sequence[Row], relays: bool) -> Model:
    """The model of the rows with or without relays."""
    episodes = [row["episodes"] for row in rows]
    driver = [row["driver_cpu_seconds"] for row in rows]
    if not relays:
        (constant, per_result), worst = fit_terms([[1, count] for count in episodes], driver)
        return Model(float(constant), float(per_result), worst=worst)
    calls, nodes = [row["calls"] for row in rows], [row["nodes"] for row in rows]
    taken, pauses = [row["generation_seconds"] for row in rows], [report_seconds(count) for count in nodes]
    mean = [row["mean_seconds"] for row in rows]
    lost = [max(1e-9, row["generation_seconds"] - row["ideal_seconds"]) for row in rows]
    (constant, per_result, per_call), worst = fit_terms([*zip([1] * len(rows), episodes, calls, strict=True)], driver)
    node_seconds = np.multiply(nodes, taken).tolist()
    relay = fit_terms([*zip(episodes, calls, strict=True)], [row["relay_cpu_seconds"] for row in rows])[0]
    gathered = (np.array(node_seconds) / pauses).tolist()
    called = fit_terms([*zip(nodes, gathered, strict=True)], calls)[0]
    # Lost time may be near nothing, so here its errors count in seconds, relative to the generation's.
    scale = np.array(taken)
    spent, _ = nnls(np.array([pauses, mean]).T / scale[:, None], np.array(lost) / scale)
    factors = [constant, per_result, per_call, *relay.tolist(), *called.tolist(), *spent.tolist(), worst]
    return Model(*map(float, factors))


def predict(model: Model, policy: str, workers: int, relays: bool) -> Row:
    """A generation at full speed, on nodes of 64 cores with a relay each, or without relays."""
    nodes = math.ceil(workers / NODE_CORES)
    episodes = max(LEAST_EPISODES, EPISODES_PER_WORKER * workers)
    drawn = lengths(policy)
    seconds = drawn.seconds(1, episodes)
    ideal = list_schedule(seconds, workers)
    waited = ideal + model.lost(nodes, drawn.mean_seconds)
    # Where the driver or a relay is the limit, calls come later, not more often: each waits for the one before it.
    calls = model.calls(nodes, waited)
    spent = {
        "episodes": waited,
        "driver": model.driver(episodes, calls),
        "relays": model.relay(episodes, nodes, calls),
    }
    taken = max(spent.values())
    return {
        "policy": policy,
        "workers": workers,
        "nodes": nodes,
        "relays": relays,
        "with_relays": "yes" if relays else "no",
        "episodes": episodes,
        "ideal_seconds": ideal,
        "generation_seconds": taken,
        "of_ideal": ideal / taken,
        "efficiency": float(seconds.sum()) / (workers * taken),
        "driver_busy": spent["driver"] / taken,
        "relay_busy": spent["relays"] / taken if relays else None,
        "limit": max(spent, key=lambda name: spent[name]),
    }


def sections(rows: dict[str, list[Row]], policies: Sequence[str]) -> list[Section]:
    """The fitted terms and the predictions."""
    models = {}
    for relays in (True, False):
        chosen = [row for row in [*rows["rows"], *rows["nodes"]] if row["relays"] is relays]
        if chosen:
            models[relays] = fit(chosen, relays)
    terms = [
        {"relays": relays, "with_relays": "yes" if relays else "no"} | asdict(model) for relays, model in models.items()
    ]
    predicted = [
        predict(model, policy, workers, relays)
        for policy in policies
        for workers in PREDICTED
        for relays, model in models.items()
    ]
    fitted = (
        Column("with_relays", "relays"),
        Column("constant", "driver s", ".4f"),
        Column("per_result", "s/result", ".2e"),
        Column("per_call", "s/call", ".2e"),
        Column("relay_per_result", "relay s/result", ".2e"),
        Column("relay_per_call", "relay s/call", ".2e"),
        Column("calls_per_node", "calls/node", ".2f"),
        Column("calls_per_pause", "calls/pause", ".2f"),
        Column("lost_pauses", "lost pauses", ".2f"),
        Column("lost_episodes", "lost episodes", ".2f"),
        Column("worst", "worst error", ".2f"),
    )
    columns = (
        Column("policy", "policy"),
        Column("workers", "workers", ",d"),
        Column("nodes", "nodes", ",d"),
        Column("with_relays", "relays"),
        Column("episodes", "episodes", ",d"),
        Column("generation_seconds", "s/generation", ".3f"),
        Column("ideal_seconds", "ideal s", ".3f"),
        Column("of_ideal", "of ideal", ".3f"),
        Column("efficiency", "useful", ".3f"),
        Column("driver_busy", "driver busy", ".3f"),
        Column("relay_busy", "relay busy", ".3f"),
        Column("limit", "limited by"),
    )
    title = f"Predicted at full speed, on nodes of {NODE_CORES} cores, {EPISODES_PER_WORKER} episodes a worker or more"
    return [Section("model", "The model, fitted", fitted, terms), Section("predicted", title, columns, predicted)]
