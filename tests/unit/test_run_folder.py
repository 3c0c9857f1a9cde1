"""The run directory that a driver writes to, on a disk and in a store: the same words, the same promises."""

from __future__ import annotations

import json
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from raes.storage import lease
from raes.storage.checkpoint import Checkpoints, CheckpointStore
from raes.storage.location import RemotePath, StoreError, location
from raes.storage.lock import RunFolderGoneError
from raes.storage.run_folder import RunFolder, UploadSettings, check_writable, open_folder
from raes.types import RunFailedError, UserError

SECONDS = 20.0


class House:
    """Opens one run directory again and again, as commands do.

    Attributes:
        run_dir: what the user calls it.
        notices: notices so far.
    """

    def __init__(self, run_dir: str, spool: Path) -> None:
        self.run_dir, self.spool, self.notices = run_dir, spool, list[str]()

    def open(self, machine: str = "here", every: float = 0.05, patience: float = 0.5) -> RunFolder:
        settings = UploadSettings(every, patience, str(self.spool / machine))
        return open_folder(self.run_dir, 2, settings, self.notices.append)

    def lock(self) -> dict[str, object]:
        content: dict[str, object] = json.loads((location(self.run_dir) / ".lock").read_bytes())
        return content

    def newest(self) -> int:
        """The generation that a reader finds."""
        newest, _ = Checkpoints(location(self.run_dir)).newest()
        return -1 if newest is None else int(newest.state["generation"])


def train(folder: RunFolder, *generations: int) -> None:
    for generation in generations:
        CheckpointStore(folder.path).save(
            {"generation": generation, "config": {}}, {"theta": np.full(3, generation, np.float32)}
        )


def wait_for(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + SECONDS
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.01)


@pytest.fixture
def remote(tmp_path: Path) -> House:
    return House(f"memory://{uuid.uuid4().hex}/run", tmp_path / "spool")


@pytest.fixture(params=["disk", "memory", "file"])
def house(request: pytest.FixtureRequest, tmp_path: Path) -> House:
    where = {"disk": f"{tmp_path}/run", "memory": f"memory://{uuid.uuid4().hex}/run", "file": f"file://{tmp_path}/run"}
    return House(where[request.param], tmp_path / "spool")


class Store:
    """Every store, which can be made to fail or to stand still."""

    def __init__(self) -> None:
        self.works, self.answers = True, threading.Event()
        self.answers.set()

    def ask(self) -> None:
        self.answers.wait(SECONDS)
        if not self.works:
            raise StoreError("memory://run: the cable was pulled")


@pytest.fixture
def store(monkeypatch: pytest.MonkeyPatch) -> Iterator[Store]:
    state, ask = Store(), RemotePath._ask

    def asking(self: RemotePath, question: Callable[..., object]) -> object:
        state.ask()
        return ask(self, question)

    monkeypatch.setattr(RemotePath, "_ask", asking)
    yield state
    state.answers.set()


# Alike on a disk and in a store.


def test_what_was_written_is_there_for_readers_and_for_the_next_command(house: House) -> None:
    with house.open() as folder:
        folder.start()
        train(folder, 1, 2)
        assert folder.finish(house.notices.append) is None
    assert house.newest() == 2
    assert Checkpoints(location(house.run_dir)).pointed("latest") == "gen_000002"
    with house.open() as folder:
        assert Checkpoints(folder.path).find("latest").state["generation"] == 2
    assert house.newest() == 2


def test_texts_for_the_user_name_the_run_directory_as_the_user_does(house: House) -> None:
    with house.open() as folder:
        assert folder.with_user_path(f"resuming from {folder.path}/checkpoints/x") == (
            f"resuming from {house.run_dir}/checkpoints/x"
        )


def test_a_second_command_on_the_same_machine_is_refused(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("raes.storage.lock.RunLock.__init__.__defaults__", (None, 0.2), raising=False)
    with house.open(), pytest.raises(UserError, match=f"run_dir={house.run_dir} is in use by another process"):
        house.open()


def test_a_folder_that_cannot_be_written_is_refused_before_anything_starts(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    check_writable(f"{tmp_path}/run", UploadSettings())
    for run_dir in (f"{tmp_path}/file/run", f"file://{tmp_path}/file/run"):
        with pytest.raises(UserError, match="file/run"):
            check_writable(run_dir, UploadSettings(spool=str(tmp_path)))
    with pytest.raises(UserError, match="cannot be written"):
        check_writable("memory://run", UploadSettings(spool=f"{tmp_path}/file"))


# A store.


def test_uploads_come_while_training_goes_on(remote: House) -> None:
    with remote.open() as folder:
        folder.start()
        train(folder, 1)
        wait_for(lambda: remote.newest() == 1)
        train(folder, 2, 3)
        wait_for(lambda: remote.newest() == 3)


def test_a_spool_whose_content_has_arrived_is_removed_and_the_lock_is_free(remote: House) -> None:
    with remote.open() as folder:
        spool = folder.path
        folder.start()
        train(folder, 1)
        assert folder.finish(remote.notices.append) is None
    assert not spool.exists()
    assert remote.lock()["released"] is True
    with remote.open(machine="there"):  # without a wait
        pass
    assert remote.notices == []


def test_a_command_that_is_refused_after_opening_leaves_no_trace(remote: House) -> None:
    with remote.open() as folder:
        spool = folder.path
    assert not spool.exists()
    assert remote.lock()["released"] is True
    assert RemotePath(remote.run_dir).files() == [".lock"]


def test_training_never_waits_for_a_store_that_stands_still(remote: House, store: Store) -> None:
    with remote.open() as folder:
        folder.start()
        train(folder, 1)
        wait_for(lambda: remote.newest() == 1)
        store.answers.clear()
        began = time.monotonic()
        for generation in range(2, 12):
            train(folder, generation)
            assert folder.notices() == []
        assert time.monotonic() - began < SECONDS / 4
        assert len(Checkpoints(folder.path).names()) == 3  # the spool is bounded
        store.answers.set()
        wait_for(lambda: remote.newest() == 11)


def test_a_store_that_fails_is_told_once_and_tried_again(remote: House, store: Store) -> None:
    with remote.open() as folder:
        folder.start()
        train(folder, 1)
        wait_for(lambda: remote.newest() == 1)
        store.works = False
        notices: list[str] = []
        train(folder, 2)
        wait_for(lambda: bool(notices.extend(folder.notices()) or notices))
        time.sleep(0.3)
        assert folder.notices() == []
        assert (
            f"Training goes on; uploads are tried again every 0.05 s, until then the newest checkpoints lie in "
            f"{folder.path}" in notices[0]
        )
        store.works = True
        wait_for(lambda: remote.newest() == 2)
        wait_for(lambda: bool(notices.extend(folder.notices()) or notices[1:]))
        assert notices[1:] == [f"{remote.run_dir} answers again and has everything"]
        assert folder.finish(notices.append) is None


@pytest.mark.parametrize("fault", ["fails", "stands still"])
def test_a_store_that_never_comes_back_fails_the_run_and_the_spool_goes_on(
    remote: House, store: Store, fault: str
) -> None:
    with remote.open() as folder:
        spool = folder.path
        folder.start()
        train(folder, 1)
        wait_for(lambda: remote.newest() == 1)
        store.works = fault != "fails"
        (store.answers.clear if fault == "stands still" else store.answers.set)()
        train(folder, 2)
        text = folder.finish(remote.notices.append)
        assert text is not None
        assert f"They lie in {spool} on this machine" in text
        assert "resume=auto" in text
    store.answers.set()
    store.works = True
    with remote.open() as folder:
        assert Checkpoints(folder.path).find("latest").state["generation"] == 2
        folder.start()
        assert folder.finish(remote.notices.append) is None
    assert remote.newest() == 2
    assert not spool.exists()


def test_a_killed_command_goes_on_from_its_spool_at_once(remote: House) -> None:
    killed = remote.open(every=1000)
    killed.start()
    wait_for(lambda: "beat" in remote.lock())
    train(killed, 5)
    killed._lock.close()  # what the end of its process does
    with remote.open() as folder:
        assert Checkpoints(folder.path).find("latest").state["generation"] == 5


@pytest.fixture
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lease, "SLACK_SECONDS", 0.5)


@pytest.mark.usefixtures("patient")
def test_another_machine_waits_for_a_sign_of_life_and_takes_over_from_the_dead(remote: House) -> None:
    dead = remote.open("dead", every=0.05)
    dead.start()
    train(dead, 3)
    wait_for(lambda: remote.newest() == 3)
    dead._stopped = True  # type: ignore[attr-defined]
    wait_for(lambda: not dead._thread.is_alive())  # type: ignore[attr-defined]
    train(dead, 4)  # never sent
    with remote.open("alive", every=0.05) as folder:
        assert "waiting 1 s for a sign of life" in remote.notices[0]
        assert Checkpoints(folder.path).find("latest").state["generation"] == 3
        folder.start()
        train(folder, 7)
        wait_for(lambda: remote.newest() == 7)
        dead._lock.close()
    with remote.open("dead") as folder:  # the first machine comes back: its spool is no longer the run
        assert Checkpoints(folder.path).find("latest").state["generation"] == 7
    (aside,) = folder.path.parent.glob("run-*")
    assert Checkpoints(aside).find("latest").state["generation"] == 4
    assert any(f"is kept as {aside}" in text for text in remote.notices)


@pytest.mark.usefixtures("patient")
def test_a_command_that_is_alive_on_another_machine_is_not_disturbed(remote: House) -> None:
    with remote.open("one", every=0.05) as folder:
        folder.start()
        with pytest.raises(UserError, match=r"run_dir=memory://.* is in use by process \d+ on .*; wait for it"):
            remote.open("two")
        train(folder, 1)
        wait_for(lambda: remote.newest() == 1)
        assert folder.notices() == []


def test_a_command_whose_run_directory_was_taken_over_stops(remote: House) -> None:
    with remote.open() as folder:
        folder.start()
        train(folder, 1)
        wait_for(lambda: remote.newest() == 1)
        taken = remote.lock() | {"owner": "another", "host": "elsewhere"}
        (RemotePath(remote.run_dir) / ".lock").write_bytes(json.dumps(taken).encode())
        wait_for(lambda: not folder._thread.is_alive())  # type: ignore[attr-defined]
        train(folder, 2)
        with pytest.raises(RunFailedError, match=r"was taken over by process \d+ on elsewhere.*kept in"):
            folder.notices()
        assert folder.finish(remote.notices.append) is not None
    assert remote.newest() == 1
    assert remote.lock()["owner"] == "another"


@pytest.mark.parametrize("what", ["run", ""], ids=["folder", "spool"])
def test_a_spool_that_is_removed_removes_nothing_in_the_store(remote: House, what: str) -> None:
    with remote.open() as folder:
        folder.start()
        train(folder, 1, 2)
        wait_for(lambda: remote.newest() == 2)
        before = RemotePath(remote.run_dir).files()
        (folder.path.parent / what).rename(folder.path.parent.with_name("gone"))
        wait_for(lambda: not folder._thread.is_alive())  # type: ignore[attr-defined]
        assert RemotePath(remote.run_dir).files() == before
        with pytest.raises(RunFolderGoneError):
            folder.check()
        assert "nothing more is sent" in str(folder.finish(remote.notices.append))
    assert remote.newest() == 2


def test_a_run_directory_is_looked_for_by_its_mark(tmp_path: Path) -> None:
    run = tmp_path / "run"
    with open_folder(str(run), 3, UploadSettings(), print) as folder:
        folder.check()
        with (run / ".lock").open("a"):  # as another command opens it, which waits
            folder.check()
        run.rename(tmp_path / "moved")
        with pytest.raises(RunFolderGoneError, match=f"was moved to {tmp_path / 'moved'} while") as moved:
            folder.check()
        assert moved.value.now == tmp_path / "moved"
        run.mkdir()
        (run / ".lock").write_text("another's mark")
        with pytest.raises(RunFolderGoneError, match="was moved to"):
            folder.check()
        (tmp_path / "moved" / ".lock").unlink()
        with pytest.raises(RunFolderGoneError, match="was replaced by another run while") as replaced:
            folder.check()
        assert replaced.value.now is None
        (run / ".lock").write_text("")  # RAES 0.1 empties it before it sees that it is held
        folder.check()


def test_a_store_that_fails_at_the_start_is_the_users_error(remote: House, store: Store) -> None:
    store.works = False
    with pytest.raises(UserError, match="the cable was pulled"):
        remote.open()
    store.works = True
    remote.open().close()
