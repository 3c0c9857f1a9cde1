"""How the jobs of a sweep share CPUs, and what is refused before anything starts."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from raes.config.schema import from_tree
from raes.config.settings import RaySettings, RuntimeSettings
from raes.problems.function import FunctionSettings, FunctionSpec
from raes.runtime.scheduling import Node, Share, place_workers
from raes.search import running_stats
from raes.training.limits import RunOutcome
from raes.training.prepare import PreparedRun, _run_dir, _short, job_folder
from raes.training.sweep import SweepJob, check, labels, summary
from raes.types import UserError

NODES = st.lists(st.tuples(st.integers(0, 9), st.booleans()), min_size=1, max_size=6)


@given(NODES, st.integers(1, 8))
def test_every_cpu_is_one_jobs_and_shares_differ_by_one_at_most(nodes: list[tuple[int, bool]], jobs: int) -> None:
    cluster = [Node(str(number), cpus, draining) for number, (cpus, draining) in enumerate(nodes)]
    shares = [place_workers(cluster, None, Share(rank, jobs)) for rank in range(jobs)]
    for node in cluster:
        assert sum(share[node.node_id] for share in shares) == (0 if node.draining else node.cpus)
    counts = [sum(share.values()) for share in shares]
    assert max(counts) - min(counts) <= 1


@given(NODES, st.integers(0, 20))
def test_a_job_alone_has_all(nodes: list[tuple[int, bool]], most: int) -> None:
    cluster = [Node(str(number), cpus, draining) for number, (cpus, draining) in enumerate(nodes)]
    assert place_workers(cluster, most, Share(0, 1)) == place_workers(cluster, most)
    assert sum(place_workers(cluster, most, Share(1, 2)).values()) <= most


def jobs(count: int = 3, **changes: Any) -> list[SweepJob]:
    env, algorithm = {"name": "CartPole", "id": "CartPole-v1"}, {"name": "es", "pairs": 20}
    tree = {"env": env, "policy": {}, "algorithm": algorithm, "optimizer": {}, "generations": 1}
    config = from_tree(tree)
    configs = [replace(config, **({"seed": seed} | changes)) for seed in range(count)]
    spec, theta = FunctionSpec(FunctionSettings(call="x:y", dim=1)), np.zeros(1, np.float32)
    return [SweepJob((f"seed={one.seed}",), PreparedRun(one, spec, theta, running_stats.init(0))) for one in configs]


def test_a_number_of_jobs_is_taken_and_auto_leaves_it_open() -> None:
    assert check(jobs(), 2) == 2
    assert check(jobs(), "auto") is None


@pytest.mark.parametrize("parallel", [0, -1, "many", 1.5, True])
def test_other_numbers_of_jobs_are_refused(parallel: Any) -> None:
    with pytest.raises(UserError, match=r"hydra\.launcher\.parallel"):
        check(jobs(), parallel)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"runtime": RuntimeSettings("serial")}, "runtime=serial"),
        ({"generations": None}, "may never end"),
    ],
)
def test_what_cannot_run_side_by_side_is_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        check(jobs(**changes), "auto")


def test_jobs_without_a_limit_may_run_where_none_waits() -> None:
    assert check(jobs(generations=None), 3) == 3
    with pytest.raises(UserError, match="may never end"):
        check(jobs(generations=None), 2)


def test_jobs_on_several_rays_are_refused() -> None:
    one, two = jobs(2)
    prepared = replace(two.prepared, config=replace(two.config, ray=RaySettings("other:6379")))
    with pytest.raises(UserError, match=r"ray\.address"):
        check([one, replace(two, prepared=prepared)], "auto")


def test_labels_are_the_words_that_differ() -> None:
    assert labels([["algorithm=es", "env=Ant", "seed=0"], ["algorithm=ars", "env=Ant", "seed=0"]]) == [
        "algorithm=es",
        "algorithm=ars",
    ]
    assert labels([["seed=0"]]) == ["seed=0"]
    hidden = [["policy.hidden=[64,64]", "seed=0"], ["policy.hidden=[64,32]", "seed=0"]]
    assert labels(hidden) == ["policy.hidden=[64,64]", "policy.hidden=[64,32]"]


def test_the_summary_names_the_jobs_that_are_not_done() -> None:
    text = summary(
        [("seed=0", RunOutcome(0, "generation limit (3) reached")), ("seed=1", RunOutcome(1, "no actor starts"))]
    )
    assert text.splitlines()[0] == "sweep: 1 of 2 jobs are done"
    assert "seed=1: exit code 1, failed: no actor starts" in text
    assert "seed=0" not in text


def test_a_long_name_becomes_a_short_one_of_its_own() -> None:
    names = [f"algorithm.sigma={'1' * length}" for length in (100, 300, 301)]
    short = [_short(name) for name in names]
    assert short[0] == names[0]
    assert len({name[:200] for name in short[1:]}) == 1
    assert len(set(short)) == 3
    assert max(map(len, short)) < 255


@pytest.mark.parametrize(
    ("overrides", "folder"),
    [
        (["seed=0", "algorithm=es"], "algorithm-es__seed-0"),
        (["seed=0", "generations=5", "resume=auto", "workers=1", "algorithm.sigma=0.1"], "algorithm.sigma-0.1__seed-0"),
        (["++env.kwargs.x=-1", "seed=0"], "env.kwargs.x--1__seed-0"),
        (["policy.hidden=[64,32]"], "policy.hidden-_64_32_"),
        (["behavior='mod:f'", "start_from=runs/a b"], "behavior-_mod_f___start_from-runs_a_b"),
    ],
)
def test_a_jobs_folder_has_a_name_that_every_command_takes(overrides: list[str], folder: str) -> None:
    assert job_folder(overrides) == folder
    assert re.fullmatch(r"[\w.-]+", folder)


def test_a_sweep_that_began_under_the_former_names_goes_on_there(tmp_path: Path) -> None:
    config = replace(jobs(1)[0].config, run_dir=str(tmp_path))
    overrides = ["seed=0", "algorithm.sigma=0.1", "generations=5"]
    assert _run_dir(config, overrides) == str(tmp_path / "algorithm.sigma-0.1__seed-0")
    former = tmp_path / "algorithm.sigma=0.1,seed=0"
    former.mkdir()
    assert _run_dir(config, overrides) == str(former)
