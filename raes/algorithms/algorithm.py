"""What the driver's loop needs of an algorithm."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol, TypeVar

from raes.search.running_stats import RunningStats
from raes.types import Batch, Float32, Int64, Snapshot, Tasks

WeightedSum = Callable[[Int64, Float32], Float32]
"""(noise_index (n,), weights float32 (n,)) -> sum_i weights[i] * noise slice i, float32 (d,)."""


class SearchState(Protocol):
    """A frozen dataclass of arrays, numbers and such dataclasses; the checkpoint stores every field.

    Attributes:
        generation: updates so far.
        theta: float32 (d,), the centre.
    """

    @property
    def generation(self) -> int: ...

    @property
    def theta(self) -> Float32: ...


State = TypeVar("State", bound=SearchState)


class Algorithm(Protocol[State]):
    """Ask for episodes around a state, tell their returns, get the next state. No clock, no file, no global state.

    Attributes:
        min_pairs: the fewest pairs of a generation.
        min_timesteps: the fewest timesteps of a generation; it is the shortest prefix of pairs that holds both.
    """

    min_pairs: int
    min_timesteps: int

    def init(self, theta: Float32, observations: RunningStats) -> State:
        """The state that starts at theta, float32 (d,), with these observation statistics."""

    def expected_length(self, state: State) -> float:
        """How long an episode will be, in timesteps; a guess that only saves time, 0 for none."""

    def snapshot(self, state: State) -> Snapshot:
        """What the episodes of this state's generation share."""

    def ask(self, state: State, first_pair: int, count: int) -> Tasks:
        """The 2 * count episodes of the pairs first_pair, first_pair + 1, ..."""

    def tell(self, state: State, batch: Batch, weighted_sum: WeightedSum) -> tuple[State, dict[str, float]]:
        """The next state, and figures for the log under `search/`."""
