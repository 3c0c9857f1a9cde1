"""The examples have heads that are true, and the teaching example computes what RAES computes."""

from __future__ import annotations

import ast
import importlib.util
import re
import shlex
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import yaml

import raes
from raes.config.compose import compose

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
PROGRAMS = sorted(EXAMPLES.glob("*.py"))


def head(path: Path) -> str:
    """The docstring that a file begins with."""
    return ast.get_docstring(ast.parse(path.read_text())) or ""


def commands(path: Path) -> list[list[str]]:
    """The words of the commands in a head, which stand indented there."""
    lines = re.findall(r"^ {4}(.+)$", head(path).replace("\\\n", " "), re.MULTILINE)
    return [shlex.split(line) for line in lines if not line.startswith("cd ")]


def loaded(path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("path", PROGRAMS, ids=lambda path: path.stem)
def test_the_head_says_what_an_example_shows_how_it_is_run_and_what_it_prints(path: Path) -> None:
    first, _, rest = head(path).partition("\n")
    assert re.match(r"[A-Z].{20,}[.,:a-z]$", first), "a title in one line"
    assert " shows " in rest
    assert re.search(r"\bprints\b", rest)
    assert commands(path)


@pytest.mark.parametrize("path", PROGRAMS, ids=lambda path: path.stem)
def test_the_commands_in_a_head_exist(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(EXAMPLES.parent)
    for python, *words in commands(path):
        assert python == "python"
        if words[:2] == ["-m", "raes.train"]:
            compose(words[2:])
        else:
            assert words[0] == f"examples/{path.name}"


def test_the_quadratic_finds_the_solution_that_its_head_names(capsys: pytest.CaptureFixture[str]) -> None:
    module = loaded(EXAMPLES / "quadratic.py")
    module.main()
    *lines, last = capsys.readouterr().out.splitlines()
    assert [line.split()[:2] for line in lines] == [["iteration", str(number)] for number in range(0, 300, 20)]
    found = np.array(re.findall(r"-?\d+\.\d*", last.partition("found")[2]), float)
    assert np.allclose(found, module.SOLUTION, atol=0.05)
    assert str(module.SOLUTION.tolist()) in head(EXAMPLES / "quadratic.py")


def test_es_in_60_lines_has_the_curve_of_raes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """And its docstring names the command, of which these are the words."""
    path = EXAMPLES / "es_in_60_lines.py"
    assert len(path.read_text().splitlines()) <= 60
    theta = loaded(path).main()
    printed = re.findall(r"return +([\d.]+) +([\d.]+) to +([\d.]+)", capsys.readouterr().out)

    [command] = [words for words in commands(path) if "raes.train" in words]
    keys = {key: yaml.safe_load(value) for key, value in (word.split("=", 1) for word in command[3:])}
    run = raes.fit(run_dir=tmp_path / "run", console="quiet", **keys)
    records = [record for record in run.records if "returns/mean" in record]
    expected = [(record["returns/mean"], record["returns/min"], record["returns/max"]) for record in records]
    assert [tuple(map(float, row)) for row in printed] == [pytest.approx(row, abs=0.006) for row in expected]
    np.testing.assert_allclose(theta, run.theta, rtol=1e-5)


def test_the_decoder_of_sums_has_a_million_parameters_and_keeps_tasks_apart() -> None:
    decoder = loaded(EXAMPLES / "arithmetic" / "decoder.py")
    model = decoder.pretrained(1)
    assert 0.9e6 < sum(one.numel() for one in model.parameters()) < 1.1e6
    train, held_out = decoder.training_tasks(), decoder.held_out_tasks()
    assert not set(train) & set(held_out)
    assert len(train) + len(held_out) == (decoder.LARGEST + 1) ** 2
    assert 0 <= decoder.reward(model, held_out) < 0.2
    right = decoder.sums(held_out)
    assert right.tolist() == [a + b for a, b in held_out]
