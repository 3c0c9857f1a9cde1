"""What a command prints: a pipe whose reader has gone, a full disk or a closed output ends no command.

Not by the signal SIGPIPE, which would end a training of hours where `| head -3` has read enough.
"""

from __future__ import annotations

import errno
import io
import os
import select
import sys
from contextlib import suppress
from typing import Any

from raes.console.colours import RED, painted
from raes.text import message

PATIENCE = 10.0
"""Seconds that a training waits for an output that takes nothing, such as a terminal after Ctrl-S."""
CHUNK = select.PIPE_BUF
"""Bytes that are written at once: a pipe that is ready takes so many without waiting."""
GONE = (errno.EPIPE, errno.EBADF)
"""Errors of an output that somebody has closed, who wants no more of it; others lose what was to be read."""


class LenientOutput(io.RawIOBase):
    """Writes to a file as far as that is possible, and drops the rest.

    Attributes:
        trouble: the first error of the file; None while there was none.
    """

    def __init__(self, raw: io.RawIOBase, patience: float | None = None) -> None:
        """To a file of bytes without a buffer.

        Args:
            raw: the file.
            patience: seconds after which an output that takes nothing is not waited for until it takes something
                again; None: it is always waited for.
        """
        self._raw = _opened_anew(raw, patience is None)
        self._patience, self._stuck = patience, False
        self._ready = select.poll()
        self._ready.register(self._raw.fileno(), select.POLLOUT)
        self.trouble: OSError | None = None

    def writable(self) -> bool:
        """It is."""
        return True

    def fileno(self) -> int:
        """The file's descriptor."""
        return self._raw.fileno()

    def isatty(self) -> bool:
        """Whether the file is a terminal."""
        return self._raw.isatty()

    def write(self, content: Any) -> int:
        """Write all of it; returns its length, also where the file fails."""
        rest = memoryview(content)
        try:
            while rest and self._takes():
                rest = rest[self._raw.write(rest[:CHUNK]) or 0 :]
        except OSError as error:
            self.trouble = self.trouble or error
        return len(content)

    def _takes(self) -> bool:
        """Wait until the file takes something, or the patience is over; whether it does."""
        if self._patience is None:
            return bool(self._ready.poll())
        self._stuck = not self._ready.poll(0 if self._stuck else 1000 * self._patience)
        return not self._stuck


def protect_output(patience: float | None = None) -> None:
    """Let no output of this process fail: stdout and stderr of a command, before it prints anything.

    Args:
        patience: see `LenientOutput`.
    """
    sys.stdout, sys.stderr = _protected(1, sys.stdout, patience), _protected(2, sys.stderr, patience)


def show(text: str, style: str = "", label: str = "") -> None:
    """A message for the user, at once.

    Args:
        text: of any origin.
        style: of the text on a terminal, see `raes.console.colours`.
        label: what stands before it, without a style.
    """
    clean = message(label + text)
    put(sys.stdout, f"{clean[: len(label)]}{painted(clean[len(label) :], style, sys.stdout)}\n")


def complain(text: str) -> None:
    """A message for the user about what went wrong, at once."""
    put(sys.stderr, f"{painted('raes:', RED, sys.stderr)} {message(text)}\n")


def put(stream: Any, text: str) -> None:
    """Write a text as far as that is possible; a user's code may have closed the stream."""
    encoding = getattr(stream, "encoding", None) or "utf-8"
    with suppress(OSError, ValueError, AttributeError):
        stream.write(text.encode(encoding, "replace").decode(encoding))
        stream.flush()


def output_lost() -> str | None:
    """Why something that was printed to stdout could not be written, though it was wanted; None where all is well."""
    with suppress(ValueError):  # a user's code may have closed it
        sys.stdout.flush()
    raw = _raw(sys.stdout)
    trouble = raw.trouble if isinstance(raw, LenientOutput) else None
    return None if trouble is None or trouble.errno in GONE else str(trouble.strerror)


def _opened_anew(raw: io.RawIOBase, waits: bool) -> io.RawIOBase:
    """The same file by a descriptor that nobody else closes or redirects.

    An environment that closes 1 lets the next file that is opened, such as metrics.jsonl, have this number.

    Args:
        raw: the file.
        waits: whether to write to a terminal may take time; if not, it is opened so, for this process alone.
    """
    if not waits:
        with suppress(OSError):
            descriptor = os.open(os.ttyname(raw.fileno()), os.O_WRONLY | os.O_NOCTTY | os.O_NONBLOCK)
            return io.FileIO(descriptor, "w")
    return io.FileIO(os.dup(raw.fileno()), "w")


def _protected(descriptor: int, stream: Any, patience: float | None) -> Any:
    """A stream as it was, but for what happens when it fails."""
    if stream is None:  # it was closed from the start
        return _nowhere(descriptor)
    raw = _raw(stream)
    if not isinstance(raw, io.RawIOBase) or isinstance(raw, LenientOutput):  # a test's, or done before
        return stream
    lenient: Any = LenientOutput(raw, patience)
    return io.TextIOWrapper(
        lenient if stream.write_through else io.BufferedWriter(lenient),
        stream.encoding,
        "replace" if stream.errors == "strict" else stream.errors,  # an encoding without a letter fails nothing either
        line_buffering=stream.line_buffering,
        write_through=stream.write_through,
    )


def _raw(stream: Any) -> Any:
    """The file below a stream of text; with PYTHONUNBUFFERED there is no buffer between them."""
    buffer = getattr(stream, "buffer", None)
    return getattr(buffer, "raw", buffer)


def _nowhere(descriptor: int) -> Any:
    """An output that nobody reads; it takes the descriptor too, if it is free, so that no other file gets it."""
    opened = os.open(os.devnull, os.O_WRONLY)
    try:
        os.fstat(descriptor)
    except OSError:
        os.dup2(opened, descriptor, inheritable=True)
    if opened != descriptor:
        os.close(opened)
    else:
        os.set_inheritable(opened, True)
    return open(os.devnull, "w", encoding="utf-8")  # to the end of the process
