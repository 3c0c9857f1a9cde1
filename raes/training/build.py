"""From the configuration to what it names: the algorithm, the problem, the executor."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from raes.algorithms import ALGORITHMS, ESSettings, SeededES
from raes.algorithms.restarts import Restarts, kind_of
from raes.config.schema import Config
from raes.models.model_problem import ModelSpec
from raes.models.settings import ModuleSettings, resolved_device
from raes.policies import ConvSettings
from raes.problems.atari import AtariSettings
from raes.problems.environment import make_environment
from raes.problems.episode import EpisodeSpec
from raes.problems.function import FunctionSettings, FunctionSpec
from raes.problems.problem import ProblemSpec
from raes.problems.random_play import random_play
from raes.problems.registration import registry_entry
from raes.rng import Purpose, generator
from raes.runtime.executor import Executor
from raes.runtime.scheduling import Size
from raes.runtime.worker import WorkerSpec
from raes.storage.checkpoint import Checkpoint, DamagedCheckpointError
from raes.storage.tree import Arrays
from raes.tasks import Layers
from raes.types import UInt8, UserError

if TYPE_CHECKING:  # it needs Ray, which runtime=serial does without
    from raes.runtime.sweep_resources import SweepResources


def build_algorithm(config: Config, layers: Layers | None = None) -> Any:
    """The algorithm that the configuration names; see `raes.algorithms.Algorithm`.

    Args:
        config: see there.
        layers: of the problem, for low-rank noise; None: the problem is built to see them, where they are needed.
    """
    if isinstance(config.env, ModuleSettings):
        assert isinstance(config.algorithm, ESSettings)
        return SeededES(config.algorithm, config.optimizer, config.seed, 1, config.env.same_tasks)
    algorithm, _ = ALGORITHMS[config.algorithm.name]
    arguments: tuple[Any, ...] = (config.algorithm, config.optimizer, config.seed, config.noise.size)
    if isinstance(config.algorithm, ESSettings) and config.algorithm.perturbation == "low_rank":
        if layers is None:
            with closing(problem_spec(config).build()) as problem:
                layers = problem.layers
        arguments += (layers,)
    if isinstance(config.env, FunctionSettings):
        return _with_restarts(config, config.env, lambda settings: algorithm(settings, *arguments[1:]))
    return algorithm(*arguments)


def _with_restarts(config: Config, function: FunctionSettings, make: Callable[[Any], Any]) -> Restarts:
    """The search of a function, in the domain that it has."""
    domain, noisy = function.domain, function.noisy

    def made(settings: Any) -> Any:
        one = make(settings)
        if domain is not None and domain.least_spread is not None:
            one.least_spread = domain.least_spread
        return one

    kind = kind_of(config.algorithm.name, function.restarts, noisy)
    tolerances = function.tolerances.of_noise() if noisy else function.tolerances
    box = None if domain is None else domain.finite
    return Restarts(made, config.algorithm, kind, tolerances, config.seed, box, noisy)


def problem_spec(config: Config, checkpoint: Checkpoint | None = None) -> ProblemSpec:
    """The recipe of the problem that the configuration names.

    Args:
        config: see there.
        checkpoint: of the run, whose arrays are used again; without one they are made, the same from the same seed.

    Raises:
        UserError: the environment that makes them cannot be made.
    """
    if isinstance(config.env, FunctionSettings):
        novel = getattr(ALGORITHMS[config.algorithm.name][0], "needs_behavior", config.algorithm.name == "custom")
        return FunctionSpec(config.env, describes=novel)
    if isinstance(config.env, ModuleSettings):
        first = None if checkpoint is None else checkpoint.state.get("first_weights")
        return replace(model_spec(config, config.env), first=first)
    reference: UInt8 | None = None
    if isinstance(config.policy, ConvSettings) and config.policy.reference:
        reference = _played(config) if checkpoint is None else _kept(config, checkpoint)
    return EpisodeSpec(config.env, config.policy, config.behavior, reference, registry_entry(config.env))


def model_spec(config: Config, settings: ModuleSettings) -> ModelSpec:
    """The recipe of a model that is trained by seeds.

    Raises:
        UserError: the algorithm cannot do that.
    """
    algorithm = config.algorithm
    if not isinstance(algorithm, ESSettings):
        raise UserError(f"algorithm={algorithm.name}: env=module is trained by algorithm=es; give that")
    rank = algorithm.rank if algorithm.perturbation == "low_rank" else None
    device = resolved_device(settings, config.runtime.gpus_per_worker)
    return ModelSpec(settings, config.seed, config.optimizer, rank, device)


def kept_arrays(spec: ProblemSpec) -> Arrays:
    """The arrays in a recipe, which every checkpoint of a run holds."""
    return {} if not isinstance(spec, EpisodeSpec) or spec.reference is None else {"reference": spec.reference}


def _kept(config: Config, checkpoint: Checkpoint) -> UInt8:
    """The reference batch in a checkpoint.

    Raises:
        DamagedCheckpointError: it holds none of this game's pictures.
    """
    assert isinstance(config.env, AtariSettings)
    assert isinstance(config.policy, ConvSettings)
    shape = (config.policy.reference, config.env.stack, config.env.size, config.env.size)
    found = checkpoint.arrays.get("reference")
    if found is None or found.dtype != np.uint8 or found.shape != shape:
        raise DamagedCheckpointError(f"{checkpoint.path} holds no reference batch of {shape}; name another checkpoint")
    return found


def _played(config: Config) -> UInt8:
    """The reference batch of virtual batch normalisation."""
    assert isinstance(config.env, AtariSettings)
    assert isinstance(config.policy, ConvSettings)
    with closing(make_environment(config.env)) as env:
        return random_play(env, config.policy.reference, generator(config.seed, Purpose.REFERENCE))


def make_executor(
    config: Config,
    spec: WorkerSpec,
    embedded: bool = True,
    shared: SweepResources | None = None,
    poll: Callable[[], bool] = lambda: False,
) -> Executor:
    """The executor that `runtime` names.

    Args:
        config: its `runtime`, `workers` and `noise.size` count here.
        spec: what each worker is made from.
        embedded: whether Ray is this command's own, on this machine alone; then `runtime.relays=auto` means none.
        shared: what the jobs of a sweep share.
        poll: called within episodes where they run in this process; true ends the one that runs.
    """
    assert config.noise.size is not None
    runtime = config.runtime
    if runtime.name == "serial":
        from raes.runtime.serial import SerialExecutor

        return SerialExecutor(spec, config.noise.size, poll)
    from raes.runtime.ray_executor import RayExecutor

    relays = not embedded if runtime.relays == "auto" else runtime.relays
    deadline = None if runtime.deadline == "auto" else float(runtime.deadline)
    size, gpus = Size.of(config.workers), runtime.gpus_per_worker
    return RayExecutor(spec, config.noise.size, size, relays, deadline, shared, gpus)
