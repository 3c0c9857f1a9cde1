"""The configuration: Hydra's composed tree crosses into frozen dataclasses here, once, checked as a whole."""

from __future__ import annotations

import difflib
import importlib.resources
import json
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from functools import cache
from pathlib import Path
from typing import Annotated, Any, Literal

from omegaconf import DictConfig, OmegaConf
from pydantic import Discriminator, Field, Tag, TypeAdapter, ValidationError

from raes.algorithms import ALGORITHMS, AlgorithmSettings
from raes.config.other_names import OTHER_NAMES
from raes.config.settings import (
    CheckpointSettings,
    EvaluationSettings,
    FaultSettings,
    GoalSettings,
    NoiseSettings,
    RaySettings,
    RuntimeSettings,
    TensorBoardSettings,
    VideoSettings,
)
from raes.models.settings import ModuleSettings
from raes.policies import ConvSettings, PolicySettings, TorchSettings
from raes.problems.atari import AtariSettings
from raes.problems.environment import EnvSettings
from raes.problems.function import FunctionSettings
from raes.runtime.scheduling import Size
from raes.search.optimizers import OPTIMIZERS, AdamSettings, ClipUpSettings, SGDSettings, keys_of, optimizers_with
from raes.storage.location import location
from raes.storage.metrics import flatten_config
from raes.storage.pretrained import PREFIX
from raes.storage.run_folder import UploadSettings
from raes.text import one_line
from raes.types import SETTINGS, Count, Positive, Seed, UserError
from raes.validation import no_such


def _kind_of_env(value: Any) -> str:
    """Which of the four kinds of settings, for pydantic."""
    fields = value if isinstance(value, Mapping) else vars(value)
    if (name := str(fields.get("name"))) in ("function", "module"):
        return name
    return "atari" if "game" in fields else "environment"


def _kind_of_policy(value: Any) -> str:
    """The same for policies."""
    name = value.get("name") if isinstance(value, Mapping) else value.name
    return {"torch": "torch", "conv": "convolutional"}.get(str(name), "network")


def _kind_of_optimizer(value: Any) -> str:
    """The same for optimisers; Adam is the default."""
    return str(value.get("name", "adam") if isinstance(value, Mapping) else value.name)


TUNED = "tuned"
"""Node of presets: values for optimisers, by option; the optimiser in use takes its own, and the node ends there."""

NODES = ("env", "policy", "algorithm", "optimizer")
"""The nodes that are of one of several kinds."""

PLACES = ("run_dir", "resume", "start_from")
"""Keys whose value is a path or a URL."""


@dataclass(frozen=True)
class Config:
    """Everything a run is made from; `conf/config.yaml` explains the keys."""

    __pydantic_config__ = SETTINGS

    env: Annotated[
        Annotated[EnvSettings, Tag("environment")]
        | Annotated[AtariSettings, Tag("atari")]
        | Annotated[FunctionSettings, Tag("function")]
        | Annotated[ModuleSettings, Tag("module")],
        Discriminator(_kind_of_env),
    ]
    policy: Annotated[
        Annotated[PolicySettings, Tag("network")]
        | Annotated[ConvSettings, Tag("convolutional")]
        | Annotated[TorchSettings, Tag("torch")],
        Discriminator(_kind_of_policy),
    ]
    algorithm: Annotated[AlgorithmSettings, Field(discriminator="name")]
    optimizer: Annotated[
        Annotated[AdamSettings, Tag("adam")]
        | Annotated[SGDSettings, Tag("sgd")]
        | Annotated[ClipUpSettings, Tag("clipup")],
        Discriminator(_kind_of_optimizer),
    ]
    seed: Seed = 0
    generations: Count | None = None
    max_timesteps: Count | None = None
    max_minutes: Positive | None = None
    workers: int | str = "auto"
    run_dir: str | None = None
    resume: str = "never"
    start_from: str | None = None
    behavior: str | None = None
    console: Literal["auto", "plain", "quiet"] = "auto"
    callbacks: tuple[str, ...] = ()
    ray: RaySettings = field(default_factory=RaySettings)
    runtime: RuntimeSettings = field(default_factory=RuntimeSettings)
    noise: NoiseSettings = field(default_factory=NoiseSettings)
    evaluation: EvaluationSettings = field(default_factory=EvaluationSettings)
    goal: GoalSettings = field(default_factory=GoalSettings)
    checkpoint: CheckpointSettings = field(default_factory=CheckpointSettings)
    upload: UploadSettings = field(default_factory=UploadSettings)
    faults: FaultSettings = field(default_factory=FaultSettings)
    video: VideoSettings = field(default_factory=VideoSettings)
    tensorboard: TensorBoardSettings = field(default_factory=TensorBoardSettings)

    def __post_init__(self) -> None:
        Size.of(self.workers)
        if isinstance(self.policy, ConvSettings) and not isinstance(self.env, AtariSettings):
            raise ValueError("policy: a3c and nature need stacked frames of pixels; use env=atari, or another policy")
        if self.video.every and isinstance(self.env, FunctionSettings | ModuleSettings):
            what = "function" if isinstance(self.env, FunctionSettings) else "model"
            raise ValueError(f"video.every={self.video.every}: a {what} has nothing to see; set video.every=0")
        if self.noise.size == 0 and not isinstance(self.env, FunctionSettings):
            raise ValueError("noise.size=0: must be at least 1; null lets the number of parameters decide")
        if self.evaluation.episodes is None and not isinstance(self.env, FunctionSettings):
            raise ValueError(
                "evaluation.episodes=None: must be a number, but for env=function; give evaluation.episodes=10"
            )
        if self.run_dir == "":
            raise ValueError("run_dir is empty; name a folder, or null for a new one under runs/")
        if (self.run_dir or "").startswith(PREFIX) or self.resume.startswith(PREFIX):
            raise ValueError(
                f"run_dir={self.run_dir}: a policy that comes along is no run of yours; start_from= takes it"
            )
        for key in PLACES:
            location(getattr(self, key) or "", key)  # refuses secrets, before they are written anywhere

    def as_dict(self) -> dict[str, Any]:
        """Plain dictionaries and lists, as YAML and JSON hold them."""
        plain: dict[str, Any] = json.loads(json.dumps(asdict(self)))
        return plain


FREE_TO_CHANGE = (
    "workers", "run_dir", "resume", "console", "callbacks", "generations", "max_timesteps", "max_minutes",
    "env.native", "env.snapshot_every", "ray.", "runtime.name", "runtime.relays", "runtime.deadline",
    "runtime.gpus_per_worker", "goal.", "checkpoint.", "upload.", "faults.", "video.", "tensorboard.",
)  # fmt: skip
"""What a resume may change: where, how long and what is shown; never what is computed."""


HINTS = dict.fromkeys(("generations", "max_timesteps", "max_minutes"), "null means no limit")
HINTS |= dict.fromkeys(("noise.size", "algorithm.population"), "null lets the number of parameters decide")
HINTS |= {"video.every": "0 makes no videos", "tensorboard.histograms": "0 writes none"}
"""What else may be given where a number is wrong."""

RANGES = {
    "greater_than": "greater than",
    "greater_than_equal": "at least",
    "less_than": "less than",
    "less_than_equal": "at most",
}
"""What pydantic's errors about a range ask for, each with the limit."""

LISTED = 20
"""Wrong keys that a message lists."""

LISTS = ("policy.hidden", "callbacks", "env.wrappers", "env.parameters")
"""Keys of a list, where a value alone stands for a list of one."""

BRANCHES = {("algorithm", name) for name in ALGORITHMS} | {("optimizer", name) for name in OPTIMIZERS}
BRANCHES |= {("env", "environment"), ("env", "atari"), ("env", "module")}
BRANCHES |= {("policy", "network"), ("policy", "convolutional"), ("policy", "torch")}
"""What pydantic inserts into the path of a key where there are several kinds of settings."""


def conf_dir() -> Path:
    """The Hydra groups: `raes/conf` in an installed wheel, `conf` next to the package in a checkout."""
    package = Path(str(importlib.resources.files("raes")))
    installed = package / "conf"
    return installed if installed.is_dir() else package.parent / "conf"


def plain_tree(tree: DictConfig | Mapping[str, Any]) -> dict[str, Any]:
    """What Hydra has composed, resolved, or plain values as they are."""
    if not isinstance(tree, DictConfig):
        return dict(tree)
    plain: Any = OmegaConf.to_container(tree, resolve=True)
    plain.pop(TUNED, None)
    return dict(plain)


def from_tree(tree: DictConfig | Mapping[str, Any]) -> Config:
    """The checked configuration, from what Hydra has composed or from plain values.

    Raises:
        UserError: naming every wrong key, its value and the cure.
    """
    plain = plain_tree(tree)
    for node in NODES:
        if not isinstance(plain.get(node, {}), Mapping):
            raise UserError(f"{node}={one_line(repr(plain[node]))}: must hold keys, {node}.name among them")
    for node, options, default in (("algorithm", ALGORITHMS, None), ("optimizer", OPTIMIZERS, "adam")):
        name = str(plain.get(node, {}).get("name", default))
        if name not in options:
            raise UserError(f"{node}.name={one_line(name)}: {no_such(node, name, options)}")
    plain = with_lists(plain)
    try:
        return _adapter().validate_json(json.dumps(with_whole_numbers(plain)), strict=True)
    except ValidationError as error:
        lines = explained(error, flatten_config(plain))
        hints = [HINTS.get(line.partition("=")[0]) for line in lines]
        text = [
            one_line(line) if hint is None else f"{one_line(line)}; {hint}"
            for line, hint in zip(lines, hints, strict=True)
        ]
        if len(text) > LISTED:
            text[LISTED:] = [f"and {len(text) - LISTED} more"]
        raise UserError("\n".join(text)) from error
    except TypeError as error:
        raise UserError(f"the configuration holds a value that is not plain data: {one_line(error)}") from error


def with_lists(plain: Mapping[str, Any]) -> dict[str, Any]:
    """Plain values, where those of `LISTS` are lists."""
    tree = dict(plain)
    for node, _, name in (key.rpartition(".") for key in LISTS):
        inner = tree.get(node) if node else tree
        value = inner.get(name) if isinstance(inner, Mapping) else None
        if isinstance(value, int | float | str) and not isinstance(value, bool):
            tree |= {node: {**tree[node], name: [value]}} if node else {name: [value]}
    return tree


def with_whole_numbers(value: Any) -> Any:
    """Plain values, where 1e6 and 2.0 are whole numbers, which a key of real numbers takes too; the user's own stay."""
    if isinstance(value, Mapping):
        return {key: one if key == "kwargs" else with_whole_numbers(one) for key, one in value.items()}
    if isinstance(value, list):
        return [with_whole_numbers(one) for one in value]
    return int(value) if isinstance(value, float) and value.is_integer() else value


@cache
def _adapter() -> TypeAdapter[Config]:
    return TypeAdapter(Config)


def explained(error: ValidationError, known: Mapping[str, Any]) -> list[str]:
    """A line for each wrong key; see `explain`."""
    found = dict[str, list[str]]()
    for line in (explain(one, known) for one in error.errors()):
        start, must, rest = line.partition(": must be ")
        found.setdefault(start + must, []).append(rest)
    return [start + " or ".join(dict.fromkeys(rests)) for start, rests in found.items()]


def explain(error: Any, known: Mapping[str, Any]) -> str:
    """One of pydantic's errors as one line with key, value and cure.

    Args:
        error: an item of `ValidationError.errors()`.
        known: the keys that exist, dotted.
    """
    # pydantic names the branches of a union after the field; the user knows only the key.
    branch = re.compile(r"^(constrained-)?(int|float|str|bool|literal|tuple|function)\b|\[")
    foreign = error["type"] in ("unexpected_keyword_argument", "extra_forbidden")
    *path, last = map(str, error["loc"] or ("",))
    loc = [part for part in path if not branch.search(part)] + ([last] if foreign or not branch.search(last) else [])
    if len(loc) > 1 and (loc[0], loc[1]) in BRANCHES:
        del loc[1]
    key = re.sub(r"\.(\d+)", r"[\1]", ".".join(loc))
    if foreign:
        if (other := of_another_optimizer(key, error["input"], known)) is not None:
            return other
        return f"{key}: there is no such key{similar(key, known)}; remove it"
    if error["type"].startswith("missing"):
        return f"{key} is missing; give {key}=..."
    if error["type"] == "value_error":
        message = str(error["ctx"]["error"])
        if not key:
            return message
        names_field = f"{key}.{re.split(r'[ =:[]', message)[0]}" in known
        return f"{key}.{message}" if names_field else f"{key}: {message}"
    if (asked := RANGES.get(error["type"])) is not None:
        (limit,) = error["ctx"].values()
        short = {("greater than", 0): "be positive", ("at least", 0): "not be negative"}
        limited = f"be {asked} {limit:g}" if isinstance(limit, float) else f"be {asked} {limit}"
        return f"{key}={error['input']}: must {short.get((asked, limit), limited)}"
    message = error["msg"].replace("Input should", "must", 1)
    return f"{key}={error['input']}: {message[0].lower()}{message[1:]}"


def of_another_optimizer(key: str, value: Any, known: Mapping[str, Any]) -> str | None:
    """What is wrong with a key that only other optimisers have; None where it is another kind of key.

    Args:
        key: dotted, not among the keys of the configuration.
        value: what it was given.
        known: the configuration's values by dotted key.
    """
    node, _, name = key.rpartition(".")
    others = optimizers_with(name) if node == "optimizer" else []
    if not others:
        return None
    chosen = known.get("optimizer.name")
    return f"{key}={value}: has no effect with optimizer={chosen}; remove it, or set optimizer={' or '.join(others)}"


def similar(key: str, known: Mapping[str, Any]) -> str:
    """What the user may have meant, in brackets; empty where nothing is close."""
    if (usual := next((one for one in OTHER_NAMES.get(key.rpartition(".")[2], ()) if one in known), None)) is not None:
        return f" (here it is {usual})"
    close = difflib.get_close_matches(key, [name for name in known if name != key], n=3, cutoff=0.6)
    own = (
        f"; an argument of the environment itself is {key.replace('env.', 'env.kwargs.', 1)}"
        if key[:4] == "env."
        else ""
    )
    return f" (close: {', '.join(close)}{own})" if close else f" ({own[2:]})" if own else ""


def current(stored: Mapping[str, Any]) -> dict[str, Any]:
    """A stored configuration without the keys that earlier versions wrote and no algorithm reads.

    They are `algorithm.layers`, which follow from the policy, and keys of other optimisers than the one in use.
    """
    plain = {key: dict(value) if isinstance(value, Mapping) else value for key, value in stored.items()}
    algorithm, optimizer = plain.get("algorithm"), plain.get("optimizer")
    if isinstance(algorithm, dict):
        algorithm.pop("layers", None)
    if isinstance(optimizer, dict) and str(optimizer.get("name")) in OPTIMIZERS:
        own = keys_of(optimizer["name"])
        plain["optimizer"] = {key: value for key, value in optimizer.items() if key in own or not optimizers_with(key)}
    return plain
