"""A cloud in the lab: moto's EC2, IAM and S3, where every instance that runs is a host of the lab behind a firewall.

`python cloud.py` runs on the laptop. An instance that is running in moto becomes a host (`host-up.sh`), one that is
terminated vanishes, and each host lets in what the security groups of its instance were asked to let in, by nftables.
In the folder LAB: `cloud.log` holds what happened, `cloud.ready` is there once the endpoint answers, `requests.jsonl`
holds every request, and `refuse.json` holds for which instance types how many spot requests are still to be refused.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import urllib.request
from pathlib import Path
from typing import Any

LAB = Path(os.environ["LAB"])
HERE = Path(__file__).resolve().parent
PORT = 5000
GONE = ("terminated", "shutting-down", "stopped", "stopping")
os.environ |= {"MOTO_RECORDER_FILEPATH": str(LAB / "requests.jsonl"), "MOTO_IAM_LOAD_MANAGED_POLICIES": "true"}


def main() -> None:
    """Serve until SIGTERM."""
    import boto3
    from moto.server import ThreadedMotoServer

    stop: list[int] = []
    signal.signal(signal.SIGTERM, lambda number, frame: stop.append(number))
    refuse_spot_requests()
    server = ThreadedMotoServer(ip_address="0.0.0.0", port=PORT, verbose=False)
    server.start()
    url = f"http://127.0.0.1:{PORT}"
    urllib.request.urlopen(urllib.request.Request(f"{url}/moto-api/recorder/start-recording", method="POST"))
    (LAB / "cloud.ready").touch()
    machines = Machines(boto3.client("ec2", endpoint_url=url))
    while not stop:
        machines.follow()
        time.sleep(1)
    server.stop()


def log(*words: object) -> None:
    """A line for cloud.log."""
    with (LAB / "cloud.log").open("a") as file:
        print(time.strftime("%H:%M:%S"), *words, file=file)


def refuse_spot_requests() -> None:
    """Let moto refuse spot requests of the types and as often as refuse.json has it."""
    from moto.ec2.exceptions import EC2ClientError
    from moto.ec2.models import EC2Backend

    class NoCapacityError(EC2ClientError):
        code = "InsufficientInstanceCapacity"
        message = "There is no Spot capacity available that matches your request."

    run, file = EC2Backend.run_instances, LAB / "refuse.json"

    def run_or_refuse(self: Any, *args: Any, **kwargs: Any) -> Any:
        left = json.loads(file.read_text()) if file.exists() else {}
        kind = kwargs.get("instance_type")
        if kwargs.get("instance_market_options") and left.get(kind, 0) > 0:
            file.write_text(json.dumps(left | {kind: left[kind] - 1}))
            log("refused", kind)
            raise NoCapacityError
        return run(self, *args, **kwargs)

    EC2Backend.run_instances = run_or_refuse


class Machines:
    """The hosts of the lab that instances are."""

    def __init__(self, ec2: Any) -> None:
        self._ec2 = ec2
        self._up: dict[str, Any] = {}
        self._walls: dict[str, str] = {}

    def follow(self) -> None:
        """Start, stop and wall in hosts as the instances now are."""
        instances = {
            one["InstanceId"]: one for r in self._ec2.describe_instances()["Reservations"] for one in r["Instances"]
        }
        for name, instance in instances.items():
            state = instance["State"]["Name"]
            if state == "running" and name not in self._up:
                self._start(name, instance)
            elif state in GONE and name in self._up:
                self._vanish(name)
        groups = {one["GroupId"]: one for one in self._ec2.describe_security_groups()["SecurityGroups"]}
        for name, instance in self._up.items():
            wall = rules(instance, groups, list(self._up.values()))
            if self._walls.get(name) != wall:
                netns = ["ip", "netns", "exec", name, "nft", "-f", "-"]
                subprocess.run(netns, input=wall, text=True, check=True)
                self._walls[name] = wall

    def _start(self, name: str, instance: Any) -> None:
        keys = self._ec2.describe_key_pairs(KeyNames=[instance["KeyName"]], IncludePublicKey=True)["KeyPairs"]
        key = LAB / f"{instance['KeyName']}.pub"
        key.write_text(keys[0]["PublicKey"] + "\n")
        addresses = [f"{instance['PrivateIpAddress']}/16"]
        addresses += [f"{instance['PublicIpAddress']}/32"] if "PublicIpAddress" in instance else []
        log("start", name, instance["InstanceType"], instance.get("InstanceLifecycle", "on-demand"), *addresses)
        done = subprocess.run(
            [HERE / "host-up.sh", name, os.environ["GATEWAY"], *addresses],
            env={**os.environ, "AUTHORIZED": f"{os.environ['AUTHORIZED']} {key}"},
            stdin=subprocess.DEVNULL, capture_output=True, text=True,
        )  # fmt: skip
        log("started", name, done.returncode, done.stdout, done.stderr)
        self._up[name] = instance

    def _vanish(self, name: str) -> None:
        log("vanish", name)
        del self._up[name]
        self._walls.pop(name, None)
        subprocess.run(["ip", "link", "del", f"v-{name[-11:]}"], check=True)
        os.kill(int((LAB / "hosts" / name / "pid").read_text()), signal.SIGKILL)
        subprocess.run(["ip", "netns", "del", name], check=True)


def rules(instance: Any, groups: dict[str, Any], instances: list[Any]) -> str:
    """The firewall that an instance's security groups ask for, as nftables reads it."""
    lines = ["ct state established,related accept", 'iifname "lo" accept', "icmp type echo-request accept"]
    for group in instance["SecurityGroups"]:
        for rule in groups[group["GroupId"]]["IpPermissions"]:
            ports = (
                "" if rule["IpProtocol"] == "-1" else f"{rule['IpProtocol']} dport {rule['FromPort']}-{rule['ToPort']} "
            )
            sources = [one["CidrIp"] for one in rule["IpRanges"]]
            for pair in rule["UserIdGroupPairs"]:
                sources += [
                    one["PrivateIpAddress"]
                    for one in instances
                    if pair["GroupId"] in [theirs["GroupId"] for theirs in one["SecurityGroups"]]
                ]
            lines += [f"ip saddr {source} {ports}accept" for source in sources]
    body = "\n".join(f"    {line}" for line in lines)
    chain = f"  chain input {{\n    type filter hook input priority 0; policy drop;\n{body}\n  }}"
    return f"table inet wall\ndelete table inet wall\ntable inet wall {{\n{chain}\n}}\n"


if __name__ == "__main__":
    sys.exit(main())
