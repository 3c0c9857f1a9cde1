"""Calls a user's own code during a run: once per generation, in the process that started the run."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from raes.import_object import import_object
from raes.storage.metrics import Record
from raes.text import described
from raes.training.events import Event
from raes.training.launch import launch
from raes.training.limits import RunOutcome
from raes.training.prepare import PreparedRun
from raes.types import RunFailedError, UserError, check_fault


class Callback:
    """To derive from, or only to look like: an object with `on_generation` will do.

    All methods are called in the process and the thread that started the run, on Ray too. What `on_start` raises
    ends the run before it starts; an exception of the others is reported once, its callback is not called again, and
    the run goes on.
    """

    def on_start(self, config: Mapping[str, Any]) -> None:
        """Before anything starts.

        Args:
            config: all keys as `config.yaml` has them, nested; `config["run_dir"]` is the run's folder.
        """

    def on_generation(self, record: Record) -> bool | None:
        """After each generation, and after the evaluation at the end.

        Args:
            record: as the line of metrics.jsonl. On a driver that was restarted a generation may come again.

        Returns:
            True to end the run, after the generation that is out by now, with an evaluation.
        """

    def on_end(self, reason: str) -> None:
        """After the last record.

        Args:
            reason: why the run ended.
        """


class Callbacks:
    """The callbacks of one run; what they raise harms nobody but them."""

    def __init__(self, callbacks: Sequence[Any], notice: Callable[[str], None]) -> None:
        """Nothing is called yet.

        Args:
            callbacks: objects with `on_generation`, or texts `module:Class`.
            notice: shows a line to the user.

        Raises:
            UserError: one is neither, or cannot be imported.
        """
        self._live = {id(one): one for one in map(_made, callbacks)}
        self._notice = notice

    def start(self, config: Mapping[str, Any]) -> None:
        """Call `on_start` of each.

        Raises:
            UserError: one of them fails.
        """
        for callback in self._live.values():
            try:
                getattr(callback, "on_start", lambda config: None)(config)
            except BaseException as error:
                check_fault(error)
                raise UserError(
                    f"callbacks: {_name(callback)} fails at the start: {described(error)}; fix it, or leave it out"
                ) from error

    def __call__(self, event: Event) -> str | None:
        """Hand on a record; why the run should end, if one of them wants it to."""
        kind, record = event
        reason = None
        if kind == "record":
            for callback in list(self._live.values()):
                if self._call(callback, "on_generation", dict(record)) is True:
                    reason = f"{_name(callback)} asked for the end"
        return reason

    def end(self, reason: str) -> None:
        """Call `on_end` of each that has it."""
        for callback in list(self._live.values()):
            if hasattr(callback, "on_end"):
                self._call(callback, "on_end", reason)

    def _call(self, callback: Any, method: str, argument: Any) -> Any:
        try:
            return getattr(callback, method)(argument)
        except BaseException as error:
            check_fault(error)
            del self._live[id(callback)]
            where = inspect.trace()[-1]
            self._notice(
                f"callbacks: {_name(callback)}.{method} failed ({described(error)}; {where.filename}:"
                f"{where.lineno}); it is not called again, and the run goes on"
            )
            return None


def run_with_callbacks(prepared: PreparedRun, console: Callable[[Event], None], own: Sequence[Any] = ()) -> RunOutcome:
    """Run a prepared run and hand its events to the console and to callbacks.

    Args:
        prepared: the `callbacks` of its configuration are called first.
        console: shows what happens.
        own: further callbacks, as objects.

    Raises:
        UserError: a callback refuses to start, Ray cannot be reached, or the noise table does not fit.
    """
    config = prepared.config
    callbacks = Callbacks([*config.callbacks, *own], lambda text: console(("notice", text)))
    callbacks.start(config.as_dict())

    def show(event: Event) -> str | None:
        console(event)
        return callbacks(event)

    reason = "interrupted"
    try:
        outcome = launch(prepared, show)
        reason = outcome.reason
    except (UserError, RunFailedError) as error:
        reason = str(error)
        raise
    finally:
        callbacks.end(reason)
    return outcome


def _made(callback: Any) -> Any:
    """The callback as an object.

    Raises:
        UserError: it has no `on_generation`, or cannot be imported or made.
    """
    name = _name(callback)
    if isinstance(callback, str):
        callback = import_object("callbacks", callback)
    if not callable(getattr(callback, "on_generation", None)):
        raise UserError(f"callbacks=[{name}] has no method on_generation(record); derive it from raes.Callback")
    try:
        return callback() if isinstance(callback, type) else callback
    except BaseException as error:
        check_fault(error)
        raise UserError(f"callbacks=[{name}] cannot be made: {described(error)}") from error


def _name(callback: Any) -> str:
    """What messages call it."""
    if isinstance(callback, str):
        return callback
    kind = callback if isinstance(callback, type) else type(callback)
    return f"{kind.__module__}:{kind.__qualname__}"
