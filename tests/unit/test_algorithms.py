"""The common suite: what every algorithm must do, whatever its maths."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from pydantic import TypeAdapter, ValidationError

from raes.algorithms import ALGORITHMS
from raes.policies import PolicySettings
from raes.problems.episode import EpisodeSpec
from raes.problems.function import FunctionSettings, FunctionSpec
from raes.results import Batch, Results
from raes.rng import Purpose
from raes.runtime.rounds import FinishedRound, RoundRunner
from raes.runtime.serial import SerialExecutor
from raes.runtime.worker import WorkerSpec
from raes.search import running_stats
from raes.search.optimizers import OptimizerSettings
from raes.storage import tree
from raes.tasks import Tasks

from .worlds import episode, toy

DIM = 5
TABLE = 100_000
SMALL: dict[str, dict[str, Any]] = {
    "es": {"pairs": 10, "sigma": 0.1},
    "ars": {"pairs": 10, "sigma": 0.1, "best": 5},
    "ns_es": {"pairs": 10, "sigma": 0.1, "agents": 2, "neighbors": 3},
    "nsr_es": {"pairs": 10, "sigma": 0.1, "agents": 2, "neighbors": 3, "weight": 0.8},
    "nsra_es": {"pairs": 10, "sigma": 0.1, "agents": 2, "neighbors": 3, "patience": 20},
    "ga": {"population": 30, "sigma": 0.1, "parents": 8, "candidates": 3, "elite_episodes": 2},
    "pgpe": {"pairs": 10, "radius": 0.3},
    "snes": {"sigma": 0.3},
    "xnes": {"sigma": 0.3},
    "cma_es": {"sigma": 0.3},
    "surrogate": {"sigma": 0.3},
    "cem": {"population": 30, "sigma": 0.3, "extra_sigma": 0.1},
    "gaussian_es": {"population": 30, "sigma": 0.3},
    "canonical_es": {"population": 20, "sigma": 0.1},
    "random_search": {"population": 20, "sigma": 0.3},
    "custom": {"module": "examples.one_fifth:OneFifth", "population": 20, "sigma": 0.3},
}
OPTIMIZERS = {
    "pgpe": OptimizerSettings("clipup", stepsize=0.02, weight_decay=0.0, max_speed=0.04),
    "ars": OptimizerSettings("sgd", stepsize=0.05, momentum=0.0, weight_decay=0.0),
}
EVERY = sorted(ALGORITHMS)
PURE_NOVELTY = {"ns_es"}


def sphere(x: np.ndarray) -> float:
    """Minimum 0 at 0.5."""
    return float(np.square(x - 0.5).sum())


def rosenbrock(x: np.ndarray) -> float:
    """Minimum 0 at 1."""
    return float((100 * np.square(x[1:] - x[:-1] ** 2) + np.square(1 - x[:-1])).sum())


def flat(x: np.ndarray) -> float:
    """All ties."""
    return 1.0


@pytest.mark.parametrize("name", EVERY)
def test_action_noise_goes_with_every_search(name: str) -> None:
    algorithm, settings = ALGORITHMS[name]
    chosen = settings(**SMALL[name], action_noise=0.2).sized(DIM, ())
    search = algorithm(chosen, OPTIMIZERS.get(name, OptimizerSettings()), 0, TABLE)
    state = search.init(np.zeros(DIM, np.float32), running_stats.init(3))
    assert search.snapshot(state).action_noise == 0.2
    assert search.next_round(state).snapshot.action_noise == 0.2


def spotted(x: np.ndarray) -> float:
    """The sphere, broken in every eighth of narrow stripes."""
    if int(1e4 * abs(x[0])) % 8 == 1:
        raise RuntimeError("broken here")
    return sphere(x)


class FunctionSearch:
    """A search of a function, or of an environment's policy, in this process, generation by generation."""

    def __init__(self, name: str, problem: Any = sphere, seed: int = 0, **changes: Any) -> None:
        cls, settings = ALGORITHMS[name]
        spec = problem
        if not isinstance(problem, EpisodeSpec):
            spec = FunctionSpec(FunctionSettings(call="test:function", dim=DIM, minimize=True), problem)
        built = spec.build()
        self.settings = settings(**(SMALL[name] | changes)).sized(built.num_params, ())
        optimizer = OPTIMIZERS.get(name, OptimizerSettings(stepsize=0.05, weight_decay=0.0))
        self.algorithm = cls(self.settings, optimizer, seed, TABLE)
        self.executor = SerialExecutor(WorkerSpec(spec, seed), TABLE)
        theta = np.zeros(built.num_params, np.float32)
        self.state = self.algorithm.init(theta, running_stats.init(built.observation_size))
        self.batches: list[Batch] = []
        self.runner = RoundRunner(self.executor)

    def round(self) -> FinishedRound:
        """The next round's episodes."""
        self.runner.open(self.algorithm.next_round(self.state))
        finished = self.runner.collect()
        assert finished is not None
        return finished

    def probe(self) -> None:
        """The rounds that the search needs before its next generation."""
        while self.algorithm.next_round(self.state).purpose is Purpose.PROBE:
            self._tell(self.round())

    def generation(self) -> dict[str, float]:
        self.probe()
        finished = self.round()
        assert finished.batch is not None
        self.batches.append(finished.batch)
        return self._tell(finished)

    def _tell(self, finished: FinishedRound) -> dict[str, float]:
        weighted_sum = self.executor.weighted_noise_sum
        self.state, metrics = self.algorithm.tell(self.state, finished.round, finished.batch, weighted_sum)
        return metrics

    def generations(self, count: int) -> FunctionSearch:
        for _ in range(count):
            self.generation()
        self.probe()
        return self


def reached(name: str, function: Any, generations: int = 150, seed: int = 0) -> float:
    """The function's value at the centre, or at the best agent."""
    state = FunctionSearch(name, function, seed).generations(generations).state
    thetas = [agent.search.theta for agent in state.agents] if hasattr(state, "agents") else [state.theta]
    return min(function(theta.astype(np.float64)) for theta in thetas)


def contents(state: Any) -> tuple[dict[str, bytes], dict[str, Any]]:
    arrays, scalars = tree.flatten(state)
    return {name: array.tobytes() for name, array in arrays.items()}, scalars


@pytest.mark.parametrize("name", EVERY)
def test_the_same_seed_gives_the_same_bits_and_another_seed_does_not(name: str) -> None:
    first, second, other = (FunctionSearch(name, seed=seed).generations(4) for seed in (3, 3, 4))
    assert contents(first.state) == contents(second.state)
    assert contents(first.state) != contents(other.state)


@pytest.mark.parametrize("name", EVERY)
def test_a_state_that_was_stored_goes_on_as_if_nothing_had_happened(name: str) -> None:
    whole = FunctionSearch(name).generations(6)
    run = FunctionSearch(name).generations(2)
    run.generation()  # also between a generation and its probe
    arrays, scalars = tree.flatten(run.state)
    again = FunctionSearch(name)
    again.state = tree.restore(again.state, arrays, scalars)
    assert contents(again.state) == contents(run.state)
    assert contents(again.generations(3).state) == contents(whole.state)


@pytest.mark.parametrize("name", EVERY)
def test_tasks_do_not_depend_on_how_they_are_asked_for(name: str) -> None:
    run = FunctionSearch(name).generations(2)
    count, group = run.algorithm.min_groups, run.algorithm.group
    whole: Tasks = run.algorithm.ask(run.state, 0, count)
    parts = [run.algorithm.ask(run.state, 0, 3), run.algorithm.ask(run.state, 3, count - 3)]
    np.testing.assert_array_equal(whole.index, np.arange(group * count))
    np.testing.assert_array_equal(whole.index, np.concatenate([part.index for part in parts]))
    joined = type(whole.genomes).join([part.genomes for part in parts])
    for row in range(len(whole)):
        one, other = whole.genomes.take(slice(row, row + 1)), joined.take(slice(row, row + 1))
        assert str(one) == str(other)


@pytest.mark.kernels
def test_a_member_of_xnes_has_the_same_bits_whoever_is_asked_for_with_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """In float64: rounding to float32 hides what differs there, all but once in some 100 million numbers."""
    monkeypatch.setattr("raes.algorithms.xnes.vectors", np.ascontiguousarray)
    dim, (cls, settings) = 60, ALGORITHMS["xnes"]
    search = cls(settings(population=40).sized(dim, ()), OptimizerSettings(), 0, TABLE)
    start = search.init(np.ones(dim, np.float32), running_stats.init(3))
    state = replace(start, shape=np.random.default_rng(0).standard_normal((dim, dim)))
    whole = search.genomes(state, 0, 40)
    for first, count in ((0, 1), (0, 7), (1, 39), (13, 5), (39, 1)):
        assert search.genomes(state, first, count).tobytes() == whole[first : first + count].tobytes()


@pytest.mark.parametrize("name", EVERY)
def test_theta_is_what_evaluations_evaluate(name: str) -> None:
    run = FunctionSearch(name).generations(3)
    snapshot = run.algorithm.snapshot(run.state)
    assert snapshot.theta.dtype == np.float32
    assert snapshot.theta.tobytes() == run.state.theta.tobytes()
    assert snapshot.generation == run.state.generation == 3


@pytest.mark.parametrize("name", [name for name in EVERY if name not in PURE_NOVELTY])
def test_the_sphere_is_improved_a_hundredfold_and_random_search_fivefold(name: str) -> None:
    assert reached(name, sphere) < sphere(np.zeros(DIM)) / (5 if name == "random_search" else 100)


@pytest.mark.parametrize("name", [name for name in EVERY if name not in PURE_NOVELTY | {"random_search"}])
def test_rosenbrock_is_improved(name: str) -> None:
    assert rosenbrock(np.zeros(DIM)) == 4
    assert any(reached(name, rosenbrock, seed=seed) < 3.0 for seed in range(2))


@pytest.mark.parametrize("name", sorted(name for name in EVERY if name.startswith("ns")))
def test_the_archive_spreads(name: str) -> None:
    run = FunctionSearch(name).generations(1)
    early = run.state.archive.std(axis=0).sum()
    run.generations(40)
    assert len(run.state.archive) == run.settings.agents + 41
    if name == "ns_es":
        assert run.state.archive.std(axis=0).sum() > 3 * early


@pytest.mark.parametrize("name", EVERY)
def test_ties_move_nothing_to_infinity(name: str) -> None:
    run = FunctionSearch(name, flat).generations(10)
    assert np.isfinite(run.state.theta).all()
    if name in ("es", "ars", "snes", "xnes"):
        np.testing.assert_allclose(run.state.theta, 0, atol=1e-6)


@pytest.mark.parametrize("name", EVERY)
def test_faults_are_left_out_and_the_search_goes_on(name: str) -> None:
    run = FunctionSearch(name, spotted).generations(25)
    assert any(len(batch.index) < run.algorithm.min_groups for batch in run.batches)
    assert np.isfinite(run.state.theta).all()


@pytest.mark.parametrize("name", EVERY)
def test_settings_refuse_nonsense_with_the_key(name: str) -> None:
    settings = TypeAdapter(ALGORITHMS[name][1])
    size, spread = ALGORITHMS[name][1].size_key, "radius" if name == "pgpe" else "sigma"
    with pytest.raises(ValidationError, match=f"(?s){size}.*greater than or equal to [1-4]"):
        settings.validate_python({size: 0})
    with pytest.raises(ValidationError, match=f"(?s){spread}.*greater than 0"):
        settings.validate_python({spread: 0.0})


@pytest.mark.parametrize(("bins", "noise"), [(3, 0.0), (None, 0.2)], ids=["bins", "action noise"])
@pytest.mark.parametrize("name", EVERY)
def test_every_search_trains_policies_of_binned_actions_and_with_noise_on_actions(
    name: str, bins: int | None, noise: float
) -> None:
    """The Toy pays the sum of its actions, and what it shows has nothing to do with it."""
    spec = replace(toy(PolicySettings("linear", (), bins=bins)), behavior="last_observation")
    run = FunctionSearch(name, spec, action_noise=noise).generations(12)
    assert np.isfinite(run.state.theta).all()
    problem = spec.build()
    returns = []
    for theta in (np.zeros(problem.num_params, np.float32), run.state.theta):
        problem.use(replace(run.algorithm.snapshot(run.state), theta=theta))
        returns.append(sum(problem.evaluate(theta, episode(seed, training=False)).total for seed in range(20)))
    if name not in PURE_NOVELTY:  # what it shows is not for the policy to decide
        assert returns[1] > returns[0]


def test_a_growing_population_stops_at_its_bound_and_at_its_timesteps() -> None:
    run = FunctionSearch("pgpe", min_timesteps=50).generations(2)
    assert [batch.returns.shape for batch in run.batches] == [(25, 2), (25, 2)]
    run = FunctionSearch("pgpe", min_timesteps=50, max_pairs=12).generations(2)
    assert [batch.returns.shape for batch in run.batches] == [(12, 2), (12, 2)]


def test_results_with_behaviors_are_cut_and_joined_with_them() -> None:
    run = FunctionSearch("ns_es").generations(1)
    tasks = run.algorithm.ask(run.state, 0, 4)
    snapshot = run.algorithm.snapshot(run.state)
    results = run.executor._worker.run(tasks, snapshot)
    assert results.behaviors is not None
    half = results.take(results.records["index"] % 2 == 0)
    assert half.behaviors is not None
    np.testing.assert_array_equal(half.behaviors.index, [0, 2, 4, 6])
    [joined] = Results.merge([half, results.take(results.records["index"] % 2 == 1)])
    assert joined.behaviors is not None
    assert len(joined.behaviors.index) == 8


def test_the_elite_of_the_ga_is_decoded_to_the_bits_that_actors_use() -> None:
    run = FunctionSearch("ga").generations(30)
    state = run.state
    chain = state.parents.chain(0)
    assert len(chain) > 5
    genomes = replace(run.algorithm.genomes(state, 0, 1))
    decoded = run.executor._worker._decode(run.algorithm.snapshot(state), genomes, 0)
    assert decoded.tobytes() == state.theta.tobytes()


def test_the_elite_of_the_ga_stays_a_candidate_after_a_bad_episode_of_its_own() -> None:
    run = FunctionSearch("ga").generations(10)
    run.probe()
    state, algorithm = run.state, run.algorithm
    batch = run.round().batch
    assert batch is not None
    for spoilt in (batch.returns[0, 0], -1e9):
        returns = batch.returns.copy()
        returns[0] = spoilt
        following, _ = algorithm.step(state, replace(batch, returns=returns), run.executor.weighted_noise_sum)
        chains = [following.parents.chain(row).tolist() for row in range(len(following.parents))]
        assert len(chains) == run.settings.parents
        assert chains.count(state.elite.tolist()) == 1
        assert state.elite.tolist() in chains[: run.settings.candidates]
    assert chains.index(state.elite.tolist()) == run.settings.candidates - 1
    lost = replace(batch, index=batch.index[1:], genomes=batch.genomes.take(slice(1, None)), returns=batch.returns[1:],
                   sign_returns=batch.sign_returns[1:], lengths=batch.lengths[1:])  # fmt: skip
    following, _ = algorithm.step(state, lost, run.executor.weighted_noise_sum)
    assert following.parents.chain(run.settings.candidates - 1).tolist() == state.elite.tolist()


@pytest.mark.parametrize("name", ["cem", "gaussian_es"])
def test_without_anything_to_select_by_the_distribution_stays(name: str) -> None:
    run = FunctionSearch(name, flat)
    state, genomes = run.state, run.algorithm.ask(run.state, 0, 30).genomes
    for returns in (np.ones((30, 1)), np.array([[1.0], [2.0]])):
        kept, lengths = np.arange(len(returns)), np.ones(returns.shape, np.int64)
        batch = Batch(kept, genomes.take(kept), returns, returns, lengths, capped_share=0.0)
        following, _ = run.algorithm.step(state, batch, run.executor.weighted_noise_sum)
        assert following.mean.tobytes() == state.mean.tobytes()
        assert following.sigma.tobytes() == state.sigma.tobytes()
    with pytest.raises(ValidationError, match="greater than or equal to 3"):
        TypeAdapter(ALGORITHMS[name][1]).validate_python({"population": 2})


def test_random_search_keeps_the_statistics_that_its_best_was_found_with() -> None:
    run = FunctionSearch("random_search", toy(), population=6).generations(1)
    first = run.state
    assert first.theta.tobytes() == first.root.tobytes(), "nothing is kept of the generation that finds them"
    assert first.conditions.observations.count > 6
    state = run.generations(3).state
    assert state.theta.tobytes() != state.root.tobytes()
    assert state.conditions.observations.mean.tobytes() == first.conditions.observations.mean.tobytes()
    assert state.conditions.observations.m2.tobytes() == first.conditions.observations.m2.tobytes()


def test_localized_random_search_draws_members_near_the_best_so_far() -> None:
    run = FunctionSearch("random_search", sphere, population=6, normalize_observations=False, around="best")
    before = run.generations(2).state
    assert before.root.tobytes() == before.theta.tobytes()
    assert before.theta.any()
    far = FunctionSearch("random_search", sphere, population=6, normalize_observations=False).generations(40).state
    assert run.generations(38).state.best > far.best


@pytest.mark.parametrize("name", ["xnes", "cma_es"])
def test_a_fixed_population_cannot_grow(name: str) -> None:
    with pytest.raises(ValueError, match="min_timesteps=100: must be 0 for"):
        ALGORITHMS[name][1](min_timesteps=100)


@pytest.mark.parametrize("name", ["es", "pgpe", "nsr_es"])
def test_signs_feel_no_alive_bonus(name: str) -> None:
    with pytest.raises(ValueError, match=r"alive_bonus=1.0: shaping=sign reads only signs"):
        ALGORITHMS[name][1](shaping="sign", alive_bonus=1.0)
