"""Tells a user's own runs from those of others: `config.yaml` ends with a signature by a key that the user keeps.

The key is 32 random bytes in `~/.config/raes/key` (or below XDG_CONFIG_HOME), made by the first training and readable
by its user alone. Whoever has no such key cannot make a configuration that counts as this user's own.
"""

from __future__ import annotations

import hashlib
import hmac
import os
import re
import secrets
from contextlib import suppress
from pathlib import Path

KEY_BYTES = 32
LINE = re.compile(rb"# signature: ([0-9a-f]{64})\n\Z")
"""The last line of a signed file."""


def key_file() -> Path:
    """Where the key lies."""
    folder = os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config"
    return Path(folder) / "raes" / "key"


def signed(content: bytes) -> bytes:
    """The text with a line that signs it; as it is where the user's key can be neither read nor made."""
    key = _key() or _make_key()
    return content if key is None else content + b"# signature: %b\n" % _signature(key, content).encode()


def is_own(content: bytes) -> bool:
    """Whether a text was signed by this user."""
    line, key = LINE.search(content), _key()
    if line is None or key is None:
        return False
    return hmac.compare_digest(line[1].decode(), _signature(key, content[: line.start()]))


def _signature(key: bytes, content: bytes) -> str:
    return hmac.new(key, content, hashlib.sha256).hexdigest()


def _key() -> bytes | None:
    try:
        key = key_file().read_bytes()
    except (OSError, RuntimeError):
        return None
    return key if len(key) == KEY_BYTES else None


def _make_key() -> bytes | None:
    """Make the key; where another process is faster, it is that one's."""
    with suppress(OSError, RuntimeError):
        path = key_file()
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        temporary = path.with_name(f".key_{os.getpid()}_{secrets.token_hex(4)}")
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(secrets.token_bytes(KEY_BYTES))
        with suppress(FileExistsError):
            os.link(temporary, path)
        temporary.unlink()
    return _key()
