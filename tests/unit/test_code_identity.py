"""Classes and functions given as environments: distinguished by their code, known again in another process."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest
from gymnasium import spaces
from gymnasium.envs.classic_control import CartPoleEnv, PendulumEnv

import raes
from raes.problems.code_identity import code_identity
from raes.problems.registration import bind, enter, plain_name

LEVEL = 1
SOURCE = """
from functools import partial
import gymnasium
from raes.problems.code_identity import code_identity

NAMES = {"b", "a", "c", "d"}

class Mine(gymnasium.Env):
    kinds = frozenset(NAMES)
    def step(self, action):
        return action in {"x", "y", "z"}

print(code_identity(Mine), code_identity(lambda: Mine()), code_identity(partial(Mine, level=3)))
"""


def made(level: int) -> type:
    """A class that is of another level each time, under the same name."""

    class Mine(gymnasium.Env[Any, Any]):
        observation_space = spaces.Box(-1.0, 1.0, (2,))

        def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[Any, dict[str, Any]]:
            return np.full(2, level), {}

    return Mine


def by_global() -> int:
    return LEVEL


def test_what_makes_other_environments_has_another_identity(monkeypatch: pytest.MonkeyPatch) -> None:
    one, other = made(1), made(2)
    assert code_identity(one) == code_identity(made(1))
    different: list[Callable[..., Any]] = [
        one, other, lambda: one(), lambda: other(), lambda: gymnasium.make("CartPole-v1"),
        lambda: gymnasium.make("Pendulum-v1"), partial(made, 1), partial(made, 2), partial(made, level=1),
        lambda size=3: size, lambda size=4: size, partial(gymnasium.make, "CartPole-v1"), by_global,
    ]  # fmt: skip
    identities = [code_identity(make) for make in different]
    assert len(set(identities)) == len(different)
    monkeypatch.setattr(f"{__name__}.LEVEL", 2)
    assert code_identity(by_global) != identities[-1], "a function reads another number now"


def test_a_method_or_an_attribute_that_changes_makes_another_class() -> None:
    text = "class Mine:\n    size = {size}\n    def step(self):\n        return {value}\n"
    identities = set()
    for size, value in ((1, 1), (1, 2), (2, 1)):
        names: dict[str, Any] = {"__name__": "somewhere"}
        exec(text.format(size=size, value=value), names)
        identities.add(code_identity(names["Mine"]))
    assert len(identities) == 3


class Counter:
    """Something that changes while a program runs."""

    def __init__(self) -> None:
        self.count, self.next = 0, None


COUNTER = Counter()
NUMBERS = np.array([1.0, None, "x"], dtype=object)


def counts() -> Any:
    COUNTER.count += 1
    return NUMBERS


def test_every_number_of_nested_mappings_counts() -> None:
    def nested(last: int) -> dict[str, Any]:
        return {
            f"a{one}": {f"b{two}": {"c": two, "d": last if (one, two) == (9, 9) else 0} for two in range(10)}
            for one in range(10)
        }

    assert code_identity(partial(made, nested(1))) != code_identity(partial(made, nested(2)))


def test_what_a_program_counts_meanwhile_is_no_part_of_its_code() -> None:
    before = code_identity(counts)
    counts()
    assert code_identity(counts) == before


def test_objects_in_objects_without_end_have_an_identity_too() -> None:
    first = last = Counter()
    for _ in range(5000):
        last.next = Counter()  # type: ignore[assignment]
        last = last.next  # type: ignore[assignment]
    assert code_identity(partial(made, first)) == code_identity(partial(made, first))


def test_drawing_from_a_space_changes_nothing() -> None:
    mine = made(1)
    before = code_identity(mine)
    mine.observation_space.sample()  # type: ignore[attr-defined]
    assert code_identity(mine) == before


def test_another_process_has_the_same_identities(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(SOURCE)
    printed = []
    for seed in ("1", "2"):
        environment = os.environ | {"PYTHONHASHSEED": seed, "PYTHONPATH": str(Path(raes.__file__).parents[1])}
        printed.append(
            subprocess.run(
                [sys.executable, "mine.py"], cwd=tmp_path, env=environment, capture_output=True, text=True, check=True
            ).stdout
        )
    assert printed[0] == printed[1]
    assert len(printed[0].split()) == 3


def test_the_same_name_does_not_replace_an_earlier_environment() -> None:
    first, second = enter(lambda: gymnasium.make("CartPole-v1")), enter(lambda: gymnasium.make("Pendulum-v1"))
    assert first != second
    assert first.startswith("lambda-")
    assert isinstance(gymnasium.make(first).unwrapped, CartPoleEnv)
    assert isinstance(gymnasium.make(second).unwrapped, PendulumEnv)


def test_an_id_of_another_process_can_be_bound() -> None:
    mine = made(7)
    assert bind(enter(mine), mine)
    assert not bind("Mine-00000000-v0", mine)
    assert gymnasium.registry["Mine-00000000-v0"].entry_point is mine


@pytest.mark.parametrize(
    ("make", "name"),
    [(made(1), "Mine"), (lambda: None, "lambda"), (partial(partial(made, 1)), "made"), (np.vectorize(abs), "abs")],
)  # fmt: skip
def test_names_are_plain(make: Any, name: str) -> None:
    assert plain_name(make) in (name, "vectorize")
