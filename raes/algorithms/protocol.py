"""What a training loop needs of an algorithm: the protocol, its state, and what its episodes depend on."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol, TypeVar

from raes.results import Batch
from raes.search.running_stats import RunningStats
from raes.tasks import Round, Snapshot
from raes.types import Floating, Int64


class WeightedSum(Protocol):
    """The sums over the noise table, which an algorithm does not hold itself."""

    def __call__(self, noise_index: Int64, weights: Floating, squared: bool = False) -> Floating:
        """sum_i weights[i] * noise slice i, (d,), or of its squares, element by element.

        Args:
            noise_index: int64 (n,).
            weights: float32 (n,).
            squared: whether to sum the squares of the noise.
        """
        ...


@dataclass(frozen=True)
class Conditions:
    """What a policy's episodes depend on besides its parameters, learnt during the search.

    Attributes:
        observations: running statistics of the observations.
        episode_cap: timesteps, infinite for none.
        running_length: running mean of the episodes' lengths, 0 before the first.
    """

    observations: RunningStats
    episode_cap: float
    running_length: float


class SearchState(Protocol):
    """A frozen dataclass of arrays, numbers and such dataclasses; the checkpoint stores every field.

    Attributes:
        generation: updates so far.
        theta: (d,), the centre, or the best member where there is no centre; float32 of a policy, float64 of a
            function.
        conditions: what its episodes depend on besides theta.
    """

    @property
    def generation(self) -> int: ...

    @property
    def theta(self) -> Floating: ...

    @property
    def conditions(self) -> Conditions: ...


State = TypeVar("State", bound=SearchState)


class Algorithm(Protocol[State]):
    """From a state to the next round of episodes, and from their results to the next state.

    Pure: no clock, no file, no environment, no global random number. The loop is

        state = algorithm.init(theta, observations)
        while True:
            round = algorithm.next_round(state)
            batch = ...                     # the round's episodes, in task order
            state, metrics = algorithm.tell(state, round, batch, weighted_sum)

    Attributes:
        pipelines: whether a generation may perturb the state before the last update (`runtime.pipeline=1`).
        needs_behavior: whether it reads what episodes did, besides their returns.
    """

    pipelines: bool
    needs_behavior: bool

    def init(self, theta: Floating, observations: RunningStats) -> State:
        """The state that starts at theta, float32 (d,), with these observation statistics."""

    def snapshot(self, state: State) -> Snapshot:
        """theta with all that its episodes depend on: what evaluation and playback use."""

    def next_round(self, state: State) -> Round:
        """The episodes that the search needs next.

        A generation (purpose TRAINING), or a probe: episodes that the search needs before its next generation, of
        purpose PROBE and the same generation number, after which the generation has not advanced.
        """

    def tell(
        self, state: State, round: Round, batch: Batch | None, weighted_sum: WeightedSum
    ) -> tuple[State, dict[str, float]]:
        """The next state, and metrics for the log under `search/`.

        Args:
            state: the one whose `next_round` it was.
            round: as `next_round` gave it.
            batch: its groups of episodes without a fault, (n, m); None where all failed, which only a probe may do.
            weighted_sum: of slices of noise.

        Raises:
            RunFailedError: the search cannot go on without a result of its probe.
        """

    def memory(self, num_params: int) -> int:
        """Bytes that the search's own state needs beyond a few vectors of d numbers."""
