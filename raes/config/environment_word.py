"""What `env=...` may name besides a preset: any id that Gymnasium knows, `module:Name-v0`, an Atari id of ale-py.

An id whose preset there is, of this or of another version, takes it: `env=Ant-v5` is `env=Ant`, and `env=Ant-v4` is
`env=Ant env.id=Ant-v4`. Any other id is `env=gymnasium env.id=ID`. `env=ALE/Pong-v5` is `env=Pong`: games are played by
RAES's own environment, whose frames are those of the literature.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import cache

import yaml

from raes.config.overrides import plain_text
from raes.config.schema import conf_dir
from raes.problems.atari import game_named
from raes.problems.environment import is_registered
from raes.types import UserError

ATARI = re.compile(r"(?:ALE/)?([A-Za-z0-9]+?)(?:NoFrameskip|Deterministic)?-v[0-9]+")
"""Ids of ale-py's environments of pixels."""


def with_presets(words: Sequence[str]) -> list[str]:
    """An override for each of these, where `env=ID` became what it stands for.

    Raises:
        UserError: a sweep over ids without presets.
    """
    found = list[str]()
    for word in words:
        key, _, given = word.partition("=")
        value = plain_text(given)
        if key != "env" or not value or re.search(r"[()\[\]{}]", value):
            found.append(word)
        elif "," in value:
            found.append(f"env={','.join(_of_sweep(one, value) for one in value.split(','))}")
        else:
            found += expanded(value)
    return found


def expanded(name: str) -> list[str]:
    """The overrides that `env=NAME` stands for; the word itself, where it is a preset or nothing that is known."""
    presets = _presets()
    if name in presets:
        return [f"env={name}"]
    if (preset := next((key for key, env_id in presets.items() if env_id == name), None)) is not None:
        return [f"env={preset}"]
    if (found := ATARI.fullmatch(name)) and (game := game_named(found[1])):
        preset = next((key for key in presets if key.lower() == game.replace("_", "")), None)
        return ["env=atari", f"env.game={game}"] if preset is None else [f"env={preset}"]
    if ":" not in name and not is_registered(name):
        return [f"env={name}"]
    stem = re.sub(r"-v[0-9]+$", "", name)
    return [f"env={stem if stem in presets else 'gymnasium'}", f"env.id={name}", f"env.name={_plain(name)}"]


def is_environment(name: str) -> bool:
    """Whether `env=NAME` names a preset or an id that is known."""
    return name in _presets() or expanded(name) != [f"env={name}"]


def _of_sweep(name: str, value: str) -> str:
    words = expanded(name)
    if len(words) > 1:
        raise UserError(
            f"env={value}: in a sweep each environment must be a preset, and {name} is none; sweep ids with "
            "env=gymnasium env.id=A,B"
        )
    return words[0].removeprefix("env=")


def _plain(name: str) -> str:
    """An id as a name in messages and folders."""
    return re.sub(r"[^\w.-]", "_", name.rpartition(":")[2])


@cache
def _presets() -> dict[str, str | None]:
    """The environments of `conf/env`, and the id of each that has one."""
    found = dict[str, str | None]()
    for path in sorted((conf_dir() / "env").glob("*.yaml")):
        found[path.stem] = (yaml.safe_load(path.read_text()).get("env") or {}).get("id") or None
    return found
