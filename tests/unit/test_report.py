"""Reports: the statistics against scipy and plain Python, what counts as a run, and how runs are grouped."""

from __future__ import annotations

import itertools
import json
import random
import statistics
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
import pytest
import scipy.stats

from raes.config.cli import parse
from raes.console.tables import table
from raes.report import charts, published, report_tables
from raes.report.__main__ import ReportArguments, report, split
from raes.report.groups import group
from raes.report.interquartile import first_reaching, interval, intervals, iqm, on_grid
from raes.report.run_finder import RandomPlay, StoredRun, Unreadable, find, read
from raes.report.terminal import on_terminal
from raes.types import UserError


def trimmed(values: list[float]) -> float:
    """The interquartile mean in plain Python."""
    cut = len(values) // 4
    return statistics.fmean(sorted(values)[cut : len(values) - cut])


NAMES = [r"$\frac{1}$", r"$\frac{1", "_hidden", "a\nb", "\x1b[2J", "x" * 5000, "<script>alert(1)</script>",
         r"\input{/etc/passwd}", "a%b^c~d&e#f", "caf\udce9"]  # fmt: skip


@pytest.mark.parametrize("name", NAMES, ids=range(len(NAMES)))
def test_a_name_is_shown_as_it_stands(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(matplotlib.rcParams, "text.usetex", True)  # as a user's own matplotlibrc may have it
    for number in range(2):
        env = {"name": "gymnasium", "id": name, "kwargs": {"key": name}}
        write_run(tmp_path / "runs" / str(number), [1.0, 2.0], env=env, algorithm={"name": name}, seed=number)
    arguments = ReportArguments(out=str(tmp_path / "out"), title=name, resamples=100)
    text = "\n".join(map(table, report([str(tmp_path / "runs")], arguments)))
    page = (tmp_path / "out" / "report.html").read_text()
    assert "<script" not in page
    assert all(line.isprintable() for line in text.splitlines())
    assert all(line.isprintable() for line in page.splitlines())
    assert charts.plain(name).strip().replace(r"\$", "") or name == "$"


@pytest.mark.parametrize("count", range(1, 14))
def test_the_interquartile_mean_is_scipys_trimmed_mean(count: int) -> None:
    scores = np.random.default_rng(count).normal(size=(count, 5)) ** 3
    expected = scipy.stats.trim_mean(scores, 0.25, axis=0)
    np.testing.assert_allclose(iqm(scores), expected, rtol=1e-12)
    np.testing.assert_allclose(iqm(scores), [trimmed(list(column)) for column in scores.T], rtol=1e-12)


def test_the_interval_is_scipys_percentile_bootstrap() -> None:
    scores = np.random.default_rng(3).gamma(2.0, size=12)
    theirs = scipy.stats.bootstrap(
        (scores,), lambda sample, axis: scipy.stats.trim_mean(sample, 0.25, axis=axis), method="percentile",
        n_resamples=40_000, rng=np.random.default_rng(5),
    ).confidence_interval  # fmt: skip
    ours = interval([scores], 40_000)
    assert ours.low == pytest.approx(theirs.low, rel=0.02)
    assert ours.high == pytest.approx(theirs.high, rel=0.02)


def test_the_bootstrap_is_stratified_by_task() -> None:
    """Against all 27 x 27 samples of two tasks of three runs; without regard to tasks the interval is far wider."""
    easy, hard = [100.0, 101.0, 103.0], [1.0, 2.0, 9.0]
    exact = [
        trimmed([*one, *other])
        for one in itertools.product(easy, repeat=3)
        for other in itertools.product(hard, repeat=3)
    ]
    low, high = np.quantile(exact, [0.025, 0.975])
    ours = interval([np.array(easy), np.array(hard)], 20_000)
    assert ours.iqm == pytest.approx(trimmed(easy + hard))
    assert ours.low == pytest.approx(low, abs=0.3)
    assert ours.high == pytest.approx(high, abs=0.3)
    mixed = [trimmed(random.Random(number).choices(easy + hard, k=6)) for number in range(2000)]
    assert np.quantile(mixed, 0.975) - np.quantile(mixed, 0.025) > 5 * (high - low)


def test_curves_have_an_interval_at_each_point_and_the_same_one_every_time() -> None:
    scores = np.random.default_rng(0).normal(size=(5, 7))
    middle, low, high = intervals([scores], 500)
    assert middle.shape == low.shape == high.shape == (7,)
    assert (low <= middle).all()
    assert (middle <= high).all()
    np.testing.assert_array_equal(intervals([scores], 500)[1], low)
    for point in range(7):  # runs are drawn whole: each point is what its own column gives
        assert interval([scores[:, point]], 500).low == pytest.approx(low[point])


def test_a_single_run_has_no_interval() -> None:
    alone = interval([np.array([3.0])], 500)
    assert alone.iqm == 3
    assert np.isnan(alone.low)
    assert np.isnan(alone.high)


def test_the_grid_interpolates_and_never_extrapolates() -> None:
    one = (np.array([0.0, 10.0, 20.0]), np.array([0.0, 100.0, 0.0]))
    other = (np.array([5.0, 15.0, 15.0]), np.array([1.0, 2.0, 3.0]))  # the evaluation at the end is at the same x
    grid, scores = on_grid([one, other], 3)
    np.testing.assert_allclose(grid, [5, 10, 15])
    np.testing.assert_allclose(scores, [[50, 100, 50], [1, 2, 3]])
    nothing, _ = on_grid([one, (np.array([30.0]), np.array([1.0]))], 3)
    assert not nothing.size


def test_the_first_evaluation_at_a_threshold_counts() -> None:
    x, y = np.array([1.0, 2.0, 3.0]), np.array([0.0, 5.0, 1.0])
    assert first_reaching(x, y, 5.0) == 2
    assert first_reaching(x, y, 5.1) == float("inf")


def write_run(folder: Path, returns: list[float], finished: bool = True, log: str = "", **config: Any) -> Path:
    """A run directory as training leaves it, with one evaluation per generation."""
    folder.mkdir(parents=True)
    tree = {"seed": 0, "env": {"name": "Hopper", "id": "Hopper-v5", "kwargs": {}},
            "algorithm": {"name": "es", "sigma": 0.1}, "run_dir": str(folder), "generations": len(returns)}  # fmt: skip
    for key, value in config.items():
        tree[key] = {**tree.get(key, {}), **value} if isinstance(value, dict) else value
    (folder / "config.yaml").write_text(json.dumps(tree))  # JSON is YAML
    records = []
    for number, value in enumerate(returns):
        record = {"progress/generation": number, "progress/timesteps": 1000 * (number + 1), "eval/return_mean": value,
                  "progress/episodes": 4 * (number + 1), "progress/seconds": 60.0 * (number + 1), "pool/actors": 2,
                  "speed/worker_busy_fraction": 0.5, "faults/actors_lost": 1}  # fmt: skip
        records.append(record if finished and number == len(returns) - 1 else record | {"returns/mean": value})
    (folder / "metrics.jsonl").write_text("".join(json.dumps(record) + "\n" for record in records))
    (folder / "log.txt").write_text(log)
    return folder


def runs_in(*words: Path | str) -> list[StoredRun]:
    found = [one for path in find([str(word) for word in words]) for one in read(path)]
    assert all(isinstance(one, StoredRun) for one in found), found
    return [one for one in found if isinstance(one, StoredRun)]


def test_runs_are_found_at_any_depth_by_globs_and_once(tmp_path: Path) -> None:
    one = write_run(tmp_path / "sweep" / "env.kwargs={a:[1]},seed=0", [1.0])
    two = write_run(tmp_path / "sweep" / "deep" / "seed=1", [1.0], seed=1)
    (tmp_path / "sweep" / "notes").mkdir()
    assert set(find([str(tmp_path)])) == {one, two}
    assert find([str(tmp_path / "sweep" / "*" / "seed*"), str(two)]) == [two]
    assert find([str(one)]) == [one]
    with pytest.raises(UserError, match="nowhere"):
        find([str(tmp_path / "nowhere")])


@pytest.mark.parametrize(
    ("change", "status", "reason"),
    [
        (lambda run: None, "unfinished", "interrupted or killed after generation 1"),
        (lambda run: (run / "log.txt").write_text("x: the run stops: all failed\n"), "failed", "all failed"),
    ],
)
def test_a_run_that_did_not_end_by_itself_says_why(tmp_path: Path, change: Any, status: str, reason: str) -> None:
    folder = write_run(tmp_path / "run", [1.0, 2.0], finished=False)
    change(folder)
    (run,) = runs_in(folder)
    assert run.status == status
    assert reason in run.reason


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("config.yaml", "a: [", "damaged"),
        ("config.yaml", "seed: 3", "algorithm.name"),
        ("config.yaml", "- 1", "holds no keys"),
        ("metrics.jsonl", "", "no record"),
        ("metrics.jsonl", "\x00\x01 not json\n", "no record"),
        ("metrics.jsonl", '{"progress/generation": 0, "returns/mean": 1.0}\n', "generation 0"),
        ("metrics.jsonl", '{"progress/generation": 0, "eval/return_mean": NaN}\n', "no evaluation"),
        ("metrics.jsonl", '{"eval/return_mean": 1.0}\n', "no record"),
        ("metrics.jsonl", '{"progress/generation": 0, "eval/return_mean": 1.0}\n', "progress/"),
    ],
)
def test_a_damaged_run_is_named_and_not_fatal(tmp_path: Path, name: str, content: str, reason: str) -> None:
    folder = write_run(tmp_path / "run", [1.0])
    (folder / name).write_text(content)
    (one,) = read(folder)
    assert isinstance(one, Unreadable)
    assert reason in one.reason


def test_a_line_cut_short_costs_no_more_than_itself(tmp_path: Path) -> None:
    folder = write_run(tmp_path / "run", [1.0, 2.0, 3.0])
    text = (folder / "metrics.jsonl").read_text()
    (folder / "metrics.jsonl").write_text(text[:-20])
    (run,) = runs_in(folder)
    assert run.returns.tolist() == [1, 2]
    assert run.status == "unfinished"


def test_groups_are_named_by_what_differs_apart_from_the_seed_and_the_limits(tmp_path: Path) -> None:
    for seed in (1, 0):
        write_run(tmp_path / f"a{seed}", [1.0], seed=seed, workers=seed + 1, max_minutes=seed)
        write_run(tmp_path / f"b{seed}", [1.0], seed=seed, algorithm={"sigma": 0.2})
        write_run(tmp_path / f"c{seed}", [1.0], seed=seed, algorithm={"name": "ars", "sigma": 0.3})
        write_run(tmp_path / f"d{seed}", [1.0], seed=seed, env={"id": "Walker2d-v5"})
    groups, repeated = group(runs_in(tmp_path))
    assert not repeated
    named = {(one.task, one.method): [run.seed for run in one.runs] for one in groups}
    assert named == {
        ("Hopper-v5", "es sigma=0.1"): [0, 1],
        ("Hopper-v5", "es sigma=0.2"): [0, 1],
        ("Hopper-v5", "ars"): [0, 1],
        ("Walker2d-v5", "es"): [0, 1],
    }


def test_the_same_seed_twice_counts_once(tmp_path: Path) -> None:
    write_run(tmp_path / "short", [1.0])
    write_run(tmp_path / "long", [1.0, 2.0])
    groups, (repeated,) = group(runs_in(tmp_path))
    assert [run.path for run in groups[0].runs] == [str(tmp_path / "long")]
    assert repeated.path == str(tmp_path / "short")


def test_time_to_threshold_is_the_median_and_infinite_seeds_count(tmp_path: Path) -> None:
    for seed, returns in enumerate([[0.0, 900.0, 5.0], [880.0, 0.0, 0.0], [0.0, 0.0, 0.0]]):
        write_run(tmp_path / str(seed), returns, seed=seed)
    groups, _ = group(runs_in(tmp_path))
    rows = report_tables.thresholds(groups, {}).rows
    first = rows[0]
    assert (first["threshold"], first["reached"], first["timesteps"], first["minutes"]) == (877.45, 2, 2000, 2)
    assert first["paper_es"] == 383_000
    assert first["ratio"] == pytest.approx(2000 / 383_000)
    assert "Hopper-v1" in first["kind"]
    assert rows[-1]["timesteps"] is None
    (given,) = report_tables.thresholds(groups, {"Hopper": 890.0}).rows
    assert (given["reached"], given["timesteps"]) == (1, None)


def test_scores_across_tasks_are_shares_of_trpos(tmp_path: Path) -> None:
    scores = {"Hopper": [340.346, 680.692], "Swimmer": [12.825, 25.65]}
    for task, (one, two) in scores.items():
        for seed, value in enumerate((one, two)):
            write_run(tmp_path / f"{task}{seed}", [value], seed=seed, env={"name": task, "id": f"{task}-v5"})
    groups, _ = group(runs_in(tmp_path))
    section = report_tables.across(groups, 1000)
    assert section is not None
    assert section.rows[0]["iqm"] == pytest.approx(0.15)
    assert "Hopper-v5, Swimmer-v5" in section.title


def test_the_atari_table_has_all_games_of_the_paper_and_random_play_where_it_was_measured(tmp_path: Path) -> None:
    folder = write_run(tmp_path / "pong", [-11.0], env={"name": "atari", "game": "pong"})
    text = (folder / "metrics.jsonl").read_text()
    (folder / "metrics.jsonl").write_text(text.replace('"pool/actors"', '"progress/frames": 4000, "pool/actors"'))
    measured = tmp_path / "actions_pong.json"
    measured.write_text(json.dumps({"game": "pong", "rows": [{"actions": "random", "return_mean": -20.0}]}))
    (play,) = read(measured)
    assert play == RandomPlay(str(measured), "pong", -20.0)
    groups, _ = group(runs_in(folder))
    section = report_tables.atari(groups, {"pong": -20.0}, 200)
    assert section is not None
    rows = {row["game"]: row for row in section.rows}
    assert len(rows) == 51
    pong = rows["pong"]
    assert (pong["iqm"], pong["ES_FF_1_hour"], pong["A3C_FF_1_day"], pong["DQN"]) == (-11, 21, 11.4, 16.2)
    assert pong["share"] == pytest.approx(9 / 41)
    assert pong["frames"] == 4000
    assert "iqm" not in rows["qbert"]
    assert rows["berzerk"]["DQN"] is None


def test_every_game_of_the_paper_is_one_of_ale_pys() -> None:
    import ale_py.roms

    there = {path.stem for path in Path(str(ale_py.roms.__file__)).parent.glob("*.bin")}
    assert set(published.atari()) <= there


def test_published_figures_name_their_environments_version_and_source() -> None:
    for task in ("HalfCheetah-v5", "Humanoid-v5", "Walker2d-v5", "LunarLander-v3 continuous=True"):
        found = published.figures(task)
        assert found
        assert all(one.source and "-v" in one.environment and one.value for one in found)
    assert published.figures("CartPole-v1")[0].value.startswith("500.0")
    assert not published.figures("Breakout")


@pytest.mark.parametrize(
    ("word", "message"),
    [
        ("resamples=3", "must be at least 100"),
        ("thresholds=7", "thresholds"),
        ("unfinished=1", "unfinished"),
    ],
)
def test_wrong_keys_are_named(word: str, message: str) -> None:
    words, keys = split(["runs/seed=0,env=Hopper", word])
    assert words == ["runs/seed=0,env=Hopper"]
    with pytest.raises(UserError, match=message):
        parse(ReportArguments, keys, "raes.report", None)


def test_measured_files_are_read_as_runs() -> None:
    results = Path(__file__).parents[2] / "results"
    runs = runs_in(results / "HalfCheetah.json", results / "HalfCheetah_ars.json")
    assert {(run.task, run.config["algorithm.name"], run.seed) for run in runs} == {
        ("HalfCheetah-v5", name, seed) for name in ("es", "ars") for seed in range(3)
    }
    assert all("episodes" not in run.axes and run.held_out is not None for run in runs)


def test_a_seed_that_met_its_goal_ends_no_curve(tmp_path: Path) -> None:
    met, other = (np.array([0.0, 10.0]), np.array([0.0, 9.0])), (np.array([0.0, 30.0]), np.array([0.0, 6.0]))
    grid, scores = on_grid([met, other], 4, [True, False])
    np.testing.assert_allclose(grid, [0, 10, 20, 30])
    np.testing.assert_allclose(scores, [[0, 9, 9, 9], [0, 2, 4, 6]])
    assert on_grid([met, other], 4, [False, True])[0][-1] == 10, "a run that ended at a limit went on"
    assert on_grid([met, other], 4, [True, True])[0][-1] == 30


def test_a_goal_is_met_in_the_evaluations_before_the_one_at_the_end(tmp_path: Path) -> None:
    goal = {"return_mean": 5.0, "consecutive": 2}
    returns = {"met": [1.0, 5.0, 6.0, 4.0], "limit": [1.0, 6.0, 4.0, 6.0], "short": [6.0, 6.0]}
    for name, values in returns.items():
        write_run(tmp_path / name, values, goal=goal)
    write_run(tmp_path / "running", [5.0, 6.0, 6.0], goal=goal, finished=False)
    assert {Path(run.path).name for run in runs_in(tmp_path) if run.met_goal} == {"met"}


def test_names_of_groups_have_rounded_numbers_and_stay_different(tmp_path: Path) -> None:
    for number, sigma in enumerate((0.0123456789, 0.0123459999, 0.5)):
        write_run(tmp_path / str(number), [1.0], algorithm={"sigma": sigma}, x=1)
    groups, _ = group(runs_in(tmp_path))
    assert [one.method for one in groups] == ["es sigma=0.0123 #1", "es sigma=0.0123 #2", "es sigma=0.5"]


def test_published_figures_are_those_of_comparable_runs(tmp_path: Path) -> None:
    env = {"name": "CartPole", "id": "CartPole-v1"}
    write_run(tmp_path / "es", [1.0] * 9, env=env)
    groups, _ = group(runs_in(tmp_path))
    assert report_tables.published_figures(groups) is None, "of another method"
    write_run(tmp_path / "ars", [1.0] * 9, env=env, algorithm={"name": "ars"})
    groups, _ = group(runs_in(tmp_path))
    section = report_tables.published_figures(groups)  # 9,000 timesteps; the published run had 50,000
    assert section is not None
    assert [row["algorithm"] for row in section.rows] == ["ars"]
    (tmp_path / "brief").mkdir()
    write_run(tmp_path / "brief" / "ars", [1.0], env=env, algorithm={"name": "ars"})
    assert report_tables.published_figures(group(runs_in(tmp_path / "brief"))[0]) is None, "1,000 timesteps"
    assert not published.comparable(1000.0, [0.0, 50.0])
    assert published.comparable(-5.0, [-9.0])
    assert not published.comparable(-5.0, [-50.0])


@pytest.mark.parametrize("groups", [1, 12, 60])
def test_the_terminal_shows_less_than_sixty_lines(groups: int, tmp_path: Path) -> None:
    for number in range(groups):
        write_run(tmp_path / "runs" / str(number), [1.0, 2.0], algorithm={"sigma": 1.0 + number})
        write_run(tmp_path / "runs" / f"failed{number}", [1.0], finished=False, algorithm={"sigma": 1.0 + number})
    sections = report([str(tmp_path / "runs")], ReportArguments(out=str(tmp_path / "out"), resamples=100))
    text = on_terminal(sections)
    assert len(text.splitlines()) <= 57
    assert ("more on the page" in text) == (groups > 3)
    assert "Left out" in text


def test_the_legend_covers_no_panel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Worked out by matplotlib: the box of the legend against those of the panels, with their titles and labels."""
    for number in range(14):
        env = {"id": f"Task{number % 4}-v0"}
        write_run(
            tmp_path / str(number), [1.0, 2.0], env=env, algorithm={"name": f"method-{number // 4}", "x": "y" * 30}
        )
    drawn = []
    monkeypatch.setattr(charts, "png", lambda figure: drawn.append(figure) or b"")
    groups, _ = group(runs_in(tmp_path))
    charts.curves(groups, "timesteps", 100)
    (figure,) = drawn
    figure.draw_without_rendering()
    (legend,) = figure.legends
    box = legend.get_window_extent()
    assert not any(box.overlaps(panel.get_tightbbox()) for panel in figure.axes)
    assert box.x1 <= figure.bbox.x1


def test_twenty_methods_have_twenty_styles(tmp_path: Path) -> None:
    for number in range(20):
        write_run(tmp_path / str(number), [1.0], algorithm={"sigma": 1.0 + number})
    styles = charts._styles(group(runs_in(tmp_path))[0])
    assert len(set(styles.values())) == 20
