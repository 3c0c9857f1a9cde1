"""Searches of functions on Ray: parallel runs, calls that hang or end their worker, interruptions and kills."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import ray

import raes
from raes.api.optimum import Status
from raes.runtime.session import connect

from .shared_ray import SharedRay

pytestmark = pytest.mark.filterwarnings("ignore:the function has no finite value")
GIVEN: dict[str, Any] = {"budget": 400, "seed": 4, "parallel_runs": 3}


def bumpy(x: np.ndarray) -> float:
    """A function of many minima, broken in places."""
    if int(1e4 * abs(x[0])) % 16 == 1:
        raise RuntimeError("broken here")
    return float(np.square(x - 0.5).sum() + 3 * np.cos(5 * x).sum())


def place(x: np.ndarray) -> int:
    """A number that decides whether something goes wrong at x."""
    return int(1e4 * abs(x[0])) % 32


def raises(x: np.ndarray) -> float:
    """It raises where others do worse."""
    if place(x) in (1, 2, 3):
        raise RuntimeError("broken here")
    return float(np.square(x).sum())


def ends_its_worker(x: np.ndarray) -> float:
    """It exits, hangs, or is killed, where `raises` raises."""
    if place(x) == 1:
        os._exit(3)
    if place(x) == 2:
        time.sleep(1000)
    if place(x) == 3:
        os.kill(os.getpid(), signal.SIGKILL)
    return float(np.square(x).sum())


def slow(x: np.ndarray) -> float:
    """It takes a while at x0."""
    time.sleep(4.0 if (x == 1).all() else 0.0)
    return float(np.square(x).sum())


def sleeping(x: np.ndarray) -> float:
    """It takes times that differ."""
    time.sleep(0.01 + 0.03 * (int(1e6 * abs(x[0])) % 8) / 8)
    return bumpy(x)


@pytest.fixture(scope="module", autouse=True)
def joined(shared_ray: SharedRay) -> Iterator[None]:
    """The Ray of this process, whose workers get this file's functions sent along."""
    ray.cloudpickle.register_pickle_by_value(sys.modules[__name__])
    connect(shared_ray.address, 2, 0)
    yield
    ray.shutdown()


def same(first: raes.Optimum, second: raes.Optimum) -> bool:
    """Whether the results are equal to the bit, but for what depends on chance."""
    return all(
        repr(first[key]) == repr(second[key]) and np.array(first[key]).tobytes() == np.array(second[key]).tobytes()
        for key in ("x", "fun", "nfev", "nit", "status", "center", "std", "restarts", "ended", "failures")
    )


@pytest.mark.parametrize("given", [{}, {"algorithm": "snes", "bounds": (-2, 2)}, {"target": -6.0}], ids=str)
def test_parallel_runs_on_workers_give_the_bits_of_one_process(given: dict[str, Any]) -> None:
    alone = raes.minimize(bumpy, np.ones(3), **GIVEN, **given)
    for workers in (2, 3):
        together = raes.minimize(sleeping, np.ones(3), workers=workers, **GIVEN, **given)
        assert same(alone, together)
        assert together.first_failure == alone.first_failure
        assert "target" in given or together.surplus == 0


@pytest.mark.parametrize("retries", [0, 1])
def test_calls_that_hang_or_end_their_worker_are_failures(retries: int, capsys: pytest.CaptureFixture[str]) -> None:
    given: dict[str, Any] = {"budget": 45, "seed": 1, "algorithm": "snes", "population": 12}
    alone = raes.minimize(raises, np.full(3, 0.7), **given)
    assert alone.failures >= 3
    found = raes.minimize(ends_its_worker, np.full(3, 0.7), workers=2, deadline=1.0, retries=retries, **given)
    assert same(alone, found)
    times = "once" if retries == 0 else "2 times"
    assert str(found.first_failure).startswith(f"its worker was lost {times} while it ran nothing else; the last: ")
    printed = capsys.readouterr().err
    for words in ("it called os._exit(3)", "it missed its deadline of 1 s (deadline)", "killed from outside"):
        assert words in printed


def test_a_wait_is_never_silent(capsys: pytest.CaptureFixture[str]) -> None:
    found = raes.minimize(slow, np.ones(3), workers=2, budget=20, deadline=30)
    assert found.nfev == 20
    lines = [line for line in capsys.readouterr().err.splitlines() if "no value for" in line]
    assert lines == [
        "no value for 2 s: 1 is awaited of 2 workers, whose calls count as hung after 30 s (deadline)",
    ]


def test_ctrl_c_leaves_the_best_point_of_all_runs() -> None:
    timer = threading.Timer(4.0, os.kill, (os.getpid(), signal.SIGINT))
    timer.start()
    found = raes.minimize(sleeping, np.ones(3), workers=2, budget=10**6, parallel_runs=3)
    timer.join()
    assert found.status == Status.INTERRUPTED
    assert found.nfev > 10
    assert found.fun == bumpy(found.x)


SCRIPT = """
import sys
import numpy as np
sys.path.insert(0, {folder!r})
import ray
import raes
import {module} as functions

ray.cloudpickle.register_pickle_by_value(functions)
raes.minimize(functions.sleeping, np.ones(3), workers=2, run_dir={run_dir!r}, budget=400, seed=4, parallel_runs=3)
"""


def test_a_search_whose_process_was_killed_goes_on_with_the_same_bits(shared_ray: SharedRay, tmp_path: Path) -> None:
    whole = raes.minimize(bumpy, np.ones(3), **GIVEN)
    folder = str(Path(__file__).resolve().parents[__name__.count(".")])
    script = SCRIPT.format(folder=folder, module=__name__, run_dir=str(tmp_path))
    killed = subprocess.Popen([sys.executable, "-c", script], env=os.environ | {"RAY_ADDRESS": shared_ray.address})
    try:
        while not (tmp_path / "search.npz").exists():
            assert killed.poll() is None, "it has ended before it was killed"
            time.sleep(0.05)
    finally:
        killed.kill()
        killed.wait()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        again = raes.minimize(sleeping, np.ones(3), workers=2, run_dir=tmp_path, resume="auto", **GIVEN)
    assert same(whole, again)
    assert again.nfev == 400
