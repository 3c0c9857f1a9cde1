"""One episode of a Gymnasium environment under a policy: the rollout loop."""

from __future__ import annotations

import math
from collections.abc import Generator
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import numpy as np

from raes.policies import AnyPolicySettings, ConvPolicy, build_policy
from raes.problems.atari import AtariSettings
from raes.problems.behaviors import FinishedEpisode, descriptor, descriptor_values
from raes.problems.environment import EnvSettings, make_environment
from raes.problems.problem import Episode, EpisodeError, EpisodeOutcome
from raes.problems.registration import Registered, register
from raes.problems.spaces import action_spec, observation_reader
from raes.search.running_stats import EpisodeMoments
from raes.tasks import Snapshot
from raes.types import Float32, UInt8, UserError

NOISE_ROWS = 128
"""Timesteps of action noise drawn at a time."""


Rollout = Generator[np.ndarray[Any, Any], Float32, EpisodeOutcome]
"""A generator of an episode: yields observations, receives the policy's outputs for each, returns the outcome."""


@dataclass(frozen=True)
class EpisodeSpec:
    """The recipe of an `EpisodeProblem`.

    Attributes:
        env: of the environment.
        policy: of the network.
        behavior: name of the behaviour descriptor, None for none.
        reference: uint8 (n, *observation), the batch of virtual batch normalisation, where the policy has it.
        registered: the environment's entry in Gymnasium's registry, where other processes do not have it.
    """

    env: EnvSettings | AtariSettings
    policy: AnyPolicySettings
    behavior: str | None = None
    reference: UInt8 | None = None
    registered: Registered | None = None

    def build(self) -> EpisodeProblem:
        """Make environment and policy."""
        register(self.registered)
        return EpisodeProblem(self)

    def check(self) -> EpisodeProblem:
        """Make environment and policy and take one step; see `check_start` for the errors raised."""
        return check_start(self)


class EpisodeProblem:
    """A `Problem` whose evaluations are episodes of one environment with one policy.

    Attributes:
        spec: its recipe.
        policy: the network that acts.
        env: the environment it acts in.
    """

    def __init__(self, spec: EpisodeSpec) -> None:
        self.spec, self._settings = spec, spec.env
        self.env = make_environment(spec.env)
        shape, self._flatten = observation_reader(self.env.observation_space, spec.env.id)
        actions = action_spec(self.env.action_space, spec.env.id)
        self.policy = build_policy(shape, actions, spec.policy)
        self.observation_size = math.prod(shape)
        if isinstance(self.policy, ConvPolicy):
            self.observation_size = 0  # pixels are taken as they are
            if spec.reference is not None:
                self.policy.set_reference(spec.reference)
        self.num_params, self.continuous = self.policy.num_params, self.policy.head.continuous
        self.layers = self.policy.layer_sizes
        self._describe = None if spec.behavior is None else descriptor(spec.behavior, self.env)
        self._moments = EpisodeMoments(self.observation_size)
        self._action_noise, self._max_steps = 0.0, math.inf
        self._stale = False

    def initial_theta(self, rng: np.random.Generator) -> Float32:
        """The policy's initial parameters, float32 (d,)."""
        return self.policy.initial_theta(rng)

    def use(self, snapshot: Snapshot) -> None:
        """Take over the snapshot's normaliser, action noise and episode cap."""
        self.policy.set_normaliser(snapshot.obs_mean, snapshot.obs_scale, snapshot.obs_clip)
        self._action_noise = snapshot.action_noise if self.policy.head.continuous else 0.0
        self._max_steps = math.inf if snapshot.max_steps is None else snapshot.max_steps

    def evaluate(self, theta: Float32, episode: Episode) -> EpisodeOutcome:
        """Run one episode with parameters theta, float32 (d,)."""
        outputs, rollout = self.policy.outputs, self.rollout(episode)
        try:
            self.policy.set_parameters(theta)
            with np.errstate(over="ignore", invalid="ignore"):  # BLAS raises them for lanes it does not use
                observation = next(rollout)
                while True:
                    observation = rollout.send(outputs(observation))
        except StopIteration as end:
            outcome: EpisodeOutcome = end.value
            return outcome
        except Exception as error:
            raise self.failed(error) from error

    def act(self, observation: Any) -> Any:
        """The action for an observation of the environment, without noise, with the parameters that were set last."""
        if self._flatten is not None:
            observation = self._flatten(observation)
        with np.errstate(over="ignore", invalid="ignore"):
            return self.policy.head(self.policy.outputs(observation))

    def failed(self, error: Exception) -> EpisodeError:
        """Turn an exception of an episode into an `EpisodeError`; the environment is made anew before the next one."""
        self._stale = True
        return error if isinstance(error, EpisodeError) else EpisodeError(f"{type(error).__name__}: {error}")

    def close(self) -> None:
        """Close the environment."""
        self.env.close()

    def _rebuild(self) -> None:
        """Replace the environment: the old one may be in any state, and may fail to close."""
        with suppress(Exception):
            self.close()
        self.env = make_environment(self._settings)
        self._stale = False

    def rollout(self, episode: Episode) -> Rollout:
        """One episode as a generator; its caller must pass exceptions to `failed`."""
        if self._stale:
            self._rebuild()
        self._stale = self._settings.rebuild
        env_step, head, flatten = self.env.step, self.policy.head, self._flatten
        limit = self._max_steps if episode.training else math.inf
        noise = None
        if episode.training and self._action_noise and episode.noise_rng is not None:
            noise = _ActionNoise(episode.noise_rng, head.outputs, self._action_noise)
        moments = self._moments if episode.observe and self.observation_size else None
        if moments is not None:
            moments.clear()
        total, sign_total, length, ended = 0.0, 0, 0, False
        finite = 0.0  # becomes and stays NaN after an observation that is
        options = self._settings.reset_options(episode.training)
        observation, _ = self.env.reset(seed=episode.reset_seed, options=options)
        while not ended and length < limit:
            if flatten is not None:
                observation = flatten(observation)
            if moments is not None:
                moments.add(observation)
            output = yield observation
            finite += output[0] * 0.0
            if noise is not None:
                output = output + noise.next()  # a module may keep what it gave
            observation, reward, terminated, truncated, _ = env_step(head(output))
            length += 1
            reward = float(reward)
            total += reward
            sign_total += (reward > 0.0) - (reward < 0.0)
            ended = terminated or truncated
        if not math.isfinite(finite):
            raise EpisodeError("an observation or an action is not finite")
        last = flatten(observation) if flatten is not None else observation
        if not np.isfinite(last).all():
            raise EpisodeError(f"the observation after timestep {length} is not finite")
        observed = moments.result() if moments is not None else None
        if observed is not None and not np.isfinite(observed.m2).all():
            raise EpisodeError("an observation is not finite")
        if not math.isfinite(total):
            raise EpisodeError(f"the return is {total}")
        behavior = None
        if self._describe is not None:
            behavior = descriptor_values(
                self._describe, FinishedEpisode(self.env, np.asarray(last, np.float64), length, total)
            )
        return EpisodeOutcome(total, sign_total, length, not ended, observed, behavior)


class _ActionNoise:
    """Gaussian noise (outputs,) for each timestep, drawn for a block of timesteps at a time."""

    def __init__(self, rng: np.random.Generator, size: int, std: float) -> None:
        self._rng, self._std = rng, np.float32(std)
        self._rows = np.empty((NOISE_ROWS, size), dtype=np.float32)
        self._next = NOISE_ROWS

    def next(self) -> Float32:
        if self._next == NOISE_ROWS:
            self._rng.standard_normal(dtype=np.float32, out=self._rows)
            self._rows *= self._std
            self._next = 0
        self._next += 1
        return self._rows[self._next - 1]  # type: ignore[no-any-return]


def check_start(spec: EpisodeSpec) -> EpisodeProblem:
    """Build the problem and take one step, so that errors show before anything starts.

    Raises:
        UserError: the environment cannot be made, reset or stepped, or its first observation does not fit its space.
    """
    problem = spec.build()
    try:
        observation, _ = problem.env.reset(seed=0)
    except Exception as error:
        raise UserError(
            f"env.id={spec.env.id} cannot be reset: {type(error).__name__}: {error}; fix env.kwargs or the environment"
        ) from error
    if not problem.env.observation_space.contains(observation):
        shape = getattr(observation, "shape", None)
        if problem._flatten is None and shape != (problem.observation_size,):
            raise UserError(
                f"env.id={spec.env.id}: its observation has shape {shape}, its observation space "
                f"{problem.env.observation_space}; fix the environment"
            )
    try:
        problem.env.action_space.seed(0)
        _, reward, _, _, _ = problem.env.step(problem.env.action_space.sample())
        float(reward)
    except Exception as error:
        raise UserError(
            f"env.id={spec.env.id} cannot be stepped: {type(error).__name__}: {error}; "
            "fix env.kwargs or the environment"
        ) from error
    return problem
