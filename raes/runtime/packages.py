"""The versions of Python and of the packages in this process, and whether they fit those of the driver.

Imports the standard library only: the module is also sent whole to hosts with another RAES, or with none.
"""

from __future__ import annotations

import hashlib
import importlib.util
import platform
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

MODULES = {
    "ray": "ray",
    "raes": "raes",
    "numpy": "numpy",
    "scipy": "scipy",
    "gymnasium": "gymnasium",
    "mujoco": "mujoco",
    "ale-py": "ale_py",
    "torch": "torch",
}
"""Package -> the module that a process has loaded if it uses the package."""
ARITHMETIC = ("numpy", "scipy")
"""Packages whose version may change the last bits of a result, which the workers' digests show, and no episode."""
CURE = "install the same versions on every node (pip install -c constraints.txt, or one image for all)"


def installed(packages: Iterable[str] = MODULES) -> dict[str, str]:
    """Package -> version, Python's too; those that are not installed are left out."""
    found = {"python": platform.python_version()}
    for package in packages:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            if package == "raes" and importlib.util.find_spec("raes") is not None:
                found[package] = "without metadata"  # it came with the job's working directory
    if "raes" in found:
        found["raes"] += f" (sources {sources()})"
    return found


@cache
def sources() -> str:
    """A digest of all source files of RAES here: two checkouts may have the same version."""
    spec = importlib.util.find_spec("raes")
    digest = hashlib.blake2b(digest_size=4)
    for folder in (spec.submodule_search_locations or ()) if spec else ():
        for path in sorted(Path(folder).rglob("*.py")):
            digest.update(path.relative_to(folder).as_posix().encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()


def differing(expected: Mapping[str, str], found: Mapping[str, str]) -> dict[str, tuple[str, str]]:
    """Package -> (version found, version expected), of every expected package whose version is another."""
    return {
        package: (found.get(package, "none"), wanted)
        for package, wanted in expected.items()
        if found.get(package, "none") != wanted
    }


@dataclass(frozen=True)
class Origin:
    """The driver's host and its packages, with which its episodes must run."""

    host: str
    packages: Mapping[str, str]

    @staticmethod
    def here() -> Origin:
        """This process's."""
        return Origin(platform.node(), installed())

    def refusal(self) -> str:
        """Why a worker in this process must not run the driver's episodes, in one line; empty where it may.

        Only packages that are used count, and of these the ones that decide what an episode is.
        """
        here = installed(name for name, module in MODULES.items() if module in sys.modules and name not in ARITHMETIC)
        wanted = {package: self.packages.get(package, "none") for package in here}
        other = [f"{package} {found}, not {want}" for package, (found, want) in differing(wanted, here).items()]
        if not other:
            return ""
        return f"{platform.node()} has {' and '.join(other)} as the driver on {self.host}; {CURE}"
