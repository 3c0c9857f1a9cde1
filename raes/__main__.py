"""`raes COMMAND [words...]`: the commands of RAES under one name; `python -m raes.COMMAND` is the same.

raes train env=HalfCheetah max_minutes=3
raes evaluate runs/first
raes play runs/first
"""

from __future__ import annotations

import os
import runpy
import sys
from importlib.util import find_spec
from pathlib import Path

import raes
from raes.console.output import complain, protect_output
from raes.validation import no_such

COMMANDS = {
    "train": "train a policy",
    "evaluate": "measure how good a trained policy is",
    "play": "watch a trained policy, or film it",
    "report": "compare runs: a page, pictures, tables",
    "export": "write a trained policy for use without RAES",
    "replay": "run a failed episode once more",
    "doctor": "examine this machine, or a Ray cluster",
    "bench": "measure this machine's speed",
}
SHELLS = ("bash", "zsh", "fish")


def usage() -> str:
    """What `raes --help` prints."""
    lines = [f"  {name:10s} {text}" for name, text in COMMANDS.items()]
    return "\n".join([
        "usage: raes COMMAND [key=value ...]", "", *lines, "",
        "raes COMMAND --help     the keys of a command",
        "raes --version          the version",
        f"raes --completion SHELL completion for {', '.join(SHELLS)}; in bash: eval \"$(raes --completion bash)\"",
    ])  # fmt: skip


def main() -> None:
    """Run the command that the first word names; exit code 2 where there is none."""
    name, *words = sys.argv[1:] or ["--help"]
    if name in COMMANDS:
        sys.path.insert(0, os.getcwd())  # modules of the user's own, as `python -m` finds them
        spec = find_spec(f"raes.{name}.__main__" if _is_package(name) else f"raes.{name}")
        assert spec is not None
        sys.argv = [str(spec.origin), *words]
        runpy.run_module(f"raes.{name}", run_name="__main__", alter_sys=True)
        return
    protect_output()
    if name in ("-h", "--help"):
        print(usage())
    elif name in ("-V", "--version"):
        print(f"raes {raes.__version__}")
    elif name == "--completion" and words and words[0] in SHELLS:
        from raes.config.completion import SCRIPTS

        print(SCRIPTS[words[0]])
    elif name == "--complete":
        from raes.config.completion import candidates

        print("\n".join(candidates(words, COMMANDS)))
    else:
        what = no_such("shell" if name == "--completion" else "command", *_meant(name, words))
        complain(f"{' '.join([name, *words[:1]])}: {what}")
        sys.exit(2)


def _meant(name: str, words: list[str]) -> tuple[str, tuple[str, ...]]:
    return (words[0] if words else "", SHELLS) if name == "--completion" else (name, tuple(COMMANDS))


def _is_package(name: str) -> bool:
    return (Path(__file__).parent / name).is_dir()


if __name__ == "__main__":
    main()
