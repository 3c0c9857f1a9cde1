"""What answers at an address: a cluster's answer and others, from servers that write exactly that."""

from __future__ import annotations

import signal
import socket
import struct
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from raes.runtime import gcs_probe, session
from raes.runtime.gcs_probe import Reply, probe
from raes.types import UserError


def frame(kind: int, flags: int, stream: int, payload: bytes = b"") -> bytes:
    """Of HTTP/2 (RFC 9113, section 4.1)."""
    return struct.pack(">I", len(payload))[1:] + bytes([kind, flags]) + struct.pack(">I", stream) + payload


SETTINGS = frame(4, 0, 0, b"\x00\x04\x00@\x00\x00") + frame(8, 0, 0, b"\x00?\x00\x01") + frame(4, 1, 0)
TYPE = b"\x88@\x0ccontent-type\x10application/grpc"
CLUSTER_ID = frame(1, 4, 1, TYPE) + frame(0, 0, 1, b"\x00\x00\x00\x00 \n\x00\x12\x1c" + bytes(28))
NO_SUCH_METHOD = frame(1, 5, 1, TYPE + b"@\x0bgrpc-status\x0212")
NOT_ALLOWED = frame(1, 5, 1, TYPE + b"@\x0bgrpc-status\x0216")
"""What a cluster of Ray 2.60 answers, what its raylet does, and what a cluster with tokens does."""


@contextmanager
def server(answer: bytes | None) -> Iterator[int]:
    """Accepts connections and writes an answer to each, or nothing for ever; its port."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        kept = []

        def serve() -> None:
            while True:
                try:
                    connection, _ = listener.accept()
                except OSError:
                    return
                kept.append(connection)
                if answer is not None:
                    with suppress(OSError):  # the one that asked has heard enough and is gone
                        connection.recv(4096)
                        connection.sendall(answer)
                        connection.shutdown(socket.SHUT_WR)

        threading.Thread(target=serve, daemon=True).start()
        yield listener.getsockname()[1]
        listener.shutdown(socket.SHUT_RDWR)
        for connection in kept:
            connection.close()


@pytest.mark.parametrize(
    ("answer", "reply"),
    [
        (SETTINGS + CLUSTER_ID, Reply.RAY),
        (SETTINGS + NOT_ALLOWED, Reply.LOCKED),
        (SETTINGS + NO_SUCH_METHOD, Reply.OTHER),
        (SETTINGS, Reply.OTHER),
        (b"", Reply.OTHER),
        (b"SSH-2.0-OpenSSH_9.6\r\n", Reply.OTHER),
        (b"HTTP/1.1 400 Bad Request\r\n\r\n", Reply.HTTP),
    ],
    ids=["cluster", "token", "other gRPC", "ends", "closes", "ssh", "http"],
)
def test_the_answer_tells_what_is_there(answer: bytes, reply: Reply) -> None:
    with server(answer) as port:
        assert probe("127.0.0.1", port) is reply


def test_with_a_token_it_is_ray_that_shows_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_AUTH_MODE", "token")
    with server(SETTINGS + NOT_ALLOWED) as port:
        assert probe("127.0.0.1", port) is Reply.RAY


def test_a_web_server_is_one() -> None:
    with HTTPServer(("127.0.0.1", 0), BaseHTTPRequestHandler) as web:
        thread = threading.Thread(target=web.handle_request, daemon=True)
        thread.start()
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(BaseHTTPRequestHandler, "log_message", lambda *words: None)
            assert probe("127.0.0.1", web.server_port) is Reply.HTTP
            thread.join(10)


def test_a_server_that_never_answers_is_left_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    assert gcs_probe.CONNECT_SECONDS + gcs_probe.ANSWER_SECONDS < 15
    monkeypatch.setattr(gcs_probe, "ANSWER_SECONDS", 0.1)
    with server(None) as port, pytest.raises(UserError, match="something listens there and has not answered"):
        session.connect(f"127.0.0.1:{port}", None, 4)


def test_a_signal_is_heard_while_nothing_answers() -> None:
    started = time.monotonic()
    before = signal.signal(signal.SIGALRM, lambda number, frame: (_ for _ in ()).throw(KeyboardInterrupt))
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.2)
        with server(None) as port, pytest.raises(KeyboardInterrupt):
            probe("127.0.0.1", port)
    finally:
        signal.signal(signal.SIGALRM, before)
    assert time.monotonic() - started < 5


@pytest.mark.parametrize(
    ("address", "endpoint"),
    [
        ("10.0.0.1:6379", ("10.0.0.1", 6379)),
        ("head:1", ("head", 1)),
        ("[::1]:6379", ("::1", 6379)),
        ("6379", None),
        ("head", None),
        ("head:0", None),
        ("head:65536", None),
        ("head:6379/", None),
        ("http://head:8265", None),
        ("", None),
    ],
)
def test_host_and_port_of_an_address(address: str, endpoint: tuple[str, int] | None) -> None:
    assert session.split_address(address) == endpoint


@pytest.mark.parametrize(
    ("address", "parts"),
    [
        ("http://127.0.0.1:8266", ["the jobs API", "--address http://127.0.0.1:8266", "127.0.0.1:6379"]),
        ("https://head/ray", ["the jobs API", "head:6379"]),
        ("redis://head:6379", ["give HOST:PORT"]),
        ("head:99999", ["give HOST:PORT"]),
        ("127.0.0.1:9", ["nothing answers there", "ray start --head"]),
    ],
)
def test_an_address_that_is_none_is_named_with_the_cure(address: str, parts: list[str]) -> None:
    with pytest.raises(UserError) as caught:
        session.connect(address, None, 4)
    for part in [f"ray.address={address}", *parts]:
        assert part in str(caught.value)


def test_the_address_file_names_a_cluster_only_where_one_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    with server(SETTINGS + CLUSTER_ID) as port:
        monkeypatch.setattr(session, "read_ray_address", lambda: f"127.0.0.1:{port}")
        assert session._live_cluster("auto") == f"127.0.0.1:{port}"
        assert session._live_cluster("local") is None
    assert session._live_cluster("auto") is None  # a stale file
    with server(b"HTTP/1.1 400 Bad Request\r\n\r\n") as port:  # another program has the port by now
        assert session._live_cluster("auto") is None
