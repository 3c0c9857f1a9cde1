"""From a checked configuration to one that can run: what is left open is filled in, what cannot work is refused."""

from __future__ import annotations

import hashlib
import re
import time
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from raes.algorithms import ALGORITHMS
from raes.algorithms.base import SearchSettings
from raes.algorithms.function_defaults import check_dimension
from raes.config.cli import display_path
from raes.config.schema import Config
from raes.models.model_problem import ModelProblem, ModelSpec
from raes.problems.exits import exits_are_faults
from raes.problems.function import FunctionSettings
from raes.problems.problem import Problem, ProblemSpec
from raes.runtime.memory import check_memory, check_model, check_sizes, check_state
from raes.search.noise import table_size
from raes.search.running_stats import RunningStats
from raes.storage.checkpoint import Checkpoint
from raes.storage.location import location
from raes.storage.pretrained import PREFIX
from raes.storage.run_folder import check_writable
from raes.tasks import Layers
from raes.training import ray_job
from raes.training.build import build_algorithm, problem_spec
from raes.training.resume import first_policy, locate, starting_point
from raes.types import Float32, UserError

NOT_IN_NAMES = (
    "run_dir=", "resume=", "generations=", "max_timesteps=", "max_minutes=", "console=", "goal.", "workers=", "ray.",
    "runtime=", "runtime.relays=", "runtime.deadline=", "checkpoint.", "faults.", "upload.", "callbacks=", "hydra.",
)  # fmt: skip
"""What a multirun's folder is not named after: what a resume may change, so that it finds the folder again."""

NOISY_EPISODES = 20
"""Of an evaluation of a noisy function; an exact one needs one."""

LONGEST_NAME = 200
"""Letters of a folder of a multirun; most file systems take 255."""


@dataclass(frozen=True)
class PreparedRun:
    """A run that can start: everything was checked, and its problem was built and tried once.

    Attributes:
        config: resolved; nothing that decides what is computed is left open.
        problem: the recipe of the problem.
        theta: float32 (d,), the parameters that a new search starts from.
        observations: the observation statistics that it starts from.
        layers: what the parameters are made of, for low-rank noise; see `LowRank`.
        remarks: what the user should know before the run.
    """

    config: Config
    problem: ProblemSpec
    theta: Float32
    observations: RunningStats
    layers: Layers = ()
    remarks: tuple[str, ...] = ()


def prepare(config: Config, overrides: Sequence[str] = ()) -> PreparedRun:
    """Resolve what is left open and refuse what cannot work, before anything starts.

    Args:
        config: as composed.
        overrides: of a multirun's job; each job has a directory of its own below `run_dir`.

    Raises:
        UserError: with the key and the fix.
    """
    prepared = resolve_config(config, overrides)
    config = prepared.config
    assert config.noise.size is not None
    check_memory(4 * config.noise.size, copies=2 if config.runtime.name == "ray" else 1)
    check_writable(display_path(config.run_dir), config.upload)  # messages give the path as the user does
    return prepared


def resolve_config(config: Config, overrides: Sequence[str] = ()) -> PreparedRun:
    """The same as far as it depends on the configuration and on what is stored, not on this machine; writes nothing.

    Raises:
        UserError: as `prepare`.
    """
    if config.resume not in ("never", "auto"):
        config = replace(config, resume=ray_job.persistent_path(str(location(config.resume, "resume"))))
    config = replace(config, run_dir=ray_job.persistent_path(_run_dir(config, overrides)))
    as_given = config
    if config.start_from is not None and not config.start_from.startswith(
        PREFIX
    ):  # it is compared with a checkpoint's, so it has one spelling
        config = replace(config, start_from=str(location(config.start_from, "start_from").absolute()))
    spec = problem_spec(config)
    with exits_are_faults(), closing(spec.check()) as problem:
        config = fit_to_problem(config, problem)
        checkpoint, _ = starting_point(config, location(str(config.run_dir)))
        # Messages give the path of an earlier policy as the user does. A run that resumes has no use for it.
        start = replace(config, start_from=as_given.start_from if checkpoint is None else None)
        theta, observations = first_policy(start, problem)
    if isinstance(spec, ModelSpec) and isinstance(problem, ModelProblem):
        spec = replace(spec, first=problem.first, parts=problem.parts)
        _check_first_weights(problem.first, checkpoint)
    elif checkpoint is not None:
        spec = problem_spec(config, checkpoint)
    return PreparedRun(_absolute(config), spec, theta, observations, problem.layers, problem.remarks)


def fit_to_problem(config: Config, problem: Problem) -> Config:
    """The configuration with the sizes that its problem gives it.

    Raises:
        UserError: the sizes do not fit.
    """
    if isinstance(problem, ModelProblem):
        return _fit_to_model(config, problem)
    if isinstance(config.env, FunctionSettings):
        config = _fit_to_function(config, config.env)
    config = replace(config, algorithm=_sized(config.algorithm, problem))
    check_dimension(config.algorithm.name, config.algorithm, problem.num_params)
    size = config.noise.size if config.noise.size is not None else table_size(problem.num_params)
    if isinstance(config.env, FunctionSettings):
        size = 0  # its noise is drawn, see `DrawnNoise`
    elif size < 2 * problem.num_params:
        raise UserError(
            f"noise.size={size} is too small for a policy of {problem.num_params} parameters; "
            f"give at least {2 * problem.num_params}, or null"
        )
    config = replace(config, noise=replace(config.noise, size=size))
    _check_algorithm(config, problem)
    return config


def _fit_to_function(config: Config, function: FunctionSettings) -> Config:
    """With what its settings leave open.

    Raises:
        UserError: they do not fit the algorithm.
    """
    algorithm = config.algorithm.name
    if function.constraints is not None and getattr(ALGORITHMS[algorithm][0], "needs_behavior", False):
        raise UserError(
            f"env.constraints={function.constraints}: algorithm={algorithm} leaves out points that keep them not, and "
            "learns nothing where none does; choose another algorithm"
        )
    episodes = config.evaluation.episodes or (NOISY_EPISODES if function.noisy else 1)
    start = 0.0 if function.x0 is None and function.bounds is None else function.x0
    return replace(
        config,
        env=replace(function, x0=start),
        evaluation=replace(config.evaluation, episodes=episodes),
    )


def _check_first_weights(first: str, checkpoint: Checkpoint | None) -> None:
    """Refuse to go on with a model that was built with other weights than the run began with.

    Raises:
        UserError: with both digests.
    """
    began = first if checkpoint is None else checkpoint.state.get("first_weights", first)
    if began != first:
        assert checkpoint is not None
        raise UserError(
            f"{checkpoint.path} is of a model that began with other weights (digest {began}) than env.build gives now "
            f"({first}); build the same ones, or take a new run_dir"
        )


def _fit_to_model(config: Config, problem: ModelProblem) -> Config:
    """The same for a model that workers hold: no table, and nothing that needs its parameters."""
    if config.noise.size not in (None, 1):
        raise UserError(f"noise.size={config.noise.size}: env=module has no table of noise; remove it")
    if config.runtime.pipeline:
        raise UserError("runtime.pipeline=1: the workers of env=module cannot go back one update; remove it")
    if config.start_from is not None:
        raise UserError(
            f"start_from={config.start_from}: a model begins with the weights that env.build gives; remove it"
        )
    if config.behavior is not None:
        raise UserError(f"behavior={config.behavior}: a model's rewards have none; leave behavior=null")
    assert config.evaluation.episodes is not None
    check_sizes(f"algorithm.{config.algorithm.size_key}", config.algorithm.episodes, config.algorithm.episodes)
    check_sizes("evaluation.episodes", config.evaluation.episodes, config.evaluation.episodes)
    if problem.memory is not None and not config.runtime.gpus_per_worker:
        check_model(problem.memory.total)
    return replace(config, noise=replace(config.noise, size=1))


def _sized(settings: SearchSettings, problem: Problem) -> Any:
    """The settings with what follows from the number of parameters."""
    try:
        return settings.sized(problem.num_params, problem.layers)
    except UserError:
        raise
    except ValueError as error:  # what follows does not fit what was given
        raise UserError(f"algorithm.{error}") from error


def _check_algorithm(config: Config, problem: Problem) -> None:
    """Refuse what this algorithm cannot do with this problem."""
    settings = config.algorithm
    assert config.evaluation.episodes is not None
    check_sizes(f"algorithm.{settings.size_key}", getattr(settings, settings.size_key), settings.episodes)
    check_sizes("evaluation.episodes", config.evaluation.episodes, config.evaluation.episodes)
    algorithm = build_algorithm(config, problem.layers)
    check_state(settings.name, algorithm.memory(problem.num_params), problem.num_params)
    if settings.action_noise and not problem.continuous:
        raise UserError(
            f"algorithm.action_noise={settings.action_noise} needs continuous actions and env.id={config.env.id} with "
            f"policy.bins={config.policy.bins} has none; set algorithm.action_noise=0"
        )
    if config.runtime.pipeline and not algorithm.pipelines:
        able = ", ".join(name for name, (one, _) in ALGORITHMS.items() if getattr(one, "pipelines", False))
        raise UserError(
            f"runtime.pipeline=1: algorithm={settings.name} needs each generation's results before the next one; set "
            f"runtime.pipeline=0, or use one of {able}"
        )
    if config.behavior is not None and isinstance(config.env, FunctionSettings):
        raise UserError(
            f"behavior={config.behavior}: of a function the point itself is the behaviour; leave behavior=null"
        )
    if algorithm.needs_behavior and config.behavior is None and not isinstance(config.env, FunctionSettings):
        raise UserError(
            f"algorithm={settings.name} needs a behaviour descriptor; give behavior=last_observation, another name, or "
            "module:function"
        )


def job_words(overrides: Sequence[str]) -> list[str]:
    """Those of a multirun's overrides that decide what is computed, without the signs that Hydra takes before a key."""
    return sorted(word.lstrip("+") for word in overrides if not word.lstrip("+").startswith(NOT_IN_NAMES))


def job_folder(overrides: Sequence[str]) -> str:
    """The folder of a multirun's job, below the sweep's: `env-Ant__seed-0`; letters that no shell or grammar reads."""
    return _short("__".join(re.sub(r"[^\w.-]", "_", word.replace("=", "-", 1)) for word in job_words(overrides)))


def _former_job_folder(overrides: Sequence[str]) -> str:
    """The same as it was named before: `env=Ant,seed=0`."""
    parts = ",".join(sorted(overrides)).split(",")
    ours = [part for part in parts if not part.lstrip("+").startswith(NOT_IN_NAMES)]
    return _short(re.sub(r"[^\w.=,+-]", "_", ",".join(ours)))


def _short(name: str) -> str:
    """A name that a file system takes; a long one ends in a digest of the whole, so that no two become one."""
    if len(name) <= LONGEST_NAME:
        return name
    return f"{name[:LONGEST_NAME]}-{hashlib.blake2b(name.encode(), digest_size=4).hexdigest()}"


def _run_dir(config: Config, overrides: Sequence[str]) -> str:
    if config.run_dir is not None:
        sweep = location(config.run_dir)
        if not overrides:
            return str(sweep)
        former = sweep / _former_job_folder(overrides)
        return str(former if former.exists() else sweep / job_folder(overrides))
    if config.resume == "auto":
        raise UserError("resume=auto needs run_dir=...: name the run to go on with")
    if config.resume != "never":
        checkpoints = locate(config.resume, "resume").parent
        if checkpoints.name != "checkpoints":
            raise UserError(f"resume={config.resume} lies in no run directory; add run_dir=... for what follows")
        return str(checkpoints.parent)
    name = re.sub(r"[^\w.-]", "_", config.env.id if config.env.name in ("gymnasium", "atari") else config.env.name)
    stamp = time.strftime("%Y%m%d-%H%M%S")
    base = Path("runs") / f"{name}-{config.algorithm.name}-seed{config.seed}-{stamp}"
    path, number = base, 1
    while path.exists():
        number += 1
        path = base.with_name(f"{base.name}-{number}")
    return str(path)


def _absolute(config: Config) -> Config:
    """Paths as the driver must see them, whose own working directory may be another."""
    spool = config.upload.spool
    return replace(
        config,
        run_dir=str(location(str(config.run_dir)).absolute()),
        resume=config.resume if config.resume in ("never", "auto") else str(location(config.resume).absolute()),
        upload=replace(config.upload, spool=spool and str(location(spool, "upload.spool").absolute())),
    )
