"""An S3 store on loopback whose wire can be cut: moto's server with a proxy in front of it, which obeys a plan."""

from __future__ import annotations

import http.client
import io
import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import boto3
import numpy as np
from moto.server import ThreadedMotoServer

SECRET = "wJalrXUtnFEMIxK7MDENG"
"""Must turn up nowhere but in the environment."""
BUCKET = "runs"

Plan = Callable[[str, str], str]
"""From method and path of a request to what becomes of it: `pass`, `refuse`, `drop`, `cut`, or seconds to wait."""


def everything(method: str, path: str) -> str:
    """The plan of a healthy store."""
    return "pass"


class Store:
    """What a test does with the store.

    Attributes:
        environment: variables for commands that use it.
        plan: what becomes of requests from now on.
        counts: how many requests each fate has had.
    """

    def __init__(self, moto_port: int) -> None:
        self.plan: Plan = everything
        self.counts: dict[str, int] = {}
        self._moto_port = moto_port
        self._proxy = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._proxy.daemon_threads = True
        threading.Thread(target=self._proxy.serve_forever, daemon=True).start()
        self.environment = {
            "AWS_ENDPOINT_URL": f"http://127.0.0.1:{self._proxy.server_address[1]}",
            "AWS_ACCESS_KEY_ID": "AKIAIOSFODNN7EXAMPLE",
            "AWS_SECRET_ACCESS_KEY": SECRET,
            "AWS_DEFAULT_REGION": "us-east-1",
            "AWS_MAX_ATTEMPTS": "1",
        }
        self._client = boto3.client(
            "s3", endpoint_url=f"http://127.0.0.1:{moto_port}", region_name="us-east-1",
            aws_access_key_id="test", aws_secret_access_key="test",
        )  # fmt: skip
        self._client.create_bucket(Bucket=BUCKET)

    def close(self) -> None:
        """Stop the proxy."""
        self._proxy.shutdown()
        self._proxy.server_close()

    # What lies in the store, read behind the proxy's back.

    def names(self, prefix: str) -> list[str]:
        """The keys below a folder of the bucket, relative to it."""
        pages = self._client.get_paginator("list_objects_v2").paginate(Bucket=BUCKET, Prefix=f"{prefix}/")
        keys = [item["Key"] for page in pages for item in page.get("Contents", [])]
        return [key.removeprefix(f"{prefix}/") for key in keys]

    def read(self, name: str) -> bytes:
        """An object's content, nothing where there is none."""
        with suppress(self._client.exceptions.NoSuchKey):
            content: bytes = self._client.get_object(Bucket=BUCKET, Key=name)["Body"].read()
            return content
        return b""

    def write(self, name: str, content: bytes) -> None:
        """Write an object."""
        self._client.put_object(Bucket=BUCKET, Key=name, Body=content)

    def latest(self, run: str) -> int:
        """The generation that the pointer `latest` names, -1 where there is none."""
        name = self.read(f"{run}/checkpoints/latest").decode().strip()
        return int(name.removeprefix("gen_")) if name else -1

    def theta(self, run: str) -> np.ndarray[Any, Any]:
        """theta of the newest checkpoint."""
        content = self.read(f"{run}/checkpoints/gen_{self.latest(run):06d}/arrays.npz")
        with np.load(io.BytesIO(content), allow_pickle=False) as archive:
            theta: np.ndarray[Any, Any] = archive["theta"]
            return theta

    def generations(self, run: str) -> list[int]:
        """The generations that metrics.jsonl tells of, in its order."""
        lines = self.read(f"{run}/metrics.jsonl").decode().splitlines()
        return [json.loads(line)["progress/generation"] for line in lines]

    # The proxy.

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        store = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def _serve(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
                fate = store.plan(self.command, self.path)
                store.counts[fate] = store.counts.get(fate, 0) + 1
                if fate == "drop":
                    self.close_connection = True
                    return
                if fate == "refuse":
                    self._answer(503, [("Content-Type", "application/xml")], b"<Error><Code>SlowDown</Code></Error>")
                    return
                if fate not in ("pass", "cut"):
                    time.sleep(float(fate))
                self._forward(body, half=fate == "cut")

            def _forward(self, body: bytes, half: bool) -> None:
                """To moto and back; where the body is cut, moto sees the connection end in the middle."""
                connection = http.client.HTTPConnection("127.0.0.1", store._moto_port, timeout=30)
                try:
                    connection.putrequest(self.command, self.path, skip_host=True, skip_accept_encoding=True)
                    for name, value in self.headers.items():
                        if name.lower() not in ("expect", "connection"):
                            connection.putheader(name, value)
                    connection.endheaders()
                    connection.send(body[: len(body) // 2] if half else body)
                    if half:
                        self.close_connection = True
                        return
                    response = connection.getresponse()
                    self._answer(response.status, response.getheaders(), response.read())
                finally:
                    connection.close()

            def _answer(self, status: int, headers: list[tuple[str, str]], content: bytes) -> None:
                left_out = ("connection", "transfer-encoding", "date", "server")
                given = {name.lower() for name, _ in headers}
                with suppress(BrokenPipeError, ConnectionResetError):
                    self.send_response(status)
                    for name, value in headers:
                        if name.lower() not in left_out:
                            self.send_header(name, value)
                    if "content-length" not in given and status != 204:
                        self.send_header("Content-Length", str(len(content)))
                    self.end_headers()
                    if self.command != "HEAD":
                        self.wfile.write(content)

            do_GET = do_PUT = do_POST = do_HEAD = do_DELETE = _serve  # noqa: N815

            def log_message(self, format: str, *args: Any) -> None:
                """Quiet."""

        return Handler


@contextmanager
def s3() -> Iterator[Store]:
    """A store with an empty bucket, gone afterwards."""
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    try:
        store = Store(server.get_host_and_port()[1])
        try:
            yield store
        finally:
            store.close()
    finally:
        server.stop()
