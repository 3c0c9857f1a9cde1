"""What the scale benchmark measures against: recorded lengths, the ideal schedule, the model fit."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks import scale_model
from benchmarks.forecast import Model, forecast, list_schedule
from benchmarks.recorded_lengths import SECONDS_PER_STEP, Lengths, lengths, recorded
from benchmarks.scale_bench import ScaleBenchArguments, cases
from benchmarks.scale_model import fit, fit_terms, predict
from raes.runtime.clock import Clock
from raes.runtime.scheduling import report_seconds


@pytest.mark.parametrize(
    ("seconds", "workers", "expected"),
    [
        ([5.0], 1, 5.0),
        ([1.0, 2.0, 3.0], 1, 6.0),
        ([1.0, 2.0, 3.0], 3, 3.0),
        ([1.0, 2.0, 3.0], 10, 3.0),
        ([1.0, 1.0, 1.0, 3.0], 2, 4.0),  # the long one comes last, by the order: 3.0 would be possible
        ([3.0, 1.0, 1.0, 1.0], 2, 3.0),
        ([2.0, 4.0, 1.0, 5.0, 1.0], 2, 8.0),  # ends 2, 4; then 3, 4; then 8, 4; then 8, 5
    ],
)
def test_the_list_schedule_gives_whoever_is_free_the_next_in_order(
    seconds: list[float], workers: int, expected: float
) -> None:
    assert list_schedule(np.array(seconds), workers) == expected


def test_lengths_belong_to_the_episode_and_not_to_its_block() -> None:
    drawn = Lengths(np.arange(500))
    index = np.arange(10_000)
    whole = drawn.of(3, index)
    assert np.array_equal(whole[[7, 4000, 9999]], drawn.of(3, np.array([7, 4000, 9999])))
    assert not np.array_equal(whole, drawn.of(4, index))
    assert np.allclose(drawn.seconds(3, 10), SECONDS_PER_STEP * whole[:10])


def test_lengths_are_drawn_evenly_from_all_that_were_recorded() -> None:
    counts = np.bincount(Lengths(np.arange(500)).of(1, np.arange(100_000)), minlength=500)
    assert counts.sum() == 100_000
    assert abs(counts - 200).max() < 5 * np.sqrt(200)
    # Neighbours do not go together: an episode and its mirror have lengths of their own.
    drawn = Lengths(np.arange(500)).of(1, np.arange(100_000)).reshape(-1, 2)
    assert abs(np.corrcoef(drawn.T)[0, 1]) < 0.02


@pytest.mark.parametrize(("policy", "mean", "cap"), [("falling", 69, 200), ("walking", 808, 1000)])
def test_the_recorded_lengths_are_shipped_with_their_origin(policy: str, mean: float, cap: int) -> None:
    drawn = lengths(policy).recorded
    assert len(drawn) == 500
    assert 1 <= drawn.min() <= drawn.max() <= cap
    assert drawn.mean() == pytest.approx(mean, abs=1)
    assert {"description", "command", "date"} <= recorded()[policy].keys()


def test_terms_are_found_again_and_never_negative() -> None:
    rng = np.random.default_rng(0)
    terms = rng.uniform(1, 10, size=(8, 3))
    factors, worst = fit_terms(terms, terms @ [2.0, 0.0, 0.5])
    assert factors == pytest.approx([2.0, 0.0, 0.5], abs=1e-9)
    assert worst < 1e-9
    factors, _ = fit_terms(terms, terms @ [2.0, -0.1, 0.5])
    assert (factors >= 0).all()


TRUE = Model(0.01, 2e-6, 5e-4, 8e-4, 2e-4, 2.0, 1.1, 0.4, 0.8)


def made_up(nodes: int, episodes: int, taken: float) -> dict[str, float]:
    """A row as the model has it."""
    calls = TRUE.calls(nodes, taken)
    return {
        "episodes": episodes,
        "nodes": nodes,
        "calls": calls,
        "mean_seconds": taken / 7,
        "generation_seconds": taken,
        "ideal_seconds": taken - TRUE.lost(nodes, taken / 7),
        "driver_cpu_seconds": TRUE.driver(episodes, calls),
        "relay_cpu_seconds": nodes * TRUE.relay(episodes, nodes, calls),
    }


def test_the_model_is_found_again_in_rows_that_follow_it() -> None:
    rows = [made_up(*row) for row in ((16, 10_000, 0.3), (16, 10_000, 2.5), (4, 10_000, 2.5), (16, 5_000, 1.3))]
    found = fit(rows, relays=True)
    assert vars(found) == pytest.approx(vars(TRUE), rel=1e-6, abs=1e-9)


def test_a_prediction_names_what_limits() -> None:
    nothing = Model(0.0, 0.0)
    row = predict(nothing, "walking", 1440, relays=True)
    assert (row["limit"], row["of_ideal"], row["nodes"], row["episodes"]) == ("workers", 1.0, 23, 10_080)
    assert predict(Model(0.0, 1e-3), "walking", 1440, relays=False)["limit"] == "driver"
    assert predict(Model(0.0, 1e-3), "walking", 1440, relays=False)["generation_seconds"] == pytest.approx(10.08)
    row = predict(Model(0.0, 0.0, relay_per_result=0.1), "walking", 1440, relays=True)
    assert row["limit"] == "relays"
    assert row["relay_busy"] == pytest.approx(1.0)
    lost = predict(Model(0.0, 0.0, lost_pauses=2.0), "walking", 65_536, relays=True)
    assert lost["generation_seconds"] == pytest.approx(lost["ideal_seconds"] + 2 * report_seconds(1024))


@pytest.mark.parametrize(
    ("episodes", "workers", "limit"), [(80, 2, "workers"), (80, 100, "episodes"), (4, 4, "episodes")]
)
def test_a_forecast_says_what_would_make_a_generation_shorter(episodes: int, workers: int, limit: str) -> None:
    expected = forecast(Model(0.0, 0.0), np.ones(episodes), workers, 1)
    assert expected.limit == limit
    assert expected.seconds == -(-episodes // workers)


def test_every_row_is_asked_for_once_and_the_model_has_what_it_needs() -> None:
    rows = list(cases(ScaleBenchArguments()))
    assert len(rows) == len(set(rows)) == 2 * (3 * 2 + 2) + 3
    assert {row.nodes for row in rows if row.section == "nodes"} == {4, 8, 16}
    assert {row.workers for row in cases(ScaleBenchArguments(relays=False, policy="falling"))} == {64, 1440, 4096}
    assert not [row for row in cases(ScaleBenchArguments(relays=False)) if row.relays]
    assert max(scale_model.PREDICTED) == 65_536


def test_a_slowed_clock_keeps_its_proportions() -> None:
    slow = Clock(100.0)
    before = slow.now()
    assert slow.real_seconds(0.02) == 2.0
    assert 0 <= slow.now() - before < 0.1
