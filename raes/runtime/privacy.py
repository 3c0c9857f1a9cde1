"""Keeps a Ray of this command's own private: its token is for this user alone, and its ports for this machine.

Whoever has the token and reaches a port may run code in a training. Ray itself writes the token readable for all users
of the machine, and listens on all interfaces.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from ray._private import ray_constants

OTHERS = 0o077
"""The permissions of all users but the owner."""


def protect_token(create: bool) -> str | None:
    """Make the file with Ray's token private, before anything reads it; a line for the user where it was not.

    Args:
        create: whether to make the token, where there is none and Ray would make one.
    """
    if "RAY_AUTH_TOKEN" in os.environ:
        return None
    given = os.environ.get("RAY_AUTH_TOKEN_PATH")
    path = Path(given) if given else Path.home() / ".ray" / "auth_token"
    if create and not given and os.environ.get("RAY_AUTH_MODE", "token").lower() == "token":
        with suppress(OSError):  # it is there, or Ray will say why it cannot be made
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            with os.fdopen(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600), "w") as file:
                file.write(secrets.token_hex(32))
    try:
        mode = path.stat().st_mode & 0o777
    except OSError:
        return None
    if not mode & OTHERS:
        return None
    found = f"{path}, Ray's token, could be read or changed by other users of this machine (mode {mode:o})"
    try:
        path.chmod(0o600)
    except OSError as error:
        return f"warning: {found}, and that cannot be changed ({error.strerror}); chmod 600 {path}"
    return f"{found}; now only by you. If you do not trust them, delete it: the next Ray makes a new one"


@contextmanager
def on_loopback() -> Iterator[None]:
    """A Ray that starts inside listens on 127.0.0.1 alone, with all of its processes, as it does by itself on macOS."""
    enabled = ray_constants.ENABLE_RAY_CLUSTER
    ray_constants.ENABLE_RAY_CLUSTER = False  # for this process, which has read the variable already
    try:
        with variables(RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER="0"):  # for the processes that it starts
            yield
    finally:
        ray_constants.ENABLE_RAY_CLUSTER = enabled


@contextmanager
def variables(**values: str) -> Iterator[None]:
    """Environment variables that have these values for a while."""
    before = {key: os.environ.get(key) for key in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for key, value in before.items():
            if value is None:
                os.environ.pop(key, None)
            else:
                os.environ[key] = value
