"""A store is brought up to date so that at any moment whoever reads it finds a run to go on with, or none."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from raes.storage.checkpoint import Checkpoints, CheckpointStore, read
from raes.storage.location import RemotePath, StoreError
from raes.storage.mirror import Mirror


class Run:
    """A run directory with its store in memory."""

    def __init__(self, folder: Path, url: str | None = None) -> None:
        self.folder = folder
        self.url = url or f"memory://{uuid.uuid4().hex}/run"
        self.store = RemotePath(self.url)
        self.mirror = Mirror(folder, self.store, keep=2)
        self.checkpoints = CheckpointStore(folder, keep=3)
        folder.mkdir(parents=True, exist_ok=True)

    def train(self, *generations: int, best: bool = False) -> None:
        """As a driver does: figures first, then the checkpoint that relies on them."""
        for generation in generations:
            with (self.folder / "metrics.jsonl").open("a") as file:
                file.write(f"{generation}\n")
            state = {"generation": generation, "config": {}}
            self.checkpoints.save(state, {"theta": np.full(3, generation, np.float32)}, "best" if best else "latest")

    def stored(self) -> list[str]:
        return Checkpoints(self.store).names()

    def pointed(self) -> tuple[str | None, str | None]:
        checkpoints = Checkpoints(self.store)
        return checkpoints.pointed("latest"), checkpoints.pointed("best")


@pytest.fixture
def run(tmp_path: Path) -> Run:
    return Run(tmp_path / "run")


@pytest.fixture
def operations(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What is done to any store, in order."""
    done: list[str] = []
    write, unlink = RemotePath.write_bytes, RemotePath.unlink

    def writing(self: RemotePath, content: bytes) -> None:
        done.append(f"put {self.url.split('/run/')[1]}")
        write(self, content)

    def unlinking(self: RemotePath) -> None:
        done.append(f"remove {self.url.split('/run/')[1]}")
        unlink(self)

    monkeypatch.setattr(RemotePath, "write_bytes", writing)
    monkeypatch.setattr(RemotePath, "unlink", unlinking)
    return done


def test_figures_come_first_then_arrays_state_and_pointer(run: Run, operations: list[str]) -> None:
    run.train(1)
    run.mirror.send()
    folder = "checkpoints/gen_000001"
    assert operations == ["put metrics.jsonl", f"put {folder}/arrays.npz", f"put {folder}/state.json",
                          "put checkpoints/latest"]  # fmt: skip


def test_only_what_has_changed_is_sent(run: Run, operations: list[str]) -> None:
    run.train(1)
    (run.folder / "config.yaml").write_text("seed: 0")
    run.mirror.send()
    operations.clear()
    run.mirror.send()
    assert operations == []
    (run.folder / "log.txt").write_text("a line")
    run.checkpoints.save_quarantine(1, [])
    run.mirror.send()
    assert operations == ["put log.txt", "put checkpoints/gen_000001/quarantine.json"]


def test_a_newer_checkpoint_supersedes_those_that_wait(run: Run) -> None:
    run.train(1, 2, best=True)
    run.train(3, 4, 5)
    run.mirror.send()
    assert run.stored() == ["gen_000002", "gen_000005"]
    assert run.pointed() == ("gen_000005", "gen_000002")


def test_the_store_keeps_its_own_newest_beside_the_best_and_a_leftover_goes(run: Run, operations: list[str]) -> None:
    run.train(1, best=True)
    for generation in range(2, 7):
        run.train(generation)
        run.mirror.send()
    assert run.stored() == ["gen_000001", "gen_000005", "gen_000006"]
    removed = [operation for operation in operations if operation.startswith("remove checkpoints/gen_000004")]
    assert removed == [f"remove checkpoints/gen_000004/{name}" for name in ("state.json", "arrays.npz")]


def test_what_is_being_written_and_what_is_not_ours_are_left_alone(run: Run) -> None:
    (run.store / "videos/one.mp4").write_bytes(b"a film")
    for name in (".lock", "tensorboard/.writing", "checkpoints/.writing_gen_000002/arrays.npz"):
        (run.folder / name).parent.mkdir(parents=True, exist_ok=True)
        (run.folder / name).write_text("half")
    run.mirror.fetch()
    run.train(1)
    run.mirror.send()
    assert not any(part.startswith(".") for name in run.store.files() for part in name.split("/"))
    assert (run.store / "videos/one.mp4").exists()


def test_a_file_that_is_gone_here_goes_there(run: Run) -> None:
    (run.folder / "faults").mkdir()
    (run.folder / "faults" / "gen_000001.npz").write_bytes(b"1")
    run.mirror.send()
    (run.folder / "faults" / "gen_000001.npz").unlink()
    run.mirror.send()
    assert run.store.files() == []


def test_a_run_is_fetched_without_what_is_no_complete_checkpoint(run: Run, tmp_path: Path) -> None:
    run.train(1, 2)
    run.mirror.send()
    (run.store / "checkpoints/gen_000003/arrays.npz").write_bytes(b"a lost writer's")
    other = Run(tmp_path / "other", run.url)
    other.mirror.fetch()
    assert other.checkpoints.names() == ["gen_000002"]
    assert (other.folder / "metrics.jsonl").read_text() == "1\n2\n"
    other.train(3, 4)
    other.mirror.send()
    assert other.stored() == ["gen_000002", "gen_000004"]
    assert not (run.store / "checkpoints/gen_000003/arrays.npz").exists()


def test_a_way_that_was_given_up_goes_before_the_new_one_comes(run: Run, tmp_path: Path, operations: list[str]) -> None:
    run.train(1, 2, best=True)
    run.mirror.send()
    run.train(3, 9)
    run.mirror.send()
    other = Run(tmp_path / "other", run.url)
    other.mirror.fetch()
    other.checkpoints.rewind(2)
    other.train(3)
    operations.clear()
    other.mirror.send()
    assert other.stored() == ["gen_000002", "gen_000003"]
    assert read(run.store / "checkpoints" / "gen_000003").state["generation"] == 3
    changes = [operation.split("/")[1] for operation in operations if "gen_" in operation]
    assert changes.index("gen_000009") < changes.index("gen_000003")


def test_a_spool_that_lies_in_the_store_already_is_not_sent_again(run: Run, operations: list[str]) -> None:
    run.train(1)
    run.mirror.send()
    again = Run(run.folder, run.url)
    operations.clear()
    again.mirror.compare()
    again.mirror.send()
    assert operations == ["put checkpoints/latest", "put metrics.jsonl"]
    again.train(2)
    again.mirror.send()
    assert again.stored() == ["gen_000001", "gen_000002"]


# Faults.


def break_at(monkeypatch: pytest.MonkeyPatch, moment: int, cut: bool) -> Callable[[], bool]:
    """The moment-th change to any store fails, and all after it; a write that is cut leaves half."""
    write, unlink, count = RemotePath.write_bytes, RemotePath.unlink, [0]

    def writing(self: RemotePath, content: bytes) -> None:
        count[0] += 1
        if count[0] >= moment:
            if count[0] == moment and cut:
                write(self, content[: len(content) // 2])
            raise StoreError("the cable was pulled")
        write(self, content)

    def unlinking(self: RemotePath) -> None:
        count[0] += 1
        if count[0] >= moment:
            raise StoreError("the cable was pulled")
        unlink(self)

    monkeypatch.setattr(RemotePath, "write_bytes", writing)
    monkeypatch.setattr(RemotePath, "unlink", unlinking)
    return lambda: count[0] >= moment


@pytest.mark.parametrize("cut", [False, True])
@pytest.mark.parametrize("moment", range(1, 13))
def test_a_round_that_fails_anywhere_leaves_a_run_to_go_on_with_and_is_done_again(
    run: Run, monkeypatch: pytest.MonkeyPatch, moment: int, cut: bool, tmp_path: Path
) -> None:
    """Twelve changes: figures, three files and a pointer each for the latest and the best, an old checkpoint goes."""
    run.train(1, 2)
    run.mirror.send()
    run.train(3, best=True)
    run.train(4, 5)
    run.checkpoints.save_quarantine(5, [])
    with monkeypatch.context() as patch:
        broke = break_at(patch, moment, cut)
        if moment <= 10:
            with pytest.raises(StoreError):
                run.mirror.send()
            assert broke()
        else:
            run.mirror.send()
    other = Run(tmp_path / "other", run.url)  # another machine reads it now
    newest, problems = Checkpoints(run.store).newest()
    assert newest is not None
    assert newest.state["generation"] in (2, 3, 5)
    np.testing.assert_array_equal(newest.arrays["theta"], newest.state["generation"])
    assert problems == [] or cut
    other.mirror.fetch()
    np.testing.assert_array_equal(
        other.checkpoints.newest()[0].arrays["theta"],
        newest.state["generation"],  # type: ignore[union-attr]
    )
    run.mirror.send()
    assert run.stored() == ["gen_000003", "gen_000005"]
    assert run.pointed() == ("gen_000005", "gen_000003")
    assert Checkpoints(run.store).newest()[1] == []
    assert (run.store / "metrics.jsonl").read_text() == "1\n2\n3\n4\n5\n"


def test_a_store_that_fails_says_nothing_of_a_checkpoint(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """An older checkpoint must not be taken because the newest cannot be read just now."""
    run.train(1)
    run.mirror.send()

    def fail(self: RemotePath) -> bytes:
        raise StoreError("the cable was pulled")

    monkeypatch.setattr(RemotePath, "read_bytes", fail)
    with pytest.raises(StoreError, match="cable"):
        Checkpoints(run.store).newest()


@pytest.mark.parametrize(
    "name",
    [
        "checkpoints/../../../X",
        "../X",
        "checkpoints/gen_000001/../../../X",
        "tensorboard/../../X",
        "faults/../X",
        "/X",
        "checkpoints/gen_000001/X",
        "checkpoints/X",
        ".lock",
        "videos/X",
        "tensorboard/a/X",
        "checkpoints/gen_" + "9" * 300 + "/state.json",
        "tensorboard/X\n",
        "X",
    ],
)
def test_names_that_are_not_of_a_run_stay_in_the_store(run: Run, tmp_path: Path, name: str) -> None:
    """A store may hold an object of any name, one that leads out of the folder too."""
    run.train(1)
    run.mirror.send()
    (run.store / name).write_bytes(b"1")
    there = run.store.files()
    fetched = tmp_path / "a" / "b" / "c"
    fetched.mkdir(parents=True)
    mirror = Mirror(fetched, run.store, keep=2)
    mirror.fetch()
    assert sorted(path.name for path in fetched.rglob("*") if path.is_file()) == [
        "arrays.npz", "latest", "metrics.jsonl", "state.json",
    ]  # fmt: skip
    assert not list(tmp_path.rglob("X*"))
    mirror.send()
    assert run.store.files() == there, "and nobody removes it"
