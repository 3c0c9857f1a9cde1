"""StoredRun directories in an S3 store: over the wire, with the wire cut."""

from __future__ import annotations

import hashlib
import json
import re
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import s3fs
from tensorboard.backend.event_processing.event_multiplexer import EventMultiplexer
from tensorboard.compat.tensorflow_stub.io import gfile

import raes
from raes.config.compose import compose
from raes.report.run_finder import Found, StoredRun, find, read
from raes.rng import Purpose, reset_seed
from raes.training.events import EventLog
from raes.training.limits import RunOutcome, StopSignal
from raes.training.prepare import prepare
from raes.training.start import drive
from raes.types import UserError

from .forked import ForkServer
from .helpers import SERIAL, Commands, commands_in, theta_of
from .stores import BUCKET, SECRET, Plan, Store, everything, s3

LINE = ("env=gymnasium", "env.id=trial_worlds:Line-v0", *SERIAL[2:], "checkpoint.every=1", "evaluation.every=3",
        "upload.every=0.1")  # fmt: skip
"""Generations that last as long as STEP_SECONDS."""


@pytest.fixture(scope="module")
def store() -> Iterator[Store]:
    with s3() as started:
        yield started


class Here:
    """Runs in this process what a command would run, without the seconds that one takes to start.

    Attributes:
        spool: where its spools lie.
        texts: what the last run printed.
    """

    def __init__(self, folder: Path) -> None:
        self.spool, self.texts = folder / "spool", list[str]()

    def train(self, run_dir: str, *words: str, during: Callable[[], object] = lambda: None) -> RunOutcome:
        """To its end; `during` is called after every event."""
        self.texts.clear()

        def report(event: tuple[str, Any]) -> None:
            if event[0] == "notice":
                self.texts.append(event[1])
            during()

        config = prepare(compose([*words, f"run_dir={run_dir}", f"upload.spool={self.spool}"]))
        return drive(config, StopSignal(), EventLog(report))

    def spools(self) -> list[Path]:
        return list(self.spool.glob("*/run"))


@pytest.fixture
def here(store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Here]:
    """This process knows the store, which is healthy at first."""
    for name, value in store.environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))  # nothing in the home
    monkeypatch.syspath_prepend(str(Path(__file__).parent))  # trial_worlds
    s3fs.S3FileSystem.clear_instance_cache()
    store.plan = everything
    store.counts.clear()
    yield Here(tmp_path)
    store.plan = everything


@pytest.fixture
def remote(store: Store, tmp_path: Path, fork_server: ForkServer) -> Iterator[Commands]:
    """Commands that know the store, with a spool of their own."""
    with commands_in(tmp_path, store.environment | {"XDG_CACHE_HOME": str(tmp_path / "cache")}, fork_server) as started:
        yield started


@pytest.fixture(scope="module")
def disk(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Ten generations on a disk, which those in the store must equal."""
    folder = tmp_path_factory.mktemp("disk")
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(Path(__file__).parent))
        assert Here(folder).train(str(folder / "run"), *LINE, "generations=10").code == 0
    return folder / "run"


def assert_whole(store: Store, run: str) -> None:
    """Every checkpoint that a reader finds is complete, and so is what a pointer names, at any moment of an upload."""
    pointed = [store.read(f"{run}/checkpoints/{which}") for which in ("latest", "best")]
    states = [name for name in store.names(run) if re.fullmatch(r"checkpoints/gen_\d{6}/state.json", name)]
    for name in states:
        state, arrays = (store.read(f"{run}/{Path(name).parent}/{file}") for file in ("state.json", "arrays.npz"))
        if state and arrays:  # else it was just removed
            assert json.loads(state)["arrays_sha256"] == hashlib.sha256(arrays).hexdigest()
        else:
            assert name not in store.names(run)
    for content in filter(None, pointed):
        assert f"checkpoints/{content.decode().strip()}/state.json" in states


def assert_same(store: Store, run: str, disk: Path) -> None:
    """The run in the store has ended as the one on the disk has, and is complete."""
    assert store.theta(run).tobytes() == theta_of(disk).tobytes()
    assert store.generations(run) == list(range(11))
    assert store.read(f"{run}/checkpoints/best") == (disk / "checkpoints" / "best").read_bytes()
    assert_whole(store, run)


def layout(names: list[str]) -> set[str]:
    """Without what differs from run to run; of the checkpoints only what they hold."""
    plain = [re.sub(r"tfevents\.\d+\.", "tfevents.", name) for name in names]
    return {re.sub(r"gen_\d{6}", "gen", name) for name in plain}


def test_a_run_in_a_store_has_the_layout_of_a_disk_and_all_commands_read_it(
    remote: Commands, store: Store, disk: Path
) -> None:
    url = f"s3://{BUCKET}/whole"
    words = (*LINE, "generations=10", f"run_dir={url}")
    command = remote.run(*words)
    assert f"tensorboard --logdir {url}/tensorboard" in command.out
    assert_same(store, "whole", disk)
    here = [str(path.relative_to(disk)) for path in disk.rglob("*") if path.is_file()]
    assert layout(store.names("whole")) == layout(here)
    assert not list((remote.cwd / "cache").rglob("run"))
    assert f"run_dir={url} holds a run already; add resume=auto" in remote.refuse(*words)
    remote.run(f"run_dir={url}", "episodes=2", "runtime=serial", "out=figures.json", module="raes.evaluate")
    assert json.loads((remote.cwd / "figures.json").read_text())["run_dir"] == url
    remote.run(f"run_dir={url}", "checkpoint=latest", "out=policy.npz", module="raes.export")
    with np.load(remote.cwd / "policy.npz") as policy:
        exported = np.concatenate([policy["weights_0"].ravel(), policy["biases_0"].ravel()])
    assert set(exported.tolist()) == set(theta_of(disk).tolist())
    texts = [path.read_bytes() for path in remote.cwd.glob("command-*")]
    for content in [*texts, *(store.read(f"whole/{name}") for name in store.names("whole"))]:
        assert SECRET.encode() not in content


def test_a_killed_run_goes_on_on_another_machine_to_the_same_bits(remote: Commands, store: Store, disk: Path) -> None:
    words = (*LINE, "generations=10", f"run_dir=s3://{BUCKET}/killed")
    hanging = {"BAD": "hang", "BAD_SEEDS": str(reset_seed(0, Purpose.TRAINING, 5, 0))}  # in generation 5
    killed = remote.start(*words, **hanging)
    killed.wait_for(lambda: store.latest("killed") >= 3)
    killed.kill()
    assert store.latest("killed") < 10
    assert_whole(store, "killed")
    other = str(remote.cwd / "other machine")  # has nothing of the first one's spool
    command = remote.run(*words, "resume=auto", XDG_CACHE_HOME=other)
    assert re.search(r"was last written by process \d+ on .*; waiting 10 s for a sign of life", command.out)
    assert re.search(rf"resuming from s3://{BUCKET}/killed/checkpoints/gen_00000\d, ", command.out)
    assert_same(store, "killed", disk)


@pytest.mark.parametrize("way", ["fsspec", "boto3"])
def test_tensorboard_reads_what_was_uploaded(
    here: Here, store: Store, monkeypatch: pytest.MonkeyPatch, way: str
) -> None:
    """With its own reader: through s3fs, as an installation of raes[s3] has it, or through boto3 where there is one."""
    url = f"s3://{BUCKET}/curves-{way}"
    here.train(url, *LINE, "generations=3")
    here.train(url, *LINE, "generations=6", "resume=auto")
    if way == "fsspec":
        monkeypatch.setitem(gfile._REGISTERED_FILESYSTEMS, "s3", gfile.FSSpecFileSystem())
    curves = EventMultiplexer().AddRunsFromDirectory(f"{url}/tensorboard")
    curves.Reload()
    assert [event.step for event in curves.Scalars(".", "returns/mean")] == list(range(6))
    assert [event.step for event in curves.Scalars(".", "eval/return_mean")] == [0, 3, 6]
    run = raes.load(url, "latest")
    assert (run.checkpoint, len(run.records), len(run.curve("returns/mean")[0])) == ("gen_000006", 7, 6)


def test_runs_go_on_from_a_url_and_start_from_one(here: Here, store: Store, disk: Path, tmp_path: Path) -> None:
    url = f"s3://{BUCKET}/earlier"
    here.train(url, *LINE, "generations=4")
    checkpoint = min(name for name in store.names("earlier") if name.endswith("state.json")).removesuffix("/state.json")
    assert here.train(url, *LINE, "generations=10", f"resume={url}/{checkpoint}").code == 0
    assert f"resuming from {url}/{checkpoint}, generation {int(checkpoint[-6:])}" in here.texts
    assert_same(store, "earlier", disk)
    assert here.train(f"{tmp_path}/branch", *LINE, "generations=10", f"resume={url}").code == 0
    assert theta_of(tmp_path / "branch").tobytes() == theta_of(disk).tobytes()
    assert here.train(f"{tmp_path}/new", *LINE, "generations=1", f"start_from={url}").code == 0
    assert f"start_from: {url}" in (tmp_path / "new" / "config.yaml").read_text()
    with pytest.raises(UserError, match=f"run_dir={url} holds another run than resume="):
        here.train(url, *LINE, "generations=10", f"resume={tmp_path}/branch")


def test_the_jobs_of_a_sweep_have_folders_below_the_url(here: Here) -> None:
    config = compose([*LINE, f"run_dir=s3://{BUCKET}/sweep/"])
    assert prepare(config, ["seed=1", "run_dir=s3://x", "algorithm.sigma=0.1"]).config.run_dir == (
        f"s3://{BUCKET}/sweep/algorithm.sigma-0.1__seed-1"
    )


def test_a_report_reads_the_runs_of_a_folder_in_a_store(here: Here, store: Store, disk: Path) -> None:
    url = f"s3://{BUCKET}/several"
    seen: list[Found] = []

    def look() -> None:
        if not seen and store.read("several/seed_1/metrics.jsonl"):
            seen.extend(one for run in find([f"{url}/seed_1"]) for one in read(run))

    for seed in (0, 1):
        words = (*LINE, f"seed={seed}", "generations=10")
        assert here.train(f"{url}/seed_{seed}", *words, during=look).code == 0
    [running] = seen
    assert (running.status, running.reason) == ("unfinished", "it is still running")
    first, second = (one for run in find([f"{url}/"]) for one in read(run))
    [same] = read(disk)
    assert isinstance(first, StoredRun)
    assert isinstance(second, StoredRun)
    assert isinstance(same, StoredRun)
    assert (first.path, first.status, second.seed) == (f"{url}/seed_0", "finished", 1)
    assert first.returns.tobytes() == same.returns.tobytes()
    with pytest.raises(UserError, match="several/none: there is no run"):
        find([f"{url}/none"])


@pytest.mark.parametrize(
    ("word", "words"),
    [
        ("run_dir=s3://no-such-bucket/run", "s3://no-such-bucket/run/.writable cannot be written.*name a store that"),
        ("resume=s3://runs/nothing", "resume=s3://runs/nothing: there is no checkpoint"),
        ("start_from=s3://runs/nothing", "start_from=s3://runs/nothing: there is no checkpoint"),
    ],
)
def test_a_place_where_nothing_is_is_refused_before_anything_starts(here: Here, word: str, words: str) -> None:
    run_dir = "" if word.startswith("run_dir") else f"run_dir=s3://{BUCKET}/fresh"
    with pytest.raises(UserError, match=words):
        prepare(compose([word for word in (*LINE, run_dir, word) if word]))


@pytest.mark.cluster
def test_a_driver_that_dies_goes_on_from_its_spool(remote: Commands, store: Store, disk: Path) -> None:
    words = [word for word in LINE if word != "runtime=serial"]
    url = f"s3://{BUCKET}/restarted"
    command = remote.start(*words, "generations=10", "workers=1", f"run_dir={url}", STEP_SECONDS="0.005")
    command.wait_for(lambda: store.latest("restarted") >= 2)
    [driver] = command.wait_for(lambda: command.actors("DriverActor"))
    driver.kill()
    command.wait()
    assert "the driver was lost and restarted" in command.out
    assert f"{url}: going on with what lies in" in command.out
    assert_same(store, "restarted", disk)


# The wire is cut.


def plan_of(fate: str, part: str) -> Plan:
    """Uploads whose path has this part meet this fate."""
    return lambda method, path: fate if method == "PUT" and part in path else "pass"


@pytest.mark.parametrize(
    ("fate", "part"),
    [("refuse", "/checkpoints/"), ("drop", "/checkpoints/"), ("cut", "arrays.npz"), ("cut", "state.json"),
     ("cut", "metrics.jsonl"), ("refuse", "/latest")],
)  # fmt: skip
def test_a_write_that_fails_is_done_again_while_training_goes_on(
    here: Here, store: Store, disk: Path, monkeypatch: pytest.MonkeyPatch, fate: str, part: str
) -> None:
    run = f"hurt-{fate}-{part.strip('/').replace('.', '-')}"
    store.plan = plan_of(fate, part)

    def watch() -> None:
        assert_whole(store, run)
        if any("Training goes on; uploads are tried again every 0.1 s" in text for text in here.texts):
            store.plan = everything

    monkeypatch.setenv("STEP_SECONDS", "0.002")
    assert here.train(f"s3://{BUCKET}/{run}", *LINE, "generations=10", during=watch).code == 0
    assert store.counts[fate] >= 1
    assert f"s3://{BUCKET}/{run} answers again and has everything" in here.texts
    assert SECRET not in str(here.texts)
    assert_same(store, run, disk)
    assert here.spools() == []


def test_training_does_not_wait_for_a_store_that_stands_still(here: Here, store: Store, disk: Path) -> None:
    """Uploads of checkpoints stand still until the last generation is done; if training waited, it would wait long."""
    generations: list[float] = []
    done = threading.Event()

    def plan(method: str, path: str) -> str:
        if method == "PUT" and "/checkpoints/" in path:
            done.wait(60)
        return "pass"

    def watch() -> None:
        generations.append(time.monotonic())
        if len(generations) == 10:
            assert store.latest("slow") == -1
            done.set()

    store.plan = plan
    assert here.train(f"s3://{BUCKET}/slow", *LINE, "generations=10", during=watch).code == 0
    assert generations[9] - generations[0] < 60
    assert_same(store, "slow", disk)


def test_a_store_that_never_comes_back_fails_the_run_which_then_goes_on(
    here: Here, store: Store, disk: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = f"s3://{BUCKET}/lost"
    words = (*LINE, "upload.patience=1", "generations=10")

    def break_the_store() -> None:
        if store.latest("lost") >= 1:
            store.plan = plan_of("refuse", "")

    monkeypatch.setenv("STEP_SECONDS", "0.005")
    outcome = here.train(url, *words, during=break_the_store)
    assert outcome.code == 1
    (spool,) = here.spools()
    assert outcome.reason.startswith(f"generation limit (10) reached; {url} lacks the newest files (")
    assert f"They lie in {spool} on this machine" in outcome.reason
    assert "resume=auto" in outcome.reason
    assert SECRET not in outcome.reason + str(here.texts)
    assert 1 <= store.latest("lost") < 10
    assert_whole(store, "lost")
    store.plan = everything
    assert here.train(url, *words, "resume=auto").code == 0
    assert f"resuming from {url}/checkpoints/gen_000010, generation 10" in here.texts
    assert_same(store, "lost", disk)
    assert here.spools() == []
