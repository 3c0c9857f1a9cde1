"""What `make release` refuses, what it writes, and that all files agree on the version."""

from __future__ import annotations

import importlib.util
import re
import subprocess
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import yaml

import raes

ROOT = Path(__file__).resolve().parents[2]
CHANGELOG = "# Changelog\n\n## 9.8.7 (unreleased)\n\n- New.\n\n## 9.8.6 (2026-01-02)\n\n- Old.\n"


@pytest.fixture(scope="module")
def release() -> ModuleType:
    """The program."""
    spec = importlib.util.spec_from_file_location("release", ROOT / ".ci" / "release.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A committed tree with what a release reads, of version 9.8.7."""
    for name in ("pyproject.toml", "raes/__init__.py", "CITATION.cff"):
        text = (ROOT / name).read_text().replace(raes.__version__, "9.8.7")
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    (tmp_path / "CHANGELOG.md").write_text(CHANGELOG)
    git(tmp_path, "init", "--quiet")
    commit(tmp_path)
    return tmp_path


def git(folder: Path, *words: str) -> None:
    who = ("-c", "user.name=a", "-c", "user.email=a@example.org")
    subprocess.run(["git", *who, *words], cwd=folder, check=True, capture_output=True)


def commit(folder: Path) -> None:
    git(folder, "add", "--all")
    git(folder, "commit", "--quiet", "--message", "All")


def edit(name: str, old: str, new: str) -> Callable[[Path], None]:
    """A change of a file, committed."""

    def change(folder: Path) -> None:
        (folder / name).write_text((folder / name).read_text().replace(old, new))
        commit(folder)

    return change


def test_the_heading_gets_the_date_and_nothing_else_changes(release: ModuleType) -> None:
    assert release.dated(CHANGELOG, "9.8.7", "2026-12-01") == CHANGELOG.replace("(unreleased)", "(2026-12-01)")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (edit("CHANGELOG.md", "(unreleased)", "(2026-02-03)"), r"has the section 9.8.7 \(2026-02-03\) already; raise"),
        (edit("CHANGELOG.md", "9.8.7", "9.8.8"), "the first section of CHANGELOG.md must be `## 9.8.7"),
        (edit("CITATION.cff", "9.8.7", "9.8.6"), r"CITATION.cff has the version 9.8.6, pyproject.toml 9.8.7"),
        (edit("raes/__init__.py", "9.8.7", "9.8.6"), r"raes/__init__.py has the version 9.8.6"),
        (lambda folder: (folder / "new").touch(), r"the tree has 1 changes \(\?\? new ...\); commit"),
    ],
)
def test_what_cannot_be_released_is_refused_and_nothing_is_built(
    release: ModuleType, checkout: Path, change: Callable[[Path], None], message: str
) -> None:
    change(checkout)
    before = (checkout / "CHANGELOG.md").read_text()
    with pytest.raises(release.ReleaseError, match=message):
        release.release(checkout)
    assert (checkout / "CHANGELOG.md").read_text() == before
    assert not (checkout / "dist").exists()


def test_a_build_that_fails_leaves_the_changelog_as_it_was(release: ModuleType, checkout: Path) -> None:
    """There is nothing to build here."""
    with pytest.raises(release.ReleaseError, match=r"-m build .* ended with 1"):
        release.release(checkout)
    assert (checkout / "CHANGELOG.md").read_text() == CHANGELOG


def test_all_files_name_this_version(release: ModuleType) -> None:
    assert release.version_of(ROOT) == raes.__version__
    first = re.findall(r"^## (\S+)", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)[0]
    assert first == raes.__version__
    for name in ("cluster/Dockerfile", "cluster/OTHER.md"):
        assert set(re.findall(r"/raes:([\d.]+\d)", (ROOT / name).read_text())) == {raes.__version__}


def test_the_citation_is_of_format_1_2_0() -> None:
    """As its schema has it: four keys are needed, and a project among the authors has a name."""
    citation: dict[str, Any] = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert citation["cff-version"] == "1.2.0"
    assert citation["authors"] == [{"name": "The RAES authors"}]
    assert {"message", "title"} <= citation.keys()
    assert citation.keys() <= {
        "cff-version",
        "message",
        "type",
        "title",
        "abstract",
        "authors",
        "version",
        "license",
        "keywords",
    }
    assert citation["type"] == "software"
    assert str(citation["version"]) == raes.__version__
    assert all(isinstance(word, str) for word in citation["keywords"])
