"""Every algorithm on Ray: the same bits as in one process, after a resume too."""

from __future__ import annotations

import shutil
import subprocess
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import ray

import raes
from raes.algorithms import ALGORITHMS
from raes.api.conditions import Limits
from raes.api.evaluators import Calls, evaluator
from raes.api.ray_evaluator import RayEvaluator
from raes.api.search_loop import FunctionSearch
from raes.runtime.session import connect
from raes.storage.checkpoint import read

from .helpers import WORLDS, Commands
from .shared_ray import SharedRay

TABLE_BYTES = 4 << 24
DIM, SEED = 6, 2
SMALL = {"population": 24, "parents": 8, "candidates": 4}
EVERY = sorted(ALGORITHMS)
ONE_FIFTH = Path(__file__).parents[2] / "examples" / "one_fifth.py"
TORCH_MODULES = Path(__file__).parents[1] / "unit" / "torch_modules.py"


def settings_of(algorithm: str) -> dict[str, Any]:
    """Small ones."""
    known = ALGORITHMS[algorithm][1].__dataclass_fields__
    if algorithm == "canonical_es":
        return {"population": 24}
    settings: dict[str, Any] = {key: value for key, value in SMALL.items() if key in known} or {"pairs": 12}
    return settings | ({"module": "examples.one_fifth:OneFifth"} if algorithm == "custom" else {})


def bumpy(x: np.ndarray) -> float:
    """A function with a fault now and then."""
    if int(1e4 * abs(x[0])) % 16 == 1:
        raise RuntimeError("broken here")
    return float(np.square(x - 0.5).sum() + 0.1 * np.cos(9 * x).sum())


@pytest.fixture(scope="module")
def joined(shared_ray: SharedRay) -> Iterator[None]:
    """The Ray of this process, whose workers get this file's functions sent along."""
    ray.cloudpickle.register_pickle_by_value(sys.modules[__name__])
    connect(shared_ray.address, 2, 2 * TABLE_BYTES)
    yield
    ray.shutdown()


@pytest.fixture(scope="module")
def two_workers(joined: None) -> Iterator[RayEvaluator]:
    """The workers that `raes.minimize` would start for each search."""
    with evaluator(bumpy, smallest=True, dim=DIM, calls=Calls(workers=2)) as evaluate:
        assert isinstance(evaluate, RayEvaluator)
        pool = evaluate.pool
        while pool.starting:
            pool.collect(0.1)
        yield evaluate


@pytest.mark.filterwarnings("ignore:the function has no finite value")
@pytest.mark.parametrize("algorithm", EVERY)
def test_two_workers_give_the_bits_of_one_process(two_workers: RayEvaluator, algorithm: str) -> None:
    settings = settings_of(algorithm)
    alone = raes.minimize(bumpy, np.zeros(DIM), algorithm=algorithm, budget=150, seed=SEED, **settings)
    optimizer = raes.Optimizer(algorithm, np.zeros(DIM), seed=SEED, **settings)
    together = FunctionSearch([optimizer], two_workers, Limits(150, np.inf, np.inf), smallest=True).run()
    assert alone.center.tobytes() == together.center.tobytes()
    assert alone.x.tobytes() == together.x.tobytes()
    assert alone.nfev == together.nfev == 150
    assert alone.failures == together.failures
    assert alone.center.any(), "the search has moved"


def test_workers_that_a_generation_does_not_fill_are_a_warning(joined: None) -> None:
    with pytest.warns(UserWarning, match="2 points, so that 1 of 3 workers are idle; parallel_runs=5 keeps"):
        found = raes.minimize(bumpy, np.zeros(1), algorithm="snes", population=2, workers=3, budget=1)
    assert found.nfev == 1
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        raes.minimize(bumpy, np.zeros(1), algorithm="snes", population=2, workers=3, budget=5, parallel_runs=5)


@pytest.mark.filterwarnings("ignore:the function has no finite value")
@pytest.mark.parametrize("algorithm", ["cma_es", "nsra_es"])
def test_minimize_starts_as_many_workers_as_it_is_given(joined: None, algorithm: str) -> None:
    alone, together = (
        raes.minimize(bumpy, np.zeros(DIM), algorithm=algorithm, budget=80, workers=workers, **settings_of(algorithm))
        for workers in (1, 2)
    )
    assert alone.center.tobytes() == together.center.tobytes()
    assert alone.x.tobytes() == together.x.tobytes()
    assert alone.evaluations == together.evaluations


ON_RAY = ("low_rank", "torch")
"""Searches that go on with two workers on Ray; the others in one process, as their rounds on Ray are tested above."""


@pytest.mark.parametrize(
    "words",
    [
        ("algorithm=nsra_es", "algorithm.pairs=6", "algorithm.agents=2"),
        ("algorithm=ga", "algorithm.population=12", "algorithm.parents=4", "algorithm.candidates=3"),
        ("algorithm=pgpe", "algorithm.pairs=4", "algorithm.min_timesteps=3000"),
        ("algorithm=xnes", "policy=linear"),
        (
            "algorithm=custom",
            "algorithm.module=one_fifth:OneFifth",
            "algorithm.population=10",
            "algorithm.kwargs={rate:1}",
        ),
        ("algorithm.perturbation=low_rank", "algorithm.rank=2", "policy.hidden=[24,24]", "algorithm.pairs=10"),
        ("policy=torch", "policy.module=torch_modules:Recurrent", "policy.kwargs={outputs:1}", "algorithm.pairs=4"),
    ],
    ids=lambda words: words[0].partition("=")[2],
)
def test_a_policy_search_that_was_stopped_goes_on_to_the_same_bits(
    commands: Commands, words: tuple[str, ...], request: pytest.FixtureRequest
) -> None:
    """Archive, chains, a growing population and a covariance are in the checkpoint."""
    runtime: tuple[str, ...] = ("runtime=serial",)
    if words[0].partition("=")[2] in ON_RAY:
        runtime = ("workers=2", *request.getfixturevalue("shared_ray").words())
    for module in (TORCH_MODULES, ONE_FIFTH):
        shutil.copy(module, commands.cwd)
    common = (
        "env=Pendulum",
        *words,
        "console=plain",
        "evaluation.every=0",
        "evaluation.episodes=1",
        "noise.size=1000000",
    )
    commands.run(*common, "runtime=serial", "generations=4", "run_dir=whole")
    commands.run(*common, "runtime=serial", "generations=2", "run_dir=parts")
    commands.run(*common, *runtime, "generations=4", "run_dir=parts", "resume=auto")
    whole, parts = (read(commands.cwd / name / "checkpoints" / "gen_000004") for name in ("whole", "parts"))
    assert whole.arrays.keys() == parts.arrays.keys()
    for name, array in whole.arrays.items():
        assert array.tobytes() == parts.arrays[name].tobytes(), name
    assert whole.state["search"] == parts.state["search"]


def test_rewards_paid_at_the_end_of_the_episode_change_nothing(commands: Commands) -> None:
    """Section 4.4 of Salimans et al.: only the return counts, so that delayed rewards are no harder."""
    common = ("env=gymnasium", "policy=linear", "runtime=serial", "console=plain", "algorithm.pairs=10",
              "evaluation.every=0", "evaluation.episodes=1", "generations=5", "noise.size=50000")  # fmt: skip
    commands.run(*common, "env.id=Hopper-v5", "run_dir=now")
    commands.run(*common, f"env.id={WORLDS}:LateHopper-v0", "run_dir=late")
    now, late = (read(commands.cwd / name / "checkpoints" / "gen_000005") for name in ("now", "late"))
    assert now.arrays["theta"].tobytes() == late.arrays["theta"].tobytes()


@pytest.mark.parametrize("name", ["policy.npz", "policy.pt"])
def test_an_exported_policy_acts_where_raes_is_not_installed(commands: Commands, name: str) -> None:
    small = ("algorithm.pairs=3", "evaluation.episodes=2", "noise.size=50000")
    commands.run("env=Pendulum", "runtime=serial", "console=plain", "generations=2", "run_dir=mine", *small)
    commands.run("run_dir=mine", f"out={name}", module="raes.export")
    script = commands.cwd / "alone.py"
    if name.endswith(".npz"):
        script.write_text(
            "import numpy\npolicy = numpy.load('policy.npz')\nexec(str(policy['act']))\n"
            "action = act(policy, numpy.ones(3))\nassert action.shape == (1,) and numpy.isfinite(action).all()\n"
        )
    else:
        script.write_text(
            "import torch\naction = torch.jit.load('policy.pt')(torch.ones(7, 3, dtype=torch.float64))\n"
            "assert action.shape == (7, 1) and action.isfinite().all()\n"
        )
    hide = "import sys; sys.modules['raes'] = None; import runpy; runpy.run_path('alone.py')"
    subprocess.run([sys.executable, "-c", hide], cwd=commands.cwd, check=True)
    assert "out=policy.txt" in commands.refuse("run_dir=mine", "out=policy.txt", module="raes.export")
