"""A worker's model: every path to a generation's weights gives the same bits, and wrong weights do not stay."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from raes.api.seeded_modules import Copies
from raes.models.engine import Direction
from raes.models.model_problem import PART, ModelProblem, ModelSpec
from raes.models.settings import ModuleSettings, resolved_device
from raes.models.task_set import task_set
from raes.problems.problem import Episode, EpisodeError
from raes.runtime.shared_weights import SharedWeights
from raes.search.optimizers import OptimizerSettings
from raes.tasks import ModelVersion, Snapshot, UpdateLog
from raes.types import UserError

from .models import PLAIN, a_log, likelihood, tied

SETTINGS = ModuleSettings(build=":build", reward=":reward", held_out_share=0.25)
EPISODE = Episode(5, True, False, None)
MOMENTUM = OptimizerSettings("sgd", stepsize=0.1, momentum=0.9, weight_decay=0.0)


def spec(**changes: Any) -> ModelSpec:
    values: dict[str, Any] = {"build_function": Copies(tied()), "reward": likelihood, "tasks": list(range(40))}
    return ModelSpec(SETTINGS, 3, MOMENTUM, **(values | changes))


def second(**changes: Any) -> ModelSpec:
    """With the engine of numpy."""
    settings = replace(
        SETTINGS, build="tests.unit.models:vector", reward="tests.unit.models:nearness",
        engine="tests.unit.models:VectorEngine",
    )  # fmt: skip
    return ModelSpec(settings, 3, PLAIN, **changes)


def snapshot(log: UpdateLog, shared: SharedWeights | None = None) -> Snapshot:
    given = Snapshot(len(log), np.zeros(0, np.float32), model=ModelVersion(0, log))
    return given if shared is None else shared.with_parts(given)


def parts_of(problem: ModelProblem) -> list[bytes]:
    return [problem.save(part) for part in range(problem.parts)]


@pytest.mark.parametrize("make", [spec, second], ids=["torch", "second engine"])
def test_every_path_leads_to_the_same_weights(make: Any) -> None:
    log, shared = a_log(12), SharedWeights(lambda part: part)
    step_by_step, at_once, late, ahead = (make().build() for _ in range(4))
    for count in range(1, 13):
        step_by_step.use(snapshot(log.part(0, count)))
        step_by_step.evaluate_direction(Direction(count, 1, 0.1), EPISODE)
        if count == 7:
            shared.share(7, parts_of(step_by_step))
    at_once.use(snapshot(log))
    published = snapshot(log, shared)
    assert published.model is not None
    assert (published.model.first, len(published.model.log)) == (7, 5)
    late.use(published)
    ahead.use(snapshot(a_log(20)))
    ahead.use(published)  # as where a driver goes on from an earlier checkpoint
    assert {one.digest for one in (step_by_step, at_once, late, ahead)} == {at_once.engine.digest()}
    assert {one.updates for one in (step_by_step, at_once, late, ahead)} == {12}
    assert late.repairs == ahead.repairs == []


@pytest.mark.parametrize("make", [spec, second], ids=["torch", "second engine"])
def test_corrupted_weights_are_made_anew_before_they_count(make: Any) -> None:
    problem, right = make().build(), make().build()
    for one in (problem, right):
        one.use(snapshot(a_log(3)))
    _corrupt(problem)
    direction = Direction(3, 0, 0.1)
    assert problem.evaluate_direction(direction, EPISODE) == right.evaluate_direction(direction, EPISODE)
    assert len(problem.repairs) == 1
    _corrupt(problem)
    problem.use(snapshot(a_log(4)))
    right.use(snapshot(a_log(4)))
    assert problem.digest == right.digest
    assert problem.repairs[1] == "they have changed since the last update"


def _corrupt(problem: ModelProblem) -> None:
    engine: Any = problem.engine
    if hasattr(engine, "weights"):
        engine.weights[2] += 1e-9
    else:
        engine.trained["inner.bias"].kept[3] += 1e-3


def test_an_update_that_is_interrupted_leaves_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    problem, right = spec().build(), spec().build()
    tensor: Any = list(problem.engine.trained.values())[1]
    with monkeypatch.context() as patch:
        patch.setattr(tensor, "restore", lambda: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            problem.use(snapshot(a_log(2)))
    for one in (problem, right):
        one.use(snapshot(a_log(2)))
    assert problem.digest == right.digest


def test_a_distrusted_digest_is_made_anew_once() -> None:
    problem = spec().build()
    problem.use(snapshot(a_log(2)))
    given = snapshot(a_log(2))
    assert given.model is not None
    again = replace(given, model=replace(given.model, distrusted=(problem.digest,)))
    for _ in range(3):
        problem.use(again)
    assert len(problem.repairs) == 1


def test_a_builder_with_other_weights_each_time_is_refused() -> None:
    from torch import nn

    unseeded = ModelSpec(SETTINGS, 3, PLAIN, build_function=lambda: nn.Linear(3, 3), reward=lambda model: 0.0)
    with pytest.raises(UserError, match=r"gives other weights in each process .* seed it \(torch\.manual_seed"):
        unseeded.check()


@pytest.mark.parametrize("value", [float("nan"), float("inf"), "much", None])
def test_a_reward_that_is_no_number_is_a_fault_of_its_member(value: object) -> None:
    problem = spec(reward=lambda model, task: value).build()
    with pytest.raises(EpisodeError):
        problem.evaluate_direction(Direction(0, 0, 0.1), EPISODE)
    with pytest.raises(UserError, match="the reward fails for the model as it is"):
        spec(reward=lambda model, task: value).check()


def test_members_with_one_reset_seed_see_the_same_tasks_and_evaluations_see_others() -> None:
    settings = replace(SETTINGS, tasks_per_call=5)
    tasks = task_set([f"task {number}" for number in range(40)], None, settings, seed=1)
    assert (len(tasks.train), len(tasks.held_out)) == (30, 10)
    assert not set(tasks.train) & set(tasks.held_out)
    assert tasks.draw(7, True) == tasks.draw(7, True) != tasks.draw(8, True)
    for seed in range(50):
        drawn = tasks.draw(seed, True)
        assert len(set(drawn)) == 5
        assert set(drawn) <= set(tasks.train)
        assert set(tasks.draw(seed, False)) <= set(tasks.held_out)
    assert list(task_set(range(40), None, settings, seed=1).train) != list(task_set(range(40), None, settings, 2).train)


def test_a_reward_gets_each_task_or_all_of_them() -> None:
    seen: list[object] = []

    def reward(model: object, task: object) -> float:
        seen.append(task)
        return 2.0

    for batched in (False, True):
        settings = replace(SETTINGS, tasks_per_call=3, batched=batched)
        problem = replace(spec(reward=reward), settings=settings).build()
        assert problem.evaluate_direction(None, EPISODE).total == 2.0
    assert isinstance(seen[3], list)
    assert seen[:3] == seen[3]


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"tasks": []}, "gives 0 tasks"),
        ({"tasks": [1, 2]}, "0 for evaluations"),
    ],
)
def test_too_few_tasks_are_refused(changes: dict[str, Any], words: str) -> None:
    with pytest.raises(UserError, match=words):
        replace(spec(**changes), settings=replace(SETTINGS, held_out_share=0.1)).build()


def test_the_device_follows_the_gpus() -> None:
    assert resolved_device(SETTINGS, 0) == "cpu"
    assert resolved_device(SETTINGS, 0.5) == "cuda"
    with pytest.raises(UserError, match=r"has no effect with env\.device=cpu"):
        resolved_device(replace(SETTINGS, device="cpu"), 0.5)


def test_a_snapshot_s_parts_are_no_longer_than_a_message_may_be() -> None:
    problem = spec().build()
    assert problem.parts == -(-problem.engine.size // PART)
    assert sum(map(len, parts_of(problem))) == problem.engine.size
