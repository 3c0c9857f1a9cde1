"""The round runner on a trivial problem in this process."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest

from raes.algorithms import ES, ESSettings
from raes.algorithms.gradient import GradientState
from raes.problems.function import FunctionSettings, FunctionSpec
from raes.results import Results
from raes.rng import Purpose
from raes.runtime.rounds import FinishedRound, RoundClock, RoundHooks, RoundRunner
from raes.runtime.serial import SerialExecutor
from raes.runtime.worker import WorkerSpec
from raes.search import running_stats
from raes.search.optimizers import OptimizerSettings
from raes.tasks import Round, Tasks, evaluation_tasks

TABLE = 10_000
PAIRS = 4


def parabola(x: np.ndarray) -> float:
    if x[0] > 6:
        raise ValueError("too far out")
    return float(-(x**2).sum())


@pytest.fixture
def executor() -> Iterator[SerialExecutor]:
    spec = FunctionSpec(FunctionSettings(call="test:parabola", dim=2), parabola)
    serial = SerialExecutor(WorkerSpec(spec, 0), TABLE)
    yield serial
    serial.close()


class Search:
    """ES on the parabola."""

    def __init__(self) -> None:
        settings = ESSettings(pairs=PAIRS, sigma=1.0, normalize_observations=False)
        self.algorithm = ES(settings, OptimizerSettings(), 0, TABLE)
        self.state: GradientState = self.algorithm.init(np.full(2, 2.0, np.float32), running_stats.init(0))

    def round(self, generation: int = 0, evaluation: int = 0) -> Round:
        upcoming = self.algorithm.next_round(replace(self.state, generation=generation))
        if evaluation:
            upcoming = replace(upcoming, evaluation=evaluation_tasks(Purpose.EVALUATION, generation, evaluation))
        return upcoming


def collected(runner: RoundRunner) -> FinishedRound:
    finished = runner.collect()
    assert finished is not None
    return finished


class Recording(RoundHooks):
    """Keeps one episode from running, and remembers what it was called with."""

    def __init__(self, stop_after: int = 10**9) -> None:
        self.arrived: list[int] = []
        self.polls, self._stop_after = 0, stop_after

    def admit(self, tasks: Tasks) -> tuple[Tasks, list[Results]]:
        barred = tasks.index == 3
        failed = [Results.failed(tasks.take(np.flatnonzero(barred)), "in quarantine")] if barred.any() else []
        return tasks.take(np.flatnonzero(~barred)), failed

    def received(self, results: Results) -> None:
        self.arrived += results.records["index"].tolist()

    def poll(self) -> bool:
        self.polls += 1
        return self.polls > self._stop_after


def test_a_round_becomes_a_batch_in_task_order_and_the_search_goes_on(executor: SerialExecutor) -> None:
    search, runner = Search(), RoundRunner(executor)
    for generation in range(3):
        runner.open(search.algorithm.next_round(search.state))
        finished = collected(runner)
        assert finished.round.generation == generation
        assert finished.batch is not None
        assert finished.batch.returns.shape[1] == 2
        assert (np.diff(finished.batch.index) > 0).all()
        search.state, _ = search.algorithm.tell(
            search.state, finished.round, finished.batch, executor.weighted_noise_sum
        )
    assert runner.open_rounds == 0


def test_an_episode_that_fails_is_reported_and_its_pair_left_out(executor: SerialExecutor) -> None:
    search, runner = Search(), RoundRunner(executor)
    search.state = replace(search.state, theta=np.array([5.9, 0.0], np.float32))
    runner.open(search.round())
    finished = collected(runner)
    lost = {int(index) // 2 for block in finished.failed for index in block.tasks.index}
    assert finished.reasons
    assert all("too far out" in reason for reason in finished.reasons)
    kept = set() if finished.batch is None else set(finished.batch.index.tolist())
    assert kept == set(range(PAIRS)) - lost


def test_an_episode_that_the_hooks_do_not_admit_never_runs(executor: SerialExecutor) -> None:
    hooks = Recording()
    runner = RoundRunner(executor, hooks)
    runner.open(Search().round())
    finished = collected(runner)
    assert sorted(hooks.arrived) == [0, 1, 2, 4, 5, 6, 7]
    assert finished.reasons == ["in quarantine"]
    assert finished.batch is not None
    assert finished.batch.index.tolist() == [0, 2, 3]


def test_a_poll_ends_the_wait_and_the_round_can_be_collected_later(executor: SerialExecutor) -> None:
    hooks = Recording(stop_after=2)
    runner = RoundRunner(executor, hooks)
    runner.open(Search().round())
    assert runner.collect() is None
    assert runner.open_rounds == 1
    _, (answered, asked, timesteps) = runner.progress
    assert 0 < answered < asked == 2 * PAIRS
    assert timesteps == answered - 1, "the episode that was not admitted has no timestep"
    hooks.polls = -100
    assert collected(runner).batch is not None


def test_two_rounds_are_open_and_collected_in_their_order(executor: SerialExecutor) -> None:
    search, runner = Search(), RoundRunner(executor)
    runner.open(search.round(0, evaluation=3), oldest=0)
    runner.open(search.round(1), oldest=0)
    assert runner.open_rounds == 2
    first, second = collected(runner), collected(runner)
    assert (first.round.generation, second.round.generation) == (0, 1)
    assert first.evaluation["return"].tolist() == [-8.0] * 3
    assert not second.evaluation.size


def test_rounds_are_collected_as_they_are_complete_where_their_order_does_not_matter(executor: SerialExecutor) -> None:
    search, runner = Search(), RoundRunner(executor)
    runner.open(search.round(5), 3)
    runner.open(search.round(3), 3)  # it runs first
    runner.open(search.round(4), 3)
    closed = []
    while runner.open_rounds:
        finished = runner.collect(in_order=False)
        assert finished is not None
        closed.append(finished.round.generation)
    assert closed == [3, 4, 5]


def test_an_evaluation_alone_has_no_batch(executor: SerialExecutor) -> None:
    search, runner = Search(), RoundRunner(executor)
    snapshot, tasks = search.algorithm.snapshot(search.state), evaluation_tasks(Purpose.HELD_OUT, 0, 2)
    runner.open(Round(snapshot, evaluation=tasks, purpose=Purpose.HELD_OUT))
    finished = collected(runner)
    assert finished.batch is None
    assert finished.evaluation["index"].tolist() == [0, 1]


def test_abandoned_rounds_leave_nothing_behind(executor: SerialExecutor) -> None:
    search, runner = Search(), RoundRunner(executor)
    runner.open(search.round(0))
    runner.abandon()
    runner.open(search.round(5))
    finished = collected(runner)
    assert finished.round.generation == 5
    assert executor.queued == 0


def test_the_time_of_a_phase_inside_another_counts_once(executor: SerialExecutor) -> None:
    clock = RoundClock(executor.counters)
    with clock.phase("update"):
        time.sleep(0.01)
        with clock.phase("reduce"):
            time.sleep(0.05)
    assert clock.phases["reduce"] >= 0.05
    wall, _ = clock.elapsed(executor.counters)
    assert clock.phases["update"] + clock.phases["reduce"] <= wall
    assert 0.01 <= clock.phases["update"] <= wall - 0.05
    clock.stop(executor.counters)
    stopped, _ = clock.elapsed(executor.counters)
    time.sleep(0.01)
    assert clock.elapsed(executor.counters)[0] == stopped
