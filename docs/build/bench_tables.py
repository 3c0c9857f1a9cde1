"""Tables of benchmarks from the files that `out=results/bench_NAME.json` has written."""

from __future__ import annotations

import importlib
import json
from dataclasses import MISSING, fields
from pathlib import Path
from typing import Any

from raes.bench.__main__ import BENCHES
from raes.config.cli import arguments_of
from raes.console.tables import Column, cell

RESULTS = Path(__file__).resolve().parents[2] / "results"


def bench(name: str, section: str, *words: str) -> str:
    """A section of a benchmark's file, with some of its columns, below the command, its date and its machine.

    Args:
        name: of the file, `results/bench_NAME.json`.
        section: its key in the file.
        words: keys of the columns, in order; and `key=value`: the rows that are shown.
    """
    from benchmarks.__main__ import BENCHES as DEVELOPERS_BENCHES  # a checkout has it, an installation not

    content = json.loads((RESULTS / f"bench_{name}.json").read_text())
    program = "raes.bench" if content["bench"] in BENCHES else "benchmarks"
    module = importlib.import_module((BENCHES | DEVELOPERS_BENCHES)[content["bench"]].module)
    columns, keys = _columns(module), [word for word in words if "=" not in word]
    shown = [word.split("=") for word in words if "=" in word]
    rows = [row for row in content[section] if all(str(row[key]) == value for key, value in shown)]
    command = " ".join([f"python -m {program} {content['bench']}", *_words(module, content["arguments"])])
    machine = content["machine"]
    where = f"{machine['cores']} cores of {machine['cpu']}, load {machine['load'][0]:.1f}"
    lines = [
        f"`{command}`, {content['date'][:10]}, {where}:",
        "",
        "| " + " | ".join(columns[key].heading for key in keys) + " |",
        "| " + " | ".join("---:" if columns[key].form else "---" for key in keys) + " |",
    ]
    lines += ["| " + " | ".join(cell(row.get(key), columns[key].form) for key in keys) + " |" for row in rows]
    return "\n".join(lines)


def _columns(module: Any) -> dict[str, Column]:
    """Key -> column, of all tables of a benchmark; the first one where two have the same key."""
    found: dict[str, Column] = {}
    for value in vars(module).values():
        for column in value if isinstance(value, tuple) else ():
            if isinstance(column, Column):
                found.setdefault(column.key, column)
    return found


def _words(module: Any, arguments: dict[str, Any]) -> list[str]:
    """The words of the command that differ from the defaults."""
    words = []
    for one in fields(arguments_of(module)):
        default = one.default_factory() if one.default_factory is not MISSING else one.default
        value = arguments.get(one.name)
        if one.name in arguments and json.loads(json.dumps(default)) != value:
            text = json.dumps(value, separators=(",", ":")).replace('"', "")
            words.append(f"{one.name}={text}")
    return words
