"""Command lines of `key=value`, for the commands that need no composed configuration."""

from __future__ import annotations

import json
import signal
import sys
from collections.abc import Callable
from dataclasses import fields, is_dataclass
from pathlib import Path
from types import ModuleType
from typing import Any, NoReturn, TypeVar, get_type_hints

from omegaconf import OmegaConf
from pydantic import TypeAdapter, ValidationError

from raes.config.overrides import plain_text, refuse_spaces
from raes.config.schema import explained, with_whole_numbers
from raes.console import output
from raes.storage.location import location
from raes.storage.pretrained import PREFIX
from raes.text import one_line
from raes.types import Interrupted, RunFailedError, UserError

Arguments = TypeVar("Arguments")


def display_path(path: str | None) -> str:
    """A path as one would type it here: relative where it lies below the working directory."""
    try:
        here = Path.cwd()
    except OSError:  # it has been removed
        return str(path)
    return str(Path(path).relative_to(here)) if path and Path(path).is_relative_to(here) else str(path)


def command(work: Callable[[], int | None]) -> None:
    """Run a command, whatever ends it, and leave with its exit code; 1 where what it has printed is lost."""
    output.protect_output()
    hear_interrupts()
    code = ending(work)
    if (lost := output.output_lost()) is not None:
        complain(f"the output cannot be written ({lost}); make room, or send it elsewhere")
        code = code or 1
    leave(code)


def leave(code: int) -> NoReturn:
    """End the process. A further Ctrl-C changes nothing any more: Python would take it for a kill while it ends."""
    for number in stopping_signals():
        signal.signal(number, signal.SIG_IGN)
    sys.exit(code)


def ending(work: Callable[[], int | None]) -> int:
    """The exit code of a command: what `work` returns, 2 for a user's error and 1 for a run that failed, each in
    one message, and 130 for an interrupt."""
    try:
        return work() or 0
    except (UserError, OSError) as error:
        return complain(str(error))
    except RunFailedError as error:
        complain(str(error))
        return 1
    except KeyboardInterrupt:
        return 130


def complain(text: str) -> int:
    """Print one message for the user; exit code 2."""
    output.complain(text)
    return 2


def hear_interrupts() -> None:
    """Let these signals end the command as Ctrl-C does."""
    for number in stopping_signals():
        signal.signal(number, _interrupt)


def stopping_signals() -> list[signal.Signals]:
    """SIGINT, also where the command was started in the background, which makes a shell set it to be ignored; SIGTERM;
    and SIGHUP, which the end of its terminal sends, unless `nohup` has set it to be ignored."""
    hangup = [] if signal.getsignal(signal.SIGHUP) is signal.SIG_IGN else [signal.SIGHUP]
    return [signal.SIGINT, signal.SIGTERM, *hangup]


def _interrupt(number: int, frame: Any) -> None:
    raise Interrupted


def check_out(out: str | None) -> None:
    """Refuse a file that cannot be written, before anything is measured.

    Raises:
        UserError: its folder does not exist, or it is a folder.
    """
    if out is not None and (not Path(out).parent.is_dir() or Path(out).is_dir()):
        raise UserError(f"out={out}: name a file in a folder that exists")


def _texts(schema: Any, prefix: str = "") -> set[str]:
    """The dotted keys of a dataclass whose values are texts, as they stand."""
    found = set[str]()
    for name, kind in get_type_hints(schema).items():
        if kind in (str, str | None):
            found.add(f"{prefix}{name}")
        elif is_dataclass(kind):
            found |= _texts(kind, f"{prefix}{name}.")
    return found


def _put_text(values: dict[str, Any], key: str, text: str) -> None:
    """Set the text of a dotted key."""
    *path, last = key.split(".")
    for part in path:
        values = values.setdefault(part, {})
    text = plain_text(text)
    values[last] = None if text == "null" else str(location(text, key)) if key == "out" else text


def arguments_of(module: ModuleType) -> Any:
    """The dataclass of a command's arguments: the one that its module defines; None where there is none."""
    own = [
        one for name, one in vars(module).items() if name.endswith("Arguments") and one.__module__ == module.__name__
    ]
    return own[0] if own else None


def _with_key(schema: Any, word: str) -> str:
    """A word that names a run, or would, as `run_dir=WORD`: a sweep's folders have names with `=` too.

    `pretrained=NAME` is `run_dir=pretrained:NAME`.
    """
    names = {field.name for field in fields(schema)}
    if "run_dir" not in names or word.partition("=")[0].partition(".")[0] in names:
        return word
    if word.startswith("pretrained="):
        return f"run_dir={PREFIX}{word.partition('=')[2]}"
    return f"run_dir={word}" if "=" not in word or Path(word).is_dir() else word


def parse(schema: type[Arguments], words: list[str], command: str, usage: str | None) -> Arguments:
    """The typed arguments in `key=value` words; of a command about a run, a word alone is its `run_dir`.

    Raises:
        UserError: naming the key, the value and the cure.
    """
    keys = ", ".join(field.name for field in fields(schema))  # type: ignore[arg-type]
    if any(word in ("-h", "--help") for word in words):
        print(f"{(usage or '').strip()}\n\nkeys: {keys}")
        sys.exit(0)
    refuse_spaces(words)
    words = [_with_key(schema, word) for word in words]
    for word in words:
        if "=" not in word:
            raise UserError(f"{word}: give key=value; the keys of {command} are {keys}")
    texts = _texts(schema)
    own = [word for word in words if word.partition("=")[0] not in texts]
    try:
        values: Any = OmegaConf.to_container(OmegaConf.from_dotlist(own))
    except Exception as error:
        raise UserError(f"{' '.join(own)}: the values cannot be read: {one_line(error)}") from error
    for word in words:
        key, _, value = word.partition("=")
        if key in texts:
            _put_text(values, key, value)
    try:
        return TypeAdapter(schema).validate_json(json.dumps(with_whole_numbers(values)), strict=True)
    except ValidationError as error:
        known = dict.fromkeys(field.name for field in fields(schema))  # type: ignore[arg-type]
        raise UserError("\n".join(explained(error, known))) from error
