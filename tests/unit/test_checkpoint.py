"""Checkpoints: whole or not there, and found by name."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

from raes.storage.checkpoint import CheckpointStore, DamagedCheckpointError, read
from raes.types import UserError


def arrays(generation: int) -> dict[str, np.ndarray]:
    return {"theta": np.full(5, generation, np.float32), "optimizer/first": np.arange(3.0)}


def save(store: CheckpointStore, *generations: int, best: bool = False) -> Path:
    for generation in generations:
        path = store.save(
            {"generation": generation, "config": {"seed": 0}}, arrays(generation), "best" if best else "latest"
        )
    return path


@pytest.fixture
def store(tmp_path: Path) -> CheckpointStore:
    return CheckpointStore(tmp_path, keep=3)


def test_what_is_saved_is_read_again_without_pickle(store: CheckpointStore) -> None:
    path = save(store, 7)
    checkpoint = read(path)
    assert path == store.folder / "gen_000007"
    assert {key: checkpoint.state[key] for key in ("generation", "config")} == {"generation": 7, "config": {"seed": 0}}
    with np.load(path / "arrays.npz", allow_pickle=False) as archive:
        assert archive["theta"].dtype == np.float32
        assert set(archive.files) == checkpoint.arrays.keys() == arrays(7).keys()
    for name, array in arrays(7).items():
        np.testing.assert_array_equal(checkpoint.arrays[name], array)
        assert checkpoint.arrays[name].dtype == array.dtype


def test_the_newest_stay_with_latest_and_best(store: CheckpointStore) -> None:
    save(store, 1)
    save(store, 2, best=True)
    save(store, 3, 4, 5, 6)
    assert store.names() == ["gen_000002", "gen_000004", "gen_000005", "gen_000006"]
    assert (store.pointed("latest"), store.pointed("best")) == ("gen_000006", "gen_000002")
    save(store, 6, best=True)  # the pointer moves; the old best is not kept any longer
    assert store.names() == ["gen_000004", "gen_000005", "gen_000006"]
    assert (store.folder / "best").read_text().strip() == "gen_000006"


def test_a_best_that_is_saved_is_not_the_latest(store: CheckpointStore) -> None:
    save(store, 4)
    save(store, 5, best=True)
    assert (store.pointed("latest"), store.pointed("best")) == ("gen_000004", "gen_000005")


def settled(store: CheckpointStore, value: float, chosen: bool, branch: bool = False) -> Path:
    """What a search that probes saves of generation 5, before and after it knows the answer."""
    state = {"generation": 5, "config": {"seed": 0}, "search": {"chosen": chosen}, "branch": branch}
    return store.save(state, {"theta": np.full(5, value, np.float32)}, "best" if chosen else "latest")


@pytest.mark.parametrize("value", [1.0, 2.0])
def test_what_a_search_settles_later_replaces_what_was_saved_before(store: CheckpointStore, value: float) -> None:
    settled(store, 1.0, chosen=False)
    settled(store, value, chosen=True)
    for which in ("latest", "best"):
        checkpoint = store.find(which)
        np.testing.assert_array_equal(checkpoint.arrays["theta"], value)
        assert checkpoint.state["search"] == {"chosen": True}
    assert [path.name for path in store.folder.iterdir() if path.is_dir()] == ["gen_000005"]


def test_a_branch_does_not_replace_the_run_s_own_checkpoint(store: CheckpointStore) -> None:
    settled(store, 1.0, chosen=False)
    settled(store, 2.0, chosen=True, branch=True)
    np.testing.assert_array_equal(store.find("best").arrays["theta"], 1.0)


# Damage.


def halve(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(bytes(content))


def changed(path: Path) -> None:
    path.write_text(path.read_text().replace('"seed": 0', '"seed": 1'))


@pytest.mark.parametrize(
    ("name", "damage", "words"),
    [
        ("arrays.npz", flip, "not a complete checkpoint.*checksum.*resume=PATH"),
        ("arrays.npz", halve, "not a complete checkpoint.*checksum.*resume=PATH"),
        ("arrays.npz", Path.unlink, "not a complete checkpoint.*resume=PATH"),
        ("state.json", halve, "not a complete checkpoint.*resume=PATH"),
        ("state.json", lambda path: path.write_text(""), "not a complete checkpoint"),
        ("state.json", lambda path: path.write_text("[1]"), "not a complete checkpoint"),
        ("state.json", lambda path: path.write_bytes(b"\xff\x00{"), "not a complete checkpoint"),
        ("state.json", changed, "does not match its checksum.*resume=PATH"),
    ],
)
def test_a_damaged_checkpoint_is_refused_and_passed_over(
    store: CheckpointStore, name: str, damage: object, words: str
) -> None:
    save(store, 1)
    path = save(store, 2)
    damage(path / name)  # type: ignore[operator]
    with pytest.raises(DamagedCheckpointError, match=f"gen_000002.*{words}"):
        read(path)
    newest, problems = store.newest()
    assert newest is not None
    assert newest.state["generation"] == 1
    assert len(problems) == 1
    assert "gen_000002" in problems[0]


def test_a_folder_without_its_state_is_no_checkpoint_and_is_written_anew(store: CheckpointStore) -> None:
    """A writer that was lost in the middle leaves one in a store: its state.json comes last."""
    save(store, 1)
    Path(save(store, 2) / "state.json").unlink()
    assert store.names() == ["gen_000001"]
    newest, problems = store.newest()
    assert newest is not None
    assert (newest.state["generation"], problems) == (1, [])
    store.rewind(1)
    save(store, 2)
    assert store.find("2").state["generation"] == 2


def test_no_checkpoint_and_only_damaged_ones_are_told_apart(store: CheckpointStore) -> None:
    assert store.newest() == (None, [])
    halve(save(store, 1) / "state.json")
    newest, problems = store.newest()
    assert newest is None
    assert len(problems) == 1


# A kill.


def test_a_folder_that_a_kill_left_is_never_taken_for_a_checkpoint(store: CheckpointStore) -> None:
    save(store, 1)
    left = store.folder / ".writing_gen_000002"
    left.mkdir()
    (left / "arrays.npz").write_bytes(b"half")
    (store.folder / ".writing_latest").write_text("gen_0")
    assert store.names() == ["gen_000001"]
    assert store.find("latest").state["generation"] == 1
    newest, problems = store.newest()
    assert newest is not None
    assert problems == []
    save(store, 2)
    assert store.find("latest").state["generation"] == 2
    assert not [path for path in store.folder.iterdir() if path.name.startswith(".writing")]


class Killed(BaseException):
    """Stands for the end of the process."""


@contextmanager
def killed(monkeypatch: pytest.MonkeyPatch, moment: int) -> Iterator[None]:
    """What is done inside ends at the `moment`-th time that something is synced."""
    sync, left = os.fsync, [moment]

    def count_down(descriptor: int) -> None:
        left[0] -= 1
        if not left[0]:
            raise Killed
        sync(descriptor)

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", count_down)
        with pytest.raises(Killed):
            yield


@pytest.mark.parametrize("moment", range(1, 7))
def test_a_kill_at_any_moment_of_a_save_leaves_a_whole_checkpoint(
    store: CheckpointStore, monkeypatch: pytest.MonkeyPatch, moment: int
) -> None:
    """A save syncs arrays, state, folder, parent, pointer, parent: six moments."""
    save(store, 1)
    with killed(monkeypatch, moment):
        save(store, 2)
    newest, problems = CheckpointStore(store.folder.parent).newest()
    assert newest is not None
    assert problems == []
    assert newest.state["generation"] == (1 if moment <= 3 else 2)
    latest = store.find("latest")
    np.testing.assert_array_equal(latest.arrays["theta"], latest.state["generation"])
    save(store, 2)
    assert store.find("latest").state["generation"] == 2


@pytest.mark.parametrize("moment", range(1, 5))
def test_a_kill_while_one_is_replaced_leaves_a_whole_checkpoint(
    store: CheckpointStore, monkeypatch: pytest.MonkeyPatch, moment: int
) -> None:
    save(store, 1)
    settled(store, 1.0, chosen=False)
    with killed(monkeypatch, moment):
        settled(store, 2.0, chosen=True)
    newest, problems = CheckpointStore(store.folder.parent).newest()
    assert newest is not None
    assert (problems, newest.state["generation"]) == ([], 5)
    np.testing.assert_array_equal(newest.arrays["theta"], 2.0 if newest.state["search"]["chosen"] else 1.0)


# Rewind and find.


def test_a_rewind_removes_what_came_later(store: CheckpointStore) -> None:
    save(store, 1)
    save(store, 2, best=True)
    save(store, 2, 3)
    store.rewind(2)
    assert store.names() == ["gen_000001", "gen_000002"]
    assert store.pointed("best") == "gen_000002"
    store.rewind(2)
    assert store.names() == ["gen_000001", "gen_000002"]
    store.rewind(1)
    assert store.pointed("best") is None
    save(store, 2)
    assert store.find("latest").state["generation"] == 2


def test_after_a_rewind_the_latest_is_the_newest_that_is_left(store: CheckpointStore) -> None:
    """A kill may come before the next save."""
    save(store, 1, 2, 3)
    store.rewind(2)
    assert store.find("latest").state["generation"] == 2


def test_a_checkpoint_is_found_by_name_and_by_number(store: CheckpointStore) -> None:
    save(store, 1)
    save(store, 2, best=True)
    save(store, 3)
    for which, generation in {"latest": 3, "best": 2, "1": 1, "000002": 2}.items():
        assert store.find(which).state["generation"] == generation


@pytest.mark.parametrize(
    ("saved", "which", "words"),
    [
        ((), "latest", "holds no checkpoint; check run_dir"),
        ((), "best", "no best checkpoint yet; use checkpoint=latest"),
        ((1, 2), "best", "no best checkpoint yet; use checkpoint=latest"),
        ((1, 2), "9", "checkpoint=9: there is no gen_000009; .* has gen_000001, gen_000002"),
        ((), "9", "checkpoint=9: .* holds no checkpoint"),
        ((1, 2), "newest", "checkpoint=newest: use best, latest or a generation's number"),
        ((1, 2), "-1", "checkpoint=-1: use best, latest"),
        ((1, 2), "../../etc", re.escape("checkpoint=../../etc: use best")),
    ],
)
def test_a_checkpoint_that_is_not_there_is_said_with_the_cure(
    store: CheckpointStore, saved: tuple[int, ...], which: str, words: str
) -> None:
    if saved:
        save(store, *saved)
    with pytest.raises(UserError, match=words):
        store.find(which)
