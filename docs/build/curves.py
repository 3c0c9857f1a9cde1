"""Learning curves of measured runs, as `raes.report` draws them."""

from __future__ import annotations

from pathlib import Path

from raes.report import charts
from raes.report.groups import RunGroup, group
from raes.report.run_finder import StoredRun, find, read

RESULTS = Path(__file__).resolve().parents[2] / "results"
RESAMPLES = 1000


def curves(*names: str) -> bytes:
    """A PNG of evaluation return against timesteps of results/NAME.json: interquartile mean, interval, each seed."""
    picture = charts.curves(measured(*names), "timesteps", RESAMPLES)
    assert picture is not None
    return picture


def measured(*names: str) -> list[RunGroup]:
    """The runs of results/NAME.json, as `raes.report` groups them."""
    found = [one for path in find([str(RESULTS / f"{name}.json") for name in names]) for one in read(path)]
    groups, _ = group([one for one in found if isinstance(one, StoredRun)])
    return groups
