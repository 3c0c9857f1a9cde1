"""Several runs of a search of a function side by side: the same bits whatever order their values arrive in."""

from __future__ import annotations

import random
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import raes
from raes.algorithms.restarts import MOST_DOUBLINGS
from raes.api.conditions import Limits
from raes.api.evaluators import Request, SerialEvaluator
from raes.api.function_search import side_by_side
from raes.api.optimum import Status
from raes.api.search_file import SearchFile
from raes.api.search_loop import MOST_AHEAD, FunctionSearch
from raes.rng import run_seed
from raes.search.domain import Domain
from raes.types import UserError

pytestmark = pytest.mark.filterwarnings("ignore:the function has no finite value")
RUNS = 3


def bumpy(x: np.ndarray) -> float:
    """A function of many minima, broken in places."""
    if int(1e4 * abs(x[0])) % 16 == 1:
        raise RuntimeError("broken here")
    return float(np.square(x - 0.5).sum() + 3 * np.cos(5 * x).sum())


class AnyOrder(SerialEvaluator):
    """Answers requests in a random order, as workers do whose evaluations take unequal times.

    Attributes:
        answered: requests, in the order of their answers.
        goal: a value that ends the search.
        needless: requests that came after an answer behind which no step counts.
    """

    goal = -np.inf

    def __init__(self, seed: int, interrupted_at: int = 10**9) -> None:
        super().__init__(bumpy, (), vectorized=False, good=-np.inf)
        self._rng, self._left = random.Random(seed), interrupted_at
        self.answered: list[Request] = []
        self.needless = 0

    def submit(self, request: Request) -> None:
        ends = [one.place for one in self.answered if (one.values <= self.goal).any()]
        self.needless += request.place > min(ends, default=request.place)
        super().submit(request)

    def collect(self) -> Request:
        self._left -= 1
        request = self._rng.choice(self._waiting)
        if not self._left:
            request.points = request.points[: len(request.points) // 2]  # the rest is not evaluated any more
            self._one_by_one(request)
            raise KeyboardInterrupt
        self._one_by_one(request)
        self._waiting.remove(request)
        self.answered.append(request)
        return request


def in_any_order(
    evaluate: AnyOrder, file: SearchFile | None = None, limits: Limits | None = None, **given: Any
) -> raes.Optimum:
    """A search as `raes.minimize` makes it, with this evaluator."""
    rest = {key: given.pop(key) for key in ("constraints", "callback") if key in given}
    rest |= {"noisy": given.get("noisy", False)}
    optimizers = side_by_side(given.pop("algorithm", None), np.ones(3), 4, given.pop("runs", RUNS), given)
    search = FunctionSearch(optimizers, evaluate, limits or Limits(900, np.inf, np.inf), smallest=True, **rest)
    if file is not None:
        search.keep(file)
    return search.run()


def bits(found: raes.Optimum) -> dict[str, Any]:
    """All fields but the one that depends on chance."""
    fields = dict(replace(found, surplus=0))
    return {key: repr(value) if key == "history" else np.array(value).tobytes() for key, value in fields.items()}


def least_sum(x: np.ndarray) -> float:
    """At most 0 where the numbers of x add up to 1 or more."""
    return float(1 - x.sum())


def named(case: dict[str, Any]) -> str:
    """A test's name, the same in every process."""
    return " ".join(f"{key}={getattr(value, '__name__', value)}" for key, value in case.items()) or "defaults"


CASES: list[dict[str, Any]] = [
    {"algorithm": "cma_es"},
    {"algorithm": "cma_es", "restarts": "ipop"},
    {"algorithm": "cma_es", "restarts": None},
    {"algorithm": "snes", "bounds": (-2, 2)},
    {"algorithm": "es"},
    {"algorithm": "ga"},
    {"algorithm": "nsra_es"},
    {"algorithm": "xnes", "constraints": least_sum},
]


@pytest.mark.parametrize("case", CASES, ids=named)
def test_the_order_of_arrival_changes_no_bit(case: dict[str, Any]) -> None:
    alone = raes.minimize(bumpy, np.ones(3), budget=900, seed=4, parallel_runs=RUNS, **case)
    assert alone.surplus == 0
    for seed in range(3):
        evaluate = AnyOrder(seed)
        assert bits(in_any_order(evaluate, **case)) == bits(alone)
        places = [request.place for request in evaluate.answered]
        assert places != sorted(places), "the order is another one"


def test_the_result_of_a_noisy_search_depends_on_no_order_either() -> None:
    alone = raes.minimize(bumpy, np.ones(3), budget=900, seed=4, parallel_runs=RUNS, noisy=True)
    for seed in range(3):
        assert bits(in_any_order(AnyOrder(seed), noisy=True)) == bits(alone)
    assert alone.error is not None


@pytest.mark.parametrize("goal", [4.0, 6.0, 7.5])
def test_a_search_ends_at_its_target_in_the_order_of_evaluations(goal: float) -> None:
    alone = raes.minimize(bumpy, np.ones(3), budget=900, seed=4, parallel_runs=RUNS, target=-goal)
    assert alone.status == Status.TARGET
    for seed in range(5):
        evaluate = AnyOrder(seed)
        evaluate.goal = -goal
        found = in_any_order(evaluate, limits=Limits(900, goal, np.inf))
        assert evaluate.needless == 0
        assert bits(found) == bits(alone)
        assert sum(request.calls for request in evaluate.answered) == found.nfev + found.surplus
        assert found.surplus <= (RUNS - 1) * MOST_AHEAD * 64


def test_a_callback_is_called_in_the_order_of_evaluations_and_ends_the_search() -> None:
    def seen_by(evaluate: AnyOrder | None) -> tuple[list[int], raes.Optimum]:
        seen: list[int] = []

        def callback(result: raes.Optimum) -> bool:
            seen.append(result.nfev)
            return len(seen) == 20

        if evaluate is None:
            return seen, raes.minimize(bumpy, np.ones(3), budget=900, seed=4, parallel_runs=RUNS, callback=callback)
        return seen, in_any_order(evaluate, callback=callback)

    first, alone = seen_by(None)
    second, together = seen_by(AnyOrder(1))
    assert first == second == sorted(set(first))
    assert len(first) == alone.nit == 20
    assert bits(alone) == bits(together)
    assert alone.status == Status.CALLBACK


@pytest.mark.parametrize("case", [CASES[0], CASES[3], CASES[4], CASES[7]], ids=named)
def test_a_search_goes_on_with_the_same_bits_after_a_stop_at_any_moment(case: dict[str, Any], tmp_path: Path) -> None:
    whole = raes.minimize(bumpy, np.ones(3), budget=900, seed=4, parallel_runs=RUNS, **case)
    for stop in (1, 2, 9, 30):
        folder = tmp_path / str(stop)
        first = in_any_order(AnyOrder(stop, stop), SearchFile(folder, "never", {}), **case)
        assert first.status == Status.INTERRUPTED
        again = in_any_order(AnyOrder(stop + 1), SearchFile(folder, "auto", {}), **case)
        assert bits(again) == bits(whole)
        done = in_any_order(AnyOrder(0), SearchFile(folder, "auto", {}), **case)
        assert (done.x.tobytes(), done.nfev) == (whole.x.tobytes(), whole.nfev)


@pytest.mark.parametrize("status", [Status.INTERRUPTED, Status.TIME])
def test_what_was_evaluated_before_an_end_by_the_clock_counts_though_its_turn_had_not_come(status: Status) -> None:
    for seed in range(5):
        evaluate = AnyOrder(seed, 12 if status is Status.INTERRUPTED else 10**9)
        limits = Limits(10**6, np.inf, np.inf if status is Status.INTERRUPTED else 0.05)
        found = in_any_order(evaluate, limits=limits)
        assert (found.status, found.surplus) == (status, 0)
        values = [value for request in evaluate.answered for value in request.values if np.isfinite(value)]
        assert found.fun <= min(values)
        assert found.nfev >= sum(request.calls for request in evaluate.answered)


@pytest.mark.parametrize(("runs", "budget"), [(2, 2), (2, 101), (3, 3), (7, 500), (5, 64)])
@pytest.mark.parametrize("vectorized", [False, True], ids=["one by one", "vectorized"])
def test_the_budget_is_shared_exactly(runs: int, budget: int, vectorized: bool) -> None:
    calls: list[bytes] = []

    def counted(x: np.ndarray) -> Any:
        calls.extend(row.tobytes() for row in np.atleast_2d(x))
        return np.square(x).sum(axis=1) if vectorized else float(np.square(x).sum())

    found = raes.minimize(counted, np.ones(2), budget=budget, parallel_runs=runs, vectorized=vectorized)
    assert len(calls) == len(set(calls)) == found.nfev == budget
    evaluate = AnyOrder(0)
    in_any_order(evaluate, limits=Limits(budget, np.inf, np.inf), runs=runs)
    shares = Counter[int]()
    for request in evaluate.answered:
        shares[request.run] += request.calls
    assert sorted(shares.values(), reverse=True) == [shares[run] for run in range(runs)]
    assert max(shares.values()) - min(shares.values()) == bool(budget % runs)


def test_one_run_is_the_search_as_it_is_without_the_argument() -> None:
    assert bits(raes.minimize(bumpy, np.ones(3), budget=700, parallel_runs=1)) == bits(
        raes.minimize(bumpy, np.ones(3), budget=700)
    )


def test_runs_begin_as_the_restarts_of_one_search_would() -> None:
    """With x0 and the first population, and then elsewhere with the populations of later restarts, in turns."""
    ipop = side_by_side("cma_es", np.zeros(3), 1, 7, {"restarts": "ipop", "sigma": 0.5})
    assert [one.state.run.population for one in ipop] == [1, 2, 4, 8, 1, 2, 4]
    assert [len(one.ask()) for one in ipop[:3]] == [16, 32, 64]
    bipop = [one.state.run for one in side_by_side("cma_es", np.zeros(3), 1, 9, {})]
    assert [run.small for run in bipop] == [False, False, True, False, True, False, True, False, True]
    assert [run.population for run in bipop if not run.small] == [1, 2, 4, 8, 1]
    assert all(run.sigma < 1 for run in bipop if run.small)
    assert max(run.population for run in bipop) <= 2**MOST_DOUBLINGS
    starts = np.array([one.theta for one in ipop])
    assert not starts[0].any()
    assert len(np.unique(starts, axis=0)) == 7
    assert (abs(starts) <= 2 * 0.5).all()
    within = side_by_side("snes", None, 1, 5, {"bounds": [(3, 4), (3, 4)]})
    assert isinstance(within[0].domain, Domain)
    assert all(((one.theta >= 3) & (one.theta <= 4)).all() for one in within)
    alike = side_by_side("snes", np.zeros(3), 1, 5, {"restarts": None})
    noise = [(one.ask() - one.theta).round(9).tobytes() for one in alike]
    assert len(set(noise)) == 5, "each has random numbers of its own"
    seeds = {run_seed(1, number) for number in range(1000)}
    assert len(seeds) == 1000
    assert run_seed(1, 0) == 1


def test_restarts_of_all_runs_are_counted_and_the_distribution_is_that_of_the_best_one() -> None:
    optimizers = side_by_side(None, np.ones(3), 4, RUNS, {})
    evaluate = AnyOrder(0)
    found = FunctionSearch(optimizers, evaluate, Limits(6000, np.inf, np.inf), smallest=True).run()
    assert found.restarts == sum(one.state.run.number - number for number, one in enumerate(optimizers)) > 0
    best = [one.theta.tobytes() for one in optimizers if one.best_fitness == -found.fun]
    assert found.center.tobytes() in best
    assert len(set(best)) < RUNS


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"parallel_runs": 0}, "parallel_runs must be a whole number of at least 1, got 0"),
        ({"parallel_runs": 1.5}, "parallel_runs must be"),
        ({"parallel_runs": 11, "budget": 10}, "parallel_runs=11: budget=10 is less than one evaluation for each"),
        ({"deadline": 5}, "deadline=5: has no effect with workers=1"),
        ({"retries": 1}, "retries=1: has no effect with workers=1"),
        ({"deadline": 0, "workers": 2}, "deadline must be a positive number"),
        ({"retries": -1, "workers": 2}, "retries must be a whole number of at least 0"),
    ],
)
def test_wrong_arguments_are_named(given: dict[str, Any], words: str) -> None:
    with pytest.raises(UserError, match=words):
        raes.minimize(bumpy, np.ones(3), **given)


def test_a_file_of_another_number_of_runs_is_refused(tmp_path: Path) -> None:
    raes.minimize(bumpy, np.ones(3), budget=100, run_dir=tmp_path, parallel_runs=2)
    with pytest.raises(UserError, match=r"was made with other arguments .*parallel_runs: 2 -> 3"):
        raes.minimize(bumpy, np.ones(3), budget=100, run_dir=tmp_path, resume="auto", parallel_runs=3)


def test_runs_that_do_not_fit_in_memory_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    one = side_by_side("cma_es", np.ones(30), 0, 1, {})[0].memory
    monkeypatch.setattr("raes.runtime.memory.free_memory", lambda: 20 * one)
    side_by_side("cma_es", np.ones(30), 0, 4, {})
    with pytest.raises(UserError, match=r"algorithm=cma_es parallel_runs=4 needs .* of free memory"):
        side_by_side("cma_es", np.ones(30), 0, 4, {}, ahead=MOST_AHEAD)
