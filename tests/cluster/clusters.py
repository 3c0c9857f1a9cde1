"""Ray clusters of the lab, launched by the files of cluster/ as a user launches them."""

from __future__ import annotations

import re
import time
from pathlib import Path

from .lab import Host, Lab

HEAD = "10.77.0.10"
WORKERS = ("10.77.0.11", "10.77.0.12")
NODES = """
import json, ray
ray.init(address="auto", log_to_driver=False, logging_level="ERROR")
print("NODES", json.dumps([n["NodeManagerAddress"] for n in ray.nodes() if n["Alive"]]))
"""


class Cluster:
    """A cluster that a YAML file of the laptop's checkout describes; commands are those of cluster/README.md."""

    def __init__(self, lab: Lab, file: str) -> None:
        self.lab, self.file = lab, file

    def up(self) -> str:
        """`ray up`; what it printed."""
        return self.lab.run("ray", "up", "-y", self.file, timeout=240)

    def down(self) -> str:
        """`ray down`."""
        return self.lab.run("ray", "down", "-y", self.file, timeout=240)

    def exec(self, line: str, timeout: float = 240, check: bool = True) -> str:
        """`ray exec`: a shell line on the head; what it printed."""
        return self.lab.run("ray", "exec", self.file, line, timeout=timeout, check=check)

    def head(self) -> Host:
        """The head's host, for looking in without ssh."""
        raise NotImplementedError

    def nodes(self) -> list[str]:
        """The addresses of the nodes that the head says are alive."""
        out = self.head().run(f"python -c '{NODES}'", check=False)
        return re.findall(r'"([\d.]+)"', out.partition("NODES")[2])

    def await_nodes(self, number: int, seconds: float = 300) -> list[str]:
        """Until that many nodes are alive; their addresses."""
        end = time.monotonic() + seconds
        while len(nodes := self.nodes()) != number:
            assert time.monotonic() < end, f"{nodes} after {seconds} s, not {number} nodes\n{self.log()}"
            time.sleep(0.5)
        return nodes

    def log(self) -> str:
        """What Ray's autoscaler has to say."""
        return self.head().run("tail -n 60 /tmp/ray/session_latest/logs/monitor.*", check=False)


class LocalCluster(Cluster):
    """`cluster/local.yaml` on hosts of the lab: the file as it is, but for its addresses.

    Use it as a context: hosts and cluster come up, and go with the lab. `hosts` says how each host differs from the
    others, by address: keywords of `Lab.add`, for example `{"10.77.0.12": {"shm": "64m"}}`.
    """

    def __init__(
        self, lab: Lab, workers: tuple[str, ...] = WORKERS, hosts: dict[str, dict[str, str]] | None = None
    ) -> None:
        super().__init__(lab, "cluster/local.yaml")
        self.workers = workers
        self._hosts = hosts or {}

    def __enter__(self) -> LocalCluster:
        for address in (HEAD, *self.workers):
            self.lab.add(address, **self._hosts.get(address, {}))
        path = Path(self.lab.checkout, self.file)
        text, changed = re.subn(
            r"head_ip: .*\n  worker_ips: .*",
            f"head_ip: {HEAD}\n  worker_ips: [{', '.join(self.workers)}]",
            path.read_text(),
        )
        assert changed == 1, "cluster/local.yaml: its two lines of addresses were not found"
        path.write_text(text)
        self.lab.run("ray", "get-auth-token", "--generate")
        self.up()
        self.await_nodes(1 + len(self.workers))
        return self

    def __exit__(self, *_: object) -> None:
        """The lab's end takes everything along; `down` is for tests."""

    def head(self) -> Host:
        return self.lab[HEAD]
