"""A model that workers hold: brought to a generation's weights, perturbed, evaluated."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from raes.import_object import import_object
from raes.models.engine import Direction, Engine, EngineRecipe, MemoryNeed, WeightsCorruptedError
from raes.models.settings import ModuleSettings
from raes.models.task_set import TaskSet, imported_tasks, task_set
from raes.problems.problem import Episode, EpisodeError, EpisodeOutcome
from raes.rng import seed_global_generators
from raes.search.optimizers import OptimizerSettings
from raes.tasks import Layers, ModelVersion, Snapshot, UpdateLog
from raes.text import KEPT, described, one_line
from raes.types import Float32, UserError, check_fault

MIB = float(1 << 20)
PART = 1 << 26
"""Bytes of a snapshot's part."""


@dataclass(frozen=True)
class ModelSpec:
    """The recipe of a `ModelProblem`.

    Attributes:
        settings: of the model.
        seed: of the run.
        optimizer: what steps along the gradient.
        rank: of the noise of matrices; None for full rank.
        device: where the model lies.
        first: digest of the weights that the run begins with; None: any weights will do.
        parts: of a snapshot's file.
        build_function: replaces `settings.build`, for callers in Python.
        reward: replaces `settings.reward`.
        tasks: replaces `settings.tasks`.
    """

    settings: ModuleSettings
    seed: int
    optimizer: OptimizerSettings
    rank: int | None = None
    device: str = "cpu"
    first: str | None = None
    parts: int = 1
    build_function: Callable[[], Any] | None = None
    reward: Callable[..., Any] | None = None
    tasks: Sequence[Any] | None = None

    def build(self) -> ModelProblem:
        """Build the model.

        Raises:
            UserError: it cannot be built, or it has other weights than the run began with.
        """
        problem = ModelProblem(self)
        if self.first is not None and problem.first != self.first:
            raise UserError(
                f"{self._name} gives other weights in each process (digests {self.first} and {problem.first}), so that "
                "workers would not train the same model; seed it (torch.manual_seed(0) before the module is made), or "
                "load the weights from a file"
            )
        return problem

    def check(self) -> ModelProblem:
        """Build the model on the CPU, twice, and call its reward once, without noise, where it stays there.

        Raises:
            UserError: it cannot be built, it has other weights each time, or the reward fails or is no finite number.
        """
        here = replace(self, device="cpu", first=self.build_once())
        problem = here.build()
        if self.device != "cpu":
            return problem
        try:
            problem.evaluate(np.zeros(0, np.float32), Episode(0, True, False, None))
        except EpisodeError as error:
            name = "the reward" if self.reward else f"env.reward={self.settings.reward}"
            raise UserError(f"{name} fails for the model as it is: {one_line(error)}; fix it") from error
        return problem

    def build_once(self) -> str:
        """The digest of the weights that the model is built with."""
        return replace(self, device="cpu", first=None).build().first

    def recipe(self) -> EngineRecipe:
        """What the engine is made from."""
        build, reward = self.build_function, self.reward
        if build is None:
            build = _builder(self.settings)
        if reward is None:
            reward = _callable("env.reward", self.settings.reward)
        return EngineRecipe(build, reward, self.seed, self.optimizer, self.rank, self.settings.parameters, self.device)

    def task_set(self) -> TaskSet | None:
        """The tasks; None where there are none."""
        if self.tasks is not None:
            return task_set(self.tasks, None, self.settings, self.seed)
        return imported_tasks(self.settings, self.seed)

    @property
    def _name(self) -> str:
        return "the module" if self.build_function else f"env.build={self.settings.build}"


class ModelProblem:
    """A `Problem` whose parameters lie in its engine and do not travel, so that theta is empty.

    Attributes:
        engine: holds the model.
        first: the digest of the weights that it was built with.
        digest: of the weights without noise, as they are now.
        memory: what the engine holds; None where it does not say.
        repairs: why weights were made anew, since the list was last taken; the reader empties it.
        seconds: spent outside the user's reward, since last taken; the reader sets it to 0.
        fetch: gives what a snapshot's part refers to.
    """

    num_params = 0
    observation_size = 0
    continuous = False
    layers: Layers = ()
    remarks: tuple[str, ...] = ()
    watch: Callable[[int], None] | None = None

    def __init__(self, spec: ModelSpec) -> None:
        self._spec = spec
        self.engine = _make_engine(spec)
        self._tasks = spec.task_set()
        self.digest = self.first = self.engine.digest()
        self._updates: int | None = 0
        self._version = ModelVersion(0, UpdateLog.empty())
        self._rebuilt_for: tuple[int, tuple[str, ...]] | None = None
        self.memory: MemoryNeed | None = getattr(self.engine, "memory", None)
        if self.memory is not None:
            self.remarks = (_memory_remark(self.memory, spec.optimizer.name),)
        self.repairs: list[str] = []
        self.seconds = 0.0
        self.fetch: Callable[[Any], Any] = lambda part: part

    @property
    def updates(self) -> int:
        """How many updates the weights have."""
        assert self._updates is not None
        return self._updates

    def initial_theta(self, rng: np.random.Generator) -> Float32:
        """Nothing travels: float32 (0,)."""
        return np.zeros(0, np.float32)

    def use(self, snapshot: Snapshot) -> None:
        """Bring the weights to those of the snapshot, by the updates that they lack."""
        version = snapshot.model
        if version is None:
            return
        started = time.perf_counter()
        self._version = version
        suspicion = (version.updates, version.distrusted)
        if self._updates == version.updates and self.digest in version.distrusted and suspicion != self._rebuilt_for:
            self._rebuilt_for = suspicion  # once: where all are distrusted, one of them may be right
            self._rebuild(f"their digest {self.digest} is not that of the other workers")
        elif self._updates is None or not version.first <= self._updates <= version.updates:
            self._rebuild("")  # no fault: it joins late
        elif self._updates < version.updates:
            if self.engine.digest() != self.digest:
                self._rebuild("they have changed since the last update")
            else:
                self._catch_up()
        self.seconds += time.perf_counter() - started

    def evaluate(self, theta: Float32, episode: Episode) -> EpisodeOutcome:
        """The reward without noise."""
        return self.evaluate_direction(None, episode)

    def evaluate_direction(self, direction: Direction | None, episode: Episode) -> EpisodeOutcome:
        """The reward of the model with this perturbation; None for none.

        Raises:
            EpisodeError: the reward fails or is no finite number.
        """
        started = time.perf_counter()
        self._perturb(direction)
        self.seconds += time.perf_counter() - started
        total = self._reward(episode)
        if changed := getattr(self.engine, "changed", []):
            self.repairs.append(f"the reward has written to {changed[0]}")
            self.engine.restore()
        return EpisodeOutcome(total, (total > 0) - (total < 0), 1, False)

    def save(self, part: int) -> bytes:
        """One part of a snapshot of the weights without noise."""
        self.engine.restore()
        return self.engine.save(part * PART, min((part + 1) * PART, self.engine.size))

    @property
    def parts(self) -> int:
        """How many parts a snapshot has."""
        return -(-self.engine.size // PART)

    def close(self) -> None:
        """Nothing to close."""

    def _perturb(self, direction: Direction | None) -> None:
        if direction is None:
            self.engine.restore()
            return
        try:
            self.engine.perturb(direction)
        except WeightsCorruptedError as error:
            self._rebuild(str(error))
            self.engine.perturb(direction)

    def _reward(self, episode: Episode) -> float:
        tasks = [] if self._tasks is None else self._tasks.draw(episode.reset_seed, episode.training)
        if self.watch is not None:
            self.watch(0)
        seed_global_generators(episode.reset_seed)
        try:
            if self._tasks is None:
                value = self.engine.evaluate()
            elif self._tasks.batched:
                value = self.engine.evaluate(tasks)
            else:
                value = math.fsum(self.engine.evaluate(task) for task in tasks) / len(tasks)
        except BaseException as error:
            check_fault(error)
            raise EpisodeError(described(error, KEPT)) from error
        if not math.isfinite(value):
            raise EpisodeError(f"the reward is {value}")
        return value

    def _rebuild(self, reason: str) -> None:
        """Make the weights anew: from the snapshot, or as the run began, and the updates since."""
        if reason:
            self.repairs.append(reason)
        self._updates = None
        if self._version.parts:
            self.engine.load(self.fetch(part) for part in self._version.parts)
            self._updates = self._version.first
        else:
            self.engine = _make_engine(self._spec)
            self._updates = 0
            if self.engine.digest() != self.first:
                raise UserError(f"{self._spec._name} gives other weights when it is called again; seed it")
        self._catch_up()

    def _catch_up(self) -> None:
        version = self._version
        assert self._updates is not None
        rows, self._updates = range(self._updates - version.first, len(version.log)), None
        for row in rows:
            self.engine.update(version.log.update(row, version.first + row))
        self._updates = version.updates
        self.digest = self.engine.digest()


def _memory_remark(need: MemoryNeed, optimizer: str) -> str:
    """What a worker's training takes besides the model, in words."""
    state = f", {need.optimizer / MIB:,.1f} MiB for the state of optimizer={optimizer}" if need.optimizer else ""
    return (
        f"each worker holds {need.total / MIB:,.1f} MiB: {need.model / MIB:,.1f} MiB for the model, "
        f"{need.copy / MIB:,.1f} MiB for a copy of what is trained{state}"
    )


def _make_engine(spec: ModelSpec) -> Engine:
    """The engine that the settings name, else ours.

    Raises:
        UserError: it cannot be made.
    """
    recipe = spec.recipe()
    if spec.settings.engine:
        make = _callable("env.engine", spec.settings.engine)
        try:
            engine: Engine = make(recipe)
        except UserError:
            raise
        except BaseException as error:
            check_fault(error)
            raise UserError(f"env.engine={spec.settings.engine} fails: {described(error)}; fix it") from error
        return engine
    try:
        from raes.models.torch_engine import TorchEngine
    except ImportError as error:
        raise UserError("models need PyTorch; pip install 'raes[torch]'") from error
    return TorchEngine(recipe)


def _builder(settings: ModuleSettings) -> Callable[[], Any]:
    """What builds the model, with its arguments.

    Raises:
        UserError: there is no such callable; and when it is called, it fails.
    """
    build = _callable("env.build", settings.build)

    def built() -> Any:
        try:
            return build(**settings.kwargs)
        except BaseException as error:
            check_fault(error)
            arguments = f" with env.kwargs={dict(settings.kwargs)}" if settings.kwargs else ""
            raise UserError(f"env.build={settings.build} fails{arguments}: {described(error)}; fix it") from error

    return built


def _callable(key: str, path: str) -> Callable[..., Any]:
    """The callable `module:name`.

    Raises:
        UserError: there is none.
    """
    found = import_object(key, path)
    if not callable(found):
        raise UserError(f"{key}={path} is a {type(found).__name__}, and must be callable; name a function or a class")
    return found  # type: ignore[no-any-return]
