"""runtime.pipeline=1: the update is exactly one generation late, and still the same bits whatever happens."""

from __future__ import annotations

import os
import signal

import numpy as np
import pytest

from .helpers import Commands, arrays_of, latest_generation, theta_of
from .shared_ray import SharedRay
from .test_determinism import Runs

PIPELINE = "runtime.pipeline=1"


@pytest.fixture(scope="module")
def runs(module_commands: Commands) -> Runs:
    """The reference: pipelined, runtime=serial, never stopped; and one without pipelining."""
    made = Runs(module_commands, module_commands.cwd / "reference")
    made("reference", "runtime=serial", PIPELINE, fork=False).wait()
    made("plain", "runtime=serial").wait()
    return made


def test_generation_1_perturbs_the_first_theta_again(runs: Runs) -> None:
    folder = runs.reference / "checkpoints"
    ours, plain = (arrays_of(runs.commands.cwd / run / "checkpoints" / "gen_000001") for run in ("reference", "plain"))
    assert np.array_equal(ours["theta"], plain["theta"]), "generation 0 is the same"
    assert not np.array_equal(ours["in_flight/theta"], ours["theta"])
    assert "in_flight/theta" not in plain
    for generation in (2, 3, 4, 5):
        in_flight = arrays_of(folder / f"gen_{generation:06d}")["in_flight/theta"]
        assert np.array_equal(in_flight, arrays_of(folder / f"gen_{generation - 1:06d}")["theta"])
    assert not np.array_equal(theta_of(runs.reference), theta_of(runs.commands.cwd / "plain"))


def test_two_workers_change_nothing(runs: Runs, shared_ray: SharedRay) -> None:
    runs("on-ray", "workers=2", *shared_ray.words(), PIPELINE).wait()
    runs.check("on-ray")


@pytest.mark.parametrize("stopped_after", [1, 2])
def test_stopped_and_resumed_is_never_stopped(runs: Runs, stopped_after: int) -> None:
    name = f"resumed-{stopped_after}"
    runs(name, "runtime=serial", PIPELINE, generations=stopped_after).wait()
    runs(name, "runtime=serial", PIPELINE, "resume=auto").wait()
    runs.check(name)


def test_killed_in_between_and_resumed_is_never_stopped(runs: Runs) -> None:
    name, cwd = "killed", runs.commands.cwd
    command = runs(name, "runtime=serial", PIPELINE, GATE=str(cwd / name))
    command.wait_for(lambda: latest_generation(cwd / name) >= 2)
    os.kill(command.process.pid, signal.SIGKILL)
    command.wait(-signal.SIGKILL)
    runs.open_gate(name)
    runs(name, "runtime=serial", PIPELINE, "resume=auto").wait()
    runs.check(name)


def test_a_resume_may_not_change_it(runs: Runs) -> None:
    message = runs.commands.refuse(
        *runs("unused", "runtime=serial", PIPELINE, generations=1).wait().process.args[3:-2],  # type: ignore[index]
        "runtime=serial", "run_dir=unused", "resume=auto",
    )  # fmt: skip
    assert "runtime.pipeline: 1 -> 0" in message
