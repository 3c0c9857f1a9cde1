"""The files of cluster/ that no lab launches, checked as far as one can: Ray's schema, Google's client with its answers
put on the wire, the fields of KubeRay's objects, linters."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any
from urllib.parse import urlparse

import pytest
import ray.autoscaler
import yaml
from ray.autoscaler._private.util import prepare_config, validate_config

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "cluster"
CLOUDS = ("gcp", "azure")
OURS = {"app": "raes", "app.kubernetes.io/part-of": "raes"}
CONFINED = {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}}
VERSIONS = dict(re.findall(r"^([\w.-]+)==(\S+)$", (ROOT / "constraints.txt").read_text(), re.MULTILINE))


def read(name: str) -> dict[str, Any]:
    """A file of cluster/ with one object."""
    content: dict[str, Any] = yaml.safe_load((FOLDER / name).read_text())
    return content


@pytest.mark.parametrize("cloud", CLOUDS)
def test_ray_takes_the_file(cloud: str) -> None:
    config = prepare_config(read(f"{cloud}.yaml"))
    validate_config(config)
    head, *workers = (config["available_node_types"][name] for name in config["available_node_types"])
    assert config["head_node_type"] == "head"
    assert head["resources"]["CPU"] == 0  # the driver's machine runs no episodes
    assert all(worker["min_workers"] == 0 < worker["max_workers"] for worker in workers)
    broken = read(f"{cloud}.yaml") | {"max_wrokers": 3}
    with pytest.raises(Exception, match="max_wrokers"):
        validate_config(prepare_config(broken))


@pytest.mark.parametrize("cloud", CLOUDS)
def test_nothing_is_open_and_every_caller_is_asked_for_the_token(cloud: str) -> None:
    text, config = (FOLDER / f"{cloud}.yaml").read_text(), read(f"{cloud}.yaml")
    assert "0.0.0.0" not in text
    assert "ray-client-server-port" not in text
    (start,) = [line for line in config["head_start_ray_commands"] if "ray start" in line]
    assert "--dashboard-host=127.0.0.1" in start
    assert "--num-cpus=0" in start
    assert any("RAY_AUTH_MODE=token" in line for line in config["setup_commands"])
    assert config["file_mounts"]["~/.ray/auth_token"] == "~/.ray/auth_token"


@pytest.mark.parametrize("path", [path for path in FOLDER.rglob("*") if path.is_file()], ids=lambda path: path.name)
def test_no_secret_stands_in_a_file(path: Path) -> None:
    secret = r"AKIA[0-9A-Z]{16}|BEGIN [A-Z ]*PRIVATE KEY|(?i:password|secret_access_key|client_secret)\s*[:=]\s*\S"
    assert not re.search(secret, path.read_text())


def test_azure_has_a_place_for_every_parameter_and_lets_in_ssh_alone() -> None:
    ours = Path(ray.autoscaler.__file__).parent / "_private" / "_azure"
    known = json.loads((ours / "azure-vm-template.json").read_text())["parameters"]
    for node in read("azure.yaml")["available_node_types"].values():
        assert node["node_config"]["azure_arm_parameters"].keys() <= known.keys()
    spot = read("azure.yaml")["available_node_types"]["spot_d32s"]["node_config"]["azure_arm_parameters"]
    assert spot["priority"] == "Spot"
    assert re.findall(r'"destinationPortRange": "(.*?)"', (ours / "azure-config-template.json").read_text()) == ["22"]


class Google:
    """Google's side of the wire: what was asked, and answers as a project that exists gives them."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, str, Any]] = []

    def request(self, uri: str, method: str = "GET", body: Any = None, **_: Any) -> tuple[Any, bytes]:
        """In the place of httplib2's."""
        import httplib2

        path = urlparse(uri).path
        self.asked.append((method, path, json.loads(body) if str(body).startswith("{") else body))
        return httplib2.Response({"status": "200", "content-type": "application/json"}), json.dumps(
            self._answer(method, path)
        ).encode()

    def _answer(self, method: str, path: str) -> Any:
        if path.endswith("/token"):
            return {"access_token": "made-up", "expires_in": 3600, "token_type": "Bearer"}
        if path.endswith("/subnetworks"):
            return {"items": [{"selfLink": "projects/my-project/regions/us-west1/subnetworks/default"}]}
        if "/serviceAccounts/" in path:
            return {"email": "ray-autoscaler-sa-v1@my-project.iam.gserviceaccount.com", "projectId": "my-project"}
        if path.endswith(":getIamPolicy"):
            return {"bindings": []}
        if path.endswith("/instances") and method == "GET":
            return {"items": []}
        if "/operations/" in path or path.endswith(("/instances", "/setCommonInstanceMetadata")):
            return {"name": "operation-1", "status": "DONE"}
        project = {"name": "my-project", "projectId": "my-project", "lifecycleState": "ACTIVE"}
        return project | {"commonInstanceMetadata": {"items": []}}


@pytest.fixture
def google(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Google:
    """Google's client is the real one; only the bytes come from here."""
    import httplib2

    wire = Google()
    monkeypatch.setattr(
        httplib2.Http, "request", lambda _, uri, method="GET", body=None, **kw: wire.request(uri, method, body)
    )
    monkeypatch.setenv("HOME", str(tmp_path))
    credentials = {"type": "authorized_user", "client_id": "i", "client_secret": "s", "refresh_token": "r"}
    (tmp_path / "credentials.json").write_text(json.dumps(credentials))
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(tmp_path / "credentials.json"))
    return wire


def test_google_is_asked_for_what_the_file_says(google: Google) -> None:
    from ray.autoscaler._private.gcp.config import bootstrap_gcp
    from ray.autoscaler._private.gcp.node_provider import GCPNodeProvider

    config = bootstrap_gcp(prepare_config(read("gcp.yaml")))
    assert Path(config["auth"]["ssh_private_key"]).stat().st_mode & 0o777 == 0o600
    assert not [path for _, path, _ in google.asked if "firewall" in path]  # the network's own rules stay
    provider = GCPNodeProvider(config["provider"], config["cluster_name"])
    for name in ("head", "spot_n2_32"):
        provider.create_node(
            config["available_node_types"][name]["node_config"], {"ray-node-type": "worker", "ray-node-name": "raes"}, 1
        )
    head, worker = (body for method, path, body in google.asked if method == "POST" and path.endswith("/instances"))
    assert head["machineType"].endswith("zones/us-west1-b/machineTypes/n2-standard-4")
    assert "scheduling" not in head
    assert worker["scheduling"]["provisioningModel"] == "SPOT"
    assert worker["minCpuPlatform"] == "Intel Ice Lake"
    assert worker["serviceAccounts"] == []
    assert worker["labels"]["project"] == "raes"


def test_kuberays_objects_have_the_fields_that_matter() -> None:
    cluster, job = read("kuberay/raycluster.yaml"), read("kuberay/rayjob.yaml")
    spec = cluster["spec"]
    assert (cluster["apiVersion"], cluster["kind"]) == ("ray.io/v1", "RayCluster")
    assert (job["apiVersion"], job["kind"]) == ("ray.io/v1", "RayJob")
    assert job["spec"]["rayClusterSpec"] == spec
    assert spec["rayVersion"] == VERSIONS["ray"]
    assert spec["authOptions"] == {"mode": "token"}
    assert spec["headGroupSpec"]["serviceType"] == "ClusterIP"
    assert spec["headGroupSpec"]["rayStartParams"]["num-cpus"] == "0"
    groups = [spec["headGroupSpec"], *spec["workerGroupSpecs"]]
    for group in groups:
        assert all(isinstance(value, str) for value in group["rayStartParams"].values())  # KubeRay takes no others
        template = group["template"]
        assert template["metadata"]["labels"] == OURS
        assert template["spec"]["securityContext"]["runAsNonRoot"] is True
        assert template["spec"]["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        (container,) = template["spec"]["containers"]
        assert container["securityContext"] == CONFINED
        assert container["resources"]["requests"] == container["resources"]["limits"]
    claim = spec["headGroupSpec"]["template"]["spec"]["volumes"][0]["persistentVolumeClaim"]["claimName"]
    assert claim == read("kuberay/volume.yaml")["metadata"]["name"]
    mount = spec["headGroupSpec"]["template"]["spec"]["containers"][0]["volumeMounts"][0]["mountPath"]
    words = job["spec"]["entrypoint"].split()
    assert f"run_dir={mount}/humanoid" in words
    assert "resume=auto" in words
    assert job["spec"]["backoffLimit"] > 0  # a lost head
    assert spec["autoscalerOptions"]["securityContext"] == CONFINED


def test_the_network_policy_names_pods_by_several_labels_and_closes_both_directions() -> None:
    policy = read("kuberay/network.yaml")["spec"]
    ours = {"matchLabels": OURS | {"ray.io/is-ray-node": "yes"}}  # the last one is KubeRay's
    assert policy["podSelector"] == ours
    assert policy["policyTypes"] == ["Ingress", "Egress"]
    among, others = policy["ingress"]
    assert among == {"from": [{"podSelector": ours}]}
    assert {port["port"] for port in others["ports"]} == {8265}
    assert all(sum(map(len, one["podSelector"].values())) > 1 for one in others["from"])
    among, *others = policy["egress"]
    assert among == {"to": [{"podSelector": ours}]}
    assert {port["port"] for rule in others for port in rule["ports"]} == {53, 443, 6443}
    blocks = [one["ipBlock"] for rule in others for one in rule["to"] if "ipBlock" in one]
    assert [block["except"] for block in blocks if block["cidr"] == "0.0.0.0/0"] == [["169.254.0.0/16"]]


THIEF = """
import os, socket, sys, time
os.setuid(65534)
server = socket.create_server(("127.0.0.1", int(sys.argv[1])))
print("there", flush=True)
time.sleep(30)
"""
RAY = """#!/usr/bin/env bash
echo "$* $RAY_API_SERVER_ADDRESS" >>"$FAKE/calls"
[ "$1" = dashboard ] || exit 0
[ "$(grep -c ^dashboard "$FAKE/calls")" -gt "$STOLEN" ] || exec sleep 30 # ssh is late, or has only IPv6
exec "$REAL" -c 'import socket, sys, time; s = socket.create_server(("", int(sys.argv[1]))); time.sleep(30)' "$4"
"""
PYTHON = """#!/usr/bin/env bash
[ "$1" = -c ] && [[ "$2" == *getsockname* ]] || exec "$REAL" "$@"
port=$("$REAL" "$@")
count=$(($(cat "$FAKE/ports" 2>/dev/null || echo 0) + 1))
echo "$count" >"$FAKE/ports"
if [ "$count" -le "$STOLEN" ]; then
  "$REAL" "$FAKE/thief.py" "$port" >"$FAKE/thief-$count" &
  until [ -s "$FAKE/thief-$count" ]; do sleep 0.05; done
fi
echo "$port"
"""


@pytest.mark.skipif(os.geteuid() != 0, reason="plays another user of this machine, for which it must be root")
@pytest.mark.parametrize("stolen", [0, 2, 5])
def test_a_job_is_never_submitted_to_a_port_that_another_user_has_taken(stolen: int, tmp_path: Path) -> None:
    for name, text in (("ray", RAY), ("python", PYTHON)):
        (tmp_path / name).write_text(text)
        (tmp_path / name).chmod(0o755)
    (tmp_path / "thief.py").write_text(THIEF)
    environment = os.environ | {
        "PATH": f"{tmp_path}:{os.environ['PATH']}", "FAKE": str(tmp_path), "STOLEN": str(stolen),
        "REAL": sys.executable, "RAY_API_SERVER_ADDRESS": "",
    }  # fmt: skip
    out = tmp_path / "out"
    with out.open("w") as file:
        words = [str(FOLDER / "train.sh"), "cluster.yaml", "env=Hopper"]
        script = subprocess.Popen(words, env=environment, stdout=file, stderr=file, start_new_session=True)
        code = script.wait(60)
    *tunnels, last = (tmp_path / "calls").read_text().splitlines()
    if stolen == 5:
        assert code == 1
        assert "other users of this machine" in out.read_text()
        assert last.startswith("dashboard")
        return
    assert code == 0, out.read_text()
    assert len(tunnels) == stolen + 1
    port = re.findall(r"--port (\d+)", tunnels[-1])[0]
    assert last == f"job submit --working-dir . -- python -m raes.train env=Hopper http://127.0.0.1:{port}"


def linter(*words: str) -> subprocess.CompletedProcess[str]:
    """A linter in the same folder as this Python."""
    program, *rest = words
    return subprocess.run([str(Path(sys.executable).with_name(program)), *rest], capture_output=True, text=True)


def test_the_image_is_what_its_linter_likes_and_has_the_tested_versions() -> None:
    checked = linter("hadolint", str(FOLDER / "Dockerfile"))
    assert checked.returncode == 0, checked.stdout
    text = (FOLDER / "Dockerfile").read_text()
    assert re.search(r"^FROM python:3\.\d+\.\d+-", text, re.MULTILINE)  # to the last number
    assert "-c constraints.txt" in text
    copied = {name for line in re.findall(r"^COPY (.*) \S+$", text, re.MULTILINE) for name in line.split()}
    assert all((ROOT / name).exists() for name in copied)
    everything, *kept = (FOLDER / "Dockerfile.dockerignore").read_text().splitlines()
    assert everything == "*"
    assert {line.removeprefix("!") for line in kept if line.startswith("!")} == copied
    packaged = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["hatch"]["build"]["targets"]["wheel"]
    assert {*packaged["packages"], *packaged["force-include"]} <= copied


def test_the_shell_scripts_are_what_their_linter_likes() -> None:
    checked = linter("shellcheck", "--severity=warning", *map(str, [*FOLDER.glob("*.sbatch"), *FOLDER.glob("*.sh")]))
    assert checked.returncode == 0, checked.stdout
