"""Fixtures of the attacks: those of the integration tests."""

from __future__ import annotations

from integration.conftest import commands, fork_server, module_commands, ray_folder

__all__ = ["commands", "fork_server", "module_commands", "ray_folder"]
