"""Functions from Python: ask and tell, minimize and maximize."""

from __future__ import annotations

import json
import pickle
import subprocess
import sys
import warnings
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import raes
from raes.algorithms import ALGORITHMS
from raes.algorithms.function_defaults import FUNCTION_KEYS, LARGEST_DIMENSION
from raes.api.optimum import Status
from raes.config.compose import compose
from raes.search.optimizers import OptimizerSettings
from raes.types import UserError

DIM = 10


def sphere(x: np.ndarray) -> float:
    return float(np.square(x).sum())


def ellipsoid(x: np.ndarray) -> float:
    return float((10.0 ** (6 * np.arange(x.size) / (x.size - 1)) * np.square(x)).sum())


def rosenbrock(x: np.ndarray) -> float:
    return float((100 * np.square(x[1:] - x[:-1] ** 2) + np.square(1 - x[:-1])).sum())


@pytest.mark.parametrize("algorithm", ["cma_es", "xnes", "snes"])
@pytest.mark.parametrize("function", [sphere, ellipsoid], ids=lambda function: function.__name__)
def test_the_classics_are_solved(algorithm: str, function: object) -> None:
    found = raes.minimize(function, np.ones(DIM), algorithm=algorithm, budget=60_000, target=1e-8, sigma=0.5)
    assert found.value < 1e-8
    assert found.value == function(found.x)  # type: ignore[operator]
    assert found.reason == "the target is reached"


@pytest.mark.parametrize("algorithm", ["cma_es", "xnes"])
def test_rosenbrock_is_solved_with_a_full_covariance(algorithm: str) -> None:
    found = raes.minimize(rosenbrock, np.zeros(DIM), algorithm=algorithm, budget=60_000, target=1e-8, sigma=0.5)
    assert found.value < 1e-8


def test_maximize_is_minimize_of_the_negative() -> None:
    up = raes.maximize(lambda x: -sphere(x - 1), [0.0, 0.0], algorithm="snes", budget=500)
    down = raes.minimize(lambda x: sphere(x - 1), [0.0, 0.0], algorithm="snes", budget=500)
    assert up.x.tobytes() == down.x.tobytes()
    assert up.value == -down.value
    assert up.value > -1e-3
    assert up.evaluations == down.evaluations == 500


@pytest.mark.parametrize("algorithm", sorted(ALGORITHMS))
def test_ask_and_tell_go_the_way_of_minimize(algorithm: str) -> None:
    sizes = {"population": 24} if "population" in ALGORITHMS[algorithm][1].__dataclass_fields__ else {"pairs": 6}
    if algorithm == "custom":
        sizes |= {"module": "examples.one_fifth:OneFifth"}
    search = raes.Optimizer(algorithm, np.ones(3), seed=5, **sizes)
    while search.evaluations < 200:
        points = search.ask()
        np.testing.assert_array_equal(points, search.ask())
        search.tell([-sphere(x) for x in points])
    found = raes.minimize(sphere, np.ones(3), algorithm=algorithm, budget=search.evaluations + 1, seed=5, **sizes)
    assert found.nfev == search.evaluations + 1  # x0 too
    assert found.center.tobytes() == search.theta.tobytes()
    assert search.best_x is not None
    assert found.x.tobytes() == search.best_x.tobytes()


def test_the_example_of_the_blog_converges() -> None:
    solution = np.array([0.5, 0.1, -0.3])
    plain = OptimizerSettings("sgd", stepsize=0.01, momentum=0.0, weight_decay=0.0)  # their alpha / sigma
    search = raes.Optimizer(
        "es", [1.76, 0.4, 0.98], optimizer=plain, pairs=25, mirrored=False, sigma=0.1, sigma_decay=1.0, shaping="zscore"
    )
    for _ in range(300):
        points = search.ask()
        assert points.shape == (50, 3)
        search.tell([-sphere(solution - x) for x in points])
    np.testing.assert_allclose(search.theta, solution, atol=0.02)


def test_values_that_are_missing_are_left_out() -> None:
    search = raes.Optimizer("snes", np.ones(4), population=20)
    for _ in range(60):
        points = search.ask()
        search.tell([np.nan if number % 5 == 0 else -sphere(x) for number, x in enumerate(points)])
    assert sphere(search.theta) < 1e-2


def spotted(x: np.ndarray) -> float:
    """The sphere, broken in every eighth of narrow stripes."""
    if int(1e4 * abs(x[0])) % 8 == 1:
        raise RuntimeError("broken here")
    return sphere(x)


@pytest.mark.parametrize("algorithm", sorted(FUNCTION_KEYS))
@pytest.mark.parametrize("vectorized", [False, True], ids=["one by one", "vectorized"])
def test_the_search_goes_on_where_the_function_fails_in_places(algorithm: str, vectorized: bool) -> None:
    """Outside of a domain, where it is infinite, and with NaN in places; the first failure is reported once."""

    def limited(x: np.ndarray) -> float:
        return np.inf if (x < 0.9).any() else np.nan if x[0] > 2.6 else sphere(x - 1)

    def together(x: np.ndarray) -> np.ndarray:
        return np.array([limited(row) for row in x])

    with pytest.warns(UserWarning, match="counts as the worst: the value is (inf|nan)") as caught:
        found = raes.minimize(
            together if vectorized else limited,
            np.full(3, 2.0),
            algorithm=algorithm,
            budget=2000,
            vectorized=vectorized,
        )
    assert len(caught) == 1
    assert found.nfev == 2000 or found.status == Status.CONVERGED
    assert 0 < found.failures < found.nfev
    assert found.fun == limited(found.x) < sphere(np.ones(3))


@pytest.mark.filterwarnings("ignore:the function has no finite value")
def test_exceptions_rank_last_and_are_counted() -> None:
    found = raes.minimize(spotted, np.ones(3), algorithm="snes", budget=1000, population=20)
    assert found.value < 0.2
    assert found.first_failure == "RuntimeError: broken here"
    assert found.failures > 20


@pytest.mark.filterwarnings("ignore:the function has no finite value")
def test_a_function_without_any_value_ends_with_a_result_and_one_that_only_raises_with_a_message() -> None:
    found = raes.minimize(lambda x: np.nan, np.ones(3), budget=5000)
    assert (found.status, found.success, found.x.tolist()) == (Status.NOT_FINITE, False, [1.0, 1.0, 1.0])
    assert np.isnan(found.fun)
    assert found.nfev == found.failures < 5000, "it ends early"
    with pytest.raises(UserError, match="fails at x0 and at all 16 points after it: ZeroDivisionError: division by"):
        raes.minimize(lambda x: 1 / 0, np.ones(3))


def test_values_far_beyond_float32_are_numbers() -> None:
    for factor in (1e39, 1e300):
        found = raes.minimize(lambda x, factor=factor: factor * sphere(x), np.ones(2), budget=1000)
        assert found.fun < 1e-6 * factor
        assert not found.failures


@pytest.mark.parametrize("offset", [0.0, 10_000.3])
@pytest.mark.parametrize("algorithm", ["cma_es", "snes", "xnes"])
def test_functions_are_searched_in_float64(algorithm: str, offset: float) -> None:
    found = raes.minimize(lambda x: sphere(x - offset), np.full(3, offset + 0.1), algorithm=algorithm, target=1e-13)
    assert found.status == Status.TARGET
    points: list[float] = []
    raes.minimize(lambda x: points.append(x[0]) or 1.0, [0.1], budget=1)
    assert points == [0.1]


@pytest.mark.parametrize("budget", [1, 2, 10, 201])
@pytest.mark.parametrize("algorithm", sorted(FUNCTION_KEYS))
def test_the_budget_is_exact(algorithm: str, budget: int) -> None:
    calls: list[bytes] = []

    def counted(x: np.ndarray) -> float:
        calls.append(x.tobytes())
        return sphere(x)

    found = raes.minimize(counted, np.ones(4), algorithm=algorithm, budget=budget)
    assert len(calls) == found.nfev == budget
    assert found.x.tobytes() in calls
    assert (found.status, found.message, found.success) == (Status.BUDGET, "the budget is used up", True)


def interrupted(after: int, error: type[BaseException]) -> Any:
    calls = []

    def function(x: np.ndarray) -> float:
        calls.append(x.copy())
        if len(calls) > after:
            raise error
        return sphere(x)

    return function, calls


def test_the_best_point_comes_back_after_ctrl_c_in_the_middle_of_a_generation() -> None:
    function, calls = interrupted(104, KeyboardInterrupt)
    found = raes.minimize(function, np.ones(3))
    assert (found.status, found.success, found.nfev) == (Status.INTERRUPTED, False, 104)
    assert found.fun == min(map(sphere, calls[:104]))


def test_callbacks_end_a_search_and_their_exceptions_leave_the_result() -> None:
    seen = []

    def enough(result: raes.Optimum) -> bool:
        seen.append(result.nfev)
        return result.fun < 0.01

    found = raes.minimize(sphere, np.ones(3), callback=enough)
    assert found.status == Status.CALLBACK
    assert found.fun < 0.01
    assert seen == sorted(set(seen))
    assert seen[-1] == found.nfev

    def stop(result: raes.Optimum) -> None:
        raise StopIteration

    assert raes.minimize(sphere, np.ones(3), callback=stop).nit == 1

    def broken(result: raes.Optimum) -> None:
        raise ValueError("no")

    with pytest.warns(UserWarning, match="ends early, with the best point so far: ValueError: no"):
        found = raes.minimize(sphere, np.ones(3), callback=broken)
    assert (found.status, found.message) == (Status.ERROR, "the search failed: ValueError: no")


def test_a_search_ends_with_its_time_and_where_it_has_converged_or_is_unbounded() -> None:
    assert raes.minimize(sphere, np.ones(3), budget=10**9, max_seconds=0.05).status == Status.TIME
    found = raes.minimize(sphere, np.ones(3), restarts=None)
    assert (found.status, found.success, found.restarts) == (Status.CONVERGED, True, 0)
    assert found.message == "the search has converged: tolerance of f"
    assert found.fun < 1e-10
    found = raes.maximize(lambda x: np.inf if x[0] > 3 else x[0], [0.0])
    assert (found.status, found.fun) == (Status.UNBOUNDED, np.inf)


def test_a_result_is_small_and_reads_like_that_of_scipy() -> None:
    found = raes.minimize(sphere, np.ones(4), budget=3000, args=())
    assert len(pickle.dumps(found)) < 10_000
    assert dict(found)["x"] is found["x"] is found.x
    assert {"x", "fun", "nfev", "nit", "success", "status", "message"} <= set(found.keys())
    assert found.std is not None
    assert found.covariance is not None
    np.testing.assert_allclose(found.std, np.sqrt(np.diag(found.covariance)))
    evaluations, values = found.history
    assert values[0] == 4.0
    assert values[-1] == found.fun
    assert (np.diff(values) < 0).all()
    assert (np.diff(evaluations) > 0).all()
    with pytest.raises(KeyError):
        found["nothing"]


def test_whole_generations_in_one_call_give_the_same_bits_and_arguments_arrive() -> None:
    one = raes.minimize(lambda x, c: float((x - c) @ (x - c)), np.ones(3), budget=300, args=(0.5,))
    calls = []

    def together(x: np.ndarray, c: float) -> np.ndarray:
        calls.append(x.shape)
        return np.array([float((row - c) @ (row - c)) for row in x])

    many = raes.minimize(together, np.ones(3), budget=300, args=(0.5,), vectorized=True)
    assert many.x.tobytes() == one.x.tobytes()
    assert calls[:2] == [(1, 3), (16, 3)]
    with pytest.raises(UserError, match=r"must return 1 values for x of shape \(1, 3\), and .* of shape \(\)"):
        raes.minimize(lambda x: 1.0, np.ones(3), vectorized=True)


def test_a_function_may_change_its_argument() -> None:
    def changing(x: np.ndarray) -> float:
        x -= 1.0
        return sphere(x)

    found = raes.minimize(changing, np.zeros(2), budget=500)
    assert found.fun == sphere(found.x - 1.0) < 1e-4


@pytest.mark.filterwarnings("ignore:the function has no finite value")
@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: raes.minimize(sphere, [1.0], algorithm="adam"), ["'adam'", "there are es, ars", "cma_es"]),
        (lambda: raes.minimize(sphere, [1.0], algorithm="cmaes"), ["no such algorithm; did you mean cma_es"]),
        (lambda: raes.Optimizer("nses", [1.0]), ["did you mean", "ns_es"]),
        (
            lambda: raes.minimize(sphere, [1.0], algorithm="es", perturbation="low_rank"),
            ["perturbation='low_rank': needs the layers of a policy, and x has none"],
        ),
        (lambda: raes.minimize(sphere, [1.0], algorithm="custom", module="nowhere:X"), ["module=nowhere:X cannot be"]),
        (
            lambda: raes.minimize(sphere, [1.0], algorithm="snes", sigme=0.1),
            ["sigme", "no such key; did you mean sigma or"],
        ),
        (lambda: raes.minimize(sphere, [1.0], algorithm="snes", sigma=-1.0), ["sigma=-1.0: must be positive"]),
        (lambda: raes.minimize(sphere, [[1.0]]), ["x0 must be a vector"]),
        (lambda: raes.minimize(sphere, [np.nan]), ["x0 must be", "nan"]),
        (lambda: raes.minimize(sphere, [1.0], budget=0), ["budget", "0"]),
        (
            lambda: raes.minimize(lambda x: np.ones(3), [1.0]),
            ["the function fails at x0 and at all", "TypeError", "shape (3,)"],
        ),
        (lambda: raes.minimize(sphere, ["a", "b"]), ["x0 must be a vector of finite numbers"]),
        (lambda: raes.minimize(sphere, [[1.0], [1.0, 2.0]]), ["x0 must be"]),
        (lambda: raes.minimize(sphere, [1e400]), ["x0 must be", "finite numbers", "inf"]),
        (
            lambda: raes.minimize(sphere, [1.0], restarts="ipob"),
            ["restarts='ipob': there is no such kind; did you mean ipop"],
        ),
        (
            lambda: raes.minimize(sphere, [1.0], algorithm="es", restarts="ipop"),
            ["restarts=ipop: algorithm=es does not end by itself"],
        ),
        (lambda: raes.minimize(sphere, [1.0], args=1.0), ["args must be a tuple", "1.0"]),
        (lambda: raes.minimize(sphere, [1.0], callback=1.0), ["callback must be callable, got 1.0"]),
        (lambda: raes.minimize(sphere, [1.0], max_seconds=0), ["max_seconds must be a positive number, got 0"]),
        (lambda: raes.minimize(sphere, [1.0], budget="a"), ["budget must be a whole number of at least 1, got 'a'"]),
        (lambda: raes.minimize(sphere, [1.0], budget=np.nan), ["budget must be", "nan"]),
        (lambda: raes.minimize(sphere, [1.0], target=np.nan), ["target must be a finite number, got nan"]),
        (lambda: raes.minimize(sphere, [1.0], workers="many"), ["workers must be auto, a number", "got many"]),
        (lambda: raes.minimize(sphere, [1.0], seed=-1), ["seed must be a whole number of at least 0, got -1"]),
        (lambda: raes.minimize(sphere, [1.0], optimizer="adam"), ["raes.OptimizerSettings", "'adam'"]),
        (lambda: raes.minimize(None, [1.0]), ["the function must be callable, got None"]),
        (lambda: raes.minimize(sphere, [1.0], algorithm=["es"]), ["algorithm=['es']: there is no such algorithm"]),
        (
            lambda: raes.minimize(sphere, [1.0], algorithm="canonical_es", parents=20),
            ["parents=20: must be at most popul"],
        ),
        (lambda: raes.minimize(sphere, [1.0], population=2), ["population=2: must be at least 4"]),
        (lambda: raes.Optimizer("snes", [1.0]).tell([1.0]), ["tell comes after ask"]),
    ],
)
def test_wrong_arguments_are_named(call: object, words: list[str]) -> None:
    with pytest.raises(UserError) as error:
        call()  # type: ignore[operator]
    for word in words:
        assert word in str(error.value)
    for key in ("env.", "algorithm.", "policy.", "noise.size"):
        assert key not in str(error.value), "a key of the command line"


@pytest.mark.parametrize("shape", [(1,), (1, 1), ()])
def test_values_that_are_arrays_of_one_number_will_do(shape: tuple[int, ...]) -> None:
    found = raes.minimize(lambda x: np.full(shape, sphere(x)), [1.0, 2.0], budget=100)
    assert found.value == sphere(found.x)


def test_tensors_that_need_gradients_are_numbers_too() -> None:
    torch = pytest.importorskip("torch")
    ones = torch.ones(2, requires_grad=True)
    expected = raes.minimize(sphere, [1.0, 1.0], budget=100)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for x0 in (ones, [ones[0], ones[1]]):
            found = raes.minimize(lambda x: (ones * torch.tensor(x)).square().sum()[None], x0, budget=100)
            assert found.x.tobytes() == expected.x.tobytes()
        search = raes.Optimizer("snes", ones)
        search.tell([torch.tensor(-sphere(x), requires_grad=True) for x in search.ask()])
    assert search.evaluations > 1


def test_values_must_fit_and_a_generation_without_any_is_followed_by_another() -> None:
    search = raes.Optimizer("snes", np.ones(3), population=5)
    points = search.ask()
    with pytest.raises(UserError, match="5 points"):
        search.tell(np.zeros(4))
    search.tell(np.full(5, np.nan))
    others = search.ask()
    assert not (others == points).any()
    search.tell([-sphere(x) for x in others])
    assert search.evaluations == 10


def test_importing_raes_imports_nothing_large() -> None:
    code = (
        "import json, sys, raes; print(json.dumps([name for name in ('ray', 'numpy', 'torch') if name in sys.modules]))"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert json.loads(out) == []


@pytest.mark.parametrize("algorithm", sorted(set(ALGORITHMS) - {"custom"}))
@pytest.mark.parametrize("dim", [1, 2, 10])
def test_every_algorithm_has_sizes_of_its_own(algorithm: str, dim: int) -> None:
    found = raes.minimize(sphere, np.ones(dim), algorithm=algorithm, budget=50)
    assert found.value <= sphere(np.ones(dim))


def test_the_start_counts() -> None:
    found = raes.minimize(sphere, np.zeros(2), algorithm="snes", budget=20)
    assert found.value == 0.0
    assert not found.x.any()


@pytest.mark.parametrize("algorithm", ["es", "nsr_es"])
def test_one_point_without_another_to_compare_it_with_moves_nothing(algorithm: str) -> None:
    search = raes.Optimizer(algorithm, np.ones(2), pairs=4, mirrored=False)
    for _ in range(3):
        points = search.ask()
        search.tell(np.where(np.arange(len(points)) == 1, 1.0, np.nan))
        assert np.isfinite(search.theta).all()


@pytest.mark.parametrize("algorithm", ["cma_es", "xnes"])
def test_a_full_covariance_of_many_parameters_is_refused_with_what_to_use_instead(algorithm: str) -> None:
    with pytest.raises(UserError, match=rf"algorithm={algorithm} has a full covariance.*algorithm=snes"):
        raes.Optimizer(algorithm, np.zeros(LARGEST_DIMENSION + 1))


def test_many_parameters_have_a_diagonal_covariance_by_default() -> None:
    found = raes.minimize(sphere, np.ones(1000), budget=100)
    assert found.algorithm == "cma_es"
    assert found.covariance is not None
    assert found.covariance.shape == (1000,)


@pytest.mark.parametrize("algorithm", sorted(set(ALGORITHMS) - {"custom"}))
def test_the_defaults_are_those_of_the_command_line(algorithm: str) -> None:
    words = ["env=function", "env.call=math:fsum", "env.dim=2", f"algorithm={algorithm}", "run_dir=x"]
    config, search = compose(words), raes.Optimizer(algorithm, np.zeros(2))
    assert search._algorithm.inner(search.state.run)._optimizer == config.optimizer
    ours, theirs = asdict(search.settings), asdict(config.algorithm.sized(2, ()))
    assert ours | {"normalize_observations": True} == theirs


@pytest.mark.filterwarnings("ignore:the function has no finite value")
@pytest.mark.parametrize("algorithm", ["cma_es", "snes", "es", "ga", "nsra_es", "pgpe"])
def test_a_search_goes_on_after_a_stop_with_the_same_bits(algorithm: str, tmp_path: Path) -> None:
    keys: dict[str, Any] = {"algorithm": algorithm, "seed": 2}
    whole = raes.minimize(spotted, np.ones(3), budget=900, **keys)
    for stop in (50, 333, 601):
        calls = []

        def interrupted(x: np.ndarray, stop: int = stop, calls: list[int] = calls) -> float:
            calls.append(1)
            if len(calls) == stop:
                raise KeyboardInterrupt
            return spotted(x)

        interrupted.__qualname__, interrupted.__module__ = spotted.__qualname__, spotted.__module__
        folder = tmp_path / f"{algorithm}-{stop}"
        first = raes.minimize(interrupted, np.ones(3), budget=900, run_dir=folder, **keys)
        assert (first.status, first.nfev) == (Status.INTERRUPTED, stop - 1)
        again = raes.minimize(spotted, np.ones(3), budget=900, run_dir=folder, resume="auto", **keys)
        assert again.x.tobytes() == whole.x.tobytes()
        assert again.center.tobytes() == whole.center.tobytes()
        assert (again.nfev, again.nit, again.failures) == (whole.nfev, whole.nit, whole.failures)
        assert again.first_failure == whole.first_failure
        assert again.history[1].tobytes() == whole.history[1].tobytes()


def test_a_search_goes_further_with_a_larger_budget_and_with_nothing_else(tmp_path: Path) -> None:
    found = raes.minimize(sphere, np.ones(2), budget=100, run_dir=tmp_path)
    with pytest.raises(UserError, match="holds a search; give resume='auto' to go on"):
        raes.minimize(sphere, np.ones(2), budget=200, run_dir=tmp_path)
    further = raes.minimize(sphere, np.ones(2), budget=200, run_dir=tmp_path, resume="auto")
    assert further.nfev == 200
    assert further.fun < found.fun
    assert further.x.tobytes() == raes.minimize(sphere, np.ones(2), budget=200).x.tobytes()
    for key, changed in (("seed", 1), ("sigma", 0.5), ("bounds", (-3, 3)), ("restarts", None)):
        named = "settings" if key == "sigma" else key
        with pytest.raises(UserError, match=f"was made with other arguments .*{named}"):
            raes.minimize(sphere, np.ones(2), run_dir=tmp_path, resume="auto", **{key: changed})
    with pytest.raises(UserError, match="resume='always': must be 'never' or 'auto'"):
        raes.minimize(sphere, np.ones(2), run_dir=tmp_path, resume="always")
    (tmp_path / "search.npz").write_bytes(b"nonsense")
    with pytest.raises(UserError, match=r"search.npz is damaged \(.*\); remove it"):
        raes.minimize(sphere, np.ones(2), run_dir=tmp_path, resume="auto")
