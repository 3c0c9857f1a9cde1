"""Completion of `raes` in a shell: commands, keys, and the options of groups."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import fields
from importlib import import_module

from raes.config.cli import arguments_of

BASH = """
_raes() {
  local IFS=$'\\n' line=${COMP_LINE:0:COMP_POINT} words word
  IFS=' ' read -r -a words <<< "$line"
  [[ $line == *' ' ]] && words+=("")
  word=${words[-1]}
  COMPREPLY=($(raes --complete "${words[@]:1}" 2>/dev/null))
  [[ $word == *=* && $COMP_WORDBREAKS == *=* ]] && COMPREPLY=("${COMPREPLY[@]#"${word%%=*}="}")
  [[ ${COMPREPLY[0]} == *= ]] && compopt -o nospace
  return 0
}
complete -o default -F _raes raes
"""
ZSH = """
_raes() {
  local -a found
  found=(${(f)"$(raes --complete ${words[2,$CURRENT]} 2>/dev/null)"})
  (( ${#found} )) && compadd -S '' -- $found || _files
}
compdef _raes raes
"""
FISH = """
complete -c raes -a '(raes --complete (commandline -opc)[2..] (commandline -ct) 2>/dev/null)'
"""
SCRIPTS = {"bash": BASH.strip(), "zsh": ZSH.strip(), "fish": FISH.strip()}
"""Shell -> what it must evaluate."""


def candidates(words: Sequence[str], commands: Iterable[str]) -> list[str]:
    """What the last of these words may become; none where only files come into question.

    Args:
        words: those behind `raes`, the last one unfinished.
        commands: that there are.
    """
    *before, last = words or [""]
    if not before:
        return [name for name in commands if name.startswith(last)]
    command = before[0]
    if command == "train":
        found = _of_training(before[1:], last)
    elif command in commands:
        schema = arguments_of(import_module(f"raes.{command}.__main__" if command == "report" else f"raes.{command}"))
        found = [] if schema is None else [f"{field.name}=" for field in fields(schema)]
    else:
        found = []
    return [word for word in found if word.startswith(last)]


def _of_training(words: Sequence[str], last: str) -> list[str]:
    from raes.config.compose import known_keys
    from raes.config.overrides import GROUPS
    from raes.config.schema import conf_dir

    key, separator, _ = last.partition("=")
    if separator:
        return [f"{key}={path.stem}" for path in sorted((conf_dir() / key).glob("*.yaml"))] if key in GROUPS else []
    return [f"{name}=" for name in [*GROUPS, *known_keys(words)]]
