"""Kept failed episodes: whole or refused, the newest only, and found by their numbers."""

from __future__ import annotations

import dataclasses
import os
import shlex
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from raes.results import FailedTasks
from raes.rng import Purpose
from raes.storage import failed_episodes
from raes.tasks import Genomes, Lineages, Snapshot, Tasks, evaluation_tasks
from raes.types import UserError

FULL = Snapshot(7, np.linspace(-1, 1, 5, dtype=np.float32), np.arange(3.0), np.full(3, 1.5), 4.0, 0.1, 250)
BARE = Snapshot(7, np.ones(2, np.float32))


def training(generation: int, index: list[int], purpose: int = Purpose.TRAINING) -> Tasks:
    """Tasks whose every field tells of their index."""
    numbers = np.array(index)
    genomes = Genomes(numbers * 11, np.where(numbers % 2, -0.05, 0.05).astype(np.float32))
    return Tasks(purpose, generation, numbers, numbers // 2 + 100, numbers % 3 == 0, genomes)


def failed(tasks: Tasks) -> FailedTasks:
    return FailedTasks(tasks, tuple(f"broken {index}" for index in tasks.index.tolist()))


def evaluation(generation: int, index: int) -> Tasks:
    return evaluation_tasks(Purpose.EVALUATION, generation, 10).take(np.array([index]))


def content(found: tuple[Snapshot, list[FailedTasks]]) -> list[object]:
    """Values, dtypes and shapes."""
    values: list[object] = []
    for part in (found[0], *found[1]):
        for value in _leaves(dataclasses.asdict(part)):
            is_array = isinstance(value, np.ndarray)
            values.append((value.dtype, value.shape, value.tobytes()) if is_array else (type(value), value))
    return values


def _leaves(value: object) -> list[object]:
    return [leaf for one in value.values() for leaf in _leaves(one)] if isinstance(value, dict) else [value]


@pytest.mark.parametrize("snapshot", [FULL, BARE], ids=["full", "bare"])
def test_what_is_saved_is_loaded_again_without_pickle(tmp_path: Path, snapshot: Snapshot) -> None:
    blocks = [failed(training(7, [2, 3])), failed(evaluation(7, 1))]
    path = failed_episodes.save(tmp_path, snapshot, blocks)
    assert path == tmp_path / "faults" / "gen_000007.npz"
    with np.load(path, allow_pickle=False) as archive:
        assert archive["snapshot/theta"].dtype == np.float32
        assert not any(archive[name].dtype.hasobject for name in archive.files)
    loaded = failed_episodes.load(tmp_path, 7)
    assert content(loaded)[: len(dataclasses.fields(Snapshot))] == content((snapshot, []))
    assert [type(block.tasks.purpose) for block in loaded[1]] == [Purpose, Purpose]
    assert content(loaded) == content((snapshot, blocks))


def test_a_generation_that_was_extended_has_several_blocks(tmp_path: Path) -> None:
    blocks = [failed(training(7, [2])), failed(training(7, [8, 9])), failed(evaluation(7, 0))]
    failed_episodes.save(tmp_path, BARE, blocks)
    assert content(failed_episodes.load(tmp_path, 7)) == content((BARE, blocks))
    assert failed_episodes.find(tmp_path, 7, Purpose.TRAINING, 9)[1].reasons == ("broken 9",)


def test_lineages_spreads_and_vectors_are_kept_too(tmp_path: Path) -> None:
    ones = np.ones(1, np.int64)
    lineages = Lineages(np.ones((1, 5), np.float32), 0 * ones, 2 * ones, np.array([3, 4]), 0.1)
    snapshot = dataclasses.replace(FULL, spread=np.full(5, 0.5, np.float32), lineages=lineages)
    one = training(7, [2])
    with_parent = dataclasses.replace(one, genomes=dataclasses.replace(one.genomes, parent=ones))
    with_vector = dataclasses.replace(
        one, genomes=dataclasses.replace(one.genomes, vectors=np.ones((1, 5), np.float32))
    )
    blocks = [failed(with_parent), failed(with_vector)]
    failed_episodes.save(tmp_path, snapshot, blocks)
    assert content(failed_episodes.load(tmp_path, 7)) == content((snapshot, blocks))


def test_saving_a_generation_again_replaces_its_file(tmp_path: Path) -> None:
    failed_episodes.save(tmp_path, FULL, [failed(training(7, [2, 3]))])
    failed_episodes.save(tmp_path, BARE, [failed(training(7, [5]))])
    assert content(failed_episodes.load(tmp_path, 7)) == content((BARE, [failed(training(7, [5]))]))
    assert [path.name for path in (tmp_path / "faults").iterdir()] == ["gen_000007.npz"]


def save(run_dir: Path, generation: int) -> None:
    failed_episodes.save(run_dir, dataclasses.replace(BARE, generation=generation), [failed(training(generation, [0]))])


def test_the_newest_twenty_files_stay(tmp_path: Path) -> None:
    for generation in range(999_990, 1_000_015):
        save(tmp_path, generation)
    assert failed_episodes.generations(tmp_path) == list(range(999_995, 1_000_015))


def test_after_a_step_back_what_is_written_last_stays(tmp_path: Path) -> None:
    for generation in range(100, 120):
        save(tmp_path, generation)
        os.utime(tmp_path / "faults" / f"gen_000{generation}.npz", ns=(generation, generation))
    save(tmp_path, 3)
    assert failed_episodes.generations(tmp_path) == [3, *range(101, 120)]


@pytest.mark.parametrize(
    "damage", [b"", b"PK", b"\x93NUMPY", b"no archive", None], ids=["empty", "cut", "numpy", "text", "foreign"]
)
def test_a_damaged_file_is_refused_by_its_name(tmp_path: Path, damage: bytes | None) -> None:
    save(tmp_path, 6)
    save(tmp_path, 7)
    path = tmp_path / "faults" / "gen_000007.npz"
    if damage is None:
        np.savez(path, theta=np.zeros(3))
    else:
        path.write_bytes(damage)
    with pytest.raises(UserError, match=r"faults/gen_000007\.npz is damaged.*replay another generation: 6$"):
        failed_episodes.find(tmp_path, 7, Purpose.TRAINING, 0)
    assert failed_episodes.find(tmp_path, 6, Purpose.TRAINING, 0)


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, bytes]:
    run_dir = tmp_path_factory.mktemp("run")
    return run_dir, failed_episodes.save(run_dir, FULL, [failed(training(7, [2, 3]))]).read_bytes()


@given(data=st.data())
def test_a_flipped_bit_is_refused_or_changes_nothing(sound: tuple[Path, bytes], data: st.DataObject) -> None:
    run_dir, whole = sound
    changed = bytearray(whole)
    changed[data.draw(st.integers(0, len(whole) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    (run_dir / "faults" / "gen_000007.npz").write_bytes(changed)
    try:
        found = failed_episodes.load(run_dir, 7)
    except UserError:
        return
    assert content(found) == content((FULL, [failed(training(7, [2, 3]))]))


def test_one_task_is_found_by_purpose_and_index(tmp_path: Path) -> None:
    failed_episodes.save(tmp_path, FULL, [failed(training(7, [2, 5, 9])), failed(evaluation(7, 5))])
    for purpose, tasks in ((Purpose.TRAINING, training(7, [5])), (Purpose.EVALUATION, evaluation(7, 5))):
        snapshot, found = failed_episodes.find(tmp_path, 7, purpose, 5)
        assert content((snapshot, [found])) == content((FULL, [failed(tasks)]))


@pytest.mark.parametrize(
    ("generation", "purpose", "index", "words"),
    [
        (8, Purpose.TRAINING, 2, "generation=8: .* it keeps those of generations 6, 7$"),
        (-1, Purpose.TRAINING, 2, "generation=-1: .* it keeps those of generations 6, 7$"),
        (
            7,
            Purpose.TRAINING,
            5,
            "index=5 purpose=training: .*there are purpose=training index 2, 3; purpose=evaluation index 5$",
        ),
        (7, Purpose.EVALUATION, 2, "index=2 purpose=evaluation: .* purpose=evaluation index 5$"),
        (6, Purpose.EVALUATION, 0, "index=0 purpose=evaluation: .* there are purpose=training index 0$"),
    ],
)
def test_what_is_not_kept_is_said_with_what_is(
    tmp_path: Path, generation: int, purpose: Purpose, index: int, words: str
) -> None:
    save(tmp_path, 6)
    failed_episodes.save(tmp_path, FULL, [failed(training(7, [2, 3])), failed(evaluation(7, 5))])
    with pytest.raises(UserError, match=words):
        failed_episodes.find(tmp_path, generation, purpose, index)


def test_a_run_without_faults_and_one_with_many_are_told_shortly(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"generation=0: .* no episode of this run has failed$"):
        failed_episodes.load(tmp_path, 0)
    failed_episodes.save(tmp_path, BARE, [failed(training(7, list(range(2_000))))])
    with pytest.raises(UserError, match="28, 29, and 1970 more") as caught:
        failed_episodes.find(tmp_path, 7, Purpose.TRAINING, 2_000)
    assert len(str(caught.value)) < 400


def test_the_command_is_ready_for_a_shell() -> None:
    command = failed_episodes.replay_command(Path("/runs/it's mine; rm *"), 3, 14, Purpose.TRAINING)
    words = ["python", "-m", "raes.replay", "run_dir=/runs/it's mine; rm *", "generation=3", "index=14"]
    assert shlex.split(command) == words
    command = failed_episodes.replay_command("/runs/plain", 3, 1, Purpose.EVALUATION)
    assert command == "python -m raes.replay run_dir=/runs/plain generation=3 index=1 purpose=evaluation"


def test_a_report_names_each_fault_with_its_command(tmp_path: Path) -> None:
    assert failed_episodes.report(tmp_path, 4, BARE, []) == []
    assert not (tmp_path / "faults").exists()
    lines = failed_episodes.report(tmp_path, 4, BARE, [failed(training(7, [2, 3, 6, 7])), failed(evaluation(7, 1))])
    commands = [failed_episodes.replay_command(tmp_path, 7, index, Purpose.TRAINING) for index in (2, 7)]
    assert len(lines) == 5
    assert lines[0] == f"episode left out (seed=4, generation=7, index=2): broken 2; replay: {commands[0]}"
    assert lines[3].endswith(f"index=7): broken 7; replay: {commands[1]}")
    assert lines[4].startswith("evaluation episode left out (seed=4, generation=7, index=1): broken 1; replay: ")
    assert lines[4].endswith(" index=1 purpose=evaluation")
    assert len(failed_episodes.load(tmp_path, 7)[1]) == 2


def test_a_report_of_many_faults_is_short_and_the_file_is_whole(tmp_path: Path) -> None:
    lines = failed_episodes.report(tmp_path, 4, BARE, [failed(training(7, list(range(40))))])
    assert len(lines) == 6
    assert "index=4): broken 4" in lines[4]
    assert lines[5] == f"... and 35 more, kept in {tmp_path / 'faults' / 'gen_000007.npz'}"
    assert len(failed_episodes.load(tmp_path, 7)[1][0].reasons) == 40


def test_long_reasons_do_not_fill_the_disk(tmp_path: Path) -> None:
    tasks = training(7, list(range(100)))
    path = failed_episodes.save(tmp_path, BARE, [FailedTasks(tasks, ("x" * 1_000_000,) * 100)])
    assert path.stat().st_size < 100_000
    assert failed_episodes.find(tmp_path, 7, Purpose.TRAINING, 99)[1].reasons == ("x" * 10_000,)
