"""`python -m raes.bench atari [out=FILE.json] [seconds=30] [games=[pong,...]]`: a worker on an Atari game, one thread.

The same episodes run twice, interleaved: by the worker as in training, reference batch included, and as a bare loop of
`ale.act` with the same actions, in turns of 50 timesteps. "Against bare" is the median of the bare
loop's seconds over the worker's, in which each round has its share of what an episode costs once. Loops are timed in
CPU seconds, so that other work on the machine counts little.

The second table shows the parts of a worker's timestep: medians of their wall time, measured inside the episodes.
The third compares the network's forward with the matrix products of all its windows, on inputs that are ready: above 1
it is faster, since windows that have not changed are not computed.
The fourth compares our environment with ale-py's vector environment, which preprocesses in C++ (one game, one thread);
the fifth shows the private memory of a worker's process.
"""

from __future__ import annotations

import multiprocessing
import time
from contextlib import closing
from dataclasses import dataclass, field

import numpy as np
import psutil
from threadpoolctl import threadpool_limits

from raes.bench.atari_contest import EPISODES, ROUND, AtariContest
from raes.bench.measurement import BAR_COLUMNS, BenchReport, TimedArguments, against_bar
from raes.bench.timing import cpu_clock, interleave, median_ratio
from raes.console.tables import Column, Row, Section
from raes.policies import ConvPolicy, ConvSettings
from raes.problems.atari import AtariEnvironment, AtariSettings
from raes.problems.random_play import random_play
from raes.types import Float32

NETWORKS = {
    "a3c": ConvSettings(),
    "nature": ConvSettings(convolutions=((32, 8, 4), (64, 4, 2), (64, 3, 1)), hidden=(512,)),
}
"""The networks of conf/policy."""
BARS = {"a3c": 0.50, "nature": 0.33}
"""The least share of the bare emulator's speed, on Pong."""
FORWARD_BAR = 0.60
MEMORY_BAR = 8 * 2**30 / 16 / 1e6
"""Megabytes of a worker: 16 of them fit into 8 GiB."""
MIN_ROUNDS = 3
FORWARDS = 200
"""Timesteps in a round, where only the network runs."""
SPEED = (
    Column("game", "game"),
    Column("policy", "policy"),
    Column("worker_frames_per_second", "worker frames/s", ",.0f"),
    Column("emulator_frames_per_second", "ale.act/s", ",.0f"),
    Column("against_bare", "against bare", ".3f"),
    *BAR_COLUMNS,
    Column("episode_length", "mean length", ",.0f"),
    Column("rounds", "rounds", "d"),
)
PARTS = (
    Column("game", "game"),
    Column("part", "part"),
    *(Column(name, f"{name}, us per timestep", ".1f") for name in NETWORKS),
)
FORWARD = (
    Column("policy", "policy"),
    Column("forward", "forward, us", ".1f"),
    Column("products", "products alone, us", ".1f"),
    Column("ratio", "products / forward", ".3f"),
    *BAR_COLUMNS,
)
VECTOR = (
    Column("game", "game"),
    Column("ours", "ours, frames/s", ",.0f"),
    Column("vector", "vector environment, frames/s", ",.0f"),
    Column("ratio", "ours / theirs", ".3f"),
)
MEMORY = (Column("policy", "policy"), Column("megabytes", "own memory, MB", ".0f"), *BAR_COLUMNS)


@dataclass(frozen=True)
class AtariBenchArguments(TimedArguments):
    """The keys.

    Attributes:
        games: ROMs of ale-py.
    """

    seconds: float = 30.0
    games: list[str] = field(default_factory=lambda: ["pong"])


def measure_game(game: str, seconds: float) -> tuple[list[Row], list[Row]]:
    """Rows of the first two tables."""
    speeds: list[Row] = []
    parts: dict[str, Row] = {}
    for name, settings in NETWORKS.items():
        contest = AtariContest(game, settings)
        passes = [contest.rounds()]
        end = time.perf_counter() + seconds
        while time.perf_counter() < end:
            passes.append(contest.rounds())
        worker, bare = (np.concatenate(column) for column in zip(*passes, strict=True))
        frames = ROUND * contest.env_settings.frame_skip
        ratio, act = median_ratio(bare, worker), float(np.median(bare))
        speeds.append(
            {
                "game": game,
                "policy": name,
                "worker_frames_per_second": frames / float(np.median(worker)),
                "emulator_frames_per_second": frames / act,
                "against_bare": ratio,
                **against_bar(ratio, BARS[name] if game == "pong" else None),
                "episode_length": contest.timesteps / len(EPISODES),
                "rounds": len(bare),
            }
        )
        for part, spent in contest.parts(1e6 * act / ROUND).items():
            parts.setdefault(part, {"game": game, "part": part})[name] = spent
        contest.close()
    whole = {name: sum(row.get(name, 0.0) for row in parts.values()) for name in NETWORKS}
    return speeds, [*parts.values(), {"game": game, "part": "all of these"} | whole]


def measure_forward(name: str, seconds: float) -> Row:
    """A row of the third table."""
    contest = AtariContest("pong", NETWORKS[name])
    policy = contest.problem.policy
    assert isinstance(policy, ConvPolicy)
    with closing(AtariEnvironment(contest.env_settings)) as env:
        observations = random_play(env, 2, np.random.default_rng(1)).reshape(2, -1)
    rng = np.random.default_rng(0)
    ready: list[tuple[Float32, Float32, Float32]] = []
    for layer in policy._layers:
        weights = rng.standard_normal((layer.units, layer.inputs), dtype=np.float32)
        positions = layer.output.size // layer.units
        inputs = rng.standard_normal((positions, layer.inputs), dtype=np.float32)
        if positions == 1:
            ready.append((weights, inputs[0], np.empty(layer.units, np.float32)))
        else:
            ready.append((inputs, np.ascontiguousarray(weights.T), np.empty((positions, layer.units), np.float32)))

    def forward() -> None:
        for number in range(FORWARDS):
            policy.outputs(observations[number % 2])

    def products() -> None:
        for _ in range(FORWARDS):
            for left, right, out in ready:
                np.dot(left, right, out=out)

    taken = interleave({"forward": forward, "products": products}, seconds, MIN_ROUNDS, cpu_clock)
    contest.close()
    median = {key: 1e6 * float(np.median(values)) / FORWARDS for key, values in taken.items()}
    ratio = median_ratio(taken["products"], taken["forward"])
    return {"policy": name, **median, "ratio": ratio, **against_bar(ratio, FORWARD_BAR)}


def measure_vector(game: str, seconds: float) -> Row:
    """A row of the fourth table: random actions, no network."""
    from ale_py.vector_env import AtariVectorEnv

    steps = 500
    env = AtariEnvironment(AtariSettings(game=game))
    vector = AtariVectorEnv(game, 1, num_threads=1, reward_clipping=False, use_fire_reset=False)
    actions = np.random.default_rng(0).integers(0, env.action_space.n, (steps, 1))  # type: ignore[attr-defined]

    def ours() -> None:
        env.reset(seed=1)
        for (action,) in actions:
            env.step(action)

    def theirs() -> None:
        vector.reset()
        for action in actions:
            vector.step(action)

    taken = interleave({"ours": ours, "theirs": theirs}, seconds, MIN_ROUNDS, cpu_clock)
    env.close()
    vector.close()
    speed = {key: 4 * steps / float(np.median(values)) for key, values in taken.items()}
    ratio = median_ratio(taken["theirs"], taken["ours"])
    return {"game": game, "ours": speed["ours"], "vector": speed["theirs"], "ratio": ratio}


def measure_memory(name: str) -> Row:
    """A row of the fifth table."""
    context = multiprocessing.get_context("spawn")
    with context.Pool(1) as pool:
        megabytes = pool.apply(_own_memory, (name,))
    return {"policy": name, "megabytes": megabytes, "bar": MEMORY_BAR, "met": megabytes <= MEMORY_BAR}


def _own_memory(name: str) -> float:
    """Megabytes that no other process shares, with Ray loaded as in an actor, after episodes; noise is shared."""
    import ray  # noqa: F401

    with threadpool_limits(1):
        contest = AtariContest("pong", NETWORKS[name])
        contest.worker_loop()
        return float(psutil.Process().memory_full_info().uss) / 1e6


def run(arguments: AtariBenchArguments) -> BenchReport:
    """All tables."""
    seconds = arguments.seconds
    with threadpool_limits(1):
        measured = [measure_game(game, seconds) for game in arguments.games]
        forwards = [measure_forward(name, seconds / 3) for name in NETWORKS]
        vectors = [measure_vector(game, seconds / 3) for game in arguments.games]
        memory = [measure_memory(name) for name in NETWORKS]
    return BenchReport(
        "atari",
        [
            Section(
                "speed", "One worker against the bare emulator, the same episodes; CPU seconds", SPEED,
                [row for speeds, _ in measured for row in speeds],
            ),
            Section("parts", "Where a timestep goes", PARTS, [row for _, parts in measured for row in parts]),
            Section("forward", "The network against its matrix products alone; CPU seconds", FORWARD, forwards),
            Section("vector", "One environment without a network; CPU seconds", VECTOR, vectors),
            Section("memory", "Private memory of a worker", MEMORY, memory),
        ],
    )  # fmt: skip
