"""`cluster/slurm.sbatch`, unchanged, where Slurm's commands are small scripts: a real Ray head and a worker on this
machine, a run on both, a checkpoint and a requeue when the job's time is nearly over, and the same run going on."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from .helpers import generations_of, latest_generation, records_of, wait_for

pytestmark = [pytest.mark.cluster, pytest.mark.skipif(not hasattr(os, "geteuid"), reason="for POSIX systems")]
SCRIPT = Path(__file__).parents[2] / "cluster" / "slurm.sbatch"
SRUN = """#!/usr/bin/env bash
echo "$*" >>"$FAKE/srun.log"
while [[ $1 == --* ]]; do shift; done
[[ $1 == hostname ]] && { echo 127.0.0.1; exit; }
[[ $1 == mkdir ]] && { echo "$4" >"$FAKE/folder"; ls "$4" >/dev/null 2>&1 && exit 9; }
[[ $1 == ray ]] || exec "$@"
stat -c %a "$(<"$FAKE/folder")" >>"$FAKE/modes.log"
exec "$@" --object-store-memory=100000000
"""
SCONTROL = """#!/usr/bin/env bash
echo "$*" >>"$FAKE/scontrol.log"
[[ "$1 $2" == "show hostnames" ]] && printf 'one\\ntwo\\n'
exit 0
"""


def submit(folder: Path, *words: str) -> subprocess.Popen[bytes]:
    """What Slurm does with a job of two nodes: it runs the script on the first of them."""
    fake = folder / "bin"
    fake.mkdir(exist_ok=True)
    for name, text in (("srun", SRUN), ("scontrol", SCONTROL)):
        (fake / name).write_text(text)
        (fake / name).chmod(0o755)
    path = f"{fake}:{Path(sys.executable).parent}:{os.environ['PATH']}"
    environment = os.environ | {
        "PATH": path, "FAKE": str(folder), "HOME": str(folder), "SLURM_JOB_ID": str(os.getpid()),
        "SLURM_JOB_NODELIST": "node[1-2]", "SLURM_CPUS_PER_TASK": "1", "PYTHONPATH": str(SCRIPT.parents[1]),
    }  # fmt: skip
    with (folder / "job.log").open("ab") as log:
        return subprocess.Popen(
            ["bash", str(SCRIPT), *words], cwd=folder, env=environment, stdout=log, stderr=log, start_new_session=True
        )


def test_a_job_trains_is_requeued_when_its_time_is_over_and_goes_on(tmp_path: Path) -> None:
    run = tmp_path / "run"
    words = (
        "env=InvertedPendulum",
        "workers=2..2",
        "algorithm.pairs=4",
        f"run_dir={run}",
        "evaluation.every=0",
        "checkpoint.every=1",
    )

    def log() -> str:
        return (tmp_path / "job.log").read_text()

    job = submit(tmp_path, *words)
    try:
        wait_for(lambda: latest_generation(run) >= 2 or job.poll() is not None, 200, log)
        assert job.poll() is None, log()
        job.send_signal(signal.SIGUSR1)  # as --signal=B:USR1@300 has it
        assert job.wait(60) == 130, log()
        assert "requeue" in (tmp_path / "scontrol.log").read_text()
        reached = latest_generation(run)
        job = submit(tmp_path, *words, f"generations={reached + 3}")
        assert job.wait(240) == 0, log()
    finally:
        if job.poll() is None:
            os.killpg(job.pid, signal.SIGKILL)
    assert generations_of(run)[-1] == reached + 3
    text = log()
    assert max(record["pool/actors"] for record in records_of(run)) == 2
    assert "resuming from" in text
    starts = [line for line in (tmp_path / "srun.log").read_text().splitlines() if "ray start" in line]
    assert len(starts) == 4
    assert "--nodelist=one" in starts[0]
    assert "--nodelist=two" in starts[1]
    token = (tmp_path / ".ray" / "auth_token").read_text()
    assert (tmp_path / ".ray" / "auth_token").stat().st_mode & 0o077 == 0
    assert token not in text
    folder = Path((tmp_path / "folder").read_text().strip())
    assert folder.parent == Path("/tmp")
    assert str(os.getpid()) not in folder.name
    assert not folder.exists()
    assert set((tmp_path / "modes.log").read_text().split()) == {"700"}
