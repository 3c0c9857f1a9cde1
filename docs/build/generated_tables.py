"""Tables of the documentation, generated from the configuration files, the docstrings and the measured results."""

from __future__ import annotations

import ast
import dataclasses
import importlib
import inspect
import json
import re
import sys
import textwrap
import typing
from collections.abc import Callable, Iterable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import yaml
from bench_tables import bench
from cluster_minutes import HEAD as CLUSTER_HEAD
from cluster_minutes import minutes
from curves import RESULTS, measured
from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from measured_table import HEAD, measured_rows
from omegaconf import OmegaConf

from raes.algorithms import ALGORITHMS
from raes.algorithms.base import SearchSettings
from raes.config import schema
from raes.config.cli import arguments_of
from raes.config.schema import conf_dir
from raes.models.settings import ModuleSettings
from raes.policies import ConvSettings, PolicySettings, TorchSettings
from raes.problems.atari import AtariSettings
from raes.problems.environment import EnvSettings
from raes.problems.function import FunctionSettings
from raes.report.report_tables import thresholds
from raes.storage.pretrained import FOLDER, names

REPOSITORY = RESULTS.parent
sys.path.insert(0, str(REPOSITORY))  # for benchmarks/, which is not installed
PACKAGE = Path(schema.__file__).parents[1]
GYMNASIUM = ("env=gymnasium", "env.id=CartPole-v1")
FUNCTION = ("env=function", "env.call=module:f", "env.dim=1")
MODULE = ("env=module", "env.build=module:build", "env.reward=module:reward")
SWEEP = ("timesteps", "frames", "hours", "generations", "perturbed, first 3", "perturbed, last 3", "first evaluation",
         "last evaluation", "best evaluation")  # fmt: skip
"""The metrics that `results/multirun.py` gathers, as columns."""
Row = tuple[str, str]
"""A key and its default."""


def options(name: str) -> str:
    """The keys of one algorithm, without those that all algorithms share."""
    settings = ALGORITHMS[name][1]
    common = {field.name for field in dataclasses.fields(SearchSettings)}
    tree = composed(f"algorithm={name}", *GYMNASIUM)["algorithm"]
    rows = [row for row in _rows("algorithm", settings, tree) if row[0].split(".")[1] not in {*common, "name"}]
    return _keys_table(rows)


def common() -> str:
    """The keys that all algorithms share."""
    return _keys_table(_rows("algorithm", SearchSettings, composed(*GYMNASIUM)["algorithm"]))


def keys() -> str:
    """The keys of `raes.train` that belong to no configuration group."""
    tree = composed("run_dir=null", *GYMNASIUM)
    rows: list[Row] = []
    for field in dataclasses.fields(schema.Config):
        value = tree[field.name]
        if field.name in ("env", "policy", "algorithm", "optimizer"):
            continue
        kind = typing.get_type_hints(schema.Config)[field.name]
        if isinstance(value, dict):
            rows += _rows(field.name, kind, value)
        else:
            rows.append((field.name, _shown(value)))
    return _keys_table(rows)


def group(name: str) -> str:
    """The options of a configuration group, with the comments of each file."""
    rows = []
    for path in sorted((conf_dir() / name).glob("*.yaml")):
        lines = [line[1:].strip() for line in path.read_text().splitlines() if line.startswith("#")]
        text = " ".join(line for line in lines if not line.startswith(("@", "python -m ")))
        rows.append((f"{name}={path.stem}", text if len(text) <= 300 else f"{text[:300].rpartition('. ')[0]}."))
    return _table(("option", "description"), rows)


def settings(kind: str) -> str:
    """The keys of one kind of environment or policy."""
    which: dict[str, tuple[str, type[Any], tuple[str, ...]]] = {
        "env": ("env", EnvSettings, GYMNASIUM),
        "atari": ("env", AtariSettings, ("env=atari", "env.game=pong")),
        "function": ("env", FunctionSettings, FUNCTION),
        "module": ("env", ModuleSettings, MODULE),
        "policy": ("policy", PolicySettings, (*GYMNASIUM, "policy=mlp")),
        "conv": ("policy", ConvSettings, ("env=atari", "env.game=pong")),
        "torch": ("policy", TorchSettings, (*GYMNASIUM, "policy=torch", "policy.module=module:Class")),
    }
    node, cls, overrides = which[kind]
    return _keys_table(_rows(node, cls, composed(*overrides)[node]))


def optimizers() -> str:
    """The keys of all optimisers, with the defaults of each option; a key that an optimiser does not read has none."""
    options = sorted(path.stem for path in (conf_dir() / "optimizer").glob("*.yaml"))
    defaults = {option: composed(f"optimizer={option}", *GYMNASIUM)["optimizer"] for option in options}
    rows = [
        (
            f"optimizer.{key}",
            *(_shown(one[key]) if key in one else "" for one in defaults.values()),
            *notes()[f"optimizer.{key}"],
        )
        for key in dict.fromkeys(key for one in defaults.values() for key in one)
        if key != "name"
    ]
    head = ("key", *(f"`optimizer={option}`" for option in options), "meaning", "example", "change it for")
    return _table(head, rows, (0, len(head) - 2))


def presets() -> str:
    """The environments that have presets."""
    rows = []
    games = {path.stem.removeprefix("atari_") for path in (conf_dir() / "preset" / "family").glob("atari_*.yaml")}
    for path in (conf_dir() / "algorithm").glob("*.yaml"):  # some take the family's preset of another algorithm
        games |= {path.stem for other in re.findall(r"\$\{family\}_(\w+)", path.read_text()) if other in games}
    for path in sorted((conf_dir() / "env").glob("*.yaml")):
        own = {other.stem for other in (conf_dir() / "preset").glob(f"{path.stem}_*.yaml")}
        if path.stem in ("atari", "function", "gymnasium", "module"):
            continue
        tree = composed(f"env={path.stem}")
        env, hidden = tree["env"], tree["policy"].get("hidden")
        what = env.get("id") or f"ALE, {env['game']}"
        policy = tree["policy"]["name"] + (f" {hidden}" if hidden else "")
        found = {one.removeprefix(f"{path.stem}_") for one in own} | (games if "game" in env else set())
        default = tree["algorithm"]["name"]
        shown = [f"**{default}**", *sorted(found - {default})]
        rows.append((f"env={path.stem}", what, policy, ", ".join(shown)))
    return _table(("option", "environment", "policy", "presets, the default in bold"), rows)


def commands() -> str:
    """The commands with their docstrings and keys, and the benchmarks of `raes.bench` and `benchmarks`."""
    parts = []
    paths = [*sorted(REPOSITORY.glob("raes/*.py")), *sorted(REPOSITORY.glob("raes/*/__main__.py"))]
    for path in [*paths, REPOSITORY / "benchmarks" / "__main__.py"]:
        text = ast.get_docstring(ast.parse(path.read_text())) or ""
        if not text.startswith("`python -m "):
            continue
        module = ".".join(path.relative_to(REPOSITORY).with_suffix("").parts)
        head, _, rest = text.partition("\n\n")
        usage, _, summary = head.partition("`: ")
        summary = " ".join(summary.split())
        parts.append(
            f"## {module.removesuffix('.__main__')}\n\n```text\n{' '.join(usage.strip('`').split())}\n```\n\n"
            f"{_sentence(summary)}\n\n{rest}"
        )
        parts.append(_benchmarks(module) or _arguments(module))
    return "\n\n".join(part for part in parts if part)


def results(*names: str) -> str:
    """Measured runs, one row each."""
    rows = []
    for name in names:
        report = json.loads((RESULTS / f"{name}.json").read_text())
        cells = []
        for one in report["seeds"]:
            evaluation = one["evaluation"]
            interval = f"[{evaluation['return_ci_low']:,.1f}, {evaluation['return_ci_high']:,.1f}]"
            cpu = f" ({one['cpu_minutes']:.1f})" if "cpu_minutes" in one else ""
            effort = f"{one['timesteps'] / 1e6:.2f}e6, {one['minutes']:.1f}{cpu}"
            cells.append(f"{one['seed']}: **{evaluation['return_mean']:,.1f}** {interval}, {effort}")
        rows.append(
            (report["task"], f"{report['bar']:,g}", "<br>".join(cells), f"`{report['command']}`", report["date"])
        )
    return _table(
        ("task", "bar", "seed: evaluation mean [95 % interval], timesteps, minutes (core-minutes)", "command", "date"),
        rows,
        (),
    )


def presets_measured() -> str:
    """One row for each measured preset."""
    return _table(HEAD, measured_rows(), ())


def cluster() -> str:
    """Minutes of Humanoid on a cluster."""
    return _table(CLUSTER_HEAD, minutes(), ())


def policies() -> str:
    """The trained policies that come along."""
    rows = []
    for name in names():
        one = json.loads((FOLDER / name / "evaluation.json").read_text())
        interval = f"[{one['return_ci_low']:,.1f}, {one['return_ci_high']:,.1f}]"
        rows.append(
            (f"pretrained:{name}", f"{one['return_mean']:,.1f} {interval}", f"{one['training_timesteps']:,}",
             f"`{one['command']}`", one["date"], one["machine"]["cpu"])
        )  # fmt: skip
    head = ("policy", "mean of 100 episodes [95 % interval]", "timesteps of training", "command", "date", "machine")
    return _table(head, rows)


def actions(*games: str) -> str:
    """The scores of holding one action throughout an Atari game, and of random play."""
    rows = []
    for game in games:
        report = json.loads((RESULTS / f"actions_{game}.json").read_text())
        for one in report["rows"]:
            score = f"{one['return_mean']:,.1f} ± {one['standard_error']:.1f}"
            rows.append((game, one["actions"], score, str(report["episodes"]), report["date"]))
    return _table(("game", "action", "mean ± standard error", "episodes", "date"), rows)


def milestones(*names: str) -> str:
    """Timesteps to shares of TRPO's score, of the paper's ES and of RAES, as `raes.report` computes them."""
    rows = []
    for row in thresholds(measured(*names), {}).rows:
        share = str(row["kind"]).partition(" of ")[0]
        ours = "-" if row["timesteps"] is None else f"{row['timesteps']:.2e}"
        there = f"{row['reached']} of {row['seeds']}"
        rows.append((str(row["task"]), f"{row['threshold']:,.0f} ({share})", f"{row['paper_es']:.2e}", ours, there))
    head = ("task", "score (share of TRPO's)", "paper's ES", "RAES, median", "seeds that reached it")
    return _table(head, rows, ())


def sweep(name: str) -> str:
    """The runs of a sweep, one row each; *perturbed* is the mean return of the perturbed policies."""
    report = json.loads((RESULTS / f"{name}.json").read_text())
    columns = [one for one in (*report["keys"], *SWEEP) if any(row.get(one) is not None for row in report["rows"])]
    rows = [[_formatted(row.get(column)) for column in columns] for row in report["rows"]]
    head = tuple(column.removesuffix(".name").rpartition(".")[2] for column in columns)
    return f"`{report['command']}`, {report['date']}:\n\n" + _table(head, rows, ())


def arithmetic(name: str) -> str:
    """Exact match of the arithmetic example after some generations, by seed and method."""
    content = json.loads((RESULTS / f"{name}.json").read_text())
    shown, rows = (0, 2, 4, 10, 30), []
    for run in content["runs"]:
        for method, label in (("seeds", "ES by seeds"), ("reinforce", "REINFORCE")):
            one = run[method]
            values = dict(zip(one["generations"], one["exact_match"], strict=True))
            right = [f"{100 * values[number]:.0f} %" for number in shown]
            rows.append((str(run["seed"]), label, *right, f"{one['cpu_seconds']:.0f} s"))
    return _table(("seed", "method", *map(str, shown), "CPU"), rows, ())


def bbob(*names: str) -> str:
    """Shares of BBOB's targets, a row for each dimension and solver; that of a later file replaces an earlier one."""
    reports = [json.loads((RESULTS / f"{name}.json").read_text()) for name in names]
    found = {(row["dim"], row["solver"]): (row, report["date"][:10]) for report in reports for row in report["rows"]}
    groups = ("separable", "moderate", "ill_conditioned", "multimodal", "weak_structure")
    rows = []
    for (dim, solver), (row, date) in sorted(found.items(), key=lambda one: (one[0][0], -one[1][0]["share"])):
        name = f"**{solver}**" if solver == "raes" else solver
        shares = [f"{row[key]:.3f}" for key in ("share", *groups)]
        rows.append((str(dim), f"{row['evaluations']:,}", name, *shares, date))
    head = ("d", "evaluations", "solver", "all", *(group.replace("_", " ") for group in groups), "date")
    return _table(head, rows, ())


def _formatted(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:,.1f}" if abs(value) >= 1 or not value else f"{value:.3g}"
    return "" if value is None else f"{value:,}" if type(value) is int else str(value)


def example(name: str) -> str:
    """A file of examples/, in full."""
    return f"```python\n{(REPOSITORY / 'examples' / f'{name}.py').read_text()}```"


MAKERS: dict[str, Callable[..., str]] = {
    "actions": actions,
    "arithmetic": arithmetic,
    "bbob": bbob,
    "bench": bench,
    "cluster": cluster,
    "commands": commands,
    "common": common,
    "example": example,
    "group": group,
    "keys": keys,
    "measured": presets_measured,
    "milestones": milestones,
    "optimizers": optimizers,
    "options": options,
    "policies": policies,
    "presets": presets,
    "results": results,
    "settings": settings,
    "sweep": sweep,
}
"""Name in `<!-- made: NAME ARGUMENTS -->` -> function that generates the table."""


@cache
def composed(*overrides: str) -> dict[str, Any]:
    """The configuration that a command line composes."""
    GlobalHydra.instance().clear()
    with initialize_config_dir(str(conf_dir().resolve()), version_base="1.3"):
        tree = OmegaConf.to_container(compose("config", overrides=list(overrides)), resolve=True)
    assert isinstance(tree, dict)
    return {str(key): value for key, value in tree.items()}


@cache
def notes() -> dict[str, tuple[str, str, str]]:
    """Key -> what it is, an example, and what to change it for."""
    found = yaml.safe_load(Path(__file__).with_name("keys.yaml").read_text())
    return {key: (str(meaning), str(example), str(reason)) for key, (meaning, example, reason) in found.items()}


def _keys_table(rows: Iterable[Row]) -> str:
    """A table of keys, each with its notes."""
    cells = [(key, default, *notes()[key]) for key, default in rows]
    return _table(("key", "default", "meaning", "example", "change it for"), cells, (0, 3))


def _rows(node: str, cls: type[Any], values: dict[str, Any]) -> Iterator[Row]:
    """Key and default of every field of a settings dataclass, nested ones included."""
    hints = typing.get_type_hints(cls)
    for field in dataclasses.fields(cls):
        key, value = f"{node}.{field.name}", values.get(field.name)
        if dataclasses.is_dataclass(hints[field.name]):
            yield from _rows(key, hints[field.name], value or {})
        elif field.name in values:
            yield key, _shown(value)


def _meanings(cls: type[Any]) -> dict[str, str]:
    """Attribute -> meaning, from the docstrings of a class and its bases.

    A class with one field may have a single line instead: `key.name`: meaning.
    """
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


def _benchmarks(module: str) -> str:
    """The benchmarks of a command that has some."""
    benches = getattr(importlib.import_module(module), "BENCHES", {})
    program = module.removesuffix(".__main__")
    rows = [(f"python -m {program} {name} {bench.words}".strip(), bench.summary) for name, bench in benches.items()]
    return _table(("benchmark", "what it measures"), rows) if rows else ""


def _arguments(module: str) -> str:
    """The keys of a command that has a dataclass of arguments."""
    arguments = arguments_of(importlib.import_module(module))
    if arguments is None:
        return ""
    meanings, rows = _meanings(arguments), []
    for field in dataclasses.fields(arguments):
        needed = field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING
        default = "" if field.default is dataclasses.MISSING else _shown(field.default)
        rows.append((field.name, "(needed)" if needed else default, meanings.get(field.name, "")))
    return _table(("key", "default", "meaning"), rows)


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
