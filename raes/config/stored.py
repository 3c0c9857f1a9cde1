"""The configuration of a run that is there: read as plain data, and its own code used only where it is trusted.

A `config.yaml` names Python objects that evaluating, playing or exporting imports and calls. In a run directory that
came from elsewhere that is anybody's code. So it is used where this user trained the run on this machine, to which the
file's signature testifies, or with `trust=true`.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from raes.algorithms.custom import CustomSettings
from raes.config.schema import Config, current, from_tree
from raes.models.settings import ModuleSettings
from raes.policies import TorchSettings
from raes.problems.environment import EnvSettings, imports_code
from raes.problems.function import FunctionSettings
from raes.storage.files import write_atomically
from raes.storage.location import CONFIG, Location
from raes.storage.reading import read_file
from raes.storage.user_key import is_own, key_file, signed
from raes.types import UserError

LARGEST = 1 << 20
"""Bytes of a configuration at most; RAES writes about two thousand."""


def save(config: Config, path: Path) -> None:
    """Write the resolved configuration as YAML, signed by this user."""
    write_atomically(path, signed(yaml.safe_dump(config.as_dict(), sort_keys=False, allow_unicode=True).encode()))


def read_tree(run_dir: Location) -> dict[str, Any]:
    """The plain data in a run's `config.yaml`, without interpolation of any kind.

    Raises:
        UserError: the file is missing, cannot be read, or holds something else.
    """
    return _tree(run_dir / CONFIG, read_file(run_dir / CONFIG))


def load(run_dir: Location) -> Config:
    """The configuration of a run, to look at; nothing that it names is imported.

    Raises:
        UserError: as `read_tree`, or it is no configuration of RAES.
    """
    return from_tree(current(read_tree(run_dir)))


def load_to_use(run_dir: Location, trust: bool) -> Config:
    """The configuration of a run whose policy, environment or algorithm will be made.

    Args:
        run_dir: of the run.
        trust: whether the user trusts the code that it names, whoever has trained it.

    Raises:
        UserError: as `load`, or it names code of others and is not trusted.
    """
    content = read_file(run_dir / CONFIG)
    config = from_tree(current(_tree(run_dir / CONFIG, content)))
    if not trust and (code := outside_code(config)) and not is_own(content or b""):
        raise UserError(
            f"run_dir={run_dir} names code that would be imported and run: {', '.join(code)}. It does not carry the "
            f"signature of your key ({key_file()}), as the config.yaml has of a run that you trained on this machine "
            "and did not edit. Look at that code; if you trust it, add trust=true"
        )
    return config


def outside_code(config: Config) -> list[str]:
    """What a configuration names, as `key=value`, that is none of RAES's, Gymnasium's or ale-py's own."""
    code = []
    if isinstance(config.env, FunctionSettings):
        code.append(f"env.call={config.env.call}")
        code += [f"env.constraints={config.env.constraints}"] if config.env.constraints else []
    elif isinstance(config.env, ModuleSettings):
        keys = ("build", "reward", "tasks", "held_out", "engine")
        code += [f"env.{key}={path}" for key in keys if (path := getattr(config.env, key))]
    elif isinstance(config.env, EnvSettings):
        code += [f"env.id={config.env.id}"] if imports_code(config.env.id) else []
        code += [f"env.wrappers={name}" for name in config.env.wrappers]
    if isinstance(config.policy, TorchSettings):
        code.append(f"policy.module={config.policy.module}")
    if isinstance(config.algorithm, CustomSettings):
        code.append(f"algorithm.module={config.algorithm.module}")
    if config.behavior is not None and ":" in config.behavior:
        code.append(f"behavior={config.behavior}")
    return code


def _tree(path: Location, content: bytes | None) -> dict[str, Any]:
    try:
        if content is None:
            raise ValueError("there is no such file")
        if len(content) > LARGEST:
            raise ValueError(f"it has {len(content):,} bytes")
        if any(isinstance(event, yaml.AliasEvent) for event in yaml.parse(content)):
            raise ValueError("it has aliases, which RAES never writes")  # a small file of them makes an immense tree
        tree = yaml.safe_load(content)
        if not isinstance(tree, Mapping):
            raise ValueError("it holds no keys")
    except (ValueError, RecursionError, yaml.YAMLError) as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise UserError(f"{path} cannot be read ({reason}); run_dir must name a run of RAES") from error
    return {str(key): value for key, value in tree.items()}
