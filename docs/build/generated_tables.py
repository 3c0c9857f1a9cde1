"""Tables that are made from the configuration files, the docstrings and the measured results."""

from __future__ import annotations

import ast
import dataclasses
import importlib
import inspect
import json
import re
import textwrap
import typing
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

from curves import RESULTS, measured
from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from omegaconf import OmegaConf

from raes.algorithms import ALGORITHMS
from raes.algorithms.search import SearchSettings
from raes.bench.__main__ import BENCHES
from raes.config import schema
from raes.config.cli import arguments_of
from raes.config.schema import conf_dir
from raes.policies import ConvSettings, PolicySettings, TorchSettings
from raes.problems.atari import AtariSettings
from raes.problems.environment import EnvSettings
from raes.problems.function import FunctionSettings
from raes.report.report_tables import thresholds
from raes.search.optimizers import OPTIMIZERS

PACKAGE = Path(schema.__file__).parents[1]
GYMNASIUM = ("env=gymnasium", "env.id=CartPole-v1")
FUNCTION = ("env=function", "env.call=module:f", "env.dim=1")
SWEEP = ("timesteps", "frames", "generations", "perturbed, first 3", "perturbed, last 3", "first evaluation",
         "last evaluation", "best evaluation")  # fmt: skip
"""What `results/sweep.py` gathers, as columns."""
Row = tuple[str, str, str]


def options(name: str) -> str:
    """The keys of an algorithm; those that all of them share are in the reference."""
    settings = ALGORITHMS[name][1]
    common = {field.name for field in dataclasses.fields(SearchSettings)}
    tree = composed(f"algorithm={name}", *GYMNASIUM)["algorithm"]
    rows = [row for row in _rows("algorithm", settings, tree) if row[0].split(".")[1] not in {*common, "name"}]
    return _table(("key", "default", "meaning"), rows)


def common() -> str:
    """The keys that all algorithms share."""
    return _table(("key", "default", "meaning"), _rows("algorithm", SearchSettings, composed(*GYMNASIUM)["algorithm"]))


def keys() -> str:
    """The keys of the command that belong to no group of their own."""
    tree, comments = composed("run_dir=null", *GYMNASIUM), _comments(conf_dir() / "config.yaml")
    rows: list[Row] = []
    for field in dataclasses.fields(schema.Config):
        value = tree[field.name]
        if field.name in ("env", "policy", "algorithm", "optimizer"):
            continue
        kind = typing.get_type_hints(schema.Config)[field.name]
        if isinstance(value, dict):
            rows += [
                (key, default, comments.get(key) or meaning) for key, default, meaning in _rows(field.name, kind, value)
            ]
        else:
            rows.append((field.name, _shown(value), comments.get(field.name, "")))
    return _table(("key", "default", "meaning"), rows)


def group(name: str) -> str:
    """The options of a configuration group, by the first comment of each file."""
    rows = []
    for path in sorted((conf_dir() / name).glob("*.yaml")):
        lines = [line[1:].strip() for line in path.read_text().splitlines() if line.startswith("#")]
        rows.append((f"{name}={path.stem}", " ".join(line for line in lines if not line.startswith("@"))[:300]))
    return _table(("option", "what it is"), rows)


def settings(kind: str) -> str:
    """The keys of one kind of environment or policy."""
    which: dict[str, tuple[str, type[Any], tuple[str, ...]]] = {
        "env": ("env", EnvSettings, GYMNASIUM),
        "atari": ("env", AtariSettings, ("env=atari", "env.game=pong")),
        "function": ("env", FunctionSettings, FUNCTION),
        "policy": ("policy", PolicySettings, (*GYMNASIUM, "policy=mlp")),
        "conv": ("policy", ConvSettings, ("env=atari", "env.game=pong")),
        "torch": ("policy", TorchSettings, (*GYMNASIUM, "policy=torch", "policy.module=module:Class")),
    }
    node, cls, words = which[kind]
    return _table(("key", "default", "meaning"), list(_rows(node, cls, composed(*words)[node])))


def optimizers() -> str:
    """The keys of all optimisers, with the defaults of each option; a key that an optimiser does not read has none."""
    options = sorted(path.stem for path in (conf_dir() / "optimizer").glob("*.yaml"))
    defaults = {option: composed(f"optimizer={option}", *GYMNASIUM)["optimizer"] for option in options}
    meanings = {key: text for cls in OPTIMIZERS.values() for key, text in _meanings(cls).items()}
    rows = [
        (f"optimizer.{key}", *(_shown(one[key]) if key in one else "" for one in defaults.values()), meanings[key])
        for key in dict.fromkeys(key for one in defaults.values() for key in one)
        if key != "name"
    ]
    return _table(("key", *(f"`optimizer={option}`" for option in options), "meaning"), rows)


def presets() -> str:
    """The environments with a name of their own."""
    rows = []
    games = {path.stem.removeprefix("atari_") for path in (conf_dir() / "preset" / "family").glob("atari_*.yaml")}
    for path in (conf_dir() / "algorithm").glob("*.yaml"):  # some take the family's preset of another algorithm
        games |= {path.stem for other in re.findall(r"\$\{family\}_(\w+)", path.read_text()) if other in games}
    for path in sorted((conf_dir() / "env").glob("*.yaml")):
        own = {other.stem for other in (conf_dir() / "preset").glob(f"{path.stem}_*.yaml")}
        if path.stem in ("atari", "function", "gymnasium"):
            continue
        tree = composed(f"env={path.stem}")
        env, hidden = tree["env"], tree["policy"].get("hidden")
        what = env.get("id") or f"ALE, {env['game']}"
        policy = tree["policy"]["name"] + (f" {hidden}" if hidden else "")
        found = {one.removeprefix(f"{path.stem}_") for one in own} | (games if "game" in env else set())
        rows.append((f"env={path.stem}", what, policy, ", ".join(sorted(found))))
    return _table(("environment", "is", "policy", "presets for"), rows)


def commands() -> str:
    """The commands, by their docstrings."""
    parts = []
    for path in [*sorted(PACKAGE.glob("*.py")), *sorted(PACKAGE.glob("*/__main__.py"))]:
        tree = ast.parse(path.read_text())
        text = ast.get_docstring(tree) or ""
        if not text.startswith("`python -m "):
            continue
        name = path.parent.name if path.name == "__main__.py" else path.stem
        head, _, rest = text.partition("\n\n")
        usage, _, summary = head.partition("`: ")
        summary = " ".join(summary.split())
        parts.append(
            f"## raes.{name}\n\n```text\n{' '.join(usage.strip('`').split())}\n```\n\n{_sentence(summary)}\n\n{rest}"
        )
        if name == "bench":
            parts.append(
                _table(
                    ("benchmark", "what it measures"),
                    [(f"raes.bench {key}", bench.summary) for key, bench in BENCHES.items()],
                )
            )
        else:
            parts.append(_arguments(f"raes.{name}.__main__" if path.name == "__main__.py" else f"raes.{name}"))
    return "\n\n".join(part for part in parts if part)


def results(*names: str) -> str:
    """Measured runs, one row each."""
    rows = []
    for name in names:
        report = json.loads((RESULTS / f"{name}.json").read_text())
        cells = []
        for one in report["seeds"]:
            figures = one["evaluation"]
            interval = f"[{figures['return_ci_low']:,.1f}, {figures['return_ci_high']:,.1f}]"
            cpu = f" ({one['cpu_minutes']:.1f})" if "cpu_minutes" in one else ""
            effort = f"{one['timesteps'] / 1e6:.2f}e6, {one['minutes']:.1f}{cpu}"
            cells.append(f"{one['seed']}: **{figures['return_mean']:,.1f}** {interval}, {effort}")
        rows.append(
            (report["task"], f"{report['bar']:,g}", "<br>".join(cells), f"`{report['command']}`", report["date"])
        )
    return _table(
        ("task", "bar", "seed: evaluation mean [95 % interval], timesteps, minutes (core-minutes)", "command", "date"),
        rows,
        (),
    )


def actions(*games: str) -> str:
    """What Atari games pay for one action held throughout, and for random play."""
    rows = []
    for game in games:
        report = json.loads((RESULTS / f"actions_{game}.json").read_text())
        for one in report["rows"]:
            figures = f"{one['return_mean']:,.1f} ± {one['standard_error']:.1f}"
            rows.append((game, one["actions"], figures, str(report["episodes"]), report["date"]))
    return _table(("game", "action", "mean ± standard error", "episodes", "date"), rows)


def milestones(*names: str) -> str:
    """Timesteps to shares of TRPO's score beside the paper's ES, as `raes.report` has them."""
    rows = []
    for row in thresholds(measured(*names), {}).rows:
        share = str(row["kind"]).partition(" of ")[0]
        ours = "-" if row["timesteps"] is None else f"{row['timesteps']:.2e}"
        there = f"{row['reached']} of {row['seeds']}"
        rows.append((str(row["task"]), f"{row['threshold']:,.0f} ({share})", f"{row['paper_es']:.2e}", ours, there))
    head = ("task", "score (share of TRPO's)", "paper's ES", "ours, median", "seeds that got there")
    return _table(head, rows, ())


def sweep(name: str) -> str:
    """The runs of a multirun, one row each; *perturbed* is the mean return of the perturbed policies."""
    report = json.loads((RESULTS / f"{name}.json").read_text())
    columns = [one for one in (*report["keys"], *SWEEP) if any(row.get(one) is not None for row in report["rows"])]
    rows = [[_figure(row[column]) for column in columns] for row in report["rows"]]
    return f"`{report['command']}`, {report['date']}:\n\n" + _table(tuple(columns), rows, ())


def _figure(value: Any) -> str:
    return f"{value:,.1f}" if isinstance(value, float) else f"{value:,}" if isinstance(value, int) else str(value)


def example(name: str) -> str:
    """A file of examples/, as it is."""
    return f"```python\n{(RESULTS.parent / 'examples' / f'{name}.py').read_text()}```"


MAKERS: dict[str, Callable[..., str]] = {
    "actions": actions,
    "commands": commands,
    "common": common,
    "example": example,
    "group": group,
    "keys": keys,
    "milestones": milestones,
    "optimizers": optimizers,
    "options": options,
    "presets": presets,
    "results": results,
    "settings": settings,
    "sweep": sweep,
}
"""What a page may ask for with `<!-- made: NAME WORDS -->`."""


@cache
def composed(*words: str) -> dict[str, Any]:
    """The configuration that a command line composes."""
    GlobalHydra.instance().clear()
    with initialize_config_dir(str(conf_dir().resolve()), version_base="1.3"):
        tree = OmegaConf.to_container(compose("config", overrides=list(words)), resolve=True)
    assert isinstance(tree, dict)
    return {str(key): value for key, value in tree.items()}


def _rows(node: str, cls: type[Any], values: dict[str, Any]) -> Iterator[Row]:
    """Key, default and meaning of every field of a dataclass of settings, those of nested ones too."""
    meanings, hints = _meanings(cls), typing.get_type_hints(cls)
    for field in dataclasses.fields(cls):
        key, value = f"{node}.{field.name}", values.get(field.name)
        if dataclasses.is_dataclass(hints[field.name]):
            yield from _rows(key, hints[field.name], value or {})
        elif field.name in values:
            yield key, _shown(value), meanings.get(field.name, "")


def _meanings(cls: type[Any]) -> dict[str, str]:
    """What the docstrings of a class and of those below it say of its attributes; else its one field is its line."""
    found: dict[str, str] = {}
    for one in reversed(cls.__mro__):
        text = inspect.cleandoc(one.__doc__ or "") if dataclasses.is_dataclass(one) else ""
        _, _, block = text.partition("Attributes:\n")
        for item in re.split(r"\n(?=\S)", textwrap.dedent(block.split("\n\n")[0])):
            names, colon, meaning = item.partition(":")
            if colon:
                found |= dict.fromkeys(names.replace(" ", "").split(","), " ".join(meaning.split()))
        line = re.match(r"`[\w.]*\.(\w+)`: (.*)", " ".join(text.split()))
        if line and not block:
            found[line[1]] = line[2]
    return found


def _arguments(module: str) -> str:
    """The keys of a command that has a dataclass of them."""
    arguments = arguments_of(importlib.import_module(module))
    if arguments is None:
        return ""
    meanings, rows = _meanings(arguments), []
    for field in dataclasses.fields(arguments):
        needed = field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING
        default = "" if field.default is dataclasses.MISSING else _shown(field.default)
        rows.append((field.name, "(needed)" if needed else default, meanings.get(field.name, "")))
    return _table(("key", "default", "meaning"), rows)


def _comments(path: Path) -> dict[str, str]:
    """The comments behind the keys of a YAML file, by dotted key; indented comments below go on."""
    found: dict[str, str] = {}
    node, last = "", ""
    for line in path.read_text().splitlines():
        entry = re.match(r"( *)([\w]+):[^#]*(?:#\s*(.*))?$", line)
        more = re.match(r" +#\s*(.*)", line)
        if entry:
            last = f"{node}.{entry[2]}" if entry[1] else entry[2]
            node = node if entry[1] else entry[2]
            if entry[3]:
                found[last] = entry[3]
        elif more and last in found:
            found[last] += " " + more[1]
    return found


def _shown(value: Any) -> str:
    return "null" if value is None else json.dumps(value) if not isinstance(value, str) else value or '""'


def _sentence(text: str) -> str:
    return text[:1].upper() + text[1:]


def _table(head: tuple[str, ...], rows: Any, code: tuple[int, ...] = (0,)) -> str:
    """A Markdown table; the given columns are code."""
    lines = [f"| {' | '.join(head)} |", f"| {' | '.join('---' for _ in head)} |"]
    for row in rows:
        cells = [cell.replace("|", "\\|") for cell in row]
        lines.append(f"| {' | '.join(f'`{cell}`' if n in code and cell else cell for n, cell in enumerate(cells))} |")
    return "\n".join(lines)
