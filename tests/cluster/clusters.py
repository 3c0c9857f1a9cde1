"""Ray clusters of the lab, launched by the files of cluster/ as a user launches them."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from .documented import documented
from .lab import HERE, PYTHON_ENV, Host, Lab

HEAD = "10.77.0.10"
WORKERS = ("10.77.0.11", "10.77.0.12")
LATE = "10.77.0.13"
WORLDS = (HERE.parent / "integration" / "trial_worlds.py", HERE / "gated_world.py")
NODES = """
import json, ray
ray.init(address="auto", log_to_driver=False, logging_level="ERROR")
print("NODES", json.dumps([n["NodeManagerAddress"] for n in ray.nodes() if n["Alive"]]))
"""
CLOUD = {"networks": "172.31.255.254/16", "gateway": "172.31.255.254", "routes": "54.0.0.0/8"}
"""A lab with the laptop in the network of moto's default VPC, and with moto's public addresses."""
CLOUD_VARIABLES = {
    "AWS_ENDPOINT_URL": "http://172.31.255.254:5000", "AWS_ACCESS_KEY_ID": "testing",
    "AWS_SECRET_ACCESS_KEY": "testing", "AWS_DEFAULT_REGION": "us-west-2", "AWS_EC2_METADATA_DISABLED": "true",
}  # fmt: skip
MAKE = ("make", f"VENV={PYTHON_ENV}", "-o", f"{PYTHON_ENV}/.ready-dev")
"""`make` for commands that must not install anything here."""


def wait_for(condition: Callable[[], Any], seconds: float, message: Callable[[], str]) -> Any:
    """Look every half second until the condition holds."""
    end = time.monotonic() + seconds
    while not (result := condition()):
        assert time.monotonic() < end, message()
        time.sleep(0.5)
    return result


class Run:
    """A training that `cluster/train.sh` has started as a job and follows."""

    def __init__(self, cluster: Cluster, folder: Path, words: tuple[str, ...]) -> None:
        lab = cluster.lab
        self._log = lab.folder / f"run-{time.monotonic_ns()}.log"
        script, file = lab.checkout / "cluster" / "train.sh", lab.checkout / cluster.file
        self.process = lab.start(str(script), str(file), *words, log=self._log, folder=folder)

    @property
    def out(self) -> str:
        """What it has printed so far."""
        return self._log.read_text()

    @property
    def name(self) -> str:
        """The job's."""
        return re.findall(r"raysubmit_\w+", self.out)[0]

    def wait_for(self, pattern: str, seconds: float = 240) -> str:
        """Until it has printed something."""

        def found() -> str | None:
            match = re.search(pattern, self.out, re.MULTILINE)
            assert match or self.process.poll() is None, f"ended without {pattern}:\n{self.out}"
            return match[0] if match else None

        return str(wait_for(found, seconds, lambda: f"no {pattern}:\n{self.out}"))

    def wait(self, seconds: float = 300) -> str:
        """Until it has ended well; what it printed."""
        wait_for(lambda: self.process.poll() is not None, seconds, lambda: f"still running:\n{self.out}")
        assert self.process.returncode == 0, self.out
        return self.out


class Cluster:
    """A cluster that a YAML file of the laptop's checkout describes; commands are those of cluster/README.md."""

    def __init__(self, lab: Lab, file: str) -> None:
        self.lab, self.file = lab, file

    def documented(self, name: str, line: int, **replaced: str) -> str:
        """Run one line of a block of cluster/README.md on the laptop; what it printed."""
        text = documented(name)[line]
        for old, new in replaced.items():
            assert old in text, f"{old} is not in the line {text}"
            text = text.replace(old, new)
        if text.startswith("make "):
            text = text.replace("make ", " ".join(MAKE) + " ", 1)
        return self.lab.run("bash", "-ec", text, timeout=300)

    def exec(self, line: str, timeout: float = 240, check: bool = True) -> str:
        """`ray exec`: a shell line on the head; what it printed."""
        return self.lab.run("ray", "exec", self.file, line, timeout=timeout, check=check)

    def train(self, folder: Path, *words: str) -> Run:
        """Start `python -m raes.train words...` as a job, with the files of a folder of the laptop."""
        return Run(self, folder, words)

    def head(self) -> Host:
        """The head's host, for looking in without ssh."""
        raise NotImplementedError

    def nodes(self) -> list[str]:
        """The addresses of the nodes that are alive by the head."""
        out = self.head().run(f"python -c '{NODES}'", check=False)
        return re.findall(r'"([\d.]+)"', out.partition("NODES")[2])

    def await_nodes(self, number: int, seconds: float = 300) -> list[str]:
        """Until that many nodes are alive; their addresses."""
        nodes: list[str] = []

        def there() -> bool:
            nodes[:] = self.nodes()
            return len(nodes) == number

        wait_for(there, seconds, lambda: f"{nodes} after {seconds} s, not {number} nodes\n{self.log()}")
        return nodes

    def await_addresses(self, wanted: set[str], seconds: float = 300) -> None:
        """Until these nodes are alive, and no others: a new one may join before Ray misses one that has vanished."""
        message = f"not {wanted} after {seconds} s"
        wait_for(lambda: set(self.nodes()) == wanted, seconds, lambda: f"{message}\n{self.nodes()}\n{self.log()}")

    def log(self) -> str:
        """What Ray's autoscaler has to say."""
        return self.head().run("tail -n 60 /tmp/ray/session_latest/logs/monitor.*", check=False)


class LocalCluster(Cluster):
    """`cluster/local.yaml` on hosts of the lab: the file as it is, but for its addresses.

    Use it as a context: hosts and cluster come up, and go with the lab. `hosts` is how each host differs from the
    others, by address: keywords of `Lab.add`, for example `{"10.77.0.12": {"shm": "64m"}}`. Workers that are `off`
    stand in the file too; they join when `Lab.add` switches them on.
    """

    def __init__(
        self,
        lab: Lab,
        workers: tuple[str, ...] = WORKERS,
        off: tuple[str, ...] = (),
        hosts: dict[str, dict[str, str]] | None = None,
    ) -> None:
        super().__init__(lab, "cluster/local.yaml")
        self.workers, self._off = workers, off
        self._hosts = hosts or {}

    def __enter__(self) -> LocalCluster:
        for address in (HEAD, *self.workers):
            self.lab.add(address, **self._hosts.get(address, {}))
        path = Path(self.lab.checkout, self.file)
        text, changed = re.subn(
            r"head_ip: .*\n  worker_ips: .*",
            f"head_ip: {HEAD}\n  worker_ips: [{', '.join(self.workers + self._off)}]",
            path.read_text(),
        )
        assert changed == 1, "cluster/local.yaml: its two lines of addresses were not found"
        path.write_text(text)
        self.documented("local", 1)
        self.documented("local", 2)
        self.await_nodes(1 + len(self.workers))
        return self

    def __exit__(self, *_: object) -> None:
        """The lab's end takes everything along."""

    def head(self) -> Host:
        return self.lab[HEAD]


class AwsCluster(Cluster):
    """`cluster/aws.yaml`, unchanged, in the lab's own cloud (`cloud.py`)."""

    BUCKET = "my-bucket"

    def __init__(self, lab: Lab) -> None:
        super().__init__(lab, "cluster/aws.yaml")

    def __enter__(self) -> AwsCluster:
        folder = self.lab.folder
        cloud = self.lab.start(
            "python", str(HERE / "cloud.py"), log=folder / "cloud.out", GATEWAY=self.lab.gateway, **self.lab.settings()
        )
        wait_for((folder / "cloud.ready").exists, 60, (folder / "cloud.out").read_text)
        assert cloud.poll() is None, (folder / "cloud.out").read_text()
        # An account that has had a Ray cluster has the role already; Ray waits half a minute for a new one.
        self.boto(
            "iam = boto3.client('iam'); name = 'ray-autoscaler-v1'\n"
            "iam.create_instance_profile(InstanceProfileName=name)\n"
            "iam.create_role(RoleName=name, AssumeRolePolicyDocument='{}')\n"
            "iam.add_role_to_instance_profile(InstanceProfileName=name, RoleName=name)\n"
            f"boto3.client('s3').create_bucket(Bucket='{self.BUCKET}', "
            "CreateBucketConfiguration={'LocationConstraint': 'us-west-2'})"
        )
        return self

    def __exit__(self, *_: object) -> None:
        """The lab's end takes everything along."""

    def boto(self, code: str) -> Any:
        """Run Python with boto3 on the laptop; the value of its variable `result`."""
        code = f"import boto3, json\nresult = None\n{code}\nprint('RESULT', json.dumps(result))"
        return json.loads(self.lab.run("python", "-c", code, timeout=90).partition("RESULT ")[2])

    def instances(self) -> list[dict[str, Any]]:
        """All instances that there ever were: id, type, life, state, address, kind (head or worker) and tags."""
        found: list[dict[str, Any]] = self.boto(
            "result = [dict(id=i['InstanceId'], type=i['InstanceType'], life=i.get('InstanceLifecycle', 'on-demand'),"
            " state=i['State']['Name'], private=i.get('PrivateIpAddress'), public=i.get('PublicIpAddress'),"
            " tags={t['Key']: t['Value'] for t in i['Tags']})"
            " for r in boto3.client('ec2').describe_instances()['Reservations'] for i in r['Instances']]"
        )
        return found

    def running(self, kind: str) -> list[dict[str, Any]]:
        """The running ones: of kind head or worker."""
        return [i for i in self.instances() if i["state"] == "running" and i["tags"]["ray-node-type"] == kind]

    def take_away(self, instance: dict[str, Any]) -> None:
        """Terminate an instance behind Ray's back, and wait until its host is gone."""
        self.boto(f"boto3.client('ec2').terminate_instances(InstanceIds=['{instance['id']}'])")
        log = self.lab.folder / "cloud.log"
        wait_for(lambda: f"vanish {instance['id']}" in log.read_text(), 60, log.read_text)

    def requests(self, action: str) -> list[dict[str, str]]:
        """What was requested from EC2."""
        import base64
        import urllib.parse

        asked = []
        for line in (self.lab.folder / "requests.jsonl").read_text().splitlines():
            record = json.loads(line)
            body = record.get("body") or ""
            text = base64.b64decode(body).decode(errors="replace") if record.get("body_encoded") else str(body)
            query = dict(urllib.parse.parse_qsl(text))
            if query.get("Action") == action:
                asked.append(query)
        return asked

    def head(self) -> Host:
        [head] = self.running("head")
        return self.lab[head["id"]]


def folder_with_worlds(lab: Lab) -> Path:
    """A folder on the laptop that holds nothing but environments of the user's own: `gated_world:Gated-v0`."""
    folder = lab.home / "mine"
    folder.mkdir(exist_ok=True)
    for source in WORLDS:
        shutil.copy(source, folder)
    return folder


def alone(folder: Path, *words: str) -> None:
    """The same training in one process, outside of the lab."""
    acting = [word for word in words if not word.startswith("runtime.deadline=")]  # one process has none
    command = [str(PYTHON_ENV / "bin" / "python"), "-m", "raes.train", *acting, "runtime=serial"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stdout + done.stderr
