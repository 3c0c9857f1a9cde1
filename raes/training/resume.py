"""Where a run starts: from nothing, from a checkpoint of its own, or from an earlier policy."""

from __future__ import annotations

import numpy as np

from raes.algorithms.custom import CustomSettings
from raes.config.effect import differences
from raes.config.schema import Config, current, from_tree
from raes.config.stored import load
from raes.policies import MLP, PolicySettings, build_head
from raes.policies.mlp import grow
from raes.problems.environment import GIVEN_FROM_PYTHON
from raes.problems.episode import EpisodeProblem
from raes.problems.problem import Problem
from raes.problems.spaces import action_spec
from raes.rng import Purpose, generator
from raes.search import running_stats
from raes.search.running_stats import RunningStats
from raes.storage import tree
from raes.storage.checkpoint import Checkpoint, Checkpoints, DamagedCheckpointError, read
from raes.storage.location import Location, location
from raes.storage.pretrained import pretrained
from raes.training.build import build_algorithm
from raes.training.checkpointing import RunTotals
from raes.training.state import RunState, read_as
from raes.types import Float32, UserError

OBSERVED_MEAN = "observations/mean"
"""The end of the path of an array of observation statistics."""
STAND_IN, STAND_IN_OBSERVED = 11, 13
"""Sizes of theta and of observations in a state whose arrays are compared with a checkpoint's: lengths of no other
axis."""


def starting_point(config: Config, run_dir: Location) -> tuple[Checkpoint | None, list[str]]:
    """The checkpoint to go on from, None for a new run, and words on what was passed over.

    Args:
        config: its `run_dir` and `resume` count here.
        run_dir: where the run directory is read: in its own place, or in a spool of it.

    Raises:
        UserError: the run directory holds another run, or the checkpoint is damaged or of another configuration.
    """
    checkpoints, name = Checkpoints(run_dir), config.run_dir
    holds_run = (run_dir / "config.yaml").exists() or bool(checkpoints.names())
    if config.resume == "never":
        if holds_run:
            raise UserError(f"run_dir={name} holds a run already; add resume=auto to go on with it, or name another")
        return None, []
    if config.resume != "auto":
        checkpoint = read(locate(config.resume, "resume"))
        if holds_run and checkpoint.path.parent.resolve() != (location(str(name)) / "checkpoints").resolve():
            raise UserError(f"run_dir={name} holds another run than resume={config.resume}; name another run_dir")
        _refuse_other(config, checkpoint.state["config"], checkpoint.path)
        return checkpoint, []
    newest, problems = checkpoints.newest()
    if newest is None:
        if problems:
            raise UserError(f"no checkpoint of run_dir={name} is complete: {problems[0]}")
        if (run_dir / "config.yaml").exists():
            _refuse_other(config, load(run_dir).as_dict(), run_dir)
        return None, [f"resume=auto: run_dir={name} holds nothing to go on from; a new run begins"]
    _refuse_other(config, newest.state["config"], newest.path)
    return newest, [f"passed over: {problem}" for problem in problems]


def locate(path: str, key: str) -> Location:
    """The checkpoint folder that a path or URL means: itself, or the latest of a run directory.

    Raises:
        UserError: there is none.
    """
    folder = (pretrained(path) if key == "start_from" else None) or location(path, key)
    if (folder / "state.json").exists():
        return folder
    name = Checkpoints(folder).pointed("latest")
    if name is None:
        raise UserError(
            f"{key}={path}: there is no checkpoint; name a run directory or a folder checkpoints/gen_NNNNNN"
            + ("; resume=auto goes on with the run in run_dir" if key == "resume" else "")
        )
    return folder / "checkpoints" / name


def _refuse_other(config: Config, stored: dict[str, object], path: Location) -> None:
    changed = differences(stored, config.as_dict())
    if changed:
        what = "; ".join(changed)
        if any(text.startswith("env.id") for text in changed) and GIVEN_FROM_PYTHON.fullmatch(config.env.id):
            raise UserError(
                f"{path} was made in another environment ({what}): the environment's code is another one; take a new "
                "run_dir, with start_from= for the policy so far"
            )
        raise UserError(
            f"{path} was made with another configuration ({what}); give the same values to go on, or a new run_dir "
            "to start over"
        )


def first_policy(config: Config, problem: Problem) -> tuple[Float32, RunningStats]:
    """Parameters, float32 (d,), and observation statistics that a new search starts from.

    Args:
        config: its `seed` and `start_from` count here.
        problem: what the parameters are for.

    Raises:
        UserError: `start_from` names no policy that fits.
    """
    theta = problem.initial_theta(generator(config.seed, Purpose.INITIAL_THETA))
    if config.start_from is None:
        return theta, running_stats.init(problem.observation_size)
    if not isinstance(problem, EpisodeProblem):
        raise UserError("start_from is for policies; a function's search starts at env.x0")
    return earlier_policy(config.start_from, problem, theta, config.algorithm.normalize_observations)


def earlier_policy(
    path: str, problem: EpisodeProblem, theta: Float32, normalized: bool
) -> tuple[Float32, RunningStats]:
    """Parameters and observation statistics of an earlier policy, grown to this one's size.

    Args:
        path: a run directory or a checkpoint's folder.
        problem: what the parameters are for.
        theta: float32 (d,), fresh parameters for the units that the earlier policy lacks.
        normalized: whether observations will be normalised.

    Raises:
        UserError: it does not fit.
    """
    checkpoint = read(locate(path, "start_from"))
    earlier = from_tree(current(checkpoint.state["config"]))
    start, statistics = checkpoint.arrays["theta"], _observations(earlier, checkpoint)
    if earlier.algorithm.normalize_observations != normalized:
        raise UserError(
            f"start_from={path}: its policy was trained with algorithm.normalize_observations="
            f"{str(not normalized).lower()} and acts otherwise without; give the same"
        )
    settings = earlier.policy
    if not (isinstance(settings, PolicySettings) and isinstance(problem.spec.policy, PolicySettings)):
        if settings != problem.spec.policy or start.size != theta.size:
            raise UserError(f"start_from={path}: its policy is {settings}; only the same one fits")
        return start, statistics
    actions = action_spec(problem.env.action_space, earlier.env.id)
    old = MLP(statistics.mean.size, build_head(actions, settings.bins), settings)
    if old.num_params != start.size:
        raise UserError(
            f"start_from={path}: its policy is for another action space; choose a run of the same environment"
        )
    assert isinstance(problem.policy, MLP)
    return grow(old, start, problem.policy, theta), statistics


def _observations(config: Config, checkpoint: Checkpoint) -> RunningStats:
    """The observation statistics in a checkpoint; a custom algorithm is not imported for them.

    Raises:
        UserError: there are none.
    """
    if not isinstance(config.algorithm, CustomSettings):
        observations: RunningStats = restore(config, checkpoint).search.conditions.observations
        return observations
    try:
        empty = running_stats.init(0)
        return tree.restore(empty, checkpoint.arrays, checkpoint.state["search"], "conditions/observations/")
    except (KeyError, TypeError, ValueError) as error:
        raise UserError(f"{checkpoint.path} holds no observation statistics ({error})") from error


def restore(config: Config, checkpoint: Checkpoint) -> RunState:
    """The state in a checkpoint of a run with this configuration.

    Raises:
        UserError: the checkpoint holds something else.
    """
    algorithm, theta = build_algorithm(config, layers=()), checkpoint.arrays["theta"]
    observed = next((array for name, array in checkpoint.arrays.items() if name.endswith(OBSERVED_MEAN)), np.zeros(0))
    try:
        read_as(RunTotals, checkpoint.state)
        if isinstance(config.algorithm, CustomSettings):  # it may be able to begin with theta as it is alone
            return RunState.restore(algorithm.init(theta, running_stats.init(0)), checkpoint)
        template = algorithm.init(np.zeros(STAND_IN, theta.dtype), running_stats.init(STAND_IN_OBSERVED))
        return RunState.restore(template, checkpoint, {STAND_IN: theta.size, STAND_IN_OBSERVED: observed.size})
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        reason = f"{error} is missing" if isinstance(error, KeyError) else " ".join(str(error).split())
        raise DamagedCheckpointError(
            f"{checkpoint.path} holds no search of this configuration ({reason}); name another checkpoint"
        ) from error


def check_size(checkpoint: Checkpoint, num_params: int, observation_size: int) -> None:
    """Refuse a checkpoint of another policy or of other observations.

    Raises:
        UserError: with both sizes.
    """
    size = int(checkpoint.arrays["theta"].size)
    if size != num_params:
        raise UserError(
            f"{checkpoint.path} holds {size} parameters and this policy has {num_params}; use its own policy keys"
        )
    for name, array in checkpoint.arrays.items():
        if name.endswith(OBSERVED_MEAN) and array.size != observation_size:
            raise UserError(
                f"{checkpoint.path} is for observations of {array.size} numbers and those here have "
                f"{observation_size}; use its own environment"
            )


def check_noise(checkpoint: Checkpoint, fingerprint: str) -> None:
    """Refuse a checkpoint of another noise table.

    Raises:
        UserError: with both digests.
    """
    if checkpoint.state["noise_fingerprint"] != fingerprint:
        raise UserError(
            f"{checkpoint.path} was made with another noise table ({checkpoint.state['noise_fingerprint']}, "
            f"this one is {fingerprint}); go on with the numpy version that made it"
        )
