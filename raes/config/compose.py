"""From words and keywords to the checked configuration: Hydra's composition, and its errors in one line."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import yaml
from hydra import compose as hydra_compose
from hydra import initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from raes.config.effect import check_overrides, without_effect
from raes.config.environment_word import is_environment, with_presets
from raes.config.overrides import GROUPS, given, opened, put
from raes.config.schema import TUNED, Config, conf_dir, from_tree, of_another_optimizer, plain_tree, similar
from raes.console.output import complain
from raes.storage.metrics import flatten_config
from raes.types import UserError
from raes.validation import no_such


def compose(words: Sequence[str], values: Mapping[str, Any] | None = None) -> Config:
    """The configuration that a command line of these words means.

    Args:
        words: as on the command line.
        values: plain data by dotted key, which win over the words.

    Raises:
        UserError: naming the wrong key, its value and the cure.
    """
    words = with_presets(words)
    try:
        tree: Any = OmegaConf.to_container(_tree([opened(word) for word in words]), resolve=True)
    except (HydraException, OmegaConfBaseException) as error:
        raise UserError(explain_hydra(error, words)) from error
    tree.pop(TUNED, None)
    for key, value in (values or {}).items():
        if not put(tree, key, value):
            raise UserError(no_such_key(key, str(value), words))
    return checked(tree, given(words, values or {}))


def checked(tree: DictConfig | Mapping[str, Any], overrides: Sequence[str]) -> Config:
    """The configuration that was composed from these overrides.

    Raises:
        UserError: naming the wrong key, its value and the cure; also where an override changes nothing.
    """
    for override in overrides:
        if override.lstrip("+").startswith("optimizer.name="):
            raise UserError(f"{override}: choose it with optimizer=..., which has the keys that it reads")
    config = from_tree(_with_network(plain_tree(tree), overrides))
    for line in check_overrides(overrides, config):
        complain(line)
    return config


def _with_network(tree: dict[str, Any], overrides: Sequence[str]) -> dict[str, Any]:
    """The tree, whose policy is a network where `policy.hidden` was given and the linear one was not chosen."""
    given = {word.lstrip("+").partition("=")[0] for word in overrides}
    policy = tree.get("policy")
    if not isinstance(policy, dict) or policy.get("name") != "linear" or not policy.get("hidden") or "policy" in given:
        return tree
    network = yaml.safe_load((conf_dir() / "policy" / "mlp.yaml").read_text())
    own = {key: network[key] for key in ("name", "bias", "init_norm") if f"policy.{key}" not in given}
    return tree | {"policy": policy | own}


def _tree(words: Sequence[str]) -> DictConfig:
    with _own_hydra(), initialize_config_dir(str(conf_dir().resolve()), version_base="1.3"):
        return hydra_compose("config", overrides=list(words))


@contextmanager
def _own_hydra() -> Iterator[None]:
    """Set aside the Hydra of the program that we may be called from."""
    before = GlobalHydra.instance().hydra
    GlobalHydra.instance().clear()
    try:
        yield
    finally:
        GlobalHydra.instance().hydra = before  # another instance by now: Hydra exchanges it


def known_keys(words: Sequence[str] = ()) -> dict[str, Any]:
    """Every key of the configuration that these words choose from the groups, dotted, and its value; of the default
    one, where they choose what there is not."""
    try:
        chosen = _tree([word for word in words if word.partition("=")[0] in GROUPS])
    except (HydraException, OmegaConfBaseException):
        chosen = _tree([])
    tree = OmegaConf.to_container(chosen, resolve=False)
    assert isinstance(tree, dict)
    return flatten_config({str(key): value for key, value in tree.items() if key != TUNED})


def explain_hydra(error: Exception, words: Sequence[str] = ()) -> str:
    """Hydra's and OmegaConf's errors about these words in one line, with the cure."""
    text = str(error)
    word = getattr(error, "override", None)  # of Hydra's OverrideParseException
    if word and "=" not in word:
        meant = f", such as env={word}" if is_environment(word) else ""
        return f"{word}: give key=value{meant}; --cfg job shows all keys"
    if word:
        return (
            f"{word.removeprefix('++')}: cannot be read ({' '.join(text.split())}); in a shell, quote the whole word, "
            "and a text with = or , in it once more: 'key=\"a=b\"'"
        )
    several = re.search(r"Ambiguous value for argument '(.+)'", text.splitlines()[0])
    if several:
        key, _, value = several.group(1).removeprefix("++").partition("=")
        return f"{key}={value}: several values need -m (a run for each); a list is '{key}=[{value}]', a decimal 0.5"
    unknown = re.search(r"Could not override '([^']+)'", text) or re.search(r"Key '([^']+)' is not in struct", text)
    if unknown:
        key = unknown.group(1)
        value = next((one.partition("=")[2] for one in words if one.lstrip("+").partition("=")[0] == key), "")
        return no_such_key(key, value, words)
    group = re.search(r"Could not find '([^']+)/([^']+)'", text)
    if group:
        options = re.search(r"Available options in '[^']*':\n((?:\t.*\n?)*)", text)
        names = options.group(1).split() if options else []
        more = " Any id that Gymnasium knows will do too, and module:Name-v0." if group.group(1) == "env" else ""
        kind = "preset, and Gymnasium knows no such id" if group.group(1) == "env" else "option"
        return f"{group.group(1)}={group.group(2)}: {no_such(kind, group.group(2), names)}.{more}"
    return " ".join(text.split())


def no_such_key(key: str, value: str, words: Sequence[str]) -> str:
    """What is wrong with a key that the configuration of these words does not have."""
    known = known_keys(words)
    for rule in without_effect(known):
        if rule.covers(key):
            return rule.message(key, value)
    if (foreign := of_another_optimizer(key, value, known)) is not None:
        return foreign
    others = similar(key, known)
    return f"{key}: there is no such key{others}; --cfg job shows all keys"
