"""Functions from Python: ask and tell, minimize and maximize."""

from __future__ import annotations

import json
import subprocess
import sys
import warnings

import numpy as np
import pytest

import raes
from raes.algorithms import ALGORITHMS
from raes.api.keyword_arguments import check_table
from raes.config.compose import compose
from raes.search.optimizers import OptimizerSettings
from raes.types import RunFailedError, UserError

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
    assert up.evaluations == down.evaluations >= 500


@pytest.mark.parametrize("algorithm", sorted(ALGORITHMS))
def test_ask_and_tell_go_the_way_of_minimize(algorithm: str) -> None:
    sizes = {"population": 24} if "population" in ALGORITHMS[algorithm][1].__dataclass_fields__ else {"pairs": 6}
    if algorithm == "custom":
        sizes |= {"module": "examples.one_fifth:OneFifth"}
    found = raes.minimize(sphere, np.ones(3), algorithm=algorithm, budget=200, seed=5, **sizes)
    search = raes.Optimizer(algorithm, np.ones(3), seed=5, **sizes)
    while search.evaluations < 200:
        points = search.ask()
        np.testing.assert_array_equal(points, search.ask())
        search.tell([-sphere(x) for x in points])
    assert search.evaluations + 1 == found.evaluations  # x0 too
    assert search.theta.tobytes() == found.center.tobytes()
    assert search.best_x is not None
    assert search.best_x.tobytes() == found.x.tobytes()


def test_the_example_of_the_blog_converges() -> None:
    solution = np.array([0.5, 0.1, -0.3])
    plain = OptimizerSettings("sgd", stepsize=0.01, momentum=0.0, weight_decay=0.0)  # their alpha / sigma
    search = raes.Optimizer(
        "es", [1.76, 0.4, 0.98], optimizer=plain, pairs=25, mirrored=False, sigma=0.1, shaping="zscore"
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


def test_minimize_goes_on_where_the_function_fails_in_places_and_stops_where_it_fails_everywhere() -> None:
    def spotted(x: np.ndarray) -> float:
        if int(1e4 * abs(x[0])) % 8 == 1:
            raise RuntimeError("broken here")
        return sphere(x)

    assert raes.minimize(spotted, np.ones(3), algorithm="snes", budget=1000, population=20).value < 0.2

    calls: list[int] = []

    def breaking(x: np.ndarray) -> float:
        calls.append(1)
        return 1.0 if len(calls) == 1 else float("nan")

    with pytest.raises(RunFailedError, match="fails everywhere; the first reason: the value is nan"):
        raes.minimize(breaking, np.ones(3))


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
        (lambda: raes.minimize(lambda x: np.ones(3), [1.0]), ["the function fails at x0: TypeError", "shape (3,)"]),
        (lambda: raes.minimize(sphere, ["a", "b"]), ["x0 must be a vector of finite numbers"]),
        (lambda: raes.minimize(sphere, [[1.0], [1.0, 2.0]]), ["x0 must be"]),
        (lambda: raes.minimize(sphere, [1e300]), ["x0 must be", "within float32", "1e+300"]),
        (lambda: raes.minimize(sphere, [1.0], budget="a"), ["budget must be a whole number of at least 1, got 'a'"]),
        (lambda: raes.minimize(sphere, [1.0], budget=np.nan), ["budget must be", "nan"]),
        (lambda: raes.minimize(sphere, [1.0], target=np.nan), ["target must be a finite number, got nan"]),
        (lambda: raes.minimize(sphere, [1.0], workers="auto"), ["workers must be a whole number", "'auto'"]),
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


def test_a_noise_table_that_does_not_fit_is_explained_without_keys_of_the_command_line() -> None:
    with pytest.raises(UserError, match=r"so many parameters need a noise table of [\d,.]+ GiB, and .* search fewer"):
        check_table(1 << 50, copies=1)


def test_told_values_must_fit_and_be_finite_somewhere() -> None:
    search = raes.Optimizer("snes", np.ones(3), population=5)
    points = search.ask()
    with pytest.raises(UserError, match="5 points"):
        search.tell(np.zeros(4))
    with pytest.raises(UserError, match="no fitness is finite"):
        search.tell(np.full(5, np.nan))
    search.tell([-sphere(x) for x in points])


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


def test_what_does_not_fit_into_memory_is_refused() -> None:
    with pytest.raises(UserError, match=r"algorithm=cma_es needs .* GiB for 1000000 parameters"):
        raes.Optimizer("cma_es", np.zeros(1_000_000))


@pytest.mark.parametrize("algorithm", sorted(set(ALGORITHMS) - {"custom"}))
def test_the_optimizer_is_that_of_the_command_line(algorithm: str) -> None:
    words = ["env=function", "env.call=math:fsum", "env.dim=2", f"algorithm={algorithm}", "run_dir=x"]
    ours = raes.Optimizer(algorithm, np.zeros(2))._algorithm._optimizer
    assert compose(words).optimizer == ours
