"""Searches of functions: restarts and their ends, drawn noise, and CMA-ES against its published numbers."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import raes
from raes.algorithms.cma_constants import constants
from raes.algorithms.restarts import ADAPTIVE, FIRST, RestartState, resized
from raes.api.optimizer import Optimizer
from raes.search.drawn_noise import CHUNK, DrawnNoise, drawn_index
from raes.search.endings import RunRecord, Tolerances, ending
from raes.search.shaping import comparable
from raes.storage import tree


def rastrigin(x: np.ndarray) -> float:
    """Many local minima; 0 at 0."""
    return float(10 * x.size + (np.square(x) - 10 * np.cos(2 * np.pi * x)).sum())


def run(search: Optimizer, function: Any, generations: int) -> list[RestartState]:
    """The states, one after each generation."""
    states = []
    for _ in range(generations):
        search.tell([-function(x) for x in search.ask()])
        states.append(search.state)
    return states


def test_ipop_doubles_the_population_after_each_run() -> None:
    states = run(raes.Optimizer("cma_es", np.full(3, 3.0), restarts="ipop", population=7), rastrigin, 600)
    runs = {state.run.number: state.run for state in states}
    assert len(runs) >= 3
    assert [runs[number].population for number in range(3)] == [1.0, 2.0, 4.0]
    assert all(one.sigma == 1.0 and not one.small and not one.limit for one in runs.values())


def test_bipop_gives_both_kinds_of_runs_equally_many_evaluations() -> None:
    states = run(raes.Optimizer("cma_es", np.full(3, 3.0), restarts="bipop"), rastrigin, 3000)
    last = states[-1]
    assert last.small > 0
    assert last.large > 0
    for before, after in pairwise(states):
        if after.run.number > before.run.number and after.run.number > 1:
            assert after.run.small == (after.small < after.large)
    small = [state.run for state in states if state.run.small]
    large = {state.run.population for state in states if not state.run.small}
    assert {2.0**number for number in range(len(large))} == large
    assert all(1e-2 <= one.sigma <= 1.0 and one.population >= 1.0 for one in small)
    assert all(state.used <= state.run.limit + 100 for state in states if state.run.small)


@pytest.mark.parametrize("algorithm", ADAPTIVE)
def test_a_state_that_was_stored_in_any_run_goes_on_with_the_same_bits(algorithm: str) -> None:
    whole = raes.Optimizer(algorithm, np.full(2, 3.0), seed=4)
    states = run(whole, rastrigin, 700)
    assert states[-1].run.number > 0 or algorithm == "pgpe"
    for cut in (3, 300, 650):
        again = raes.Optimizer(algorithm, np.full(2, 3.0), seed=4)
        again.state = tree.restore(again.state, *tree.flatten(states[cut - 1]))
        assert run(again, rastrigin, 700 - cut)[-1].theta.tobytes() == states[-1].theta.tobytes()


def test_restarts_find_what_one_run_does_not() -> None:
    found = {
        kind: np.mean(
            [
                raes.minimize(rastrigin, np.full(3, 3.0), restarts=kind, seed=seed, budget=20_000, target=1e-8).status
                == 0
                for seed in range(5)
            ]
        )
        for kind in ("bipop", "ipop", "none")
    }
    assert found["bipop"] >= 0.8
    assert found["ipop"] >= 0.8
    assert found["none"] <= 0.4


RECORD = RunRecord.empty()


def ended(record: RunRecord, **changes: Any) -> str | None:
    given = {"population": 10, "center": np.ones(2), "spread": np.ones(2), "first_spread": 1.0, "best_before": -np.inf,
             "tolerances": Tolerances()}  # fmt: skip
    return ending(record, **(given | changes))


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({}, None),
        ({"spread": np.full(2, 1e-13), "center": np.zeros(2)}, "tolerance of x"),
        ({"spread": np.array([1e-20, 1.0])}, "no effect on a coordinate"),
        ({"spread": np.full(2, 2e4)}, "growth of the standard deviations"),
        ({"spread": np.full(2, np.inf)}, "numbers beyond float64"),
        ({"spread": None}, None),
    ],
)
def test_a_run_ends_by_its_standard_deviations(changes: dict[str, Any], reason: str | None) -> None:
    assert ended(RECORD.after(np.array([1.0, 2.0, 3.0])), **changes) == reason


def recorded(bests: np.ndarray, spread: float) -> RunRecord:
    record = RECORD
    for best in bests:
        record = record.after(best - spread * np.arange(8.0))
    return record


@pytest.mark.parametrize(
    ("bests", "spread", "changes", "reason"),
    [
        (1e-13 * np.arange(30), 1e-13, {}, "tolerance of f"),
        (1e-13 * np.arange(30), 1.0, {}, None),
        (np.arange(30.0), 1.0, {}, None),
        (np.arange(30.0), 1.0, {"best_before": 100.0}, "worse than an earlier run"),
        (np.arange(30.0), 1.0, {"best_before": 40.0}, None),
        (np.arange(30.0), 1.0, {"best_before": 100.0, "tolerances": Tolerances(lost=0)}, None),
        (np.zeros(30), 1.0, {}, "equal values"),
        (np.arange(30.0), 0.0, {}, "equal values"),
        (np.sin(np.arange(1000.0)), 1.0, {}, "stagnation"),
        (np.arange(1000.0), 1.0, {}, None),
    ],
)
def test_a_run_ends_by_its_values(
    bests: np.ndarray, spread: float, changes: dict[str, Any], reason: str | None
) -> None:
    assert ended(recorded(bests, spread), **changes) == reason


def test_a_run_without_any_value_ends() -> None:
    record = RECORD
    for _ in range(9):
        record = record.after(np.zeros(0))
        assert ended(record) is None
    assert ended(record.after(np.zeros(0))) == "no finite value"
    assert ended(record.after(np.ones(3)).after(np.zeros(0))) is None


@given(st.lists(st.floats(allow_nan=True, allow_infinity=True), min_size=1, max_size=12))
@settings(max_examples=200, deadline=None)
def test_what_is_not_finite_ranks_last_and_the_rest_keeps_its_order(values: list[float]) -> None:
    given = np.array(values)
    out = comparable(given)
    assert np.isfinite(out).all()
    finite = np.isfinite(given)
    if finite.any():
        assert (np.diff(out[finite][np.argsort(given[finite], kind="stable")]) >= 0).all()
        if not finite.all():
            assert out[~finite].max() < out[finite].min()


def test_drawn_noise_is_the_same_however_it_is_asked_for() -> None:
    dim = 7
    count = 3 * CHUNK // dim
    index = drawn_index(5, np.arange(count))
    whole = DrawnNoise(1).rows(index, dim)
    other = DrawnNoise(1)
    for rows in (np.array([count - 1]), np.array([3, 1, 2]), np.arange(100, 4000), np.array([0, count - 1, 5])):
        assert other.rows(index[rows], dim).tobytes() == whole[rows].tobytes()
        assert other.slice(int(index[rows[0]]), dim).tobytes() == whole[rows[0]].tobytes()
    assert abs(whole.mean()) < 0.02
    assert abs(whole.std() - 1) < 0.02
    assert not (DrawnNoise(1).rows(drawn_index(6, np.arange(9)), dim) == whole[:9]).any()
    weights = np.linspace(-1, 1, count)
    np.testing.assert_allclose(other.weighted_sum(index, weights, dim), weights @ whole, atol=1e-9)
    np.testing.assert_allclose(other.weighted_sum(index, weights, dim, squared=True), weights @ whole**2, atol=1e-9)


def test_the_constants_of_cma_es_are_those_of_the_tutorial() -> None:
    """Against the library `cmaes`, which is by other authors, where it has the same ones."""
    library = pytest.importorskip("cmaes").CMA(np.zeros(10), 1.0, population_size=12)
    ours = constants(10, 12, active=True, full=True)
    assert ours.effective == pytest.approx(library._mu_eff)
    assert ours.shape.path_rate == pytest.approx(library._cc)
    assert ours.sigma_rate == pytest.approx(library._c_sigma)
    assert ours.damping == pytest.approx(library._d_sigma)
    assert ours.shape.one_rate == pytest.approx(library._c1)
    revised = 2 * 0.25 / ((10 + 2) ** 2 + ours.effective)  # the tutorial's revision of 2023, which the library lacks
    assert ours.shape.many_rate - revised == pytest.approx(library._cmu)
    np.testing.assert_allclose(ours.positive[:6], library._weights[:6])
    assert ours.shape.weights[6:].max() < 0
    assert not constants(10, 12, active=False, full=True).shape.weights[6:].any()


@pytest.mark.parametrize("dim", [1, 2, 5, 20, 100, 1000])
def test_the_rates_leave_something_of_what_was_known(dim: int) -> None:
    for population in (4, 12, 50, 1000):
        known = constants(dim, population, active=True, full=True)
        for rates in (known.shape, known.scale):
            assert 0 < rates.one_rate + rates.many_rate <= 1
            assert rates.path_rate < 1
        assert (
            known.shape.one_rate + known.shape.many_rate * (1 + known.shape.weights[known.shape.weights < 0].sum()) <= 1
        )


@pytest.mark.parametrize("active", [True, False])
def test_a_step_of_cma_es_is_that_of_a_plain_reading_of_the_papers(active: bool) -> None:
    """One vector at a time, with matrix inverses, as the equations stand there."""
    search = raes.Optimizer("cma_es", np.ones(3), active=active, sigma=0.7, restarts=None)
    turn = np.linalg.qr(np.random.default_rng(0).standard_normal((3, 3)))[0] * np.array([1.0, 10.0, 100.0])
    for _ in range(30):
        state = search.state.inner
        points = search.ask()
        values = [-float(np.square(turn @ x).sum()) for x in points]
        search.tell(values)
        expected = plain_step(state, points[np.argsort(-np.array(values), kind="stable")], active)
        after = search.state.inner
        got = {
            "mean": after.mean, "sigma": after.sigma, "sigma_path": after.sigma_path, "shape_path": after.shape_path,
            "covariance": after.shape * np.outer(after.scale, after.scale),
        }  # fmt: skip
        for name, value in expected.items():
            np.testing.assert_allclose(got[name], value, rtol=1e-7, atol=1e-12, err_msg=name)


def plain_step(state: Any, ranked: np.ndarray, active: bool) -> dict[str, Any]:
    count, dim = ranked.shape
    c = constants(dim, count, active, full=True)
    scale = np.diag(state.scale)
    steps = (ranked - state.mean) / state.sigma
    inverse = np.linalg.inv(scale @ state.basis @ np.diag(state.axes))  # from a step to its z
    whitened = [state.basis @ inverse @ step for step in steps]
    mean_step = sum(weight * step for weight, step in zip(c.positive, steps, strict=True))
    sigma_path = (1 - c.sigma_rate) * state.sigma_path + np.sqrt(c.sigma_rate * (2 - c.sigma_rate) * c.effective) * sum(
        weight * white for weight, white in zip(c.positive, whitened, strict=True)
    )
    norm = np.linalg.norm(sigma_path)
    heaviside = norm / np.sqrt(1 - (1 - c.sigma_rate) ** (2 * (state.updates + 1))) < (1.4 + 2 / (dim + 1)) * c.expected

    def path(old: np.ndarray, rate: float) -> np.ndarray:
        return (1 - rate) * old + heaviside * np.sqrt(rate * (2 - rate) * c.effective) * mean_step

    def scaled(weight: float, white: np.ndarray) -> float:
        return weight if weight >= 0 else weight * dim / float(white @ white)

    shape_path, scale_path = path(state.shape_path, c.shape.path_rate), path(state.scale_path, c.scale.path_rate)
    back = np.linalg.inv(scale)
    rates, lost = c.shape, (1 - heaviside) * c.shape.path_rate * (2 - c.shape.path_rate)
    shape = state.shape + rates.one_rate * (np.outer(back @ shape_path, back @ shape_path) - (1 - lost) * state.shape)
    for weight, step, white in zip(rates.weights, steps, whitened, strict=True):
        shape = shape + rates.many_rate * (
            scaled(weight, white) * np.outer(back @ step, back @ step) - weight * state.shape
        )
    rates, lost = c.scale, (1 - heaviside) * c.scale.path_rate * (2 - c.scale.path_rate)
    change = rates.one_rate * (np.square(state.basis @ inverse @ scale_path) - (1 - lost))
    for weight, white in zip(rates.weights, whitened, strict=True):
        change = change + rates.many_rate * (scaled(weight, white) * np.square(white) - weight)
    slower = max(1.0, np.sqrt(np.linalg.cond(state.basis @ np.diag(state.axes**2) @ state.basis.T)) - 1.0)
    grown = np.diag(scale) * np.exp(np.clip(change / (2 * slower), -1, 1))
    return {
        "mean": state.mean + state.sigma * mean_step,
        "sigma": state.sigma * np.exp(c.sigma_rate / c.damping * (norm / c.expected - 1)),
        "sigma_path": sigma_path,
        "shape_path": shape_path,
        "covariance": np.diag(grown) @ shape @ np.diag(grown),
    }


def test_scales_are_learned_fast_with_a_diagonal_covariance_and_with_a_full_one() -> None:
    def scaled(x: np.ndarray) -> float:
        return float((10.0 ** np.linspace(0, 6, x.size)) @ np.square(x))

    found = raes.minimize(scaled, np.ones(20), covariance="diagonal", budget=20_000, target=1e-8)
    full = raes.minimize(scaled, np.ones(20), covariance="full", budget=20_000, target=1e-8)
    assert found.status == full.status == 0
    assert found.nfev < 8_000
    assert full.nfev < 12_000, "its diagonal is as fast"


def test_settings_of_a_run_have_its_population_and_its_sigma() -> None:
    for algorithm, size, spread in (("cma_es", "population", "sigma"), ("pgpe", "pairs", "radius")):
        first = raes.Optimizer(algorithm, np.ones(4)).settings
        other = resized(first, 3.5, 0.1)
        assert getattr(other, size) == int(3.5 * getattr(first, size))
        assert getattr(other, spread) == pytest.approx(0.1 * getattr(first, spread))
        assert resized(first, FIRST.population, FIRST.sigma) == first
        assert replace(other, **{size: getattr(first, size), spread: getattr(first, spread)}) == first
