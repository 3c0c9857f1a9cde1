"""Asks an address, within seconds, whether a Ray cluster answers there.

`ray.init` tries for up to 14 minutes where an address is not Ray's, and hears no signal meanwhile. So one call of gRPC
is made by hand, over HTTP/2 (RFC 9113) on a plain socket: `GetClusterId`, the first one that Ray's own clients make.
What the answer leaves open is left to Ray.
"""

from __future__ import annotations

import os
import socket
import time
from enum import Enum, auto

CONNECT_SECONDS = 3.0
"""How long the address may take to accept a connection."""
ANSWER_SECONDS = 8.0
"""How long it may take to answer the call."""
METHOD = b"/ray.rpc.NodeInfoGcsService/GetClusterId"
UNIMPLEMENTED, UNAUTHENTICATED = (b"grpc-status\x02" + status for status in (b"12", b"16"))
"""What a server that does not know the method answers, and one that wants a token; \\x02 is the status' length."""
DATA, HEADERS, SETTINGS = 0, 1, 4
"""Kinds of frames (RFC 9113, section 6)."""
END_STREAM, END_HEADERS = 1, 4
STREAM = 1


class Reply(Enum):
    """What answers at an address."""

    RAY = auto()
    LOCKED = auto()
    NOTHING = auto()
    SILENCE = auto()
    HTTP = auto()
    OTHER = auto()


def probe(host: str, port: int, seconds: float = ANSWER_SECONDS) -> Reply:
    """Ask host:port; takes CONNECT_SECONDS, and so many seconds for the answer, at most."""
    try:
        connection = socket.create_connection((host, port), timeout=CONNECT_SECONDS)
    except (OSError, UnicodeError):  # UnicodeError: a host whose name is none
        return Reply.NOTHING
    with connection:
        if os.environ.get("RAY_USE_TLS", "0").lower() in ("1", "true"):
            return Reply.RAY  # plain text is no question to such a cluster
        connection.settimeout(1.0)
        try:
            connection.sendall(_call(METHOD))
            return _reply(_Reader(connection, time.monotonic() + seconds))
        except TimeoutError:
            return Reply.SILENCE
        except OSError:  # it has closed the connection
            return Reply.OTHER


def _call(method: bytes) -> bytes:
    """A call with an empty message, as the first and only one of a connection."""
    fields = b"\x83\x86"  # POST, http: from the table of HPACK (RFC 7541, appendix A)
    fields += _literal(4, method) + _literal(1, b"ray")  # its names 4 and 1 are :path and :authority
    fields += _literal(0, b"content-type", b"application/grpc") + _literal(0, b"te", b"trailers")
    return (
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
        + _frame(SETTINGS, 0, 0)
        + _frame(HEADERS, END_HEADERS, STREAM, fields)
        + _frame(DATA, END_STREAM, STREAM, bytes(5))  # not compressed, of length 0
    )


def _literal(name: int, *texts: bytes) -> bytes:
    """A header field that enters no table (RFC 7541, section 6.2.2)."""
    return bytes([name]) + b"".join(bytes([len(text)]) + text for text in texts)


def _frame(kind: int, flags: int, stream: int, payload: bytes = b"") -> bytes:
    return len(payload).to_bytes(3, "big") + bytes([kind, flags]) + stream.to_bytes(4, "big") + payload


def _reply(reader: _Reader) -> Reply:
    """Read frames until one of them tells what the server is."""
    first = True
    while len(head := reader.read(9)) == 9:
        if first and head[3:9] != bytes([SETTINGS]) + bytes(5):  # which every server of HTTP/2 sends first
            return Reply.HTTP if head.lstrip().lower().startswith((b"http/", b"<!doctype", b"<html")) else Reply.OTHER
        first = False
        payload = reader.read(int.from_bytes(head[:3], "big"))
        if int.from_bytes(head[5:], "big") == STREAM and (head[3] == DATA or head[4] & END_STREAM):
            if UNAUTHENTICATED in payload and os.environ.get("RAY_AUTH_MODE", "").lower() in ("", "disabled"):
                return Reply.LOCKED
            return Reply.OTHER if UNIMPLEMENTED in payload else Reply.RAY
    return Reply.OTHER


class _Reader:
    """Reads from a socket until a moment, and raises TimeoutError then; a signal is heard within a second."""

    def __init__(self, connection: socket.socket, end: float) -> None:
        self._connection, self._end = connection, end

    def read(self, size: int) -> bytes:
        """So many bytes; fewer where the connection ends before."""
        content = b""
        while len(content) < size:
            if time.monotonic() > self._end:
                raise TimeoutError
            try:
                part = self._connection.recv(size - len(content))
            except TimeoutError:
                continue
            if not part:
                break
            content += part
        return content
