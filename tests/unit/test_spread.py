"""The warning where no return differs from another, in one place for every command and function."""

from __future__ import annotations

import warnings

import numpy as np
import pytest

import raes
from raes.algorithms import ALGORITHMS, ESSettings
from raes.results import Batch
from raes.search.spread import GENERATIONS, SpreadWatch
from raes.tasks import Genomes

LOOK = "look there"


def batch(*returns: float, lengths: int | list[int] = 1, signs: list[int] | None = None) -> Batch:
    """A generation of single episodes."""
    values = np.array(returns, np.float64)[:, None]
    signed = np.sign(values) if signs is None else np.array(signs)[:, None]
    genomes = Genomes(np.zeros(len(returns), np.int64), np.ones(len(returns), np.float32))
    many = np.broadcast_to(np.array(lengths).reshape(-1, 1), values.shape)
    return Batch(np.arange(len(returns)), genomes, values, signed.astype(np.int64), many, 0.0)


def warned(watch: SpreadWatch, batches: list[Batch]) -> list[int]:
    """The generations after which there was a warning."""
    return [number for number, one in enumerate(batches) if watch.after(one) is not None]


def test_equal_returns_are_one_warning_after_a_few_generations() -> None:
    watch = SpreadWatch(ESSettings(), LOOK)
    assert warned(watch, [batch(3.5, 3.5)] * 20) == [GENERATIONS - 1]


def test_a_task_that_is_solved_later_is_no_reason_to_warn() -> None:
    watch = SpreadWatch(ESSettings(), LOOK)
    assert warned(watch, [batch(3.5, 3.5)] * 3 + [batch(3.5, 3.6)] + [batch(500.0, 500.0)] * 20) == []


def test_differences_of_rounding_are_none() -> None:
    watch = SpreadWatch(ESSettings(), LOOK)
    assert warned(watch, [batch(0.1 + 0.2, 0.3)] * 9) == [GENERATIONS - 1]
    assert warned(SpreadWatch(ESSettings(), LOOK), [batch(1e-18, 2e-18)] * 9) == []


def test_single_episodes_are_compared_with_the_generation_before() -> None:
    assert warned(SpreadWatch(ESSettings(), LOOK), [batch(1.0)] * 9) == [GENERATIONS - 1]
    assert warned(SpreadWatch(ESSettings(), LOOK), [batch(float(number)) for number in range(9)]) == []


def test_a_search_that_goes_on_may_have_solved_its_task() -> None:
    assert warned(SpreadWatch(ESSettings(), LOOK, begun=True), [batch(1.0, 1.0)] * 9) == []


def test_what_the_search_compares_counts_and_is_named() -> None:
    alive = SpreadWatch(ESSettings(alive_bonus=2.0), LOOK, "algorithm.")
    text = [alive.after(batch(20.0, 40.0, lengths=[10, 20])) for _ in range(GENERATIONS)][-1]
    assert text is not None
    assert "all returns without the alive bonus (algorithm.alive_bonus=2) are equal (now 0)" in text
    signs = SpreadWatch(ESSettings(shaping="sign"), LOOK)
    text = [signs.after(batch(20.0, 40.0, signs=[3, 3])) for _ in range(GENERATIONS)][-1]
    assert text is not None
    assert "sums of the rewards' signs (shaping=sign) are equal (now 3)" in text


@pytest.mark.parametrize("algorithm", sorted(set(ALGORITHMS) - {"custom"}))
def test_a_constant_function_is_one_warning_with_its_value(algorithm: str) -> None:
    size = {"population": 20} if "population" in ALGORITHMS[algorithm][1].__dataclass_fields__ else {"pairs": 5}
    with pytest.warns(UserWarning, match=r"all returns are equal \(now 2\.5\).*uses its argument") as seen:
        raes.minimize(lambda x: 2.5, [0.0, 1.0], algorithm=algorithm, budget=1000, **size)
    assert [warning.filename for warning in seen] == [__file__], "one, at the line that called"


def test_a_function_that_varies_is_none() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        raes.minimize(lambda x: float(x @ x), [0.0, 1.0], budget=200)
