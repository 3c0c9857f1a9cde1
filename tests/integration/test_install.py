"""The wheel, installed outside of any checkout, finds its configuration and trains."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
import sysconfig
import venv
import zipfile
from importlib.metadata import distributions
from pathlib import Path

import pytest

import raes

REPOSITORY = Path(__file__).resolve().parents[2]
pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]


def run(*words: str | Path, cwd: Path, code: int = 0) -> str:
    """Run a command; what it printed."""
    kept = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    done = subprocess.run(
        [*map(str, words)], cwd=cwd, env=kept, capture_output=True, text=True, timeout=400, check=False
    )
    assert done.returncode == code, f"{words}\n{done.stdout}\n{done.stderr}"
    return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel as `python -m build` makes it: by way of the source distribution."""
    out = tmp_path_factory.mktemp("dist")
    run(sys.executable, "-m", "build", "--outdir", out, REPOSITORY, cwd=out)
    [path] = out.glob("*.whl")
    assert list(out.glob("*.tar.gz"))
    return path


@pytest.fixture(scope="module")
def python(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The python of a fresh environment that holds this wheel; the dependencies are those of the tests."""
    folder = tmp_path_factory.mktemp("fresh")
    venv.create(folder, with_pip=False, symlinks=True)
    python = folder / "bin" / "python"
    [site] = (folder / "lib").glob("python*/site-packages")
    run(sys.executable, "-m", "pip", "install", "--no-deps", "--no-index", "--target", site, wheel, cwd=folder)
    # A path of its own line behind our site-packages: .pth files there, the editable raes among them, stay unread.
    (site / "dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n")
    return python


def test_the_wheel_holds_code_and_configuration_only(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    assert {
        "raes/conf/config.yaml",
        "raes/conf/env/Humanoid.yaml",
        "raes/py.typed",
        "raes/train.py",
        "raes/pretrained/Hopper/checkpoints/best",
        "raes/reference/es_paper_atari.csv",
        "hydra_plugins/raes_launcher.py",
    } <= set(names)
    assert {name.split("/")[0] for name in names} == {
        "raes",
        "hydra_plugins",
        *(n.split("/")[0] for n in names if ".dist-info/" in n),
    }
    ours = {str(path.relative_to(REPOSITORY / "conf")) for path in (REPOSITORY / "conf").rglob("*.yaml")}
    assert {name.removeprefix("raes/conf/") for name in names if name.startswith("raes/conf/")} == ours


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[str]]:
    """What the container image copies, and the words of its pip command; there is no container engine here."""
    text = (REPOSITORY / "cluster" / "Dockerfile").read_text()
    folder = tmp_path_factory.mktemp("image")
    for sources in re.findall(r"^COPY (.*) \S+$", text, re.MULTILINE):
        for name in sources.split():
            copy = shutil.copytree if (REPOSITORY / name).is_dir() else shutil.copy
            copy(REPOSITORY / name, folder / name)
    (command,) = re.findall(r"^RUN pip (install .*)$", text, re.MULTILINE)
    return folder, shlex.split(command)


def test_what_the_image_copies_makes_the_same_wheel(image: tuple[Path, list[str]], wheel: Path, tmp_path: Path) -> None:
    run(sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", tmp_path, image[0], cwd=tmp_path)
    (built,) = tmp_path.glob("*.whl")
    assert zipfile.ZipFile(built).namelist() == zipfile.ZipFile(wheel).namelist()


def test_the_images_pip_command_finds_all_that_it_installs(image: tuple[Path, list[str]]) -> None:
    folder, words = image
    (would,) = re.findall("Would install (.*)", run(sys.executable, "-m", "pip", *words, "--dry-run", cwd=folder))
    assert f"raes-{raes.__version__}" in would.split()
    there = {package.rpartition("-")[0] for package in would.split()} | {one.name for one in distributions()}
    assert {"s3fs", "gcsfs", "adlfs", "ray"} <= there


def test_it_works_outside_of_a_checkout(python: Path, tmp_path: Path) -> None:
    where = run(python, "-c", "import raes; print(raes.__file__)", cwd=tmp_path).strip()
    assert Path(where).is_relative_to(python.parents[1]), where
    job = run(python, "-m", "raes.train", "env=Humanoid", "--cfg", "job", cwd=tmp_path)
    assert "id: Humanoid-v5" in job
    run(
        python, "-m", "raes.train", "-m", "env=CartPole", "runtime=serial", "generations=1", "algorithm.pairs=2",
        "seed=0,1", "run_dir=sweep", cwd=tmp_path,
    )  # fmt: skip
    assert len(list((tmp_path / "sweep").glob("*/config.yaml"))) == 2
    run(
        python, "-m", "raes.train", "env=CartPole", "runtime=serial", "generations=1", "algorithm.pairs=2",
        "evaluation.episodes=1", "run_dir=run", cwd=tmp_path,
    )  # fmt: skip
    assert (tmp_path / "run" / "checkpoints" / "latest").read_text().strip() == "gen_000001"
    figures = run(python, "-m", "raes.evaluate", "run_dir=run", "runtime=serial", "episodes=2", cwd=tmp_path)
    assert "return_mean" in figures


def test_unknown_words_are_refused_there_too(python: Path, tmp_path: Path) -> None:
    assert not run(python, "-m", "raes.train", "env=Hoper", cwd=tmp_path, code=2)
