"""Keys that change nothing in a configuration: refused where they were given, left out where a resume compares."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any, NamedTuple

from raes.algorithms import ALGORITHMS
from raes.config.schema import FREE_TO_CHANGE, Config, current, from_tree
from raes.storage.metrics import flatten_config
from raes.types import UserError

SERIAL = {
    "workers": ("auto", 1),
    "ray.address": ("auto", "local"),
    "runtime.relays": ("auto", False),
    "runtime.deadline": ("auto",),
    "runtime.gpus_per_worker": (0, 0.0),
}
"""Keys that `runtime=serial` does not read, and values of them that describe it all the same."""

SWITCHED: dict[str, tuple[str, tuple[Any, ...]]] = {
    "algorithm.rank": ("algorithm.perturbation", ("low_rank",)),
    "algorithm.observation_share": ("algorithm.normalize_observations", (True,)),
    "algorithm.episode_cap.steps": ("algorithm.episode_cap.kind", ("fixed", "adaptive")),
    "algorithm.episode_cap.factor": ("algorithm.episode_cap.kind", ("mean", "adaptive")),
    "algorithm.episode_cap.share": ("algorithm.episode_cap.kind", ("adaptive",)),
}
"""Keys that act only with certain values of another one."""


class NoEffect(NamedTuple):
    """Keys that change nothing, and why.

    Attributes:
        keys: dotted; a node stands for all keys below it.
        where: the setting that makes it so.
        cure: what to do instead, where the key is meant to act; empty where there is nothing.
        refused: whether such a key is an error where it was given; else it is only named, since runs that are compared
            with each other often share their arguments.
    """

    keys: tuple[str, ...]
    where: str
    cure: str = ""
    refused: bool = True

    def covers(self, key: str) -> bool:
        """Whether a dotted key is one of these, or below one."""
        return any(key == one or key.startswith(f"{one}.") for one in self.keys)

    def message(self, key: str, value: str) -> str:
        """One line with key, value and cure."""
        remedy = f"remove it, or {self.cure}" if self.cure else "remove it"
        return f"{key}={value}: has no effect with {self.where}; {remedy}"


def without_effect(flat: Mapping[str, Any]) -> list[NoEffect]:
    """What changes nothing in a configuration, given as its values by dotted key."""
    found = []
    algorithm = flat.get("algorithm.name")
    if algorithm in ALGORITHMS and not ALGORITHMS[str(algorithm)][1].uses_optimizer:
        able = ", ".join(name for name, (_, one) in ALGORITHMS.items() if one.uses_optimizer)
        found.append(NoEffect(("optimizer",), f"algorithm={algorithm}", f"choose an algorithm among {able}"))
    if flat.get("env.name") == "function":
        found.append(NoEffect(("policy",), "env=function, where the point itself is what is searched"))
        found.append(
            NoEffect(("noise",), "env=function, whose noise is drawn and not read from a table", refused=False)
        )
    if flat.get("env.name") == "module":
        found.append(NoEffect(("policy",), "env=module, where the module itself is what is trained"))
    elif flat.get("runtime.gpus_per_worker"):
        found.append(NoEffect(("runtime.gpus_per_worker",), f"env={flat.get('env.name')}, whose workers use no GPU"))
    if flat.get("runtime.name") == "serial":
        unread = tuple(key for key, harmless in SERIAL.items() if flat.get(key, "auto") not in harmless)
        found.append(NoEffect(unread, "runtime=serial, which is this process alone", "set runtime=ray"))
    for key, (switch, acting) in SWITCHED.items():
        if switch in flat and flat[switch] not in acting and algorithm != "custom":
            cure = f"set {switch}={' or '.join(map(_shown, acting))}"
            found.append(NoEffect((key,), f"{switch}={_shown(flat[switch])}", cure, refused=False))
    return found


def _shown(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def check_overrides(overrides: Sequence[str], config: Config) -> list[str]:
    """Refuse overrides that change nothing in the configuration that they are part of.

    Args:
        overrides: `key=value`, as they were given.
        config: what all of them make.

    Returns:
        Lines that name the others, which are no error.

    Raises:
        UserError: with each key, its value and the cure.
    """
    rules = without_effect(flatten_config(config.as_dict()))
    refused, named = list[str](), list[str]()
    for override in overrides:
        key, _, value = override.lstrip("+").partition("=")
        for rule in rules:
            if rule.covers(key):
                (refused if rule.refused else named).append(rule.message(key, value))
    if refused:
        raise UserError("\n".join(refused))
    return named


def differences(stored: Mapping[str, Any], new: Mapping[str, Any]) -> list[str]:
    """The keys that decide what is computed and differ, as `key: old -> new`.

    Args:
        stored: what a run was made with, maybe by an earlier version.
        new: what it would go on with.
    """
    flat_old, flat_new = flatten_config(_complete(current(stored))), flatten_config(new)
    rules = without_effect(flat_new)
    absent = "(absent)"
    return [
        f"{key}: {flat_old.get(key, absent)} -> {flat_new.get(key, absent)}"
        for key in sorted(flat_old.keys() | flat_new.keys())
        if flat_old.get(key, absent) != flat_new.get(key, absent)
        and not key.startswith(FREE_TO_CHANGE)
        and not any(rule.covers(key) for rule in rules)
    ]


def _complete(stored: dict[str, Any]) -> dict[str, Any]:
    """A stored configuration with the values of keys that are newer than it, where it is a whole one."""
    with suppress(UserError):
        return from_tree(stored).as_dict()
    return stored
