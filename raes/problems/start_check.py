"""The check before a run: the first steps of an episode, taken twice, and what the user should know about them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from raes.policies import TorchSettings
from raes.problems.environment import length_limit_known
from raes.problems.problem import Episode, EpisodeError
from raes.rng import Purpose, generator, global_generators_kept
from raes.tasks import Snapshot
from raes.text import described, one_line
from raes.types import Float32, UserError, check_fault

if TYPE_CHECKING:
    from raes.problems.episode import EpisodeProblem, EpisodeSpec

STEPS = 4
"""Timesteps of the check; enough to see an observation change its shape, and random numbers that are not seeded."""

ARRAY_AS_NUMBER = "only 0-dimensional arrays can be converted"
"""How NumPy refuses `float(array)`."""


@dataclass
class Trace:
    """What the first steps of an episode looked like.

    Attributes:
        observations: each one, flat.
        outputs: the policy's, for each observation but the last.
        error: what ended them early; None for nothing.
    """

    observations: list[np.ndarray[Any, Any]] = field(default_factory=list)
    outputs: list[Float32] = field(default_factory=list)
    error: BaseException | None = None


def check_start(problem: EpisodeProblem) -> tuple[str, ...]:
    """Take the first steps with the policy's own actions, so that errors show before anything starts.

    Returns:
        What the user should know: a missing limit on the length of episodes, results that cannot be had twice.

    Raises:
        UserError: the environment cannot be reset or stepped, or its observations do not fit its space.
    """
    spec = problem.spec
    with global_generators_kept():
        theta = problem.initial_theta(generator(0, Purpose.INITIAL_THETA))
        first = _play(problem, theta)
        _refuse(spec, first)
        remarks = [_unlike(spec, first, _play(problem, theta)), _endless(problem)]
    return tuple(remark for remark in remarks if remark is not None)


def _play(problem: EpisodeProblem, theta: Float32) -> Trace:
    """The first steps of an episode, as `EpisodeProblem.evaluate` plays it."""
    trace = Trace()
    problem.use(Snapshot(0, theta, max_steps=STEPS))
    try:
        problem.policy.set_parameters(theta)
        rollout = problem.rollout(Episode(0, training=True, observe=False, noise_rng=None))
        observation = next(rollout)
        with np.errstate(over="ignore", invalid="ignore"):
            while True:
                trace.observations.append(np.array(observation))
                trace.outputs.append(np.array(problem.policy.outputs(observation)))
                observation = rollout.send(trace.outputs[-1])
    except StopIteration:
        pass
    except BaseException as error:
        check_fault(error)
        problem.failed(error)  # the environment is made anew
        trace.error = error
    return trace


def _refuse(spec: EpisodeSpec, trace: Trace) -> None:
    """Refuse what fails at the first step already; later faults may be those of one episode.

    Raises:
        UserError: naming what failed.
    """
    error, steps = trace.error, len(trace.outputs)
    if error is None or steps > 1:
        return
    name = f"env.id={spec.env.id}"
    if isinstance(error, EpisodeError):
        where = "reset" if not trace.observations else "its first step"
        raise UserError(f"{name}: after {where} {one_line(error)}; fix the environment") from error
    text = described(error)
    if not trace.observations:
        raise UserError(f"{name} cannot be reset: {text}; fix env.kwargs or the environment") from error
    if not trace.outputs:
        raise UserError(f"policy={spec.policy.name} fails on an observation of {name}: {text}") from error
    if one_line(error).startswith(ARRAY_AS_NUMBER):
        raise UserError(f"{name}: its reward is an array; let step() return a number, float(reward)") from error
    raise UserError(f"{name} cannot be stepped: {text}; fix env.kwargs or the environment") from error


def _unlike(spec: EpisodeSpec, first: Trace, second: Trace) -> str | None:
    """What differed between two beginnings with the same seed and the same parameters."""
    for step, (one, other) in enumerate(zip(first.observations, second.observations, strict=False)):
        if not np.array_equal(one, other, equal_nan=one.dtype.kind == "f"):
            when = f"after timestep {step}" if step else "after reset"
            return (
                f"env.id={spec.env.id}: with the same seed its observation {when} was another one the second "
                "time, so that no result can be had again; draw random numbers from self.np_random, which reset() seeds"
            )
        if step < min(len(first.outputs), len(second.outputs)) and not np.array_equal(
            first.outputs[step], second.outputs[step], equal_nan=True
        ):
            what = f"policy.module={spec.policy.module}" if isinstance(spec.policy, TorchSettings) else "the policy"
            return (
                f"{what}: for the same observations its outputs were others the second time, so that no result can be "
                "had again; give it a method reset() that clears what it keeps; it is called before each episode"
            )
    return None


def _endless(problem: EpisodeProblem) -> str | None:
    """Where nothing is known to end an episode that does not end by itself."""
    if length_limit_known(problem.env):
        return None
    return (
        f"env.id={problem.spec.env.id}: no step limit is known for this environment, so an episode that never ends "
        "runs forever; env.kwargs.max_episode_steps=1000 sets a limit"
    )
