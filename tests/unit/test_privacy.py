"""Ray's token is for its owner alone before Ray starts, and an embedded Ray is for this machine alone."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from ray._private import ray_constants, services

from raes.runtime.privacy import on_loopback, protect_token


@pytest.fixture
def token(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where Ray looks for it."""
    monkeypatch.setenv("HOME", str(tmp_path))
    for key in ("RAY_AUTH_MODE", "RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"):
        monkeypatch.delenv(key, raising=False)
    return tmp_path / ".ray" / "auth_token"


def mode(path: Path) -> str:
    return f"{path.stat().st_mode & 0o777:o}"


def test_a_new_token_is_private_from_the_beginning(token: Path) -> None:
    old = os.umask(0)
    try:
        assert protect_token(create=True) is None
    finally:
        os.umask(old)
    assert mode(token) == "600"
    assert mode(token.parent) == "700"
    assert len(token.read_text()) == 64
    before = token.read_text()
    assert protect_token(create=True) is None
    assert token.read_text() == before


@pytest.mark.parametrize("found", [0o644, 0o640, 0o604, 0o660])
def test_a_token_that_others_can_read_is_repaired_with_a_notice(token: Path, found: int) -> None:
    token.parent.mkdir()
    token.write_text("secret")
    token.chmod(found)
    text = protect_token(create=False)
    assert text is not None
    assert f"{found:o}" in text
    assert "secret" not in text
    assert mode(token) == "600"
    assert protect_token(create=False) is None


def test_a_token_in_another_place_is_repaired_there(token: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    other = token.parent.parent / "token"
    other.write_text("secret")
    other.chmod(0o644)
    monkeypatch.setenv("RAY_AUTH_TOKEN_PATH", str(other))
    assert protect_token(create=True) is not None
    assert mode(other) == "600"
    assert not token.exists()


@pytest.mark.parametrize(("key", "value"), [("RAY_AUTH_TOKEN", "secret"), ("RAY_AUTH_MODE", "disabled")])
def test_no_file_where_ray_needs_none(token: Path, monkeypatch: pytest.MonkeyPatch, key: str, value: str) -> None:
    monkeypatch.setenv(key, value)
    assert protect_token(create=True) is None
    assert not token.exists()


def test_only_a_ray_that_starts_inside_is_on_loopback() -> None:
    before = dict(os.environ), ray_constants.ENABLE_RAY_CLUSTER
    with on_loopback():
        assert services.get_node_ip_address() == "127.0.0.1"
    assert (dict(os.environ), ray_constants.ENABLE_RAY_CLUSTER) == before
