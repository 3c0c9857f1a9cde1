"""A run that goes on with another arithmetic than before is noticed once."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from raes.runtime.digests import DRIVER, driver_digest, kind_of
from raes.training.arithmetic import ArithmeticWatch

HERE = "0123456789abcdef on hostA (x86_64, numpy 2.0, scipy 1.0)"
ELSEWHERE = HERE.replace("hostA", "hostB")
OTHER = HERE.replace("0123", "3210")
OTHER_DRIVER = f"{DRIVER}{OTHER}"


def watch(earlier: list[str], *digests: str) -> tuple[ArithmeticWatch, Any]:
    executor: Any = SimpleNamespace(digests=digests)
    return ArithmeticWatch(executor, earlier), executor


def test_the_drivers_digest_is_the_same_each_time() -> None:
    assert driver_digest() == driver_digest()
    assert driver_digest().startswith(DRIVER)


def test_the_name_of_a_machine_is_no_arithmetic() -> None:
    assert kind_of(HERE) == kind_of(ELSEWHERE) != kind_of(OTHER)
    assert watch([ELSEWHERE, driver_digest()], HERE)[0].look() == []


def test_a_checkpoint_that_does_not_say_is_no_change() -> None:
    arithmetic, _ = watch([], HERE)
    assert arithmetic.look() == []
    assert arithmetic.known == [driver_digest(), HERE]


def test_other_workers_are_said_once_with_both_digests_and_known_afterwards() -> None:
    arithmetic, executor = watch([driver_digest(), HERE])
    assert arithmetic.look() == [], "no worker has started"
    executor.digests = (OTHER,)
    [text] = arithmetic.look()
    assert HERE in text
    assert OTHER in text
    assert "faults/may_differ" in text
    assert arithmetic.look() == []
    again, _ = watch(arithmetic.known, OTHER)
    assert again.look() == []


def test_another_driver_and_other_workers_are_one_change() -> None:
    [text] = watch([OTHER_DRIVER, HERE], OTHER)[0].look()
    assert OTHER_DRIVER in text
    assert driver_digest() in text


def test_workers_that_differ_among_themselves_count_without_a_second_warning() -> None:
    assert watch([], HERE, OTHER)[0].look() == [""]
