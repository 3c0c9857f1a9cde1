"""`cluster/aws.yaml`, unchanged, against moto's EC2, whose instances are hosts of the lab behind their firewalls.

One cluster, in this order: up, with spot capacity refused at first; scans from outside and inside; a spot machine taken
away; the head lost; down.
"""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
from integration.helpers import records_of, theta_of

from .clusters import AwsCluster, Run, alone, folder_with_worlds, wait_for
from .documented import documented
from .lab import HERE, HOME, Host

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(900)]
TASK = ("env=gymnasium", "env.id=gated_world:Gated-v0", "policy=linear", "algorithm.pairs=10", "noise.size=50000",
        "evaluation.every=5", "evaluation.episodes=2", "checkpoint.every=1", "runtime.deadline=600")  # fmt: skip
GENERATIONS = 16
WORDS = documented("aws")[3].partition('WORDS="')[2].rstrip('"').split()
"""The documented keys of a run; the test has a task, a size and a number of workers of its own."""
RUN_DIR = next(word for word in WORDS if word.startswith("run_dir=")).removeprefix("run_dir=")
SPOT_TYPES = {"c6i.8xlarge", "m6i.8xlarge", "r6i.8xlarge"}
FIGURES_ONLY = {"GET /metrics", "GET /api/local_raylet_healthz"}
"""What Ray tells callers without the secret: figures for Prometheus, and that a node is alive."""


@pytest.fixture(scope="module")
def up(aws_cluster: AwsCluster) -> AwsCluster:
    """The head, by `ray up cluster/aws.yaml`; the first spot requests for every type will be refused."""
    (aws_cluster.lab.folder / "refuse.json").write_text(json.dumps(dict.fromkeys(SPOT_TYPES, 2) | {"c6i.8xlarge": 5}))
    aws_cluster.documented("aws", 1)
    aws_cluster.documented("aws", 2)
    return aws_cluster


@pytest.fixture(scope="module")
def gate(up: AwsCluster) -> Path:
    """No episode begins while this file is there."""
    return up.lab.folder / "gate"


@pytest.fixture(scope="module")
def run(up: AwsCluster, gate: Path) -> Run:
    """A run as documented, but for its task and its size: one machine, since Ray takes each for one of 32 CPUs."""
    assert WORDS[:2] == ["env=Humanoid", "algorithm.pairs=400"]
    assert WORDS[2].startswith("workers=1..")
    return start(up, gate)


def start(cluster: AwsCluster, gate: Path) -> Run:
    kwargs = f'env.kwargs={{variables:{{STEP_SECONDS:"0.05",GATE:"{gate}"}}}}'
    words = (*TASK, kwargs, "workers=1..3", *WORDS[3:], f"generations={GENERATIONS}")
    return cluster.train(folder_with_worlds(cluster.lab), *words)


def test_what_is_asked_of_ec2_and_refused_capacity_is_asked_for_again(up: AwsCluster, run: Run, gate: Path) -> None:
    run.wait_for("^gen +0", 300)
    gate.touch()
    wait_for(lambda: up.running("worker"), 240, lambda: f"{up.instances()}\n{up.log()}\n{run.out}")
    up.await_nodes(2)
    gate.unlink()
    run.wait_for("^gen +1")
    gate.touch()  # what is left of the run waits for the tests below

    first, *others = up.requests("RunInstances")
    assert first["InstanceType"] == "m6i.xlarge"
    assert not [key for key in first if "Market" in key]
    assert first["IamInstanceProfile.Arn"].endswith("ray-autoscaler-v1")
    for asked in others:
        assert asked["InstanceType"] in SPOT_TYPES
        assert asked["InstanceMarketOptions.MarketType"] == "spot"
        assert asked["InstanceMarketOptions.SpotOptions.SpotInstanceType"] == "one-time"
        assert not [key for key in asked if "Iam" in key]  # episodes have no rights in the account
    for asked in (first, *others):
        assert asked["BlockDeviceMapping.1.Ebs.Encrypted"] == "true"
        assert asked["MetadataOptions.HttpTokens"] == "required"
        assert {"project": "raes", "ray-cluster-name": "raes"}.items() <= tags_asked(asked).items()
    log = (up.lab.folder / "cloud.log").read_text()
    refused = re.findall(r"refused (\S+)", log)
    assert refused, log
    assert len(others) > len(up.running("worker"))
    assert len({asked["SubnetId"] for asked in others}) > 1  # another zone was tried
    assert all(i["life"] == ("spot" if i["tags"]["ray-node-type"] == "worker" else "on-demand") for i in up.instances())


def tags_asked(asked: dict[str, str]) -> dict[str, str]:
    found = {}
    for key, value in asked.items():
        if match := re.fullmatch(r"(TagSpecification\.\d+\.Tag\.\d+)\.Key", key):
            found[value] = asked[f"{match[1]}.Value"]
    return found


def test_the_security_group_lets_in_ssh_only(up: AwsCluster, run: Run) -> None:
    """What was asked for, and a scan of all ports from outside through it."""
    groups = up.boto("result = boto3.client('ec2').describe_security_groups()['SecurityGroups']")
    [group] = [one for one in groups if one["GroupName"] == "raes"]
    rules = [(r["IpProtocol"], r.get("FromPort"), r["IpRanges"], r["UserIdGroupPairs"]) for r in group["IpPermissions"]]
    from_anywhere = [rule[:2] for rule in rules if rule[2]]
    assert from_anywhere == [("tcp", 22)]
    assert all(pair["GroupId"] == group["GroupId"] for rule in rules for pair in rule[3])
    for instance in (*up.running("head"), up.running("worker")[0]):
        out = up.lab.run("python", str(HERE / "scan.py"), "open", instance["public"], timeout=240)
        assert json.loads(out.partition("SCAN ")[2]) == [22], instance


def listening(host: Host) -> dict[int, str]:
    """The TCP ports of a host that others can reach, and who listens there."""
    found = {}
    for line in host.run("ss -ltnpH").splitlines():
        address, port = line.split()[3].rsplit(":", 1)
        if "127.0.0.1" not in address:
            found[int(port)] = re.findall(r'"([^"]+)"', line)[0]
    return found


def test_each_ray_port_refuses_a_caller_without_the_secret(up: AwsCluster, run: Run) -> None:
    """Asked from a machine of the group itself, so that no firewall is in between."""
    [head], [worker] = up.running("head"), up.running("worker")
    for asked, asker in ((head, worker), (worker, head)):
        ports = listening(up.lab[asked["id"]])
        assert ports.pop(22) == "sshd"
        assert {"raylet", *(["gcs_server"] if asked is head else [])} <= set(ports.values())
        words = " ".join(map(str, ports))
        scan = f"HOME=/nowhere {HOME}/raes-venv/bin/python {HERE}/scan.py ask {asked['private']} {words}"
        out = up.lab[asker["id"]].run(f"unset RAY_AUTH_MODE; {scan}", timeout=240)
        answers = json.loads(out.partition("SCAN ")[2])
        for port, replies in answers.items():
            answered = {question for question, answer in replies.items() if answer in ("200", "OK")}
            if set(replies) <= {q for q in replies if q.startswith("GET")} and replies["GET /"] == "200":
                continue  # Prometheus' figures, whatever the path: see cluster/README.md
            assert answered <= FIGURES_ONLY, (port, ports[int(port)], replies)
            assert {"401", "UNAUTHENTICATED"} & set(replies.values()), (port, ports[int(port)], replies)


def test_a_spot_machine_is_taken_away_and_replaced(up: AwsCluster, run: Run, gate: Path) -> None:
    gate.touch()
    before = {one["id"] for one in up.running("worker")}
    up.take_away(up.running("worker")[0])
    wait_for(lambda: {one["id"] for one in up.running("worker")} - before, 240, lambda: f"{up.instances()}\n{up.log()}")
    wait_for(lambda: len(up.nodes()) == 2, 240, up.log)
    gate.unlink()
    run.wait_for("^gen +6", 240)


def test_the_head_is_lost_and_a_new_one_goes_on(up: AwsCluster, run: Run, gate: Path, tmp_path: Path) -> None:
    """The same two commands, and the bits of a run that was never disturbed."""
    up.take_away(up.running("head")[0])
    run.process.terminate()
    run.process.wait(60)
    up.lab.run("bash", "-ec", documented("resume")[0], timeout=300)
    assert WORDS[1:] == documented("resume")[1].partition('WORDS="')[2].rstrip('"').split()[1:]
    out = start(up, gate).wait(400)
    assert "resuming from" in out
    assert f"finished: generation limit ({GENERATIONS}) reached" in out

    code = (
        "s3 = boto3.client('s3'); import pathlib\n"
        f"for one in s3.list_objects_v2(Bucket='{up.BUCKET}')['Contents']:\n"
        f"    path = pathlib.Path('{up.lab.folder}', 'bucket', one['Key'])\n"
        "    path.parent.mkdir(parents=True, exist_ok=True)\n"
        f"    s3.download_file('{up.BUCKET}', one['Key'], str(path))"
    )
    up.boto(code)
    run_dir = up.lab.folder / "bucket" / RUN_DIR.partition(f"{up.BUCKET}/")[2]
    alone(up.lab.home / "mine", *TASK, f"generations={GENERATIONS}", f"run_dir={tmp_path / 'alone'}")
    assert np.array_equal(theta_of(run_dir).view(np.uint8), theta_of(tmp_path / "alone").view(np.uint8))
    assert [one["progress/generation"] for one in records_of(run_dir)] == list(range(GENERATIONS + 1))
    shutil.rmtree(up.lab.folder / "bucket")


def test_ray_down_terminates_everything(up: AwsCluster) -> None:
    [down] = documented("down")
    up.lab.run("bash", "-ec", down, timeout=300)
    states = {one["state"] for one in up.instances()}
    assert states <= {"terminated", "shutting-down"}, states
