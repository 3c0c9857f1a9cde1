"""A worker: the same bits whatever shares its block, and failures as results."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from raes.policies import PolicySettings
from raes.problems.problem import Episode
from raes.results import Results
from raes.rng import Purpose, generator, reset_seed
from raes.runtime.worker import Worker, WorkerSpec
from raes.search.perturbation import Decoder
from raes.tasks import Snapshot, Tasks, evaluation_tasks
from raes.types import Float32

from .conftest import SmallES
from .worlds import LINEAR, toy

SEED = 3


def build(table: Float32, **kwargs: object) -> Worker:
    return Worker(WorkerSpec(toy(**kwargs), SEED), table)  # type: ignore[arg-type]


def tasks_for(num_params: int) -> Tasks:
    search = SmallES(num_params, observation_share=0.5, seed=SEED)
    return search.algorithm.ask(search.state, 0, 15)


@pytest.fixture
def tasks() -> Tasks:
    return tasks_for(8)


@pytest.fixture
def snapshot() -> Snapshot:
    theta = np.linspace(-1, 1, 8, dtype=np.float32)
    return Snapshot(0, theta, np.zeros(3), np.full(3, 1.5), action_noise=0.1)


def rows(parts: list[Results]) -> dict[int, tuple[object, ...]]:
    """All but the seconds, by the episode's index."""
    found: dict[int, tuple[object, ...]] = {}
    for part in parts:
        for record in part.records:
            found[int(record["index"])] = tuple(
                record[name].tobytes() for name in record.dtype.names if name != "seconds"
            )
        if part.moments is not None:
            for row, index in enumerate(part.moments.index.tolist()):
                found[index] += (part.moments.mean[row].tobytes(), part.moments.m2[row].tobytes())
    return found


@pytest.mark.kernels
@pytest.mark.parametrize("policy", [LINEAR, PolicySettings("mlp", (64, 7))], ids=["linear", "mlp"])
def test_an_episodes_bits_do_not_depend_on_what_shares_its_block(
    table: Float32, snapshot: Snapshot, policy: PolicySettings
) -> None:
    workers = [build(table, policy=policy) for _ in range(3)]
    theta = toy(policy).build().initial_theta(np.random.default_rng(0))
    tasks = tasks_for(theta.size)
    snapshot = dataclasses.replace(snapshot, theta=theta)
    whole = rows([workers[0].run(tasks, snapshot)])
    order = np.random.default_rng(0).permutation(len(tasks))
    shuffled = rows([workers[1].run(tasks.take(order), snapshot)])
    parts = np.array_split(order, 7)
    cut = rows([workers[number % 3].run(tasks.take(part), snapshot) for number, part in enumerate(parts)])
    assert whole == shuffled == cut
    assert len(whole) == 30


def test_a_result_is_the_episode_of_the_decoded_parameters(table: Float32, tasks: Tasks, snapshot: Snapshot) -> None:
    records = build(table).run(tasks, snapshot).records
    problem = toy().build()
    problem.use(snapshot)
    for row in (0, 1, 17):
        theta = Decoder(table, 8)(snapshot, tasks.genomes, row)
        seed = reset_seed(SEED, Purpose.TRAINING, 0, row - row % 2)
        noise_rng = generator(SEED, Purpose.ACTION_NOISE, 0, row)
        outcome = problem.evaluate(theta, Episode(seed, training=True, observe=False, noise_rng=noise_rng))
        assert records[row]["return"] == outcome.total
        assert records[row]["length"] == outcome.length == 5


def test_an_evaluation_is_without_noise_and_the_same_in_every_generation(table: Float32, snapshot: Snapshot) -> None:
    worker = build(table)
    quiet = Snapshot(0, snapshot.theta, snapshot.obs_mean, snapshot.obs_scale)
    first, later, held_out = (
        worker.run(evaluation_tasks(purpose, generation, 6), used).records["return"].tolist()
        for purpose, generation, used in [
            (Purpose.EVALUATION, 0, snapshot),
            (Purpose.EVALUATION, 9, quiet),
            (Purpose.HELD_OUT, 0, snapshot),
        ]
    )
    assert first == later
    assert len(set(first)) == 6
    assert not set(first) & set(held_out)


def test_a_broken_episode_is_a_fault_and_the_others_of_its_block_are_sound(
    table: Float32, tasks: Tasks, snapshot: Snapshot
) -> None:
    sound, broken = build(table).run(tasks, snapshot), build(table, fault="raise").run(tasks, snapshot)
    failed = broken.records["fault"]
    assert 0 < failed.sum() < len(tasks)
    assert np.isnan(broken.records["return"][failed]).all()
    assert [fault.index for fault in broken.faults] == broken.records["index"][failed].tolist()
    assert all("the joint is broken" in fault.reason for fault in broken.faults)
    np.testing.assert_array_equal(broken.records["return"][~failed], sound.records["return"][~failed])
    assert broken.moments is not None
    assert not set(broken.moments.index) & set(broken.records["index"][failed])


def test_workers_of_one_kind_have_one_digest_and_those_with_other_noise_another(table: Float32) -> None:
    other = table.copy()
    other[0] += 1
    assert build(table).digest() == build(table).digest()
    assert len({build(each).digest().split()[0] for each in (table, other)}) == 2
