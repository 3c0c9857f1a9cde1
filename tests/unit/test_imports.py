"""The floors of the house, read from the imports of every file under raes/."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

import raes

PACKAGE = Path(raes.__file__).parent
FILES = sorted(PACKAGE.rglob("*.py"))

ROOMS = {
    6: "run train evaluate export play window report doctor replay bench __main__",
    5: "build config driver launch journal optimize modules prepare progress resume console command figures point "
    "keeper ledger screen compose callbacks sweep film videos rayjob",
    4: "runtime",
    3: "problems algorithms",
    2: "search storage",
    1: "policies types rng named arguments",
}
PYTORCH = ("raes.policies.torch_policy", "raes.policies.torch_export", "raes.modules", "raes.export")
FLOOR = {room: floor for floor, rooms in ROOMS.items() for room in rooms.split()}


class Import(NamedTuple):
    line: int
    target: str
    inside_function: bool


def module_name(path: Path) -> str:
    return ".".join(path.relative_to(PACKAGE.parent).with_suffix("").parts).removesuffix(".__init__")


def imports(source: str, module: str, is_package: bool = False) -> Iterator[Import]:
    """Every import of a source, relative ones resolved; `from raes import x` counts as raes.x."""
    tree = ast.parse(source)
    functions = [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)]
    inside = {id(node) for function in functions for node in ast.walk(function)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            targets = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            parts = module.split(".")
            above = parts[: len(parts) - node.level + is_package] if node.level else []
            base = ".".join([*above, *([node.module] if node.module else [])])
            targets = [f"{base}.{alias.name}" for alias in node.names] if base == "raes" else [base]
        else:
            continue
        for target in targets:
            yield Import(node.lineno, target, id(node) in inside)


def room(module: str) -> str:
    """`raes.search.noise` lies in `search`; the package itself in the empty room."""
    return [*module.split("."), ""][1]


def violations(source: str, module: str, is_package: bool = False) -> list[str]:
    """What a file imports against the rules, one line each."""
    here, found = room(module), []
    if here and here not in FLOOR:
        return [f"{module} is on no floor: enter {here!r} in ROOMS"]
    for line, target, lazy in imports(source, module, is_package):
        top = target.split(".")[0]
        broken = ""
        if top == "raes" and room(target) in FLOOR:
            if not here:
                open_to = ("optimize", "modules", "run", "callbacks")
                broken = "" if lazy and room(target) in open_to else f"the front door opens to {open_to}, lazily"
            elif FLOOR[room(target)] > FLOOR[here]:
                broken = "an upward import"
            elif here == "algorithms" and room(target) == "problems":
                broken = "an algorithm knows no problem"
            elif module in ("raes.runtime.actor", "raes.runtime.worker") and room(target) == "algorithms":
                broken = "an actor knows no algorithm"
        elif top in ("hydra", "omegaconf") and not (here in ("config", "compose", "command") or FLOOR.get(here) == 6):
            broken = "Hydra ends in config, compose, command and the entry points"
        elif (
            top == "ray"
            and here != "runtime"
            and not (lazy and here in ("launch", "sweep", "evaluate", "bench", "doctor"))
        ):
            broken = "Ray lives in runtime/, and inside functions of launch, sweep, evaluate, bench and doctor"
        elif top == "torch" and module not in PYTORCH:
            broken = f"PyTorch lives in {', '.join(PYTORCH)}"
        if broken:
            found.append(f"{module}:{line} imports {target}: {broken}")
    return found


@pytest.mark.parametrize("path", FILES, ids=module_name)
def test_a_file_imports_only_from_its_own_floor_or_below(path: Path) -> None:
    assert violations(path.read_text(), module_name(path), path.name == "__init__.py") == []


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("raes.search.made_up", "import raes.problems.episode"),
        ("raes.search.made_up", "def f():\n    from raes.runtime import pool"),
        ("raes.search.made_up", "from raes import driver"),
        ("raes.rng", "from .search import noise"),
        ("raes.algorithms.made_up", "from ..problems.problem import Problem"),
        ("raes.runtime.worker", "def f():\n    from raes.algorithms.es import ES"),
        ("raes.storage.made_up", "import omegaconf"),
        ("raes.driver", "from hydra.core import hydra_config"),
        ("raes.driver", "def f():\n    import ray"),
        ("raes.launch", "from ray.util import queue"),
        ("raes.new_room.file", "import numpy"),
        ("raes.policies.mlp", "def f():\n    import torch"),
        ("raes", "from raes.train import main"),
    ],
)
def test_the_checker_catches_a_broken_rule(module: str, source: str) -> None:
    assert len(violations(source, module)) == 1


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("raes.runtime.pool", "import ray"),
        ("raes.launch", "def f():\n    import ray"),
        ("raes.train", "import hydra\nfrom raes.driver import drive"),
        ("raes.algorithms.es", "from .algorithm import Algorithm\nfrom raes.search import noise"),
        ("raes.driver", "from raes.config import Config"),
        ("raes.search.made_up", "import raes.policies"),
    ],
)
def test_the_checker_lets_a_downward_import_pass(module: str, source: str) -> None:
    assert violations(source, module) == []


def test_the_algorithms_pull_in_neither_ray_nor_an_environment_library() -> None:
    code = "import sys, raes.algorithms; print(*{name.split('.')[0] for name in sys.modules})"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert "raes" in loaded
    assert {"ray", "torch", "gymnasium", "hydra", "omegaconf", "pydantic"} & set(loaded) == set()


HEAVY = ("torch", "ray", "scipy.stats", "matplotlib", "tensorboard")
"""What a run in one process has no use for; each takes longer to import than such a run takes otherwise."""


def test_a_run_in_one_process_imports_nothing_heavy(tmp_path: Path) -> None:
    words = ["env=CartPole", "runtime=serial", "generations=1", "algorithm.pairs=2", "evaluation.episodes=1"]
    script = (
        "import runpy, sys\n"
        f"sys.argv = ['raes.train', *{words}, 'run_dir={tmp_path / 'run'}']\n"
        "try:\n    runpy.run_module('raes.train', run_name='__main__')\n"
        "except SystemExit as end:\n    assert not end.code\n"
        f"print([name for name in {HEAVY} if name in sys.modules])\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, cwd=tmp_path)
    assert done.stdout.splitlines()[-1] == "[]"
