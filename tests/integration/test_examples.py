"""The teaching example computes what RAES computes."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path

import numpy as np
import pytest
import yaml

import raes

EXAMPLE = Path(__file__).resolve().parents[2] / "examples" / "es_in_60_lines.py"


def test_es_in_60_lines_has_the_curve_of_raes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """And its docstring names the command, of which these are the words."""
    text = EXAMPLE.read_text()
    assert len(text.splitlines()) <= 60
    spec = importlib.util.spec_from_file_location("es_in_60_lines", EXAMPLE)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    theta = module.main()
    printed = re.findall(r"return +([\d.]+) +([\d.]+) to +([\d.]+)", capsys.readouterr().out)

    command = text.partition("python -m raes.train ")[2].partition("\n\n")[0].replace("\\\n", " ")
    keys = {key: yaml.safe_load(value) for key, value in (word.split("=", 1) for word in command.split())}
    run = raes.fit(run_dir=tmp_path / "run", console="quiet", **keys)
    records = [record for record in run.records if "returns/mean" in record]
    expected = [(record["returns/mean"], record["returns/min"], record["returns/max"]) for record in records]
    assert [tuple(map(float, row)) for row in printed] == [pytest.approx(row, abs=0.006) for row in expected]
    np.testing.assert_allclose(theta, run.theta, rtol=1e-5)
