"""The plan of kills is a pure function of its seed."""

from __future__ import annotations

from itertools import pairwise

from benchmarks.chaos_bench import compare
from benchmarks.killer import plan

KILLS = {"actor": 50, "relay": 3, "node": 5}


def test_a_seed_fixes_the_plan() -> None:
    assert plan(7, 20, KILLS) == plan(7, 20, KILLS)
    assert plan(7, 20, KILLS) != plan(8, 20, KILLS)


def test_a_plan_has_all_kills_in_order_and_within_the_run() -> None:
    kills = plan(0, 20, KILLS)
    assert {kind: sum(kill.kind == kind for kill in kills) for kind in KILLS} == KILLS
    assert all(0 <= kill.generation < 20 and 0 <= kill.share < 1 and 0 <= kill.draw < 1 for kill in kills)
    places = [kill.generation + kill.share for kill in kills]
    assert places == sorted(places)


def test_kills_of_a_kind_are_spread_over_the_run() -> None:
    nodes = [kill.generation + kill.share for kill in plan(3, 20, KILLS) if kill.kind == "node"]
    assert [int(place // 4) for place in nodes] == [0, 1, 2, 3, 4]
    assert all(one < other for one, other in pairwise(nodes))


def test_no_kills_no_plan() -> None:
    assert plan(0, 20, {"actor": 0, "node": 0}) == []


def test_the_bar_wants_the_same_bits_all_generations_and_the_time() -> None:
    kills = {"actor": 2, "relay": 1, "node": 1}
    quiet = {"seconds": 10.0, "theta": "a", "generations": 4, "episodes_quarantined": 0}
    row = compare(quiet, quiet | {"seconds": 32.0}, kills, 4)
    assert (row["bar"], row["seconds_lost"], row["met"]) == (15 + 9 + 8, 22.0, True)
    for wrong in ({"seconds": 32.1}, {"theta": "b"}, {"generations": 3}, {"episodes_quarantined": 1}):
        assert compare(quiet, quiet | wrong, kills, 4)["met"] is False
