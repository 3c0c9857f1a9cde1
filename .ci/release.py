"""Makes a release ready: `make release`.

Dates the changelog's section, builds the source distribution and the wheel into dist/, checks both, installs the wheel
in a fresh environment, and trains there. Where anything fails, the changelog stays as it was. What the last lines name,
the commit, the tag and the upload, is left to you.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
import tomllib
import venv
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PLACES = {"raes/__init__.py": r'^__version__ = "(.+)"$', "CITATION.cff": r"^version: (.+)$"}
"""Where the version stands besides pyproject.toml."""
TRAIN = ("-m", "raes.train", "env=CartPole", "generations=3", "run_dir=run", "ray.address=local")


class ReleaseError(Exception):
    """Why there is no release, with the fix."""


def version_of(root: Path) -> str:
    """The version that all files agree on.

    Raises:
        ReleaseError: they do not.
    """
    version = str(tomllib.loads((root / "pyproject.toml").read_text())["project"]["version"])
    for name, pattern in PLACES.items():
        found = re.findall(pattern, (root / name).read_text(), re.MULTILINE)
        if found != [version]:
            raise ReleaseError(f"{name} has the version {', '.join(found) or 'of nothing'}, pyproject.toml {version}")
    return version


def dated(changelog: str, version: str, date: str) -> str:
    """The changelog with a date in the heading of this version's section.

    Raises:
        ReleaseError: the version has been released, or its section does not come first.
    """
    headings = re.findall(r"^## (.+)$", changelog, re.MULTILINE)
    pending = f"{version} (unreleased)"
    released = [heading for heading in headings if heading.split()[0] == version and heading != pending]
    if released:
        where = ", ".join(["pyproject.toml", *PLACES])
        raise ReleaseError(f"CHANGELOG.md has the section {released[0]} already; raise the version in {where}")
    if headings[:1] != [pending]:
        first = f"`## {headings[0]}`" if headings else "missing"
        raise ReleaseError(f"the first section of CHANGELOG.md must be `## {pending}`; it is {first}")
    return changelog.replace(f"## {pending}", f"## {version} ({date})", 1)


def check_clean(root: Path) -> None:
    """Refuse a tree with changes, which no tag would hold.

    Raises:
        ReleaseError: it has some.
    """
    status = ["git", "status", "--porcelain"]
    changes = subprocess.run(status, cwd=root, check=True, capture_output=True, text=True).stdout.splitlines()
    if changes:
        raise ReleaseError(f"the tree has {len(changes)} changes ({changes[0].strip()} ...); commit or stash them")


def run(*words: str | Path, cwd: Path) -> str:
    """Run a command outside of this checkout's code; what it printed.

    Raises:
        ReleaseError: it fails.
    """
    print("$", *words, flush=True)
    own = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    done = subprocess.run(
        [*map(str, words)], cwd=cwd, env=own, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )
    if done.returncode:
        raise ReleaseError(f"`{' '.join(map(str, words))}` ended with {done.returncode}:\n{done.stdout}")
    return done.stdout


def build(root: Path) -> list[Path]:
    """Build both distributions into an empty dist/, and check what an index would."""
    shutil.rmtree(root / "dist", ignore_errors=True)
    run(sys.executable, "-m", "build", "--outdir", root / "dist", root, cwd=root)
    files = sorted((root / "dist").iterdir())
    print(run(sys.executable, "-m", "twine", "check", "--strict", *files, cwd=root), end="")
    return files


def try_out(wheel: Path, version: str, constraints: Path) -> None:
    """Install the wheel in a fresh environment and train there.

    Raises:
        ReleaseError: it does not work.
    """
    with tempfile.TemporaryDirectory(prefix="raes-") as name:
        folder = Path(name)
        venv.create(folder / "fresh", with_pip=True)
        program = folder / "fresh" / "bin"
        run(program / "pip", "install", "--quiet", "-c", constraints, wheel, cwd=folder)
        if (printed := run(program / "raes", "--version", cwd=folder).strip()) != f"raes {version}":
            raise ReleaseError(f"the installed program prints {printed}, not raes {version}")
        print(run(program / "python", *TRAIN, cwd=folder), end="")


def release(root: Path) -> None:
    """All of it.

    Raises:
        ReleaseError: with the changelog as it was.
    """
    version, changelog = version_of(root), root / "CHANGELOG.md"
    check_clean(root)
    before = changelog.read_text()
    changelog.write_text(dated(before, version, time.strftime("%Y-%m-%d", time.gmtime())))
    try:
        files = build(root)
        (wheel,) = [file for file in files if file.suffix == ".whl"]
        try_out(wheel, version, root / "constraints.txt")
    except BaseException:
        changelog.write_text(before)
        raise
    print(f"RAES {version} is ready: {', '.join(file.name for file in files)}. Next:")
    print(f"  git commit -am 'RAES {version}' && git tag v{version} && git push --tags")
    print("  twine upload dist/*")


if __name__ == "__main__":
    try:
        release(ROOT)
    except ReleaseError as error:
        sys.exit(f"no release: {error}")
