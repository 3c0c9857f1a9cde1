"""JSON objects with a checksum of their own content, so that a changed number is not taken for a result."""

from __future__ import annotations

import hashlib
import json
from typing import Any

CHECKSUM = "sha256"
"""The key of the checksum, which covers every other one."""


def seal(content: dict[str, Any]) -> bytes:
    """The object as a JSON file with its checksum."""
    plain = json.loads(json.dumps(content))
    return json.dumps({CHECKSUM: _digest(plain)} | plain, indent=1).encode()


def unseal(text: bytes, required: bool = True) -> dict[str, Any]:
    """The object in a JSON file, without its checksum.

    Args:
        text: the file's content.
        required: whether a file without a checksum is refused.

    Raises:
        ValueError: it holds no object, or another one than was sealed.
    """
    try:
        content = json.loads(text)
    except RecursionError as error:
        raise ValueError("it is nested too deeply") from error
    if not isinstance(content, dict):
        raise ValueError("it holds no object")
    checksum = content.pop(CHECKSUM, None)
    if (required or checksum is not None) and checksum != _digest(content):
        raise ValueError("it does not match its checksum")
    return content


def _digest(content: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
