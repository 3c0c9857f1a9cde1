"""metrics.jsonl and TensorBoard: the same figures, and no gap and no overlap after a resume."""

from __future__ import annotations

import json
import math
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from raes.storage.event_files import hyper_parameters
from raes.storage.metrics import MetricsWriter, flatten_config, read_records

CONFIG = {"seed": 0, "policy": {"hidden": [64, 64], "bins": None}, "env": {"kwargs": {}}}


def record(generation: int, offset: float = 0.0) -> dict[str, float]:
    """Even generations are evaluated: a key that does not apply is absent."""
    figures = {"progress/generation": generation, "returns/mean": 10.0 * generation + offset, "pool/actors": 2}
    return figures | ({"eval/return_mean": float(generation)} if generation % 2 == 0 else {})


def write(folder: Path, first: int, last: int, offset: float = 0.0, close: bool = True) -> MetricsWriter:
    writer = MetricsWriter(folder, CONFIG, first)
    for generation in range(first, last + 1):
        writer.write(record(generation, offset))
    writer.flush()
    if close:
        writer.close()
    return writer


def events(folder: Path) -> EventAccumulator:
    return EventAccumulator(str(folder / "tensorboard"), size_guidance={"scalars": 0}).Reload()


def assert_both_hold(folder: Path, expected: list[dict[str, float]]) -> None:
    assert read_records(folder / "metrics.jsonl") == expected
    read = events(folder)
    keys = {key for one in expected for key in one}
    assert set(read.Tags()["scalars"]) == keys
    for key in keys:
        wanted = [(one["progress/generation"], pytest.approx(one[key])) for one in expected if key in one]
        assert [(event.step, event.value) for event in read.Scalars(key)] == wanted


def test_both_hold_the_same_keys_values_and_steps(tmp_path: Path) -> None:
    write(tmp_path, 0, 5)
    assert_both_hold(tmp_path, [record(generation) for generation in range(6)])


@pytest.mark.parametrize("closed", [True, False], ids=["closed", "killed"])
@pytest.mark.parametrize("again", [1, 3, 5, 6])
def test_reopening_leaves_strictly_increasing_steps_without_a_gap(tmp_path: Path, again: int, closed: bool) -> None:
    first = write(tmp_path, 0, 5, close=closed)
    write(tmp_path, again, 7, offset=0.5)
    expected = [record(g) for g in range(again)] + [record(g, 0.5) for g in range(again, 8)]
    assert_both_hold(tmp_path, expected)
    if not closed:
        first.close()


def test_a_run_may_be_resumed_many_times(tmp_path: Path) -> None:
    for attempt, (first, last) in enumerate([(0, 4), (3, 3), (4, 8), (2, 6), (7, 9)]):
        write(tmp_path, first, last, offset=attempt / 10)
    offsets = [0.0, 0.0, 0.3, 0.3, 0.3, 0.3, 0.3, 0.4, 0.4, 0.4]
    assert_both_hold(tmp_path, [record(generation, offset) for generation, offset in enumerate(offsets)])


@pytest.mark.parametrize("again", [1, 3, 6])
def test_curves_against_timesteps_are_cut_where_their_generations_are(tmp_path: Path, again: int) -> None:
    config = CONFIG | {"tensorboard": {"by_timesteps": True}}
    for first, last in ((0, 5), (again, 7)):
        with closing(MetricsWriter(tmp_path, config, first)) as writer:
            for generation in range(first, last + 1):
                writer.write(record(generation, first / 10) | {"progress/timesteps": 100 * (generation + 1)})
    read = events(tmp_path)
    returns = [(100 * (g + 1), pytest.approx(10.0 * g + (again / 10) * (g >= again))) for g in range(8)]
    assert [(one.step, one.value) for one in read.Scalars("by_timesteps/returns/mean")] == returns
    assert [one.step for one in read.Scalars("by_timesteps/eval/return_mean")] == [100, 300, 500, 700]
    assert [one.step for one in read.Scalars("progress/timesteps")] == list(range(8))


def test_hyper_parameters_come_in_the_order_in_which_people_look_for_them() -> None:
    flat = {"workers": 2, "algorithm.rank": None, "algorithm.name": "es", "env.id": "Hopper-v5", "env.name": "Hopper",
            "seed": 3, "algorithm.sigma": 0.1, "optimizer.stepsize": 0.01, "algorithm.pairs": 8}  # fmt: skip
    found = hyper_parameters(flat, ("workers",))
    assert sorted(found) == [
        "1 env", "2 algorithm", "3 seed", "4 sigma", "5 stepsize", "7 pairs", "algorithm.rank",
    ]  # fmt: skip
    assert found["1 env"] == "Hopper-v5"
    assert found["5 stepsize"] == 0.01


def test_starting_over_leaves_nothing_of_before(tmp_path: Path) -> None:
    write(tmp_path, 0, 5)
    write(tmp_path, 0, 2, offset=0.5)
    assert_both_hold(tmp_path, [record(generation, 0.5) for generation in range(3)])


def test_a_line_and_an_event_cut_by_a_kill_are_passed_over(tmp_path: Path) -> None:
    write(tmp_path, 0, 3)
    with (tmp_path / "metrics.jsonl").open("a") as file:
        file.write('{"progress/generation": 4, "returns/me')
    (path,) = (tmp_path / "tensorboard").iterdir()
    path.write_bytes(path.read_bytes()[:-7])  # of generation 3, which runs again
    write(tmp_path, 3, 4)
    assert_both_hold(tmp_path, [record(generation) for generation in range(5)])


def test_every_line_is_an_object_of_flat_numbers_and_readable_before_the_end(tmp_path: Path) -> None:
    writer = write(tmp_path, 0, 3, close=False)
    lines = (tmp_path / "metrics.jsonl").read_text().splitlines()
    assert [json.loads(line) for line in lines] == [record(generation) for generation in range(4)]
    assert len(events(tmp_path).Scalars("returns/mean")) == 4
    writer.close()


def test_the_configuration_stands_in_tensorboard_once_also_after_a_resume(tmp_path: Path) -> None:
    write(tmp_path, 0, 2)
    write(tmp_path, 2, 3)
    read = events(tmp_path)
    assert set(read.Tags()["tensors"]) == {"config/text_summary", "custom_scalars__config__"}
    (text,) = read.Tensors("config/text_summary")
    for row in ("| seed | 0 |", "| policy.hidden | [64, 64] |", "| policy.bins | None |"):
        assert row in text.tensor_proto.string_val[0].decode()
    assert "_hparams_/session_start_info" in read.summary_metadata


def test_a_configuration_flattens_to_dotted_keys() -> None:
    assert flatten_config(CONFIG) == {
        "seed": 0, "policy.hidden": [64, 64], "policy.bins": None, "env.kwargs": {},
    }  # fmt: skip


def test_what_is_no_number_for_json_or_tensorboard_is_left_out(tmp_path: Path) -> None:
    """Returns of 1e308 have no finite mean."""
    figures = {"progress/generation": 0, "returns/mean": math.inf, "returns/std": math.nan, "returns/max": 1e308}
    with closing(MetricsWriter(tmp_path, {}, 0)) as writer:
        writer.write(figures, {"returns": np.array([1e308, -1e308])})
    (line,) = (tmp_path / "metrics.jsonl").read_text().splitlines()
    assert json.loads(line, parse_constant=pytest.fail) == {"progress/generation": 0, "returns/max": 1e308}
    assert events(tmp_path).Tags()["scalars"] == ["progress/generation"]


FOREIGN = [
    b"\xff\xfe\x00",
    b"[1]",
    b'{"a": 1}',
    b'{"progress/generation": "1"}',
    b'{"progress/generation": true}',
    b"[" * 9999,
]


@pytest.mark.parametrize("foreign", FOREIGN)
def test_lines_of_something_else_cost_no_record_and_are_kept_aside(tmp_path: Path, foreign: bytes) -> None:
    path = tmp_path / "metrics.jsonl"
    lines = [b'{"progress/generation": %d, "a": 1.5, "b": "x", "c": 1e999}' % number for number in range(4)]
    lines.insert(2, foreign)
    path.write_bytes(b"\n".join(lines) + b"\n")
    records = [{"progress/generation": number, "a": 1.5} for number in range(4)]
    assert read_records(path) == records
    MetricsWriter(tmp_path, {}, 3).close()
    assert read_records(path) == records[:3]
    assert (tmp_path / "damaged" / "metrics.jsonl").read_bytes() == b"\n".join(lines) + b"\n"
    MetricsWriter(tmp_path, {}, 2).close()
    assert len(list((tmp_path / "damaged").iterdir())) == 1


@pytest.mark.parametrize("content", [b"\x00\xff" * 40_000, b"x" * 20_000], ids=["binary", "text"])
def test_event_files_that_cannot_be_read_are_kept_aside(tmp_path: Path, content: bytes) -> None:
    write(tmp_path, 0, 3)
    name = "events.out.tfevents.0.x"
    (tmp_path / "tensorboard" / name).write_bytes(content)
    write(tmp_path, 2, 4)
    assert (tmp_path / "damaged" / name).read_bytes() == content
    assert_both_hold(tmp_path, [record(generation) for generation in range(5)])
