"""Fits the model of `benchmarks.forecast` to results of `python -m benchmarks scale`, and predicts larger clusters.

All terms are non-negative least squares of relative errors:
    driver CPU seconds per generation = constant + per result + per call to a relay
    relay CPU seconds per generation  = per result + per call
    calls per generation              = nodes * (per node + per pause, in which relays gather results)
    lost seconds per generation       = share of the pause + share of a mean episode
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict

import numpy as np
from scipy.optimize import nnls

from benchmarks.forecast import Model, forecast
from benchmarks.recorded_lengths import lengths
from raes.console.tables import Column, Row, Section
from raes.runtime.scheduling import report_seconds
from raes.types import Float64

PREDICTED = (64, 1440, 4096, 8192, 65536)
NODE_CORES = 64
EPISODES_PER_WORKER = 7
"""Episodes per worker of a predicted generation, as 10,000 episodes on 1,440 workers."""
LEAST_EPISODES = 10_000
LEAST_VALUE = 1e-3
"""In seconds or calls. CPU seconds may be measured as 0, since those of idle processes are subtracted."""


def fit_terms(terms: Sequence[Sequence[float]], values: Sequence[float]) -> tuple[Float64, float]:
    """Non-negative factors, (number of terms,), and the largest relative error.

    Args:
        terms: a row for each value.
        values: not negative; those below `LEAST_VALUE` count as that, since errors are relative.
    """
    positive = np.maximum(values, LEAST_VALUE)
    factors, _ = nnls(np.asarray(terms, dtype=np.float64) / positive[:, None], np.ones(len(positive)))
    return factors, float(np.abs(terms @ factors / positive - 1).max())


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
    seconds = lengths(policy).seconds(1, episodes)
    expected = forecast(model, seconds, workers, nodes)
    return {
        "policy": policy,
        "workers": workers,
        "nodes": nodes,
        "relays": relays,
        "with_relays": "yes" if relays else "no",
        "episodes": episodes,
        "ideal_seconds": expected.ideal,
        "generation_seconds": expected.seconds,
        "of_ideal": expected.ideal / expected.seconds,
        "efficiency": float(seconds.sum()) / (workers * expected.seconds),
        "driver_busy": expected.driver_busy,
        "relay_busy": expected.relay_busy if relays else None,
        "limit": expected.limit,
    }


def sections(rows: dict[str, list[Row]], policies: Sequence[str]) -> list[Section]:
    """The tables of the model's terms and of the predictions."""
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
    term_columns = (
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
    title = (
        f"Predicted at full speed, on nodes of {NODE_CORES} cores, {EPISODES_PER_WORKER} episodes per worker or more"
    )
    return [Section("model", "The model's terms", term_columns, terms), Section("predicted", title, columns, predicted)]
