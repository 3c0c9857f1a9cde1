"""Commands are forked where they can be, which is what keeps these tests short."""

from __future__ import annotations

import pytest

from .forked import ForkedProcess
from .helpers import SERIAL, Commands

SHORT = (*SERIAL, "generations=1", "run_dir=run")


def test_a_command_is_forked_also_where_ray_was_used_in_this_process(
    commands: Commands, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("PYTHONBREAKPOINT", "RAY_CLIENT_MODE", "HYDRA_FULL_ERROR"):
        monkeypatch.setenv(name, "1")
    assert isinstance(commands.run(*SHORT).process, ForkedProcess)


def test_a_command_is_started_where_a_variable_counts_before_its_first_line(commands: Commands) -> None:
    command = commands.run(*SHORT, OPENBLAS_CORETYPE="Nehalem")
    assert not isinstance(command.process, ForkedProcess)
