"""Episodes of low-rank perturbations side by side, so that the same few calls per layer serve them all."""

from __future__ import annotations

import time
from collections.abc import Sequence

import numpy as np

from raes.policies import PolicySettings
from raes.policies.batched import BatchedMLP
from raes.problems.episode import EpisodeProblem, Rollout
from raes.problems.problem import Episode, EpisodeError, EpisodeOutcome
from raes.tasks import Genomes, LowRank, Snapshot
from raes.types import Float32, check_fault

LANES = 16
"""Episodes side by side: the lanes of every call, also where fewer episodes are left."""


class Lockstep:
    """Several environments that one batched policy acts in; `EpisodeProblem` runs a single episode."""

    def __init__(self, problem: EpisodeProblem, form: LowRank, table: Float32) -> None:
        """Prepare the first lane and the policy.

        Args:
            problem: of the first lane; the others are built from its spec, when first needed.
            form: what perturbations are made of.
            table: float32 (size,), the noise.
        """
        self._problems, self._form, self._table = [problem], form, table
        settings = problem.spec.policy
        assert isinstance(settings, PolicySettings)
        self._policy = BatchedMLP(problem.observation_size, problem.policy.head, settings, form, LANES)
        self._observations = np.zeros((LANES, problem.observation_size))

    def run(
        self, snapshot: Snapshot, genomes: Genomes, episodes: Sequence[Episode]
    ) -> list[tuple[EpisodeOutcome | EpisodeError, float]]:
        """Run episodes: each one's outcome, or why it has none, and its share of the seconds, by its timesteps."""
        begun = time.perf_counter()
        self._policy.set_normaliser(snapshot.obs_mean, snapshot.obs_scale, snapshot.obs_clip)
        self._policy.set_parameters(snapshot.theta)
        answers: list[EpisodeOutcome | EpisodeError] = [EpisodeError("not run") for _ in episodes]
        steps, waiting = np.ones(len(episodes)), iter(range(len(episodes)))
        lanes: dict[int, tuple[int, Rollout]] = {}

        def fill(lane: int) -> None:
            """Begin the next episode in a lane, if there is one that begins at all."""
            lanes.pop(lane, None)
            for row in waiting:
                problem = self._lane(lane)
                problem.use(snapshot)
                start = int(genomes.noise_index[row])
                noise = self._table[start : start + self._form.noise_size]
                self._policy.set_lane(lane, noise, float(genomes.scale[row]))
                rollout = problem.rollout(episodes[row])
                try:
                    self._observations[lane] = next(rollout)
                except BaseException as error:
                    check_fault(error)
                    answers[row] = problem.failed(error)
                    continue
                lanes[lane] = row, rollout
                return

        with np.errstate(over="ignore", invalid="ignore"):
            for lane in range(min(LANES, len(episodes))):
                fill(lane)
            while lanes:
                outputs = self._policy.outputs(self._observations)
                for lane, (row, rollout) in list(lanes.items()):
                    steps[row] += 1
                    try:
                        self._observations[lane] = rollout.send(outputs[lane])
                        continue
                    except StopIteration as end:
                        answers[row] = end.value
                    except BaseException as error:
                        check_fault(error)
                        answers[row] = self._problems[lane].failed(error)
                    fill(lane)
        seconds = (time.perf_counter() - begun) * steps / steps.sum()
        return list(zip(answers, seconds.tolist(), strict=True))

    def close(self) -> None:
        """Close the environments that were made here."""
        for problem in self._problems[1:]:
            problem.close()

    def _lane(self, lane: int) -> EpisodeProblem:
        while lane >= len(self._problems):
            self._problems.append(self._problems[0].twin())
        self._problems[lane].watch = self._problems[0].watch
        return self._problems[lane]
