"""From words and keywords to the checked configuration: Hydra's composition, and its errors in one line."""

from __future__ import annotations

import difflib
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import PurePath
from typing import Any

import numpy as np
from hydra import compose as hydra_compose
from hydra import initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from raes.config.effect import check_given, without_effect
from raes.config.schema import TUNED, Config, conf_dir, from_tree, of_another_optimizer, similar
from raes.storage.metrics import flatten_config
from raes.types import UserError

OPEN_NODES = tuple(f"{group}.kwargs{end}" for group in ("env", "policy", "algorithm") for end in "=.")
"""Words whose keys are the user's own: Hydra must take them as they come."""

GROUPS = ("env", "algorithm", "policy", "optimizer", "runtime", "experiment", "debug")
"""Words that choose which keys there are."""


def opened(word: str) -> str:
    """A word as Hydra must have it."""
    return f"++{word}" if word.startswith(OPEN_NODES) else word


def compose(words: Sequence[str]) -> Config:
    """The configuration that a command line of these words means.

    Raises:
        UserError: naming the wrong key, its value and the cure.
    """
    try:
        return checked(_tree([opened(word) for word in words]), words)
    except (HydraException, OmegaConfBaseException) as error:
        raise UserError(explain_hydra(error, words)) from error


def checked(tree: DictConfig, words: Sequence[str]) -> Config:
    """The configuration that Hydra has composed from these words.

    Raises:
        UserError: naming the wrong key, its value and the cure; also where a word changes nothing.
    """
    for word in words:
        if word.lstrip("+").startswith("optimizer.name="):
            raise UserError(f"{word}: choose it with optimizer=..., which has the keys that it reads")
    config = from_tree(tree)
    for line in check_given(words, config):
        print(f"raes: {line}", file=sys.stderr, flush=True)
    return config


def words_of(keys: Mapping[str, Any], prefix: str = "") -> list[str]:
    """Keyword arguments as words of a command line.

    Args:
        keys: `algorithm.sigma` or, as a name in Python, `algorithm__sigma`; a mapping stands for keys below its own.

    Raises:
        UserError: a value is not plain data.
    """
    words = []
    for key, value in keys.items():
        name = prefix + str(key).replace("__", ".")
        if isinstance(value, Mapping) and value:
            words += words_of(value, f"{name}.")
        else:
            words.append(f"{name}={_text(name, value)}")
    return words


def _text(name: str, value: Any) -> str:
    """A value in Hydra's grammar."""
    if isinstance(value, np.generic | np.ndarray):
        value = value.tolist()
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, int | float):
        return repr(value)
    if isinstance(value, str | PurePath):
        escaped = re.sub(r"(\\*)('|$)", lambda found: 2 * found[1] + ("\\'" if found[2] else ""), str(value))
        return f"'{escaped}'"
    if isinstance(value, list | tuple):
        return f"[{','.join(_text(name, one) for one in value)}]"
    if isinstance(value, Mapping):
        return f"{{{','.join(f'{key}:{_text(name, one)}' for key, one in value.items())}}}"
    raise UserError(f"{name}={value!r}: give a number, a text, True, False, None, or a list or mapping of these")


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
        return f"{word}: give key=value; --cfg job shows all keys"
    if word:
        return f"{word}: cannot be read ({' '.join(text.split())}); in a shell, quote the whole word"
    unknown = re.search(r"Could not override '([^']+)'", text) or re.search(r"Key '([^']+)' is not in struct", text)
    if unknown:
        key, known = unknown.group(1), known_keys(words)
        value = next((one.partition("=")[2] for one in words if one.lstrip("+").partition("=")[0] == key), "")
        for rule in without_effect(known):
            if rule.covers(key):
                return rule.message(key, value)
        if (foreign := of_another_optimizer(key, value, known)) is not None:
            return foreign
        others = similar(key, known)
        return f"{key}: there is no such key{others}; see conf/config.yaml, or --cfg job for all keys"
    group = re.search(r"Could not find '([^']+)/([^']+)'", text)
    if group:
        options = re.search(r"Available options in '[^']*':\n((?:\t.*\n?)*)", text)
        names = options.group(1).split() if options else []
        close = difflib.get_close_matches(group.group(2), names, n=3, cutoff=0.5)
        meant = f"; did you mean {' or '.join(close)}?" if close else ""
        more = " Any other Gymnasium environment: env=gymnasium env.id=NAME." if group.group(1) == "env" else ""
        return f"{group.group(1)}={group.group(2)}: there is no such option{meant}; there are {', '.join(names)}.{more}"
    return " ".join(text.split())
