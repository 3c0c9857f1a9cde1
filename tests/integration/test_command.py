"""The console script `raes`: its commands, its help, and completion in a real bash."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import raes
from raes.__main__ import COMMANDS

from .helpers import SERIAL, theta_of

RAES = Path(sys.executable).with_name("raes")


def run(*words: str, cwd: Path, code: int = 0) -> str:
    done = subprocess.run([str(RAES), *words], cwd=cwd, capture_output=True, text=True)
    assert done.returncode == code, done
    assert "Traceback" not in done.stderr, done
    return done.stdout + done.stderr


def test_from_training_to_a_film(tmp_path: Path) -> None:
    """And modules of the user's own are found in the working directory."""
    (tmp_path / "own.py").write_text("import gymnasium\nclass Same(gymnasium.Wrapper): pass\n")
    words = ("train", *SERIAL, "env.wrappers=[own:Same]", "generations=1", "console=plain")
    assert "finished: generation limit (1) reached" in run(*words, "run_dir=x", cwd=tmp_path)
    assert "CartPole-v1" in run("evaluate", "x", "episodes=2", "runtime=serial", cwd=tmp_path)
    assert "CartPole-v1" in run("evaluate", "run_dir=x", "episodes=2", "runtime=serial", cwd=tmp_path)
    assert "policy.npz" in run("export", "x", "out=policy.npz", cwd=tmp_path)
    assert "CartPole-v1" in run("report", "x", cwd=tmp_path)
    run("play", "x", "seconds=0.1", "out=film.mp4", cwd=tmp_path)
    assert (tmp_path / "film.mp4").exists()
    assert theta_of(tmp_path / "x").size


def test_help_and_version(tmp_path: Path) -> None:
    for words in ((), ("--help",), ("-h",)):
        text = run(*words, cwd=tmp_path)
        assert all(f"\n  {name}" in text for name in COMMANDS)
    assert run("--version", cwd=tmp_path) == f"raes {raes.__version__}\n"
    for name in COMMANDS:
        text = run(name, "--help", cwd=tmp_path)
        assert "raes" in text


@pytest.mark.parametrize(
    ("words", "parts"),
    [
        (("trian",), ["trian: there is no such command; did you mean train?"]),
        (("--completion", "tcsh"), ["--completion tcsh: there is no such shell", "bash"]),
        (("evaluate", "nowhere"), ["run_dir=nowhere: there is no such folder"]),
        (("play", "HalfCheetah"), ["run_dir=HalfCheetah", "pretrained=HalfCheetah is one that comes along"]),
        (("play", "pretrained", "=", "Hopper"), ["pretrained =: write key=value without spaces around ="]),
        (("report", "out=a.html"), ["out=a.html: must be a folder"]),
        (("evaluate", "a", "b"), ["run_dir"]),
    ],
)
def test_wrong_words(tmp_path: Path, words: tuple[str, ...], parts: list[str]) -> None:
    text = run(*words, cwd=tmp_path, code=2)
    assert text.startswith("raes: ")
    assert all(part in text for part in parts)


@pytest.mark.parametrize(
    ("line", "found"),
    [
        ("raes ev", ["evaluate"]),
        ("raes train env=HalfC", ["HalfCheetah"]),
        ("raes train algorithm=nsra", ["nsra_es"]),
        ("raes train seed", ["seed="]),
        ("raes train algorithm=ga algorithm.eli", ["algorithm.elite_episodes="]),
        ("raes evaluate epis", ["episodes="]),
        ("raes nonsense x", []),
    ],
)
def test_completion_in_bash(line: str, found: list[str]) -> None:
    bash = shutil.which("bash")
    if bash is None:
        pytest.skip("no bash here")
    script = f"""
        eval "$(raes --completion bash)"
        compopt() {{ :; }}
        COMP_LINE={line!r} COMP_POINT={len(line)}
        COMP_WORDS=({line.replace("=", " = ")}) COMP_CWORD=$(( ${{#COMP_WORDS[@]}} - 1 ))
        _raes
        printf '%s\\n' "${{COMPREPLY[@]}}"
    """
    path = f"{RAES.parent}{os.pathsep}{os.environ['PATH']}"
    done = subprocess.run([bash, "-c", script], capture_output=True, text=True, env={**os.environ, "PATH": path})
    assert done.stdout.split() == found, done
