"""`env=function` on the command line: domain, constraints and noise, with the meaning of Python and clear errors."""

from __future__ import annotations

import sys
import types
from collections.abc import Iterator

import numpy as np
import pytest

import raes
from raes.config.compose import compose
from raes.config.schema import Config, from_tree
from raes.training.build import build_algorithm, problem_spec
from raes.training.prepare import NOISY_EPISODES, PreparedRun, resolve_config
from raes.types import UserError

MIXED = "env.bounds=[{low:1e-6,high:1,log:true},{low:1,high:20,integer:true},{count:3},[0,1]]"


@pytest.fixture(autouse=True)
def module() -> Iterator[None]:
    """An importable module `keyed` with a function and constraints."""
    keyed = types.ModuleType("keyed")
    keyed.f = lambda x: float(np.square(x).sum())  # type: ignore[attr-defined]
    keyed.g = lambda x: [6.0 - x.sum(), -1.0]  # type: ignore[attr-defined]
    keyed.broken = lambda x: 1 / 0  # type: ignore[attr-defined]
    sys.modules["keyed"] = keyed
    yield
    del sys.modules["keyed"]


def prepared(*words: str, dim: int = 3) -> PreparedRun:
    own = [] if any(word.startswith("algorithm=") for word in words) else ["algorithm=cma_es"]
    return resolve_config(compose(["env=function", "env.call=keyed:f", f"env.dim={dim}", "run_dir=x", *own, *words]))


def searched(config: Config, generations: int) -> list[tuple[np.ndarray, float, float]]:
    """Each x of a run of this configuration, its return and its violation, evaluated one after the other."""
    from raes.runtime.rounds import RoundRunner
    from raes.runtime.serial import SerialExecutor
    from raes.runtime.worker import WorkerSpec
    from raes.search import running_stats

    algorithm, spec = build_algorithm(config), problem_spec(config)
    problem = spec.build()
    state, seen = algorithm.init(problem.initial_theta(np.random.default_rng(0)), running_stats.init(0)), []
    executor = SerialExecutor(WorkerSpec(spec, config.seed), 0)
    runner = RoundRunner(executor)
    for _ in range(generations):
        runner.open(algorithm.next_round(state))
        finished = runner.collect()
        assert finished is not None
        batch = finished.batch
        assert batch is not None
        assert not finished.failed
        vectors = batch.genomes.vectors
        assert vectors is not None
        violations = np.zeros(len(vectors)) if batch.violations is None else batch.violations[:, 0]
        seen += zip(map(config.env.x, vectors), batch.returns[:, 0], violations, strict=True)  # type: ignore[union-attr]
        state, _ = algorithm.tell(state, finished.round, batch, executor.weighted_noise_sum)
    executor.close()
    seen.append((config.env.x(state.theta), np.nan, 0.0))  # type: ignore[union-attr]
    return seen


def test_the_function_is_called_in_its_domain_at_the_points_that_python_has() -> None:
    config = prepared(MIXED, dim=4).config
    assert prepared(MIXED, dim=4).theta.size == 6  # a category has a number for each of its things
    parts = [raes.Interval(1e-6, 1, log=True), raes.Interval(1, 20, integer=True), raes.Category(3), (0, 1)]
    asked = raes.Optimizer("cma_es", None, bounds=parts).ask()
    points = np.stack([x for x, _, _ in searched(config, 1)][:-1])
    np.testing.assert_array_equal(points, asked)
    assert (points >= [1e-6, 1, 0, 0]).all()
    assert (points <= [1, 20, 2, 1]).all()


def test_one_range_is_for_all_and_x0_lies_in_its_middle() -> None:
    run = prepared("env.bounds=[-2,4]")
    np.testing.assert_allclose(run.config.env.x(run.theta), [1.0, 1.0, 1.0])  # type: ignore[union-attr]
    run = prepared("env.bounds=[-2,4]", "env.x0=[-1,0,3]")
    np.testing.assert_allclose(run.config.env.x(run.theta), [-1.0, 0.0, 3.0])  # type: ignore[union-attr]
    assert prepared().config.env.x0 == 0.0  # type: ignore[union-attr]


def test_points_that_violate_the_constraints_rank_by_how_much_and_the_function_is_not_called() -> None:
    config = prepared("env.constraints=keyed:g", "env.minimize=true").config
    seen = searched(config, 80)
    for x, value, violation in seen[:-1]:
        assert violation == max(0.0, 6.0 - x.sum())
        assert np.isnan(value) == (violation > 0)
    assert seen[0][2] > 0
    np.testing.assert_allclose(seen[-1][0], 2.0, atol=1e-3)


def test_scale_is_the_unit_of_sigma() -> None:
    config = prepared("env.scale=[1,10,100]", "env.bounds=[[0,8],[null,null],[0,8]]", "env.x0=[4,0,4]",
                      "algorithm.population=800", "algorithm.sigma=0.01").config  # fmt: skip
    points = np.stack([x for x, _, _ in searched(config, 1)][:-1])
    np.testing.assert_allclose(points.std(axis=0), [0.01, 0.1, 1.0], rtol=0.15)


def test_a_noisy_function_has_growing_populations_and_evaluations_of_many_calls() -> None:
    exact, noisy = prepared().config, prepared("env.noisy=true").config
    assert (exact.evaluation.episodes, noisy.evaluation.episodes) == (1, NOISY_EPISODES)
    assert prepared("env.noisy=true", "evaluation.episodes=3").config.evaluation.episodes == 3
    kinds = {name: build_algorithm(config)._kind for name, config in (("exact", exact), ("noisy", noisy))}
    assert kinds == {"exact": "bipop", "noisy": "ipop"}
    tolerances = build_algorithm(prepared("env.noisy=true", "env.tolerances.x=1e-3").config)._tolerances
    assert (tolerances.x, tolerances.f, tolerances.lost) == (1e-3, 0.0, 0.0)
    assert build_algorithm(prepared("env.noisy=true", "algorithm=es").config)._kind == "none"


def test_a_configuration_comes_back_from_its_file_as_it_was() -> None:
    config = prepared(MIXED, "env.constraints=keyed:g", "env.noisy=true", "env.scale=[1,2,1,1]", dim=4).config
    assert from_tree(config.as_dict()) == config


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("env.bounds=[[1,0],[0,1],[0,1]]", "env.bounds: low=1.0 must be below high=0.0"),
        ("env.bounds=[[0,1],[0,1]]", "env.bounds has 2 entries, and dim=3; give one entry for each number"),
        ("env.bounds=[]", "env.bounds is empty; give"),
        ("env.bounds=3", "env.bounds=3: must be"),
        ("env.bounds=[0,x]", "env.bounds: high must be a finite number, got 'x'"),
        ("env.bounds=[{lo:1},[0,1],[0,1]]", "env.bounds: {'lo': 1}: there is no such key; did you mean low"),
        ("env.bounds=[{low:0,high:1,log:true},[0,1],[0,1]]", "low=0.0 must be positive on a logarithmic scale"),
        ("env.bounds=[{low:0,integer:3},[0,1],[0,1]]", "env.bounds: integer=3 must be true or false"),
        ("env.bounds=[{count:1},[0,1],[0,1]]", "env.bounds: count of a category must be a whole number of at least 2"),
        ("env.bounds=[1,2] env.x0=0.5", "env.x0[0]=0.5 must be a number from 1 to 2, as bounds have it"),
        ("env.bounds=[0,null]", "env.x0 is needed, since bounds[0]=(0, inf) has no middle"),
        ("env.scale=[1,2]", "env.scale has 2 numbers, and dim=3; give one number or 3"),
        ("env.scale=-1", "env.scale=-1: must be positive"),
        ("env.constraints=keyed", "env.constraints=keyed: must be module:callable"),
        ("env.constraints=keyed:h", "env.constraints=keyed:h cannot be imported"),
        ("env.constraints=keyed:broken", "env.constraints=keyed:broken fails at x=[0.0, 0.0, 0.0]: ZeroDivisionError"),
        ("env.constraints=keyed:g algorithm=ns_es", "algorithm=ns_es leaves out points"),
        ("env.tolerances.f=-1", "env.tolerances.f=-1: must not be negative"),
        ("env.noisy=3", "env.noisy=3: must be a valid boolean"),
        ("env.target=1", "env.target: there is no such key (here it is goal.return_mean)"),
    ],
)
def test_a_wrong_value_is_named_with_its_key(words: str, message: str) -> None:
    with pytest.raises(UserError) as caught:
        prepared(*words.split())
    assert message in str(caught.value)


def test_evaluations_of_an_environment_need_a_number() -> None:
    with pytest.raises(UserError, match=r"evaluation\.episodes=None: must be a number"):
        compose(["env=CartPole", "evaluation.episodes=null"])
