"""`cluster/local.yaml`, unchanged but for its addresses: three machines as a cluster, and runs on it."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
from integration.helpers import records_of, theta_of
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from .clusters import LATE, WORKERS, LocalCluster, alone, folder_with_worlds
from .documented import documented
from .lab import HOME

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(900)]
TASK = ("env=gymnasium", "env.id=gated_world:Gated-v0", "policy=linear", "algorithm.pairs=20", "noise.size=50000",
        "evaluation.every=5", "evaluation.episodes=2", "checkpoint.every=1", "runtime.deadline=600")  # fmt: skip
GENERATIONS = 20


def test_the_shortest_command_joins_the_cluster_and_trains(local_cluster: LocalCluster) -> None:
    """On the head, exactly `python -m raes.train env=Humanoid`; it would go on until it is stopped."""
    [command] = documented("head")
    assert command == "python -m raes.train env=Humanoid"
    out = local_cluster.exec(
        f"{command} >out 2>&1 & until grep -q 'gen  *1' out; do kill -0 $! || break; sleep 0.5; done; kill -INT $!; "
        "wait $!; echo code $?; cat out"
    )
    lines = out[out.index("code ") :].splitlines()
    assert lines[0] == "code 130", out
    assert lines[1].startswith("Ray cluster at 10.77.0.10:6379, which this machine belongs to (ray.address=local "), out
    assert lines[2].startswith("Ray cluster at 10.77.0.10:6379: 3 nodes, "), out
    assert re.search(r"^gen +0  return ", out, re.MULTILINE), out


def test_a_machine_vanishes_and_another_one_joins_and_no_bit_changes(
    local_cluster: LocalCluster, tmp_path: Path
) -> None:
    """A run whose environment travels with `--working-dir .`, while one of three machines is replaced."""
    lab = local_cluster.lab
    folder, gate = folder_with_worlds(lab), lab.folder / "gate"
    kwargs = f'env.kwargs={{variables:{{STEP_SECONDS:"0.02",GATE:"{gate}"}}}}'
    run = local_cluster.train(folder, *TASK, kwargs, f"generations={GENERATIONS}", "run_dir=runs/three")
    run.wait_for("^gen +5")
    gate.touch()
    lab[WORKERS[1]].vanish()
    lab.add(LATE)
    local_cluster.await_addresses({"10.77.0.10", WORKERS[0], LATE})
    gate.unlink()
    out = run.wait()
    assert f"finished: generation limit ({GENERATIONS}) reached" in out
    assert f"saved to {HOME}/runs/three" in out  # from the home folder, not from Ray's copy of the working directory

    run_dir = local_cluster.head().home / "runs" / "three"
    alone(folder, *TASK, f"generations={GENERATIONS}", f"run_dir={tmp_path / 'alone'}")
    assert np.array_equal(theta_of(run_dir).view(np.uint8), theta_of(tmp_path / "alone").view(np.uint8))
    records = records_of(run_dir)
    assert records[-1]["faults/actors_lost"] >= 1
    assert {record.get("pool/actors") for record in records if record["progress/generation"] < 3} == {6}
    assert records[-1]["pool/actors"] == 6
    events = EventAccumulator(str(run_dir / "tensorboard"), size_guidance={"scalars": 0}).Reload()
    assert [event.step for event in events.Scalars("returns/mean")] == list(range(GENERATIONS))


def test_a_job_is_stopped_with_a_checkpoint_and_goes_on(local_cluster: LocalCluster, tmp_path: Path) -> None:
    """Followed by a laptop that leaves; stopped by `ray job stop`; the same command with resume=auto goes on."""
    folder = folder_with_worlds(local_cluster.lab)
    words = (*TASK, "run_dir=runs/stopped", "resume=auto", "checkpoint.every=1000")
    slow = 'env.kwargs={variables:{STEP_SECONDS:"0.02"}}'
    run = local_cluster.train(folder, *words, slow, "generations=100000")
    run.wait_for("^gen +2")
    name = run.name
    assert f"ray job stop {name}" in run.out
    run.process.terminate()
    run.process.wait(30)
    run_dir = local_cluster.head().home / "runs" / "stopped"
    seen = len(records_of(run_dir))
    local_cluster.exec(f"until [ $(wc -l <runs/stopped/metrics.jsonl) -gt {seen} ]; do sleep 0.2; done")  # it goes on
    out = local_cluster.exec(f"ray job stop {name}; ray job logs {name}")
    stopped = int(re.findall(r"stopped after (\d+) generations", out)[0])
    assert (run_dir / "checkpoints" / "latest").read_text().strip() == f"gen_{stopped:06d}"
    assert "ray job submit --working-dir . -- python -m raes.train" in out

    last = stopped + 3
    local_cluster.train(folder, *words, slow, f"generations={last}").wait()
    alone(folder, *words, f"generations={last}", f"run_dir={tmp_path / 'alone'}")
    assert np.array_equal(theta_of(run_dir).view(np.uint8), theta_of(tmp_path / "alone").view(np.uint8))


def test_the_secret_stands_in_no_file_but_its_own(local_cluster: LocalCluster) -> None:
    secret = (local_cluster.lab.home / ".ray" / "auth_token").read_text().strip()
    assert len(secret) == 64
    for name in ("10.77.0.10", WORKERS[0]):
        line = f"grep -rlsI --exclude-dir='raes-lab-*' {secret} /tmp ~ || true; stat -c %a ~/.ray/auth_token"
        found = local_cluster.lab[name].run(line)
        assert found.split() == [f"{HOME}/.ray/auth_token", "600"], found


def test_after_ray_down_nothing_of_ray_runs_on_the_head(local_cluster: LocalCluster) -> None:
    [down] = documented("down")
    local_cluster.lab.run("bash", "-ec", down.replace("aws.yaml", "local.yaml"))
    assert local_cluster.head().run("pgrep -c 'raylet|gcs_serv' || true").strip() == "0"
