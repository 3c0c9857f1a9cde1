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
    6: "train evaluate play replay export api report doctor bench __main__",
    5: "training config console",
    4: "runtime",
    3: "problems algorithms models",
    2: "search storage",
    1: "policies types text tasks results rng import_object validation",
}
PYTORCH = (
    "raes.policies.torch_policy", "raes.policies.torch_export", "raes.api.torch_modules", "raes.api.seeded_modules",
    "raes.export", "raes.models.tensor_noise", "raes.models.held_tensor", "raes.models.torch_engine",
    "raes.bench.tanh_module",
)  # fmt: skip
RAY_INSIDE_FUNCTIONS = ("raes.training.launch", "raes.training.sweep", "raes.evaluate", "raes.bench", "raes.doctor")
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
                broken = "" if lazy and room(target) == "api" else "the front door opens to raes.api only, lazily"
            elif FLOOR[room(target)] > FLOOR[here]:
                broken = "an upward import"
            elif here in ("report", "doctor") and room(target) == "bench":
                broken = "report and doctor know no benchmark"
            elif here == "algorithms" and room(target) == "problems":
                broken = "an algorithm knows no problem"
            elif module in ("raes.runtime.rollout_actor", "raes.runtime.worker") and room(target) == "algorithms":
                broken = "an actor knows no algorithm"
        elif top == "hydra" and module != "raes.train" and here != "config":
            broken = "Hydra ends in raes.config and raes.train"
        elif top == "omegaconf" and module != "raes.train" and here not in ("config", "report", "doctor"):
            broken = "OmegaConf ends in raes.config, raes.train, and in report and doctor as a reader of YAML"
        elif top == "benchmarks":
            broken = "the wheel holds no benchmarks"
        elif top == "ray" and here != "runtime" and not (lazy and module.startswith(RAY_INSIDE_FUNCTIONS)):
            broken = f"Ray lives in raes.runtime, and inside functions of {', '.join(RAY_INSIDE_FUNCTIONS)}"
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
        ("raes.search.made_up", "from raes import training"),
        ("raes.rng", "from .search import noise"),
        ("raes.algorithms.made_up", "from ..problems.problem import Problem"),
        ("raes.runtime.worker", "def f():\n    from raes.algorithms.es import ES"),
        ("raes.storage.made_up", "import omegaconf"),
        ("raes.training.driver", "from hydra.core import hydra_config"),
        ("raes.training.driver", "def f():\n    import ray"),
        ("raes.training.launch", "from ray.util import queue"),
        ("raes.new_room.file", "import numpy"),
        ("raes.policies.mlp", "def f():\n    import torch"),
        ("raes.report.page", "from raes.bench import timing"),
        ("raes.doctor.show", "def f():\n    import benchmarks.machines"),
        ("raes.bench.timing", "from benchmarks.machines import start"),
        ("raes.evaluate", "import omegaconf"),
        ("raes", "from raes.train import main"),
    ],
)
def test_the_checker_catches_a_broken_rule(module: str, source: str) -> None:
    assert len(violations(source, module)) == 1


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("raes.runtime.worker_pool", "import ray"),
        ("raes.training.launch", "def f():\n    import ray"),
        ("raes.train", "import hydra\nfrom raes.training.start import drive"),
        ("raes.algorithms.es", "from .algorithm import Algorithm\nfrom raes.search import noise"),
        ("raes.training.driver", "from raes.config.schema import Config"),
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


def test_no_module_imports_itself_by_way_of_others() -> None:
    graph = {module_name(path): top_level(path) for path in FILES}
    for module in graph:
        assert module not in reachable(graph, module), f"{module} is part of a circle of imports"


def top_level(path: Path) -> set[str]:
    """The modules of RAES that a file imports when it is imported itself; those for type checkers are not."""
    tree = ast.parse(path.read_text())
    tree.body = [
        node for node in tree.body if not (isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test))
    ]
    known = {module_name(path) for path in FILES}
    found = set()
    for _, target, inside in imports(ast.unparse(tree), module_name(path), path.name == "__init__.py"):
        if not inside and target in known:
            found.add(target)
    return found - {module_name(path)}


def reachable(graph: dict[str, set[str]], start: str) -> set[str]:
    """Every module that a module's imports lead to."""
    found: set[str] = set()
    waiting = list(graph[start])
    while waiting:
        module = waiting.pop()
        if module not in found:
            found.add(module)
            waiting += graph[module]
    return found
