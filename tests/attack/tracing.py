"""Whether system calls of other processes can be traced, and made to fail, here."""

from __future__ import annotations

import os
import shutil
import subprocess

import pytest


def traced() -> bool:
    """Whether strace is there and may trace."""
    if shutil.which("strace") is None:
        return False
    return subprocess.run(["strace", "-o", os.devnull, "true"], capture_output=True).returncode == 0


needs_strace = pytest.mark.skipif(not traced(), reason="needs strace, and the right to trace processes")
