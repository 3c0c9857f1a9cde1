"""Ray's metrics of a run, scraped over HTTP as Prometheus does, and the dashboard that draws them."""

from __future__ import annotations

import json
import re
import urllib.request
from pathlib import Path
from typing import Any

import pytest

from raes.runtime.gauges import DESCRIPTIONS, TAGS, metric_name

from .helpers import CARTPOLE, Commands, records_of

DASHBOARD = Path(__file__).parents[2] / "cluster" / "grafana" / "raes.json"
EXPORTED = {f"ray_{metric_name(key)}" for key in DESCRIPTIONS}


def scrape(ports: list[int]) -> dict[str, dict[str, float]]:
    """Run -> metric -> value, of all ports that answer; those of earlier tests do not."""
    found: dict[str, dict[str, float]] = {}
    for port in ports:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10) as answer:
                page = answer.read().decode()
        except OSError:
            continue
        for name, labels, value in re.findall(r"^(ray_raes_\w+)\{(.*)\} (\S+)$", page, re.M):
            tags = dict(re.findall(r'(\w+)="([^"]*)"', labels))
            assert set(TAGS) <= tags.keys()
            found.setdefault(" ".join(tags[tag] for tag in TAGS), {})[name] = float(value)
    return found


@pytest.mark.tools
def test_prometheus_finds_the_figures_of_a_run(commands: Commands, ray_folder: Path) -> None:
    command = commands.start(*CARTPOLE, "env.name=Mine", "run_dir=run", "evaluation.every=1", "max_minutes=3",
                             RAY_metrics_report_interval_ms="500")  # fmt: skip

    def figures() -> dict[str, float]:
        files = ray_folder.glob("**/metrics_export_port_*")
        ports = [int(text) for path in files if not path.parent.is_symlink() and (text := path.read_text()).isdecimal()]
        return scrape(ports).get("run Mine es 0", {})

    command.wait_for(lambda: figures().keys() >= EXPORTED - {"ray_raes_live_answered"})
    generation = figures()["ray_raes_progress_generation"]
    command.wait_for(lambda: figures()["ray_raes_progress_generation"] > generation)
    seen = figures()
    record = records_of(commands.cwd / "run")[int(seen["ray_raes_progress_generation"])]
    assert seen["ray_raes_search_sigma"] == record["search/sigma"]
    assert seen["ray_raes_pool_actors"] == record["pool/actors"]
    assert 1 <= seen["ray_raes_eval_return_mean"] <= 500
    command.kill()


def test_the_keys_are_those_of_the_records(commands: Commands) -> None:
    commands.run(*CARTPOLE, "runtime=serial", "run_dir=run", "generations=1")
    keys = {key for record in records_of(commands.cwd / "run") for key in record}
    assert {key for key in DESCRIPTIONS if not key.startswith("live/")} <= keys


def test_every_panel_of_the_dashboard_asks_for_what_is_exported() -> None:
    dashboard: dict[str, Any] = json.loads(DASHBOARD.read_text())
    asked: set[str] = set()
    places = set()
    for panel in dashboard["panels"]:
        place = panel["gridPos"]
        assert place["x"] + place["w"] <= 24
        places.add((place["x"], place["y"]))
        assert panel["targets"], panel["title"]
        for target in panel["targets"]:
            names = set(re.findall(r"ray_raes_\w+", target["expr"]))
            assert names, target
            asked |= names
    variables = {variable["name"]: variable for variable in dashboard["templating"]["list"]}
    assert variables.keys() == {"datasource", "env", "run"}
    asked |= set(re.findall(r"ray_raes_\w+", json.dumps(dashboard["templating"])))
    assert asked <= EXPORTED, asked - EXPORTED
    assert len(places) == len(dashboard["panels"]) == len({panel["id"] for panel in dashboard["panels"]})
    assert {"run", "env"} <= set(TAGS)
