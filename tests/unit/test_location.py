"""Run directories are named and read with the same words on a disk and in a store; secrets are refused."""

from __future__ import annotations

import sys
import uuid
from pathlib import Path

import pytest
from fsspec.registry import _registry

from raes.storage.location import Location, RemotePath, StoreError, location, masked
from raes.train import run_command
from raes.types import UserError


@pytest.fixture(params=["disk", "memory", "file"])
def run(request: pytest.FixtureRequest, tmp_path: Path) -> Location:
    """A place that holds `config.yaml` and `checkpoints/gen_000001/state.json`."""
    where = {"disk": f"{tmp_path}/run", "memory": f"memory://{uuid.uuid4().hex}/run", "file": f"file://{tmp_path}/run"}
    run = location(where[request.param])
    for name, text in (("config.yaml", "seed: 0"), ("checkpoints/gen_000001/state.json", "{}")):
        path = run / name
        if isinstance(path, Path):
            path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(text.encode())
    return run


def test_a_disk_and_a_store_are_read_with_the_same_words(run: Location) -> None:
    assert (run / "config.yaml").read_text() == "seed: 0"
    assert (run / "checkpoints" / "gen_000001" / "state.json").read_bytes() == b"{}"
    assert [path.name for path in (run / "checkpoints").glob("gen_*")] == ["gen_000001"]
    assert not list((run / "checkpoints").glob("best"))
    assert not list((run / "faults").glob("*"))
    assert (run / "checkpoints").is_dir()
    assert (run / "checkpoints").exists()
    assert not (run / "config.yaml").is_dir()
    assert not (run / "absent").exists()
    assert str(run / "checkpoints" / "gen_000001") == f"{run}/checkpoints/gen_000001"
    assert (run / "checkpoints" / "gen_000001").parent.parent == run
    assert (run / "faults/gen_000007.npz").stem == "gen_000007"
    with pytest.raises(FileNotFoundError):
        (run / "absent").read_bytes()


def test_what_others_write_is_seen_at_once(run: Location) -> None:
    assert not (run / "log.txt").exists()
    location(str(run / "log.txt")).write_bytes(b"a line")
    assert (run / "log.txt").read_text() == "a line"


def test_the_files_of_a_store_are_listed_and_removed() -> None:
    run = RemotePath(f"memory://{uuid.uuid4().hex}/run")
    assert run.files() == []
    for name in ("b", "a/c", ".lock"):
        (run / name).write_bytes(b"")
    RemotePath(f"{run.url}2/d").write_bytes(b"")  # a neighbour whose name begins alike
    assert run.files() == [".lock", "a/c", "b"]
    (run / "a/c").unlink()
    (run / "a/c").unlink()
    assert run.files() == [".lock", "b"]


@pytest.mark.parametrize(
    "url",
    [
        "s3://AKIAIOSFODNN7EXAMPLE:wJalrXUtnFEMI@runs/a",
        "s3://user:with/slash+9@runs/a",
        "sftp://user:pa55@host/a",
        "az://runs/a?sig=c2VjcmV0",
        "s3://runs/AKIAIOSFODNN7EXAMPLE/a",
        "sftp://user:p:a@host/a",
    ],
)
def test_a_url_with_a_secret_is_refused_without_repeating_it(url: str) -> None:
    with pytest.raises(UserError, match=r"resume=(s3|az|sftp)://\.\.\..*environment variables") as caught:
        location(url, "resume")
    assert url.split("://")[1] not in str(caught.value)
    for secret in ("wJalrXUtnFEMI", "pa55", "c2VjcmV0", "AKIA", "slash"):
        assert secret not in str(caught.value)


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("s3://", "names no bucket.*s3://BUCKET/FOLDER"),
        ("s3:///folder", "names no bucket"),
        ("memory://", "names no bucket"),
        ("simplecache::s3://runs/a", "no scheme of a URL"),
    ],
)
def test_a_url_that_names_no_place_is_refused(url: str, words: str) -> None:
    with pytest.raises(UserError, match=f"run_dir={url}.*{words}"):
        location(url)


def test_user_names_and_slashes_at_the_end_are_no_secret() -> None:
    assert str(location("s3://runs/a/")) == "s3://runs/a"
    assert str(location("sftp://user@host/a")) == "sftp://user@host/a"
    assert str(location("abfs://runs@account.dfs.core.windows.net/a")) == "abfs://runs@account.dfs.core.windows.net/a"
    assert location("runs/a:b@c") == Path("runs/a:b@c")


@pytest.mark.parametrize(
    ("url", "package", "words"),
    [
        ("s3://runs/a", "s3fs", r"pip install 'raes\[s3\]'"),
        ("gs://runs/a", "gcsfs", r"pip install 'raes\[gs\]'"),
        ("az://runs/a", "adlfs", r"pip install 'raes\[az\]'"),
        ("nowhere://runs/a", "s3fs", "nowhere.*a URL that fsspec knows"),
    ],
)
def test_a_store_whose_package_is_missing_names_the_extra(
    url: str, package: str, words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    scheme = url.partition(":")[0]  # fsspec remembers the class where an earlier test has used this store
    monkeypatch.delitem(_registry, scheme, raising=False)
    with pytest.raises(UserError, match=words) as caught:
        (location(url) / "config.yaml").exists()
    assert not isinstance(caught.value, StoreError)


def test_messages_hold_no_secret_of_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "wJalrXUtnFEMI")
    monkeypatch.setenv("AZURE_STORAGE_CONNECTION_STRING", "AccountKey=abc==")
    text = masked("refused wJalrXUtnFEMI, AccountKey=abc==, http://x/?X-Amz-Signature=0123abcd&b=1")
    assert text == "refused ***, ***, http://x/?X-Amz-Signature=***&b=1"


@pytest.mark.parametrize("word", ["run_dir=s3://AKIAIOSFODNN7EXAMPLE:wJal/r@b/x", "start_from='az://c/x?sig=wJal/r'"])
def test_the_command_refuses_a_secret_before_anybody_repeats_it(
    word: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["raes.train", "env=CartPole", word])
    assert run_command() == 2
    shown = capsys.readouterr()
    assert "environment variables" in shown.err
    assert "wJal" not in shown.out + shown.err


def test_the_home_folder_may_be_written_short(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    assert location("~/runs/x") == tmp_path / "runs" / "x"
    assert location("runs/~x") == Path("runs/~x")
    with pytest.raises(UserError, match="start_from=~nobody_here: there is no user nobody_here"):
        location("~nobody_here", "start_from")
