"""The tests marked `kernels`, once under each of OpenBLAS' kernels that this processor can run.

OpenBLAS takes its kernels from the processor's kind, and they sum in different orders; `OPENBLAS_CORETYPE` chooses.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import scipy.linalg.blas  # noqa: F401  # which loads its own OpenBLAS
import threadpoolctl

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
KERNELS = {
    "Nehalem": {"sse4_2"},
    "Sandybridge": {"avx"},
    "Haswell": {"avx2", "fma"},
    "Zen": {"avx2", "fma"},
    "SkylakeX": {"avx512f", "avx512dq", "avx512bw", "avx512vl"},
}
"""Names as OpenBLAS has them, and the processor's flags that they need."""
SELECTED = """
import numpy, scipy.linalg.blas, threadpoolctl
for library in threadpoolctl.threadpool_info():
    print(library["internal_api"], library.get("architecture"))
"""


def flags() -> set[str]:
    """What the processor can do, as Linux names it; nothing on other systems."""
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text().splitlines() if cpuinfo.exists() else []
    return next((set(line.split(":")[1].split()) for line in lines if line.startswith("flags")), set())


def own_kernel() -> str | None:
    """What OpenBLAS has taken in this process, where numpy and scipy agree."""
    libraries = [library for library in threadpoolctl.threadpool_info() if library["internal_api"] == "openblas"]
    taken = {library["architecture"] for library in libraries}
    return taken.pop() if len(taken) == 1 else None


def run(kernel: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Python under these kernels."""
    environment = os.environ | {"OPENBLAS_CORETYPE": kernel, "OPENBLAS_NUM_THREADS": "1"}
    environment.pop("PYTEST_ADDOPTS", None)
    return subprocess.run(
        [sys.executable, *arguments], cwd=ROOT, env=environment, capture_output=True, text=True, timeout=240
    )


@pytest.mark.parametrize("kernel", sorted(KERNELS))
def test_bits_depend_on_no_place_under_these_kernels(kernel: str) -> None:
    if missing := KERNELS[kernel] - flags():
        pytest.skip(f"needs a processor with {', '.join(sorted(missing))}")
    selected = run(kernel, "-c", SELECTED)
    assert selected.returncode == 0, selected.stderr
    libraries = {tuple(line.split()) for line in selected.stdout.splitlines()}
    if libraries == {("openblas", "Haswell")} and kernel == "Zen":
        pytest.skip("this OpenBLAS takes Haswell's for Zen")
    if not any(library == "openblas" for library, _ in libraries):
        pytest.skip(f"numpy uses {libraries} in the place of OpenBLAS")
    assert libraries == {("openblas", kernel)}
    if kernel == own_kernel():
        pytest.skip("the tests themselves run under this processor's own")
    others = sorted(path for path in HERE.glob("test_*.py") if path.name != Path(__file__).name)
    files = [str(path) for path in others if "@pytest.mark.kernels" in path.read_text()]
    tested = run(kernel, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "no:xdist", "-m", "kernels", *files)
    assert tested.returncode == 0, tested.stdout + tested.stderr
    assert " passed" in tested.stdout
    assert " skipped" not in tested.stdout
