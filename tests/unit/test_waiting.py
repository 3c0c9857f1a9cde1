"""Workers that wait for CPUs."""

from __future__ import annotations

from raes.runtime.waiting import WAIT_SECONDS, CpuWait


def test_workers_that_wait_for_cpus_are_told_of_once_and_again_when_all_work() -> None:
    now, free = [0.0], [0.0]
    watch = CpuWait(lambda: free[0], lambda: now[0])
    assert watch(4, 4) is None
    now[0] = WAIT_SECONDS - 0.1
    assert watch(4, 3) is None
    now[0] = WAIT_SECONDS
    notice = watch(4, 3)
    assert notice is not None
    assert "3 of 4 workers have not started yet" in notice
    assert "workers=N" in notice
    now[0] = 10 * WAIT_SECONDS
    assert watch(4, 3) is None
    assert watch(4, 0) == "all workers have started"
    assert watch(4, 0) is None


def test_workers_that_are_only_slow_to_start_are_not_said_to_wait() -> None:
    now, free = [0.0], [1.0]
    watch = CpuWait(lambda: free[0], lambda: now[0])
    assert watch(2, 1) is None
    now[0] = WAIT_SECONDS
    assert watch(2, 1) is None
    free[0] = 0.5
    assert watch(2, 1) is None  # asked again only a while later
    now[0] = 2 * WAIT_SECONDS
    assert watch(2, 1) is not None
    assert watch(2, 0) is not None
