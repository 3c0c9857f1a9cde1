"""One episode of a Gymnasium environment under a policy: the rollout loop."""

from __future__ import annotations

import math
from collections.abc import Callable, Generator
from dataclasses import dataclass
from typing import Any

import numpy as np

from raes.policies import AnyPolicySettings, ConvPolicy, TorchPolicy, build_policy
from raes.problems.atari import AtariSettings
from raes.problems.behaviors import FinishedEpisode, descriptor, descriptor_values
from raes.problems.environment import EnvSettings, close_environment, from_elsewhere, make_environment
from raes.problems.mujoco import NativeStep, build_step, choose_step
from raes.problems.problem import Episode, EpisodeError, EpisodeOutcome
from raes.problems.registration import Registered, register
from raes.problems.spaces import action_spec, observation_reader
from raes.problems.start_check import check_start
from raes.rng import seed_global_generators
from raes.search.running_stats import EpisodeObservations
from raes.tasks import Snapshot
from raes.text import KEPT, described
from raes.types import Float32, Float64, UInt8, check_fault

NOISE_ROWS = 128
"""Timesteps of action noise drawn at a time."""


Step = Callable[[Any, Any], tuple[np.ndarray[Any, Any], float, bool, bool]]
"""From an action, and the row of `EpisodeObservations` or None, to observation, reward, terminated and truncated."""

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
        """Make environment and policy and take the first steps twice; see `check_start` for the errors raised."""
        problem = self.build()
        problem.remarks = check_start(problem)
        return problem


class EpisodeProblem:
    """A `Problem` whose evaluations are episodes of one environment with one policy.

    Attributes:
        spec: its recipe.
        policy: the network that acts.
        env: the environment it acts in.
        remarks: what the user should know before a run; see `check_start`.
        watch: called with the number of timesteps so far before each one, where an episode may have to be cut off.
        native_notice: why a MuJoCo task has no native step, empty where it has one or needs none.
    """

    remarks: tuple[str, ...] = ()
    watch: Callable[[int], None] | None = None

    def __init__(self, spec: EpisodeSpec, native: bool | None = None) -> None:
        """Make environment and policy.

        Args:
            spec: what they are made from.
            native: whether the environment has a native step, where another problem of this spec has found that out.
        """
        self.spec, self._settings = spec, spec.env
        self.env = make_environment(spec.env)
        shape, self._read = observation_reader(self.env.observation_space, spec.env.id)
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
        # Random numbers of a user's own code may come from generators that all of the process shares.
        self._seeds_all = from_elsewhere(self.env, spec.env) or isinstance(self.policy, TorchPolicy)
        self._observations = EpisodeObservations(self.observation_size)
        self._native: NativeStep | None = None
        self.native_notice = ""
        if native is None:
            self._native, self.native_notice = choose_step(self.env, spec.env)
        elif native:
            self._native = build_step(self.env)
        self._action_noise, self._max_steps = 0.0, math.inf
        self._stale = False

    def twin(self) -> EpisodeProblem:
        """Another problem of the same spec, with an environment of its own."""
        return EpisodeProblem(self.spec, native=self._native is not None)

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
        except BaseException as error:
            check_fault(error)
            raise self.failed(error) from error

    def act(self, observation: Any) -> Any:
        """The action for an observation of the environment, without noise, with the parameters that were set last."""
        observation = self._read(observation)
        with np.errstate(over="ignore", invalid="ignore"):
            return self.policy.head(self.policy.outputs(observation))

    def failed(self, error: BaseException) -> EpisodeError:
        """Turn an exception of an episode into an `EpisodeError`; the environment is made anew before the next one."""
        self._stale = True
        return error if isinstance(error, EpisodeError) else EpisodeError(described(error, KEPT))

    def close(self) -> None:
        """Close the environment."""
        close_environment(self.env)

    def _rebuild(self) -> None:
        """Replace the environment: the old one may be in any state."""
        self.close()
        self.env = make_environment(self._settings)
        if self._native is not None:
            self._native = build_step(self.env)
        self._stale = False

    def rollout(self, episode: Episode) -> Rollout:
        """One episode as a generator; its caller must pass exceptions to `failed`."""
        if self._stale:
            self._rebuild()
        self._stale = self._settings.rebuild
        if self._seeds_all:
            seed_global_generators(episode.reset_seed)
        head, watch = self.policy.head, self.watch
        limit = self._max_steps if episode.training else math.inf
        noise = None
        if episode.training and self._action_noise and episode.noise_rng is not None:
            noise = _ActionNoise(episode.noise_rng, head.outputs, self._action_noise)
        total, sign_total, length, ended, acted = 0.0, 0, 0, False, 0.0
        observation, step = self._begin(episode)
        kept = self._observations
        summed = episode.observe and self.observation_size > 0
        next_row: Callable[[], Any] = _no_row
        if summed or observation.dtype.kind == "f":  # whole numbers are always finite
            kept.begin(summed)
            next_row = kept.next
            row = next_row()
            row[...] = observation
        while not ended and length < limit:
            if watch is not None:
                watch(length)
            output = yield observation
            acted += sum(output.tolist())  # not finite any more after one number that is not
            if noise is not None:
                output = output + noise.next()  # a module may keep what it gave
            observation, reward, terminated, truncated = step(head(output), next_row())
            length += 1
            total += reward
            sign_total += (reward > 0.0) - (reward < 0.0)
            ended = terminated or truncated
        observed, finite, last_finite = (None, True, True) if next_row is _no_row else kept.end()
        if not finite:
            raise EpisodeError("an observation is not finite")
        if not math.isfinite(acted):
            raise EpisodeError("an output of the policy is not finite")
        if not last_finite:
            raise EpisodeError(f"the observation after timestep {length} is not finite")
        if observed is not None and not np.isfinite(observed.m2).all():
            raise EpisodeError("an observation is not finite")
        if not math.isfinite(total):
            raise EpisodeError(f"the return is {total}")
        behavior = None if self._describe is None else self._behavior(observation, length, total)
        return EpisodeOutcome(total, sign_total, length, not ended, observed, behavior)

    def _begin(self, episode: Episode) -> tuple[np.ndarray[Any, Any], Step]:
        """Reset the environment: the first observation, and what makes a step."""
        if (native := self.native) is not None:
            return native.reset(episode.reset_seed), native.step
        read, env_step, options = self._read, self.env.step, self._settings.reset_options(episode.training)
        observation = read(self.env.reset(seed=episode.reset_seed, options=options)[0])

        def step(action: Any, row: Any) -> tuple[np.ndarray[Any, Any], float, bool, bool]:
            observation, reward, terminated, truncated, _ = env_step(action)
            observation = read(observation)
            if row is not None:
                row[...] = observation
            return observation, float(reward), terminated, truncated

        return observation, step

    @property
    def native(self) -> NativeStep | None:
        """The native step, where there is one, and `env` is still the environment that it steps."""
        native = self._native
        return native if native is not None and native.env is self.env else None

    def _behavior(self, observation: np.ndarray[Any, Any], length: int, total: float) -> Float64:
        """What the policy did in an episode that has just ended, float64 (b,)."""
        assert self._describe is not None
        if self.native is not None:
            self.native.end()
        finished = FinishedEpisode(self.env, np.array(observation, np.float64), length, total)
        return descriptor_values(self._describe, finished)


def _no_row() -> None:
    """Where observations need no check."""


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
