"""What a process reports of its packages, and when a worker refuses another one's episodes."""

from __future__ import annotations

import platform
from importlib.metadata import version

import gymnasium

from raes.runtime.digests import Digests
from raes.runtime.packages import Origin, differing, installed


def test_the_installed_versions_are_the_ones_that_pip_knows() -> None:
    found = installed(["numpy", "ray", "no-such-package"])
    assert found == {"python": platform.python_version(), "numpy": version("numpy"), "ray": version("ray")}
    assert installed(["raes"])["raes"].startswith(f"{version('raes')} (sources ")


def test_what_differs_or_is_missing_is_named() -> None:
    assert differing({"mujoco": "4", "numpy": "2"}, {"mujoco": "3", "numpy": "2", "torch": "1"}) == {
        "mujoco": ("3", "4")
    }
    assert differing({"ale-py": "1"}, {}) == {"ale-py": ("none", "1")}


def test_a_worker_with_the_drivers_packages_may_work() -> None:
    assert Origin.here().refusal() == ""


def test_a_refusal_names_the_host_both_versions_and_the_cure() -> None:
    driver = Origin("head", installed() | {"gymnasium": "0.9", "numpy": "1.0"})
    text = driver.refusal()
    assert text.startswith(f"{platform.node()} has gymnasium {gymnasium.__version__}, not 0.9 as the driver on head; ")
    assert "numpy" not in text  # the digests tell whether it matters
    assert "constraints.txt" in text
    assert "\n" not in text


def test_packages_that_are_not_used_do_not_matter() -> None:
    assert Origin("head", installed() | {"never-used": "1"}).refusal() == ""


def test_another_checkout_of_the_same_version_is_another_raes() -> None:
    driver = Origin("head", installed() | {"raes": f"{version('raes')} (sources 00000000)"})
    assert "raes 0." in driver.refusal()


def test_other_libraries_are_told_once_even_where_an_episode_had_the_same_bits() -> None:
    digests = Digests()
    assert digests.add("aa on one (x86_64, numpy 2.4.6, scipy 1.17)") is None
    assert digests.add("aa on two (x86_64, numpy 2.4.6, scipy 1.17)") is None
    warning = digests.add("aa on three (x86_64, numpy 2.4.5, scipy 1.17)") or ""
    assert "different libraries" in warning
    assert "three" in warning
    assert "numpy 2.4.6" in warning
    assert digests.add("aa on four (x86_64, numpy 2.4.5, scipy 1.17)") is None
    assert "different bits" in (digests.add("bb on five (x86_64, numpy 2.4.6, scipy 1.17)") or "")
