"""Low-rank perturbations: what they are, their sum, and episodes side by side."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from raes.algorithms.es import ES, ESSettings
from raes.policies import MLP, ActionSpec, PolicySettings
from raes.policies.batched import BatchedMLP
from raes.policies.heads import Continuous
from raes.problems.episode import EpisodeSpec
from raes.problems.lockstep import LANES
from raes.results import Results
from raes.runtime.worker import Worker, WorkerSpec
from raes.search import low_rank, running_stats
from raes.search.optimizers import OptimizerSettings
from raes.search.perturbation import Decoder
from raes.tasks import Genomes, Layers, LowRank, Snapshot, Tasks
from raes.types import Float32, UserError

from .alignment import ALIGNMENTS, at, buffers_at
from .worlds import toy

NETWORK = PolicySettings("mlp", (24, 17))
FORM = LowRank(2, ((5, 3, 1), (4, 5, 0)))


def drawn(size: int, seed: int = 0) -> Float32:
    return np.random.default_rng(seed).standard_normal(size, dtype=np.float32)


def test_a_perturbation_is_the_product_of_its_factors() -> None:
    noise = drawn(FORM.noise_size)
    assert FORM.noise_size == 2 * (5 + 3) + 5 + 2 * (4 + 5)
    left, right, bias = noise[:10].reshape(2, 5), noise[10:16].reshape(2, 3), noise[16:21]
    first = sum(np.outer(left[j], right[j]) for j in range(2)) / np.sqrt(2)
    left, right = noise[21:29].reshape(2, 4), noise[29:].reshape(2, 5)
    second = sum(np.outer(left[j], right[j]) for j in range(2)) / np.sqrt(2)
    expected = np.concatenate([np.column_stack([first, bias]).ravel(), second.ravel()])
    np.testing.assert_allclose(low_rank.perturbation(FORM, noise), expected, rtol=1e-5, atol=1e-6)


def test_its_numbers_have_mean_0_and_variance_1() -> None:
    for rank in (1, 4):
        form = LowRank(rank, ((40, 30, 1),))
        all_noise = np.stack([low_rank.perturbation(form, drawn(form.noise_size, seed)) for seed in range(300)])
        assert abs(all_noise.mean()) < 0.01
        assert abs(all_noise.var() - 1) < 0.03


@pytest.mark.parametrize("count", [1, 7, 600])
def test_the_sum_is_that_of_the_perturbations(table: Float32, count: int) -> None:
    rng = np.random.default_rng(1)
    index = rng.integers(0, table.size - FORM.noise_size, count)
    weights = drawn(count, 2)
    each = [low_rank.perturbation(FORM, table[start : start + FORM.noise_size]) for start in index]
    expected = (weights[:, None].astype(np.float64) * np.stack(each)).sum(axis=0)
    found = low_rank.weighted_sum(FORM, table, index, weights)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-4)
    assert found.tobytes() == low_rank.weighted_sum(FORM, table, index, weights).tobytes()


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("rank", [1, 3])
def test_a_lane_acts_like_the_network_with_the_decoded_parameters(table: Float32, rank: int, bias: bool) -> None:
    problem = toy(PolicySettings("mlp", (24, 17), bias=bias)).build()
    policy, form = problem.policy, LowRank(rank, problem.layers)
    assert isinstance(policy, MLP)
    batched = BatchedMLP(3, policy.head, PolicySettings("mlp", (24, 17), bias=bias), form, LANES)
    snapshot = Snapshot(0, policy.initial_theta(np.random.default_rng(0)), low_rank=form)
    genomes = Genomes(np.arange(LANES) * 50, np.tile(np.array([0.3, -0.3], np.float32), LANES // 2))
    batched.set_parameters(snapshot.theta)
    observations = np.random.default_rng(1).standard_normal((LANES, 3))
    mean, scale = np.full(3, 0.2), np.full(3, 1.5)
    for network in (policy, batched):
        network.set_normaliser(mean, scale, 5.0)
    for lane in range(LANES):
        batched.set_lane(lane, table[50 * lane : 50 * lane + form.noise_size], float(genomes.scale[lane]))
    side_by_side = batched.outputs(observations).copy()
    decode = Decoder(table, policy.num_params)
    for lane in range(LANES):
        policy.set_parameters(decode(snapshot, genomes, lane))
        np.testing.assert_allclose(side_by_side[lane], policy.outputs(observations[lane]), rtol=1e-4, atol=1e-6)


class Lanes:
    """A batched network, and genomes and observations for as many lanes as it has; all arrays begin at `offset`."""

    def __init__(self, shape: tuple[int, int], hidden: tuple[int, ...], rank: int, bias: bool, offset: int = 0) -> None:
        inputs, outputs = shape
        head = Continuous(ActionSpec("box", (outputs,), "float32", np.full(outputs, -1.0), np.full(outputs, 1.0)))
        network = PolicySettings("mlp" if hidden else "linear", hidden, bias=bias, init_norm=1.0)
        alone = MLP(inputs, head, network)
        form = LowRank(rank, alone.layer_sizes)
        self._noise = at(offset, drawn(LANES * form.noise_size, 1).reshape(LANES, -1))
        self._observations = at(offset, 3 * np.random.default_rng(2).standard_normal((LANES, inputs)))
        with buffers_at(offset):
            self._policy = BatchedMLP(inputs, head, network, form, LANES)
        self._policy.set_parameters(at(offset, alone.initial_theta(np.random.default_rng(0)) + 0.1))
        self._policy.set_normaliser(np.full(inputs, 0.2), np.full(inputs, 0.7), 5.0)

    def run(self, members: Sequence[int], others: float = 0.0) -> dict[int, bytes]:
        """What these members act, side by side in the first lanes; the observations of the other lanes are `others`."""
        for lane, member in enumerate(members):
            self._policy.set_lane(lane, self._noise[member], -0.3 if member % 2 else 0.3)
        observations = np.full_like(self._observations, others)
        observations[: len(members)] = self._observations[list(members)]
        with np.errstate(invalid="ignore"):
            outputs = self._policy.outputs(observations)
        return {member: outputs[lane].tobytes() for lane, member in enumerate(members)}


@pytest.mark.kernels
@pytest.mark.parametrize(
    ("shape", "hidden", "rank", "bias"),
    [
        ((17, 6), (64, 64), 1, True),
        ((25, 2), (17, 24), 3, False),
        ((348, 17), (256,), 1, True),
        ((3, 1), (300,), 4, True),
        ((1, 5), (), 1, False),
    ],
    ids=str,
)
def test_a_lanes_bits_depend_on_the_lane_alone(
    shape: tuple[int, int], hidden: tuple[int, ...], rank: int, bias: bool
) -> None:
    """Not on its number, nor on the other lanes, nor on where in memory anything lies."""
    whole = Lanes(shape, hidden, rank, bias).run(range(LANES))
    assert len(set(whole.values())) == LANES
    lanes = {offset: Lanes(shape, hidden, rank, bias, offset) for offset in (*ALIGNMENTS, 4, 60)}

    @settings(max_examples=25)
    @given(
        st.sampled_from(sorted(lanes)),
        st.permutations(range(LANES)),
        st.integers(1, LANES),
        st.sampled_from([0.0, 1e30, np.inf, np.nan]),
    )
    def check(offset: int, order: list[int], count: int, others: float) -> None:
        found = lanes[offset].run(order[:count], others)
        assert found == {member: whole[member] for member in order[:count]}

    check()


@pytest.mark.kernels
@pytest.mark.parametrize("layers", [((17, 25, 1), (1, 17, 1)), ((256, 64, 0), (6, 256, 0))], ids=str)
def test_the_sums_bits_do_not_depend_on_where_the_table_lies(layers: Layers) -> None:
    form, table = LowRank(2, layers), drawn(20_000)
    index = np.random.default_rng(1).integers(0, table.size - form.noise_size, 300)
    expected = low_rank.weighted_sum(form, table, index, drawn(300, 2))
    one = low_rank.perturbation(form, table[3 : 3 + form.noise_size])
    for offset in ALIGNMENTS:
        moved = at(offset, table)
        assert low_rank.weighted_sum(form, moved, index, at(offset, drawn(300, 2))).tobytes() == expected.tobytes()
        assert low_rank.perturbation(form, moved[3 : 3 + form.noise_size]).tobytes() == one.tobytes()


def started(spec: EpisodeSpec, table: Float32, rank: int = 1, pairs: int = 20) -> tuple[Tasks, Snapshot]:
    """A generation of the search and its snapshot."""
    problem = spec.build()
    settings = ESSettings(pairs=pairs, perturbation="low_rank", rank=rank, action_noise=0.1, observation_share=0.5)
    search = ES(settings, OptimizerSettings(), 3, table.size, problem.layers)
    state = search.init(problem.initial_theta(np.random.default_rng(0)), running_stats.init(problem.observation_size))
    return search.ask(state, 0, pairs), search.snapshot(state)


def rows(parts: list[Results]) -> dict[int, bytes]:
    """All but the seconds, by the episode's index."""
    found = {}
    for part in parts:
        for record in part.records:
            kept = [record[name].tobytes() for name in record.dtype.names if name != "seconds"]
            found[int(record["index"])] = b"".join(kept)
        if part.moments is not None:
            for row, index in enumerate(part.moments.index.tolist()):
                found[index] += part.moments.mean[row].tobytes() + part.moments.m2[row].tobytes()
    return found


@pytest.mark.kernels
@pytest.mark.parametrize("hidden", [(24, 17), (64, 64)], ids=str)
@pytest.mark.parametrize("rank", [1, 2])
def test_an_episodes_bits_do_not_depend_on_what_runs_beside_it(
    table: Float32, rank: int, hidden: tuple[int, ...]
) -> None:
    spec = toy(PolicySettings("mlp", hidden, init_norm=1.0), length=9)
    tasks, snapshot = started(spec, table, rank)
    whole = rows([Worker(WorkerSpec(spec, 3), table).run(tasks, snapshot)])
    order = np.random.default_rng(0).permutation(len(tasks))
    shuffled = rows([Worker(WorkerSpec(spec, 3), table).run(tasks.take(order), snapshot)])
    worker = Worker(WorkerSpec(spec, 3), table)
    cut = rows([worker.run(tasks.take(part), snapshot) for part in np.array_split(order, 11)])
    assert whole == shuffled == cut
    assert len(whole) == 40


@pytest.mark.kernels
@pytest.mark.parametrize("fault", ["raise", "nan reward", "nan observation", "nan at the end"])
def test_a_fault_in_one_lane_touches_no_other(table: Float32, fault: str) -> None:
    healthy, faulty = toy(NETWORK), toy(NETWORK, fault=fault)
    tasks, snapshot = started(healthy, table)
    good = Worker(WorkerSpec(healthy, 3), table).run(tasks, snapshot).records
    found = Worker(WorkerSpec(faulty, 3), table).run(tasks, snapshot)
    failed = found.records["fault"]
    assert 0 < failed.sum() < len(tasks)
    assert {reason.index for reason in found.faults} == set(found.records["index"][failed].tolist())
    np.testing.assert_array_equal(found.records["return"][~failed], good["return"][~failed])


def test_the_seconds_of_a_block_are_shared_by_the_timesteps(table: Float32) -> None:
    spec = toy(NETWORK)
    tasks, snapshot = started(spec, table)
    seconds = Worker(WorkerSpec(spec, 3), table).run(tasks, snapshot).records["seconds"]
    assert (seconds > 0).all()
    np.testing.assert_allclose(seconds, seconds[0], rtol=1e-6)


def test_an_evaluation_needs_no_noise(table: Float32) -> None:
    spec = toy(NETWORK)
    tasks, snapshot = started(spec, table)
    still = dataclasses.replace(tasks, genomes=Genomes(np.zeros(40, np.int64), np.zeros(40, np.float32)))
    snapshot = dataclasses.replace(snapshot, action_noise=0.0)
    side_by_side = Worker(WorkerSpec(spec, 3), np.zeros(1, np.float32)).run(still, snapshot)
    alone = Worker(WorkerSpec(spec, 3), np.zeros(1, np.float32)).run(
        still, dataclasses.replace(snapshot, low_rank=None)
    )
    np.testing.assert_allclose(side_by_side.records["return"], alone.records["return"], rtol=1e-5)


def test_a_policy_that_gains_nothing_is_refused() -> None:
    settings = ESSettings(perturbation="low_rank", rank=30)
    with pytest.raises(UserError, match=r"algorithm\.rank=30.*algorithm\.perturbation=full"):
        settings.sized(8, ((2, 3, 1),))
    with pytest.raises(UserError, match="has no layers"):
        settings.sized(8, ())
