"""A disk that fails at a read: the command ends with one message, nothing is lost, and the next one goes on."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from integration.helpers import SERIAL, Commands, theta_of

from .tracing import needs_strace

pytestmark = [pytest.mark.attack, needs_strace]

WORDS = (*SERIAL, "console=plain", "checkpoint.every=1", "evaluation.every=2", "run_dir=run")
NEWEST = "checkpoints/gen_000004"


@pytest.fixture(scope="module")
def whole(module_commands: Commands) -> tuple[Path, bytes]:
    """A run of four generations, and the parameters that it has after six."""
    module_commands.run(*WORDS, "generations=4")
    shutil.copytree(module_commands.cwd / "run", module_commands.cwd / "kept")
    module_commands.run(*WORDS, "generations=6", "resume=auto")
    return module_commands.cwd / "kept", theta_of(module_commands.cwd / "run").tobytes()


@pytest.mark.parametrize(
    ("name", "call", "error"),
    [
        (f"{NEWEST}/state.json", "openat", "EIO"),
        (f"{NEWEST}/state.json", "read", "EIO"),
        (f"{NEWEST}/arrays.npz", "openat", "EACCES"),
        (f"{NEWEST}/arrays.npz", "read", "ESTALE"),
        ("checkpoints", "openat", "EIO"),
        ("checkpoints", "getdents64", "EIO"),
        ("checkpoints/latest", "openat", "EIO"),
        ("checkpoints/best", "read", "EIO"),
        ("metrics.jsonl", "read", "EIO"),
    ],
)
def test_what_cannot_be_read_is_not_taken_for_damaged(
    commands: Commands, whole: tuple[Path, bytes], name: str, call: str, error: str
) -> None:
    kept, expected = whole
    run = commands.cwd / "run"
    shutil.copytree(kept, run)
    words = (*WORDS, "generations=6", "resume=auto")
    path = run / name
    traced = subprocess.run(
        ["strace", "-f", "--seccomp-bpf", "-o", "trace", "-P", str(path), "-e", f"trace={call}",
         "-e", f"inject={call}:error={error}", sys.executable, "-m", "raes.train", *words],
        cwd=commands.cwd, capture_output=True, text=True,
    )  # fmt: skip
    assert "INJECTED" in (commands.cwd / "trace").read_text(), "nothing failed"
    assert traced.returncode == 2, traced
    assert "Traceback" not in traced.stderr, traced
    assert name in traced.stderr, traced
    checkpoints = [path.relative_to(kept) for path in kept.rglob("*") if path.is_file() and "checkpoints" in path.parts]
    assert [name for name in checkpoints if (run / name).read_bytes() != (kept / name).read_bytes()] == []
    commands.run(*words)
    assert theta_of(run).tobytes() == expected
