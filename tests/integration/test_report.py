"""A report over real runs: its numbers worked out again in plain Python, its page in a real browser."""

from __future__ import annotations

import itertools
import json
import math
import shutil
import statistics
from collections import defaultdict
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from tensorboard.backend.event_processing.event_multiplexer import EventMultiplexer

from .browser import browser, console_errors, needs_browser
from .helpers import Commands, records_of

SMALL = ("runtime=serial", "noise.size=50000", "algorithm.pairs=3", "generations=4", "evaluation.every=1",
         "evaluation.episodes=3")  # fmt: skip
KEYS = ("episodes", "timesteps", "minutes")


@pytest.fixture(scope="module")
def sweep(module_commands: Commands) -> Path:
    """2 algorithms x 3 seeds x 2 tasks, one more that fails, one that was cut off, and a folder of garbage."""
    module_commands.run(
        "-m", "env=CartPole,InvertedPendulum", "algorithm=es,ars", "seed=0,1,2", *SMALL, "run_dir=sweep"
    )
    module_commands.run(
        "env=gymnasium", "env.id=trial_worlds:Line-v0", "policy=linear", *SMALL, "run_dir=sweep/broken", code=1,
        BAD_SEEDS="all", BAD="raise",
    )  # fmt: skip
    folder = module_commands.cwd / "sweep"
    cut = shutil.copytree(next(folder.glob("*env-CartPole*seed-0*")), folder / "cut")
    lines = (cut / "metrics.jsonl").read_text().splitlines(keepends=True)
    (cut / "metrics.jsonl").write_text("".join(lines[:2]))
    (folder / "garbage").mkdir()
    (folder / "garbage" / "config.yaml").write_text("a: [")
    return folder


@pytest.fixture(scope="module")
def out(sweep: Path, module_commands: Commands) -> Path:
    """The folder of the report over it."""
    command = module_commands.run("sweep", "out=report", "title=Twelve & more", "resamples=4000", module="raes.report")
    assert "report.html" in command.out
    for name in ("broken", "cut", "garbage"):
        assert f"sweep/{name}" in command.out
    return sweep.parent / "report"


def evaluations(run: Path) -> list[dict[str, float]]:
    return [
        {"return": record["eval/return_mean"], "minutes": record["progress/seconds"] / 60,
         **{key: record[f"progress/{key}"] for key in KEYS[:2]}}
        for record in records_of(run) if "eval/return_mean" in record
    ]  # fmt: skip


def by_method(sweep: Path) -> dict[tuple[str, str], list[list[dict[str, float]]]]:
    """Each run's evaluations, from the files alone; what a run is of is read from the name of its folder."""
    found = defaultdict(list)
    for run in sorted(sweep.glob("*seed-*")):
        name = dict(word.split("-", 1) for word in run.name.split("__"))
        task = {"CartPole": "CartPole-v1", "InvertedPendulum": "InvertedPendulum-v5"}[name["env"]]
        found[task, name["algorithm"]].append(evaluations(run))
    return found


def rows_of(out: Path, table: str) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = json.loads((out / "report.json").read_text())[table]["rows"]
    return rows


def test_the_final_scores_are_what_plain_python_finds(sweep: Path, out: Path) -> None:
    expected = by_method(sweep)
    rows = {(row["task"], row["method"]): row for row in rows_of(out, "final")}
    assert rows.keys() == expected.keys()
    for key, runs in expected.items():
        last = [run[-1]["return"] for run in runs]
        assert len(last) == 3
        means = [statistics.fmean(sample) for sample in itertools.product(last, repeat=3)]  # of 3, nothing is trimmed
        low, high = np.quantile(means, [0.025, 0.975])  # of all 27 samples
        assert rows[key]["iqm"] == pytest.approx(statistics.fmean(last))
        assert rows[key]["low"] == pytest.approx(low, rel=1e-6, abs=0.35 * (high - low) + 1e-9)
        assert rows[key]["high"] == pytest.approx(high, rel=1e-6, abs=0.35 * (high - low) + 1e-9)
        assert rows[key]["seeds"] == 3


def test_the_times_to_thresholds_are_what_plain_python_finds(sweep: Path, out: Path) -> None:
    expected, rows = by_method(sweep), rows_of(out, "time_to_threshold")
    assert {(row["task"], row["method"]) for row in rows} == expected.keys()
    for row in rows:
        runs = expected[row["task"], row["method"]]
        for key in KEYS:
            first = [next((one[key] for one in run if one["return"] >= row["threshold"]), math.inf) for run in runs]
            middle = statistics.median(first)
            assert row[key] == (None if middle == math.inf else pytest.approx(middle))
            assert row["reached"] == sum(value < math.inf for value in first)


def test_the_runs_that_are_left_out_are_named_with_the_reason(out: Path) -> None:
    rows = {Path(row["path"]).name: row for row in rows_of(out, "left_out")}
    assert {name: row["status"] for name, row in rows.items()} == {
        "broken": "failed", "cut": "unfinished", "garbage": "unreadable",
    }  # fmt: skip
    assert "the joint came off" in rows["broken"]["reason"]
    assert len(rows_of(out, "runs")) == 12


def test_the_page_needs_nothing_else(out: Path) -> None:
    class Links(HTMLParser):
        def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
            assert tag != "script"
            for key, value in attrs:
                if key in ("src", "href", "srcset"):
                    assert value is not None
                    assert value.startswith(("data:", "#")), value

    text = (out / "report.html").read_text()
    Links().feed(text)
    assert "@import" not in text
    assert "Twelve &amp; more" in text
    names = {
        "curves_timesteps.png",
        "curves_episodes.png",
        "curves_minutes.png",
        "final.png",
        "report.html",
        "report.json",
        "tensorboard",
    }
    assert {path.name for path in out.iterdir()} == names


def test_tensorboard_has_the_runs_under_the_names_of_the_report(sweep: Path, out: Path) -> None:
    links = sorted((out / "tensorboard").rglob("seed *"))
    assert len(links) == 12
    for link in links:
        task, method = link.parts[-3:-1]
        name = dict(word.split("-", 1) for word in link.resolve().parent.name.split("__"))
        assert (name["env"], name["algorithm"], f"seed {name['seed']}") == (task.split("-")[0], method, link.name)
    curves = EventMultiplexer().AddRunsFromDirectory(str(out / "tensorboard"))
    curves.Reload()
    assert set(curves.Runs()) == {str(link.relative_to(out / "tensorboard")) for link in links}
    assert curves.Scalars("CartPole-v1/es/seed 0", "eval/return_mean")


@pytest.mark.tools
@needs_browser
def test_the_curves_are_seen_in_a_browser(out: Path, tmp_path: Path) -> None:
    picture = tmp_path / "page.png"
    with browser(tmp_path / "profile", height=2400) as driver:
        driver.get(f"file://{out}/report.html")
        assert console_errors(driver) == []
        widths = driver.execute_script("return [...document.images].map(image => image.naturalWidth)")
        assert len(widths) == 4
        assert min(widths) > 500
        beyond = driver.execute_script("return document.documentElement.scrollWidth - window.innerWidth")
        assert beyond <= 0, "the page is wider than the window"
        driver.save_screenshot(str(picture))
    pixels = np.asarray(Image.open(picture).convert("RGB")).reshape(-1, 3).astype(int)
    for color in ((0x00, 0x72, 0xB2), (0xD5, 0x5E, 0x00)):  # the first two methods' lines
        assert (np.abs(pixels - color).max(axis=1) < 12).sum() > 500


def test_unfinished_runs_count_where_they_are_asked_for(sweep: Path, commands: Commands) -> None:
    cut = str(sweep / "cut")
    message = commands.refuse(cut, module="raes.report")
    assert "unfinished=true" in message
    assert "interrupted or killed" in message
    commands.run(cut, "unfinished=true", module="raes.report")
    assert rows_of(commands.cwd / "report", "runs")[0]["status"] == "unfinished"


def test_a_report_on_nothing_is_refused(commands: Commands) -> None:
    assert "nowhere: there is no run" in commands.refuse("nowhere", module="raes.report")
