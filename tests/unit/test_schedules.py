"""Decays and episode caps as functions of the generation."""

from __future__ import annotations

import math

import pytest
from pydantic import TypeAdapter, ValidationError

from raes.search.schedules import EpisodeCap, exponential


def test_an_exponential_schedule_starts_at_its_start_and_ends_at_its_minimum() -> None:
    values = [exponential(0.8, 0.5, 0.15, generation) for generation in range(5)]
    assert values == [0.8, 0.4, 0.2, 0.15, 0.15]


def test_a_decay_of_one_stays() -> None:
    assert exponential(0.02, 1.0, 0.0, 10_000) == 0.02


@pytest.mark.parametrize(
    ("cap", "expected"),
    [
        (EpisodeCap("none"), [math.inf, math.inf, math.inf, math.inf]),
        (EpisodeCap("fixed", steps=70), [70, 70, 70, 70]),
        (EpisodeCap("mean", factor=1.5), [math.inf, 151, 76, 16]),  # 1.5 * 100.5 = 150.75, 1.5 * 50.1 = 75.15
        (EpisodeCap("adaptive", steps=35, factor=1.5, share=0.5), [35, 35, 53, 80]),  # 52.5, 79.5 rounded up
    ],
    ids=lambda value: getattr(value, "kind", ""),
)
def test_a_cap_follows_lengths_and_capped_share(cap: EpisodeCap, expected: list[float]) -> None:
    caps = [cap.first()]
    for running_length, capped_share in [(100.5, 0.49), (50.1, 0.5), (10.2, 1.0)]:
        caps.append(cap.following(caps[-1], running_length, capped_share))
    assert caps == expected


@pytest.mark.parametrize(
    "wrong", [{"kind": "median"}, {"steps": 0}, {"factor": 1.0}, {"share": 0.0}, {"share": 1.5}], ids=str
)
def test_a_cap_out_of_range_is_refused_with_key_and_value(wrong: dict) -> None:
    key, value = next(iter(wrong.items()))
    with pytest.raises(ValidationError, match=key) as caught:
        TypeAdapter(EpisodeCap).validate_python(wrong)
    assert str(value) in str(caught.value)
