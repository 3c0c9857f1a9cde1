"""Shared by all tests: tables of noise that are made once, and a key that signs runs."""

from __future__ import annotations

import functools
import signal
from collections.abc import Iterator

import pytest

from raes.search import noise
from raes.types import Float32


@pytest.fixture(scope="session", autouse=True)
def _a_key_of_their_own(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Runs of tests are signed, and not with the key of whoever runs the tests."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CONFIG_HOME", str(tmp_path_factory.mktemp("config")))
        yield


@pytest.fixture(scope="session", autouse=True)
def _no_signal_is_ignored() -> None:
    """Also where a shell or `nohup` has started the tests in the background, with signals ignored."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    for number in (signal.SIGQUIT, signal.SIGHUP):
        signal.signal(number, signal.SIG_DFL)


@pytest.fixture(scope="session", autouse=True)
def _tables_are_made_once() -> Iterator[None]:
    """A table of a size has the same content in every run, and making it takes longer than a short search."""
    make = noise.make_table

    @functools.lru_cache(maxsize=2)
    def made(size: int) -> Float32:
        table = make(size)
        table.flags.writeable = False
        return table

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(noise, "make_table", made)
        yield
