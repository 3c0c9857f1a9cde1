"""An embedded Ray is this user's alone: its token and its ports."""

from __future__ import annotations

import socket
from contextlib import suppress

import psutil
import pytest
from integration.helpers import CARTPOLE, Command, Commands, latest_generation

pytestmark = pytest.mark.attack


def listening(command: Command) -> set[tuple[str, int]]:
    """(process, port) of all that the command's processes listen on."""
    found = set()
    for process in command.relatives():
        with suppress(psutil.Error):
            for one in process.net_connections("tcp"):
                if one.status == psutil.CONN_LISTEN:
                    found.add((process.name(), one.laddr.port))
    return found


def addresses() -> list[str]:
    """This machine's addresses that others may reach."""
    return [
        one.address.partition("%")[0] + ("%" + name if one.address.startswith("fe80") else "")
        for name, all_of_it in psutil.net_if_addrs().items()
        for one in all_of_it
        if one.family in (socket.AF_INET, socket.AF_INET6) and one.address not in ("127.0.0.1", "::1")
    ]


def answers(address: str, port: int) -> bool:
    """Whether a connection is accepted."""
    with suppress(OSError), socket.create_connection((address, port), timeout=2):
        return True
    return False


@pytest.mark.parametrize("before", [None, 0o644])
def test_nobody_else_gets_in(commands: Commands, before: int | None) -> None:
    home = commands.cwd / "home"
    token = home / ".ray" / "auth_token"
    if before is not None:
        token.parent.mkdir(parents=True)
        token.write_text(64 * "a")
        token.chmod(before)
    command = commands.start(*CARTPOLE, "workers=1", "run_dir=run", fork=False, HOME=str(home))
    command.wait_for(lambda: latest_generation(commands.cwd / "run") >= 2)
    assert token.stat().st_mode & 0o777 == 0o600
    assert (token.read_text() == 64 * "a") == (before is not None)
    assert ("could be read or changed by other users" in command.out + command.err) == (before is not None)
    ports = listening(command)
    assert {"gcs_server", "raylet"} <= {name for name, _ in ports}
    assert any(answers("127.0.0.1", port) for _, port in ports), "nothing can be asked"
    if not (outside := addresses()):
        pytest.skip("this machine has no other address")
    reached = [(name, address, port) for name, port in ports for address in outside if answers(address, port)]
    assert not reached, f"others can reach {reached}"
    command.kill()
