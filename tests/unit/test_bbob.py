"""The functions of BBOB in short: what `python -m benchmarks bbob` measures, on an instance that it does not report."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks import bbob_bench, bbob_peers
from raes.types import UserError

pytest.importorskip("cocoex")

INSTANCE = [9]


def share(solver: str, dim: int, factor: int, functions: list[int] | None = None) -> dict[str, float]:
    arguments = bbob_bench.BBOBArguments(
        dims=[dim], budgets=[factor], instances=INSTANCE, functions=functions or list(range(1, 25))
    )
    return bbob_bench.measure(solver, bbob_peers.solver(solver), dim, factor * dim, arguments)


def test_the_default_solves_what_it_is_meant_to_and_as_much_as_the_peers() -> None:
    ours = share("raes", 5, 1000)
    assert ours["share"] > 0.6
    assert ours["ill_conditioned"] > 0.85
    assert ours["moderate"] > 0.9
    if bbob_peers.PEERS["cmaes"] and pytest.importorskip("cmaes"):
        assert ours["share"] > share("cmaes", 5, 1000)["share"] - 0.05


@pytest.mark.parametrize(
    "algorithm",
    [
        "snes",
        "xnes",
        "pgpe",
        "cem",
        "es",
        "ars",
        "ga",
        "gaussian_es",
        "canonical_es",
        "nsr_es",
        "nsra_es",
        "random_search",
    ],
)
def test_every_default_is_above_random_search_on_every_group(algorithm: str) -> None:
    ours, random = share(f"raes_{algorithm}", 5, 600), share("random", 5, 600)
    assert ours["share"] > 1.5 * random["share"]
    assert all(ours[group] >= random[group] - 0.03 for group in bbob_bench.GROUPS)


def test_a_search_is_ended_where_its_budget_or_its_targets_are() -> None:
    row = share("random", 2, 10, [1])
    assert row["triples"] == 10
    assert max(row["reached"], default=0) <= 20
    row = share("raes", 2, 1000, [1])
    assert row["share"] == 1.0
    assert len(row["reached"]) == 10
    assert row["reached"] == sorted(row["reached"])
    assert row["reached"][-1] < 500


def test_wrong_arguments_are_named() -> None:
    with pytest.raises(
        UserError, match="solvers=pycmaa: there is no such solver; there are raes, raes_ALGORITHM, pycma"
    ):
        bbob_peers.solver("pycmaa")
    with pytest.raises(ValueError, match=r"budgets=\[1\]: must hold one number for each"):
        bbob_bench.BBOBArguments(budgets=[1])
    with pytest.raises(ValueError, match="there are 1 to 24, and no 25"):
        bbob_bench.BBOBArguments(functions=[25])


def test_all_solvers_start_at_the_same_point() -> None:
    starts = []
    for name in ("raes", "random"):
        solve = bbob_peers.solver(name)

        def noting(function: object, x0: np.ndarray, *rest: object, solve: object = solve) -> None:
            starts.append(x0)

        bbob_bench.measure(name, noting, 2, 20, bbob_bench.BBOBArguments(dims=[2], budgets=[10], functions=[3]))
    assert np.array_equal(starts[:5], starts[5:])
