"""The benchmarks run, their figures make sense, and a wrong name or key is refused in one line."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import raes
from benchmarks.__main__ import BENCHES as DEVELOPERS_BENCHES
from raes.bench.__main__ import BENCHES
from raes.bench.measurement import against_bar, run_named
from raes.bench.rollout_bench import BARS, TASKS, cases
from raes.bench.timing import cpu_clock, interleave, median_ratio
from raes.config.cli import ending
from raes.console.tables import Column, Section, table

from .limits import SHORT_BENCHES


def run_bench(name: str, folder: Path, timeout: float = 240.0, words: Sequence[str] = ()) -> dict[str, Any]:
    out = folder / f"{name}.json"
    program = "raes.bench" if name in BENCHES else "benchmarks"
    command = [sys.executable, "-m", program, name, f"out={out}", *SHORT_BENCHES[name], *words]
    done = subprocess.run(command, capture_output=True, text=True, timeout=timeout)
    assert done.returncode == 0, done.stderr
    content: dict[str, Any] = json.loads(out.read_text())
    assert content["bench"] == name
    assert content["machine"]["cpu"]
    assert content["machine"]["cores"] >= 1
    assert content["date"]
    assert {"python", "numpy", "ray", "gymnasium", "mujoco", "raes"} <= content["versions"].keys()
    return content


def positive(row: dict[str, Any], *keys: str) -> bool:
    return all(row[key] > 0 for key in keys)


@pytest.mark.tools
def test_atari_compares_the_worker_with_the_bare_emulator_and_says_where_its_time_goes(tmp_path: Path) -> None:
    content = run_bench("atari", tmp_path)
    assert [(row["policy"], row["bar"]) for row in content["speed"]] == [("a3c", 0.50), ("nature", 0.33)]
    for row in content["speed"]:
        assert positive(row, "worker_frames_per_second", "emulator_frames_per_second", "against_bare", "episode_length")
    parts = [row["part"] for row in content["parts"]]
    assert {"emulator", "resize", "first convolution", "dense 3", "head", "reference batch"} <= set(parts)
    assert all(0.2 < row["ratio"] < 5 for row in content["forward"])  # above 1: unchanged windows are not computed
    assert all(positive(row, "ours", "vector") for row in content["vector"])
    assert all(20 < row["megabytes"] < 537 for row in content["memory"])


@pytest.mark.tools
def test_rollout_compares_the_worker_with_the_bare_loops(tmp_path: Path) -> None:
    rows = run_bench("rollout", tmp_path)["rows"]
    assert [(row["task"], row["policy"]) for row in rows] == [
        ("Hopper", "64-64"),
        ("Hopper", "256-256"),
        ("Humanoid", "linear"),
        ("Humanoid", "64-64"),
        ("Humanoid", "256-256"),
    ]
    assert [row["bar"] for row in rows] == [1.10, None, 1.20, 1.15, 1.05]
    for row in rows:
        assert positive(row, "worker_timesteps_per_second", "env_step_per_second", "native_step_per_second")
        assert positive(row, "mj_step_per_second", "against_bare", "microseconds_outside")
        assert row["against_bare_low"] <= row["against_bare"] <= row["against_bare_high"]
        assert 0.3 < row["of_mj_step"] < 1
        if row["policy"] != "linear":
            assert row["met"] == (None if row["bar"] is None else row["against_bare"] >= row["bar"])


@pytest.mark.tools
def test_workers_compares_several_with_one_and_with_the_machine(tmp_path: Path) -> None:
    [row] = run_bench("workers", tmp_path)["rows"]
    assert (row["task"], row["policy"], row["workers"], row["bar"]) == ("Hopper", "8", 2, 1.85)
    assert positive(row, "one", "several", "times_one", "machine", "busy", "driver_busy")
    assert row["times_one"] == row["several"] / row["one"]  # of one turn


@pytest.mark.tools
def test_timestep_shows_where_the_time_goes(tmp_path: Path) -> None:
    rows = run_bench("timestep", tmp_path)["rows"]
    assert {("linear", "full"), ("256-256", "rank 1"), ("64-64, PyTorch", "full")} <= {
        (row["policy"], row["perturbation"]) for row in rows
    }
    for row in rows:
        assert positive(row, "step", "network", "head", "rest", "all")
        assert row["all"] > row["step"] + row["network"]


@pytest.mark.tools
def test_share_compares_a_run_with_its_environment_alone(tmp_path: Path) -> None:
    run_dir = tmp_path / "run"
    raes.fit("CartPole", generations=2, runtime="serial", run_dir=str(run_dir), evaluation={"episodes": 1})
    [row] = run_bench("share", tmp_path, words=[f"run_dir={run_dir}"])["rows"]
    assert (row["environment"], row["workers"]) == ("CartPole", 1)
    assert positive(row, "run", "one", "at_once")
    assert row["share"] == row["run"] / row["at_once"]


@pytest.mark.parametrize(
    ("words", "message"), [([], "run_dir is missing"), (["run_dir=nowhere"], "nowhere"), (["seconds=0"], "seconds")]
)
def test_share_names_what_it_needs(words: list[str], message: str) -> None:
    command = [sys.executable, "-m", "raes.bench", "share", *words]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 2
    assert len(done.stderr.splitlines()) == 1
    assert message in done.stderr


@pytest.mark.tools
def test_models_measures_memory_time_and_bytes(tmp_path: Path) -> None:
    content = run_bench("models", tmp_path)
    [memory], [seconds], [traffic] = content["memory"], content["time"], content["traffic"]
    assert positive(memory, "weights", "largest", "idle", "training", "allowed")
    assert positive(seconds, "noise", "perturb", "generation", "per_member")
    assert 0 < traffic["bytes_per_member"] < traffic["bar"]


@pytest.mark.tools
def test_low_rank_compares_with_full_perturbations(tmp_path: Path) -> None:
    full, thin = run_bench("low_rank", tmp_path)["rows"]
    assert (full["rank"], thin["rank"], full["against_full"]) == ("full", "1", 1.0)
    assert full["noise"] == full["parameters"] == thin["parameters"] > 10 * thin["noise"]
    assert all(positive(row, "timesteps_per_second", "sum_milliseconds", "rounds") for row in (full, thin))


def test_rollout_has_a_row_for_every_bar() -> None:
    rows = cases(TASKS)
    assert len(rows) == len(set(rows)) == 14
    assert BARS.keys() <= set(rows)


@pytest.mark.tools
def test_update_compares_the_sum_with_its_rivals(tmp_path: Path) -> None:
    content = run_bench("update", tmp_path)
    assert [(row["parameters"], row["pairs"]) for row in content["rows"]] == [(50, 10), (2000, 300)]
    for row in content["rows"]:
        assert positive(row, "sum_seconds", "dots_seconds", "stacked_seconds", "share_of_dots", "share_of_memory")
        assert positive(row, "memory_gigabytes_per_second", "decode_gigabytes_per_second", "faster_than_stacked")
        assert row["rounds"] >= 5
    assert positive(content["table"][0], "floats", "seconds", "gigabytes_per_second")
    [shared] = content["shared"]
    assert (shared["parameters"], shared["pairs"], shared["bar"]) == (140_000, 1000, 1.7)
    assert shared["same_bits"] is True
    assert shared["met"] == (shared["times_one"] >= 1.7)
    assert positive(shared, "one_seconds", "two_seconds", "one_gigabytes_per_second", "two_gigabytes_per_second")


@pytest.mark.tools
def test_pool_measures_overhead_and_busy_time(tmp_path: Path) -> None:
    content = run_bench("pool", tmp_path)
    assert [row["workers"] for row in content["overhead"]] == [1, 2]
    assert [(row["workers"], row["pipeline"]) for row in content["busy"]] == [(1, 0), (2, 0), (2, 1)]
    assert all(positive(row, "results_per_second", "bytes_per_result") for row in content["overhead"])
    for row in content["busy"]:
        assert 0 < row["worker_busy_fraction"] <= 1.05
        assert 0 < row["driver_busy_fraction"] <= 1
        assert row["generations"] == 1
    assert [row["bar"] for row in content["busy"]] == [None, 0.95, 0.98]


@pytest.mark.tools
def test_parallel_runs_keep_workers_busy_whose_calls_take_unequal_times(tmp_path: Path) -> None:
    content = run_bench("functions", tmp_path)
    one, four = content["rows"]
    assert (one["parallel_runs"], four["parallel_runs"]) == (1, 4)
    for row in (one, four):
        assert (row["workers"], row["population"], row["evaluations"]) == (8, 16, 400)
        assert 0 < row["busy"] <= 1
    assert (one["bar"], four["bar"]) == (None, 0.9)
    assert four["busy"] > 0.8
    assert four["busy"] > one["busy"] + 0.1
    assert [(row["parallel_runs"], row["evaluations"]) for row in content["solved"]] == [(1, 100), (4, 100)]
    assert all(0 < row["share"] < 1 for row in content["solved"])


@pytest.mark.tools
def test_peers_runs_its_contenders_in_turns(tmp_path: Path) -> None:
    """The other libraries are in an environment of their own; here RAES alone is a contender."""
    [row] = run_bench("peers", tmp_path)["rows"]
    assert (row["task"], row["policy"], row["name"], row["raes_cpu"], row["bar"]) == (
        "InvertedPendulum", "8", "RAES", 1.0, None,
    )  # fmt: skip
    assert positive(row, "per_cpu_second", "per_second", "start_seconds", "worker_megabytes", "timesteps")
    assert row["rounds"] >= 3


@pytest.mark.slow
def test_chaos_changes_no_bit(tmp_path: Path) -> None:
    content = run_bench("chaos", tmp_path, timeout=600.0)
    quiet, chaos = content["runs"]
    assert quiet["theta"] == chaos["theta"]
    assert quiet["generations"] == chaos["generations"] == 6
    assert quiet["episodes_quarantined"] == chaos["episodes_quarantined"] == 0
    assert quiet["actors_lost"] == 0
    assert chaos["actors_lost"] >= 8
    [row] = content["chaos"]
    assert (row["actor_kills"], row["relay_kills"], row["node_kills"], row["nodes_added"]) == (8, 1, 1, 1)
    assert row["identical"]
    assert row["complete"]
    assert row["met"] == (row["seconds"] <= row["bar"])
    assert [line["generation"] for line in content["memory"]] == [10, 20, 30, 40, 50]
    assert all(positive(line, "megabytes") for line in content["memory"])


@pytest.mark.tools
def test_scale_measures_virtual_workers_with_and_without_relays(tmp_path: Path) -> None:
    content = run_bench("scale", tmp_path)
    for section in ("rows", "pipelined"):
        assert [(row["workers"], row["nodes"], row["relays"]) for row in content[section]] == [
            (16, 2, True),
            (16, 2, False),
        ]
    assert [(row["nodes"], row["episodes"]) for row in content["nodes"]] == [(1, 200), (2, 100)]
    for row in content["rows"] + content["pipelined"] + content["nodes"]:
        assert 0.3 < row["efficiency"] <= 1.02
        if not row["pipeline"]:
            assert 0.3 < row["of_ideal"] <= 1.2  # in another order it may take less
        assert positive(row, "driver_cpu_seconds", "driver_busy", "host_cpu_seconds", "generations")
        assert row["stretch"] == pytest.approx(max(1.0, 16 / (250 * row["mean_seconds"])))
        if row["relays"]:
            assert positive(row, "relay_cpu_seconds", "takes", "relay_busy")
    assert [row["relays"] for row in content["model"]] == [True, False]
    assert {row["workers"] for row in content["predicted"]} == {64, 1440, 4096, 8192, 65536}


@pytest.mark.parametrize(
    ("words", "named"),
    [
        ([], list(BENCHES)),
        (["speed"], ["speed", *BENCHES]),
        (["rollout", "second=3"], ["second"]),
        (["rollout", "seconds=0"], ["seconds", "0"]),
        (["rollout", "tasks=[Cheetah]"], ["Cheetah", "HalfCheetah"]),
        (["update", "cases=[[0,1]]"], ["cases"]),
        (["update", "shared=[0,1]"], ["shared"]),
        (["update", "out=/no/such/folder/x.json"], ["out", "/no/such/folder"]),
        (["pool", "pairs=0"], ["pairs", "0"]),
        (["pool", "fast"], ["fast", "key=value"]),
        (["chaos", "nodes=0"], ["nodes", "0"]),
        (["chaos", "node_kills=-1"], ["node_kills", "-1"]),
        (["scale", "workers=[1]"], ["workers", "nodes=16"]),
        (["scale", "episodes=3"], ["episodes", "3"]),
        (["scale", "policy=flying"], ["policy", "flying"]),
        (["scale", "picture=/no/such/folder/x.png"], ["/no/such/folder"]),
    ],
)
def test_a_wrong_word_is_named_with_exit_code_2(
    words: list[str], named: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    program, benches = ("raes.bench", BENCHES)
    if words and words[0] in DEVELOPERS_BENCHES:
        program, benches = ("benchmarks", DEVELOPERS_BENCHES)
    assert ending(lambda: run_named(program, benches, words)) == 2
    message = capsys.readouterr().err
    assert all(name in message for name in named)
    assert "Traceback" not in message


def test_interleave_times_every_loop_in_every_round() -> None:
    calls: list[str] = []
    loops = {"a": lambda: calls.append("a"), "b": lambda: calls.append("b")}
    taken = interleave(loops, seconds=0.0, min_rounds=3, clock=cpu_clock)
    assert calls == ["a", "b", "b", "a", "a", "b"]
    assert {name: len(values) for name, values in taken.items()} == {"a": 3, "b": 3}


def test_the_median_ratio_is_taken_within_rounds() -> None:
    assert median_ratio(np.array([1.0, 20.0, 3.0]), np.array([2.0, 40.0, 1.0])) == 0.5


def test_a_table_aligns_and_says_whether_a_bar_is_met() -> None:
    columns = (Column("name", "name"), Column("value", "value", ".2f"), Column("met", "met"))
    rows = [
        {"name": "a", "value": 1.0, **against_bar(1.0, 0.5)},
        {"name": "long", "value": 10.0, **against_bar(10.0, 20.0)},
        {"name": "c", "value": None, **against_bar(1.0, None)},
    ]
    lines = table(Section("rows", "title", columns, rows)).splitlines()
    assert lines == ["name  value  met", "a      1.00  yes", "long  10.00  NO", "c         -  -"]
