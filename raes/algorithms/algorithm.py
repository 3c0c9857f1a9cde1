"""What the driver's loop needs of an algorithm."""

from __future__ import annotations

from typing import Protocol, TypeVar

from raes.results import Batch
from raes.search.running_stats import RunningStats
from raes.tasks import Snapshot, Tasks
from raes.types import Float32, Int64

from .search import Conditions


class WeightedSum(Protocol):
    """The sums over the noise table, which an algorithm does not hold itself."""

    def __call__(self, noise_index: Int64, weights: Float32, squared: bool = False) -> Float32:
        """sum_i weights[i] * noise slice i, float32 (d,), or of its squares, element by element.

        Args:
            noise_index: int64 (n,).
            weights: float32 (n,).
            squared: see above.
        """
        ...


class SearchState(Protocol):
    """A frozen dataclass of arrays, numbers and such dataclasses; the checkpoint stores every field.

    Attributes:
        generation: updates so far.
        theta: float32 (d,), the centre, or the best member where there is no centre.
        conditions: what its episodes depend on beside theta.
    """

    @property
    def generation(self) -> int: ...

    @property
    def theta(self) -> Float32: ...

    @property
    def conditions(self) -> Conditions: ...


State = TypeVar("State", bound=SearchState)


class Algorithm(Protocol[State]):
    """Ask for episodes around a state, tell their returns, get the next state. No clock, no file, no global state.

    Attributes:
        pipelines: whether a generation may start around the state before the last update (`runtime.pipeline=1`).
        needs_behavior: whether it reads what episodes did, beside their returns.
        group: episodes that stand and fall together: 2 for antithetic pairs, else 1.
        min_groups: the fewest groups of a generation.
        max_groups: the most that `min_timesteps` may extend it to; None for no bound.
        min_timesteps: the fewest timesteps of a generation; it is the shortest prefix of groups that holds both.
    """

    pipelines: bool
    needs_behavior: bool
    group: int
    min_groups: int
    max_groups: int | None
    min_timesteps: int

    def init(self, theta: Float32, observations: RunningStats) -> State:
        """The state that starts at theta, float32 (d,), with these observation statistics."""

    def expected_length(self, state: State) -> float:
        """How long an episode will be, in timesteps; a guess that only saves time, 0 for none."""

    def snapshot(self, state: State) -> Snapshot:
        """What the episodes of this state's generation share."""

    def ask(self, state: State, first: int, count: int) -> Tasks:
        """The episodes of `count` groups from number `first` on."""

    def tell(self, state: State, batch: Batch, weighted_sum: WeightedSum) -> tuple[State, dict[str, float]]:
        """The next state, and figures for the log under `search/`."""

    def probe(self, state: State) -> tuple[Snapshot, Tasks] | None:
        """Episodes that the search needs before its next generation can be asked for, or None.

        Their purpose is PROBE, their generation the state's, their snapshot their own.
        """

    def settle(self, state: State, batch: Batch | None, weighted_sum: WeightedSum) -> tuple[State, dict[str, float]]:
        """The state with a probe's outcome, and figures for the log.

        Args:
            state: whose probe it was.
            batch: the episodes that did not fail, (n, 1); None where all did.
            weighted_sum: of slices of noise.

        Raises:
            RunFailedError: the search cannot go on without an outcome.
        """
