"""From what a user gave, overrides on a command line or keyword arguments, to what Hydra composes.

Hydra reads an override by a grammar of its own, in which `=`, `,` and letters beyond ASCII need quotes, and 123 is a
number. A key that holds a text has the text as it stands. Values from Python are data already: they go into the
composed tree as they are, and only names of options become overrides.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePath
from typing import Any

import numpy as np
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException

from raes.types import UserError

OPEN_NODES = tuple(f"{group}.kwargs" for group in ("env", "policy", "algorithm"))
"""Nodes whose keys are the user's own."""

GROUPS = ("env", "algorithm", "policy", "optimizer", "runtime", "experiment", "debug")
"""Keys that choose which keys there are."""

TEXTS = (
    "run_dir", "resume", "start_from", "upload.spool", "behavior", "env.id", "env.call", "env.constraints", "env.build",
    "env.reward", "env.tasks", "env.held_out", "env.engine", "policy.module", "algorithm.module", "ray.address",
)  # fmt: skip
"""Keys that hold a path, an address, or `module:name`."""


HYDRA_OPTIONS = frozenset((
    "-h", "--help", "--hydra-help", "--version", "-c", "--cfg", "--resolve", "-p", "--package", "-r", "--run", "-m",
    "--multirun", "-sc", "--shell-completion", "-cp", "--config-path", "-cn", "--config-name", "-cd", "--config-dir",
    "--experimental-rerun", "-i", "--info",
))  # fmt: skip
"""What may begin with a dash on the command line of a training."""


def refuse_dashes(words: Sequence[str]) -> None:
    """Refuse settings that are written as options.

    Raises:
        UserError: naming the word and what to give in its place.
    """
    for word, following in zip(words, [*words[1:], ""], strict=True):
        option, equals, value = word.partition("=")
        if not option.startswith("-") or option in HYDRA_OPTIONS:
            continue
        key = option.lstrip("-").replace("-", "_")
        if not equals and following and not following.startswith("-") and "=" not in following:
            word, value = f"{word} {following}", following
        raise UserError(f"{word}: settings have no dashes; give {key}={value or '...'}")


def refuse_spaces(words: Sequence[str]) -> None:
    """Refuse `key = value`, which a shell gives as three words.

    Raises:
        UserError: naming the words.
    """
    for before, word in zip(["", *words], words, strict=False):
        key = word.partition("=")[0]
        if "=" in word and (not key or key != key.strip()):
            raise UserError(f"{f'{before} {word}'.strip()}: write key=value without spaces around =")


def is_open(key: str) -> bool:
    """Whether a dotted key is one of the user's own, or their node."""
    return any(key == node or key.startswith(f"{node}.") for node in OPEN_NODES)


def opened(word: str, sweep: bool = False) -> str:
    """An override on the command line as Hydra must have it.

    Args:
        word: `key=value`, or an option of Hydra.
        sweep: whether commas separate the values of a sweep.
    """
    key, separator, value = word.partition("=")
    if key.lstrip("+") in TEXTS:
        return key + separator + _text_values(value, sweep)
    return f"++{word}" if is_open(key) else word


def _text_values(value: str, sweep: bool) -> str:
    """The value of a key that holds a text, or several of a sweep, quoted where Hydra would read something else."""
    quoted = len(value) > 1 and value[0] == value[-1] and value[0] in "'\""
    if quoted or value in ("", "null") or (sweep and re.match(r"\w+\(", value)):  # choice(a,b)
        return value
    several = sweep and not Path(value).expanduser().exists()
    return ",".join(_text_value(one) for one in (value.split(",") if several else [value]))


def _text_value(text: str) -> str:
    try:
        read = OverridesParser.create().parse_override(f"key={text}").value()
    except HydraException:
        read = None
    return text if read == text else quoted(text)


def quoted(text: str) -> str:
    """A text in Hydra's grammar; backslashes are literal, but before a quote."""
    escaped = re.sub(r"(\\*)('|$)", lambda found: 2 * found[1] + ("\\'" if found[2] else ""), text)
    return f"'{escaped}'"


def plain_text(value: str) -> str:
    """A text on the command line of the other commands: as it stands, or what its quotes hold, as for Hydra."""
    return value[1:-1] if len(value) > 1 and value[0] == value[-1] and value[0] in "'\"" else value


def from_keywords(keys: Mapping[str, Any]) -> tuple[list[str], dict[str, Any]]:
    """Keyword arguments as words that choose options, and values by dotted key.

    Args:
        keys: `algorithm.sigma` or, as a name in Python, `algorithm__sigma`; a mapping stands for keys below its own.

    Raises:
        UserError: a value is not plain data.
    """
    words, values = list[str](), dict[str, Any]()
    for key, value in keys.items():
        name = str(key).replace("__", ".")
        if name in GROUPS and not isinstance(value, Mapping):
            words.append(f"{name}={'null' if value is None else _text_value(str(value))}")
        else:
            values |= _leaves(name, value)
    return words, values


def _leaves(name: str, value: Any) -> dict[str, Any]:
    """A value by its dotted key; of a mapping all of its values, unless its keys are the user's own."""
    if not isinstance(value, Mapping) or is_open(name):
        return {name: plain(name, value)}
    found = dict[str, Any]()
    for key, one in value.items():
        found |= _leaves(f"{name}.{str(key).replace('__', '.')}", one)
    return found


def plain(name: str, value: Any) -> Any:
    """A value as JSON and YAML hold it, and give it back unchanged.

    Raises:
        UserError: they do not hold it.
    """
    if isinstance(value, np.generic | np.ndarray):
        value = value.tolist()
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, PurePath):
        return str(value)
    if isinstance(value, list | tuple):
        return [plain(name, one) for one in value]
    if not isinstance(value, Mapping):
        raise UserError(f"{name}={value!r}: give a number, a text, True, False, None, or a list or mapping of these")
    for key in value:
        if not isinstance(key, str):
            raise UserError(
                f"{name}={dict(value)!r}: the key {key!r} is no text, and config.yaml keeps keys as texts only; "
                f"give {str(key)!r}, or make the mapping in a function of your own"
            )
    return {key: plain(f"{name}.{key}", one) for key, one in value.items()}


def put(tree: dict[str, Any], key: str, value: Any) -> bool:
    """Set a value in a tree of dictionaries; whether it has this key."""
    *path, last = key.split(".")
    node: Any = tree
    for number, part in enumerate(path):
        if is_open(".".join(path[: number + 1])):
            node.setdefault(part, {})
        node = node.get(part) if isinstance(node, dict) else None
    if not isinstance(node, dict) or (last not in node and not is_open(key)):
        return False
    node[last] = _merged(node.get(last), value) if is_open(key) else value
    return True


def _merged(old: Any, new: Any) -> Any:
    """Two values of the user's own, where mappings are joined, as on the command line."""
    if not (isinstance(old, dict) and isinstance(new, dict)):
        return new
    return old | {key: _merged(old.get(key), one) for key, one in new.items()}


def given(words: Sequence[str], values: Mapping[str, Any]) -> list[str]:
    """All of it as `key=value`, for messages."""
    return [*words, *(f"{key}={value}" for key, value in values.items())]
