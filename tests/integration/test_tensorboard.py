"""TensorBoard's page in a real browser: what a run looks like to who opens it."""

from __future__ import annotations

import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from selenium import webdriver

from .browser import browser, console_errors, needs_browser
from .helpers import SERIAL, Commands, wait_for

EVERYTHING = """
const found = [];
const visit = (node) => {
  for (const child of node.querySelectorAll('*')) {
    found.push(child);
    if (child.shadowRoot) visit(child.shadowRoot);
  }
};
visit(document);
"""
TEXT = EVERYTHING + (
    "return found.flatMap(one => [...one.childNodes]).filter(one => one.nodeType === 3)"
    ".map(one => one.textContent.trim()).filter(Boolean).join('\\n')"
)
CURVES = EVERYTHING + (
    "return found.filter(one => one.tagName === 'path' && one.classList.contains('line')"
    " && (one.getAttribute('d') || '').length > 10 && one.getBoundingClientRect().height > 5).length"
)
IMAGES = EVERYTHING + (
    "return found.filter(one => one.tagName === 'IMG' && one.naturalWidth > 0).map(one => [one.naturalWidth, one.src])"
)
SECONDS = 90.0
"""How long a page may take on a busy machine."""


@contextmanager
def served(folder: Path) -> Iterator[str]:
    """TensorBoard on these runs; its address."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "tensorboard.main", "--logdir", str(folder), "--port", str(port)]
    server = subprocess.Popen(
        [*command, "--host", "127.0.0.1", "--load_fast", "false"], stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL
    )
    try:
        address = f"http://127.0.0.1:{port}"
        wait_for(lambda: b"tensorboard" in _read(f"{address}/data/runs"), SECONDS, lambda: "no run is served")
        yield address
    finally:
        server.terminate()
        server.wait(30)


def _read(address: str) -> bytes:
    try:
        with urllib.request.urlopen(address, timeout=5) as answer:
            content: bytes = answer.read()
            return content
    except OSError:
        time.sleep(0.2)
        return b""


def opened(page: webdriver.Chrome, address: str, script: str, enough: Any) -> Any:
    """What a script finds on a page, as soon as it is enough."""
    page.get("about:blank")
    page.get(address)
    return wait_for(
        lambda: enough(found := page.execute_script(script)) and found, SECONDS, lambda: f"{address}: waited"
    )


@pytest.mark.tools
@needs_browser
@pytest.mark.timeout(600)
def test_the_page_shows_curves_intervals_the_video_and_the_configuration(commands: Commands, tmp_path: Path) -> None:
    words = (*SERIAL, "generations=6", "evaluation.every=2", "tensorboard.histograms=2")
    commands.run(*words, "video.every=6", "video.seconds=1", "run_dir=runs/first")
    commands.run(*words, "seed=1", "run_dir=runs/second")
    with served(commands.cwd / "runs") as address, browser(tmp_path / "profile") as page:
        for title in (
            "evaluation: mean and 95 % interval",
            "perturbed policies: mean, worst, best",
            "timesteps per second",
        ):
            opened(page, f"{address}/#custom_scalars", TEXT, lambda text, title=title: title in text)
        assert opened(page, f"{address}/#custom_scalars", CURVES, lambda count: count >= 2)
        [*_, (width, source)] = opened(page, f"{address}/#images", IMAGES, bool)
        assert width == 320
        assert _read(source)[:4] == b"GIF8"
        text = opened(page, f"{address}/#hparams", TEXT, lambda text: "first/tensorboard" in text)
        assert "second/tensorboard" in text
        assert "eval/return_mean" in text
        opened(page, f"{address}/#text", TEXT, lambda text: "policy.normalize" in text or "algorithm.pairs" in text)
        opened(page, f"{address}/#histograms", TEXT, lambda text: "histograms/theta" in text)
        assert console_errors(page) == []
