"""Runs from Python: keywords, what a run gives back, errors, callbacks."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest
from gymnasium import spaces
from hydra.core.global_hydra import GlobalHydra

import raes
from raes.config.compose import compose
from raes.config.overrides import from_keywords
from raes.config.stored import load as load_config
from raes.config.stored import save
from raes.rng import Purpose, reset_seed
from raes.training.callbacks import Callbacks
from raes.types import RunFailedError, UserError

SHORT = {
    "policy": "linear", "runtime": "serial", "generations": 3, "algorithm__pairs": 3, "noise__size": 50_000,
    "evaluation__episodes": 2, "console": "quiet",
}  # fmt: skip


class Guess(gymnasium.Env[Any, Any]):
    """Ten steps; the reward is the action's closeness to the first observed number, around `offset`."""

    observation_space = spaces.Box(-np.inf, np.inf, (2,), np.float64)
    action_space = spaces.Box(-1.0, 1.0, (1,), np.float32)

    def __init__(self, offset: float = 3.0) -> None:
        self._offset, self._time = offset, 0

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> Any:
        super().reset(seed=seed)
        self._time = 0
        return self._observe(), {}

    def step(self, action: Any) -> Any:
        self._time += 1
        reward = 1.0 - abs(float(action[0]) - float(self._seen[0]) + self._offset)
        return self._observe(), reward, False, self._time == 10, {}

    def _observe(self) -> Any:
        self._seen = self.np_random.uniform(-1, 1, 2) + self._offset
        return self._seen


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> raes.Run:
    """Three generations of CartPole."""
    return raes.fit("CartPole", run_dir=tmp_path_factory.mktemp("runs") / "run", **SHORT)


@pytest.fixture(scope="module")
def guess(tmp_path_factory: pytest.TempPathFactory) -> raes.Run:
    """Three generations of an environment that only this module knows, with statistics of its observations."""
    return raes.fit(env=Guess, run_dir=tmp_path_factory.mktemp("runs") / "guess", **SHORT)


@pytest.mark.parametrize(
    "value",
    [
        "",
        "plain",
        "it's",
        'say "x"',
        "back\\",
        "a\\'b",
        "1",
        "null",
        "true",
        "a,b",
        "{x}",
        "[x]",
        "a b",
        "ä走",
        "x=y",
        "a:b",
        "${x}",
        "${",
        "\\${x}",
        "${oc.env:HOME}",
        "a: b",
        "1e3",
        "~/x",
        " a ",
    ],
)
def test_any_text_arrives_unchanged(value: str) -> None:
    kwargs = {"a": value, "b": [value]}
    keys = {"env": "gymnasium", "env__id": "X-v0", "env__kwargs": kwargs, "run_dir": f"run{value}"}
    config = compose(*from_keywords(keys))
    assert config.env.kwargs == kwargs  # type: ignore[union-attr]
    assert config.run_dir == f"run{value}"


def test_keywords_are_the_keys_of_the_command_line() -> None:
    keys = {
        "env": "HalfCheetah", "algorithm": "ars", "algorithm__sigma": np.float32(0.5), "goal__return_mean": None,
        "algorithm.pairs": np.int64(7), "runtime": "ray", "workers": "2..4", "max_minutes": 1e-5,
        "env__kwargs": {"frame_skip": 5, "deep": {"x": (1, 2.5, True, None)}}, "callbacks": ["a:B"],
    }  # fmt: skip
    words = [
        "env=HalfCheetah", "algorithm=ars", "algorithm.sigma=0.5", "goal.return_mean=null", "algorithm.pairs=7",
        "runtime=ray", "workers=2..4", "max_minutes=0.00001", "env.kwargs.frame_skip=5",
        "env.kwargs.deep={x:[1,2.5,true,null]}", "callbacks=[a:B]",
    ]  # fmt: skip
    assert compose(*from_keywords(keys)) == compose(words)


@pytest.mark.parametrize(
    "kwargs",
    [{"opts": {"ctrl__cost": 1}}, {"a.b": 1}, {"a b": {"": [1, {"=": None}]}}, {"true": True, "1": 1.0}, {"é": "ü"}],
    ids=str,
)
def test_a_mapping_arrives_unchanged_and_is_read_back_from_config_yaml(kwargs: dict[str, Any], tmp_path: Path) -> None:
    config = compose(*from_keywords({"env": "gymnasium", "env__id": "X-v0", "env__kwargs": kwargs}))
    assert config.env.kwargs == kwargs  # type: ignore[union-attr]
    save(config, tmp_path / "config.yaml")
    assert load_config(tmp_path) == config


def test_mappings_join_those_of_the_environments_file() -> None:
    words = ("env=gymnasium", "env.id=X-v0", "env.kwargs={a:1,b:{c:2}}")
    joined = compose(words, {"env.kwargs": {"b": {"d": 3}}, "env.kwargs.e": 4})
    assert joined.env.kwargs == {"a": 1, "b": {"c": 2, "d": 3}, "e": 4}  # type: ignore[union-attr]


@pytest.mark.parametrize("keys", [{"env__kwargs": {0: 1.0}}, {"policy__kwargs": {"a": [{None: 1}]}}], ids=str)
def test_keys_that_no_file_keeps_are_refused(keys: dict[str, Any]) -> None:
    with pytest.raises(UserError, match=r"kwargs.*the key (0|None) is no text.*give '(0|None)'"):
        from_keywords(keys)


@pytest.mark.parametrize(
    ("keys", "parts"),
    [
        ({"env": "HalfCheeta"}, ["env=HalfCheeta", "HalfCheetah"]),
        ({"algorithm__sigmma": 1}, ["algorithm.sigmma", "no such key", "algorithm.sigma"]),
        ({"algorithm__sigma": -1}, ["algorithm.sigma", "positive", "-1"]),
        ({"seed": object()}, ["seed=", "give a number"]),
        ({"env": 3}, ["env=3", "a class of environments"]),
        ({"callbacks": ["nowhere:Class"]}, ["callbacks=nowhere:Class", "cannot be imported"]),
        ({"callbacks": [3]}, ["on_generation"]),
        ({"env": lambda: 1 / 0}, ["ZeroDivisionError"]),
    ],
)
def test_what_is_wrong_is_raised_with_key_value_and_cure(
    keys: dict[str, Any], parts: list[str], tmp_path: Path
) -> None:
    with pytest.raises(UserError) as caught:
        raes.fit(**({"run_dir": tmp_path / "run"} | SHORT | keys))
    for part in parts:
        assert part in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_run_that_cannot_go_on_raises_and_leaves_its_folder(tmp_path: Path) -> None:
    class Breaks(Guess):
        def step(self, action: Any) -> Any:
            if self._time == 5:
                raise RuntimeError("it broke")
            return super().step(action)

    with pytest.raises(RunFailedError, match="it broke"):
        raes.fit(env=Breaks, run_dir=tmp_path / "run", **SHORT)
    assert (tmp_path / "run" / "config.yaml").exists()


def test_what_a_run_gives_back(run: raes.Run) -> None:
    assert (run.reason, run.interrupted) == ("generation limit (3) reached", False)
    assert run.theta.shape == (10,)
    assert [record["progress/generation"] for record in run.records] == [0, 1, 2, 3]
    timesteps, returns = run.curve("returns/mean")
    assert timesteps.shape == returns.shape == (3,)
    assert (np.diff(timesteps) > 0).all()
    assert run.best == max(run.curve("eval/return_mean")[1])
    assert run.config["algorithm"]["pairs"] == 3
    assert "CartPole" in repr(run)
    assert run.policy(np.zeros(4)) in (0, 1)


def test_the_loaded_run_is_the_same(run: raes.Run) -> None:
    loaded = raes.load(run.run_dir)
    assert loaded.theta.tobytes() == run.theta.tobytes()
    assert (loaded.checkpoint, loaded.best, loaded.reason) == (run.checkpoint, run.best, "")
    assert raes.load(str(run.run_dir), "latest").checkpoint == "gen_000003"
    assert raes.load(run.run_dir, 3).checkpoint == "gen_000003"
    with pytest.raises(UserError, match="checkpoint=77"):
        raes.load(run.run_dir, 77)
    with pytest.raises(UserError, match=rf"run_dir={run.run_dir}x: there is no such folder; the runs in .* are run"):
        raes.load(f"{run.run_dir}x")
    with pytest.raises(UserError, match=r"holds no config\.yaml; the runs in .* are run"):
        raes.load(Path(str(run.run_dir)).parent)
    with pytest.raises(UserError, match=r"run_dir=runs/none: there is no such folder$"):
        raes.load("runs/none")


def test_a_curve_that_no_record_has_names_the_close_keys(run: raes.Run) -> None:
    for key, close in (("eval/mean", "eval/return_mean"), ("mean", "returns/mean"), ("search/stepsise", "stepsize")):
        with pytest.raises(UserError, match=rf"{key}: no record of this run has such a metric; close: .*{close}"):
            run.curve(key)
    with pytest.raises(UserError, match=r"timesteps: no record .* close: .*progress/timesteps"):
        run.curve("returns/mean", against="timesteps")
    assert run.curve("search/novelty_mean")[0].shape == (0,)  # a metric, of another algorithm


def test_an_observation_of_another_shape_is_named(run: raes.Run) -> None:
    for wrong in (np.zeros(3), np.zeros((1, 4)), 0.0, [1.0]):
        with pytest.raises(
            UserError,
            match=r"env\.id=CartPole-v1: an observation has shape .*, and its space has shape \(4,\); give one",
        ):
            run.policy(wrong)
    assert run.policy([0.0, 0.0, 0.0, 0.0]) == run.policy(np.zeros(4))


def test_a_single_episode_has_no_interval(run: raes.Run) -> None:
    metrics = run.evaluate(episodes=1)
    assert [metrics[key] for key in ("return_std", "return_ci_low", "return_ci_high")] == [None] * 3
    assert metrics["return_mean"] == metrics["return_min"]


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda run: run.evaluate(episodes=0), "episodes must be a whole number of at least 1, got 0"),
        (lambda run: run.evaluate(workers="auto"), "workers must be a whole number"),
        (lambda run: run.play(episodes=0), "episodes must be a whole number of at least 1, got 0"),
        (lambda run: run.play(speed=0), "speed must be a positive number, got 0"),
        (lambda run: run.play(seconds=-1), "seconds must be a positive number, got -1"),
    ],
)
def test_wrong_arguments_of_a_run_are_named(run: raes.Run, call: Any, words: str) -> None:
    with pytest.raises(UserError, match=words):
        call(run)


def test_names_that_are_imported_late_are_listed_and_suggested() -> None:
    assert set(raes.__all__) <= set(dir(raes))
    with pytest.raises(AttributeError) as caught:
        raes.minimise  # noqa: B018
    assert (caught.value.name, caught.value.obj) == ("minimise", raes)  # from which Python suggests minimize


@pytest.mark.parametrize("which", ["run", "guess"])
def test_the_policy_acts_as_in_evaluations_with_its_normaliser(which: str, request: pytest.FixtureRequest) -> None:
    run: raes.Run = request.getfixturevalue(which)
    env, returns = run.make_env(), []
    for episode in range(2):
        observation, _ = env.reset(seed=reset_seed(5, Purpose.HELD_OUT, 0, episode))
        run.policy.reset()
        total, ended = 0.0, False
        while not ended:
            observation, reward, terminated, truncated, _ = env.step(run.policy(observation))
            total, ended = total + float(reward), terminated or truncated
        returns.append(total)
    assert run.evaluate(episodes=2, seed=5)["return_mean"] == np.mean(returns)


def test_a_film_shows_the_episodes_of_an_evaluation(run: raes.Run, tmp_path: Path) -> None:
    returns = run.play(episodes=2, seed=5, speed=10.0, out=tmp_path / "film.mp4")
    assert np.mean(returns) == run.evaluate(episodes=2, seed=5)["return_mean"]
    assert run.play(seed=5, seconds=0.1, out=tmp_path / "short.mp4")[0] < returns[0]
    assert (tmp_path / "film.mp4").read_bytes()[4:8] == b"ftyp"


def test_a_class_of_ones_own_keeps_its_name_and_can_be_loaded(guess: raes.Run) -> None:
    assert guess.config["env"]["name"] == "Guess"
    assert raes.load(guess.run_dir, env=Guess).policy(np.zeros(2)).shape == (1,)
    assert gymnasium.make(guess.config["env"]["id"]).unwrapped.__class__ is Guess


def test_a_factory_and_a_registered_id_will_do(tmp_path: Path) -> None:
    by_factory = raes.fit(env=lambda offset=3.0: Guess(offset), run_dir=tmp_path / "a", **SHORT)
    gymnasium.register("Registered-v3", entry_point=Guess)
    by_id = raes.fit("gymnasium", env__id="Registered-v3", run_dir=tmp_path / "b", **SHORT)
    assert by_factory.theta.tobytes() == by_id.theta.tobytes()
    other = raes.fit(env=Guess, env__kwargs={"offset": 0.0}, run_dir=tmp_path / "c", **SHORT)
    assert other.theta.tobytes() != by_id.theta.tobytes()


def test_a_module_with_a_memory_forgets_the_episode_before(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(Path(__file__).parent)
    keys = SHORT | {
        "policy": "torch", "policy__module": "torch_modules:Recurrent", "policy__kwargs": {"inputs": 2, "outputs": 1},
    }  # fmt: skip
    run = raes.fit(env=Guess, run_dir=tmp_path / "run", **keys)
    seen = np.array([2.9, 3.3])
    first, second = run.policy(seen), run.policy(seen)
    run.policy.reset()
    assert run.policy(seen) == first
    assert first != second


def test_a_function_has_no_policy(tmp_path: Path) -> None:
    keys = {key: value for key, value in SHORT.items() if key not in ("policy", "algorithm__pairs")}
    run = raes.fit("function", env__call="math:fsum", env__dim=3, run_dir=tmp_path / "run", **keys)
    assert run.theta.shape == (3,)
    with pytest.raises(UserError, match=r"run\.x"):
        _ = run.policy
    np.testing.assert_array_equal(run.x, run.theta)
    bounded = raes.fit("function", env__call="math:fsum", env__dim=3, env__bounds=[[5, 6], [0, 1], [-9, -8]],
                       run_dir=tmp_path / "bounded", **keys)  # fmt: skip
    assert (bounded.x >= [5, 0, -9]).all()
    assert (bounded.x <= [6, 1, -8]).all()
    np.testing.assert_array_equal(raes.load(tmp_path / "bounded").x, bounded.x)
    assert bounded.evaluate(episodes=1)["x"] == bounded.x.tolist()


def test_a_policy_has_no_x(tmp_path: Path) -> None:
    run = raes.fit("CartPole", run_dir=tmp_path / "run", **SHORT)
    with pytest.raises(UserError, match=r"searched no function and has no x; its parameters are run\.theta"):
        _ = run.x


def test_the_program_that_calls_may_use_hydra_itself() -> None:
    GlobalHydra.instance().clear()
    marker: Any = object()
    GlobalHydra.instance().hydra = marker
    try:
        compose(["env=CartPole"])
        assert GlobalHydra.instance().hydra is marker
    finally:
        GlobalHydra.instance().hydra = None


def test_rewards_that_never_vary_are_one_notice(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    class Constant(Guess):
        def step(self, action: Any) -> Any:
            observation, _, *ended = super().step(action)
            return observation, 0.5, *ended

    raes.fit(env=Constant, run_dir=tmp_path / "run", **SHORT | {"generations": 9, "evaluation__every": 0})
    (line,) = [line for line in capsys.readouterr().out.splitlines() if "nothing to learn from" in line]
    assert "all returns are equal (now 5)" in line
    assert "check that actions change rewards, or raise the noise (algorithm.sigma)" in line
    assert line in (tmp_path / "run" / "log.txt").read_text()
    more = SHORT | {"generations": 18, "evaluation__every": 0, "resume": "auto"}
    raes.fit(env=Constant, run_dir=tmp_path / "run", **more)
    assert "nothing to learn from" not in capsys.readouterr().out, "a run that is resumed may have solved its task"


def test_a_function_that_never_varies_is_one_notice(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    keys = {key: value for key, value in SHORT.items() if key not in ("policy", "algorithm__pairs")}
    keys |= {"env__call": "builtins:len", "env__dim": 3, "generations": 9, "algorithm__pairs": 3}
    raes.fit("function", run_dir=tmp_path / "run", **keys)
    out = capsys.readouterr().out
    assert out.count("nothing to learn from") == 1
    assert "check that the function uses its x" in out


class Watcher(raes.Callback):
    """Keeps what it is called with; fails or stops where the test wants it."""

    def __init__(self, stop_at: float = 1e9, fail_in: str = "") -> None:
        self.calls: list[Any] = []
        self._stop_at, self._fail_in = stop_at, fail_in

    def on_start(self, config: Any) -> None:
        self._note("on_start", config["algorithm"]["pairs"])

    def on_generation(self, record: Any) -> bool:
        assert threading.current_thread() is threading.main_thread()
        self._note("on_generation", record["progress/generation"])
        return bool(record["progress/generation"] >= self._stop_at)

    def on_end(self, reason: str) -> None:
        self._note("on_end", reason)

    def _note(self, method: str, what: Any) -> None:
        self.calls.append(what)
        if method == self._fail_in:
            raise KeyError("mine")


def test_callbacks_are_told_of_start_generations_and_end(tmp_path: Path) -> None:
    watcher = Watcher()
    raes.fit("CartPole", run_dir=tmp_path / "run", callbacks=[watcher], **SHORT)
    assert watcher.calls == [3, 0, 1, 2, 3, "generation limit (3) reached"]


def test_a_callback_ends_the_run_with_an_evaluation(tmp_path: Path) -> None:
    watcher = Watcher(stop_at=1)
    run = raes.fit("CartPole", run_dir=tmp_path / "run", callbacks=[watcher], **SHORT | {"generations": 50})
    assert run.reason.endswith("test_run:Watcher asked for the end")
    assert not run.interrupted
    assert run.records[-1]["progress/generation"] == 3  # generation 2 was out when 1 was reported
    assert "eval/return_mean" in run.records[-1]


def test_a_callback_that_fails_is_named_and_left_alone_and_changes_nothing(
    run: raes.Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bad, good = Watcher(fail_in="on_generation"), Watcher()
    again = raes.fit("CartPole", run_dir=tmp_path / "run", callbacks=[bad, good], **SHORT)
    assert bad.calls == [3, 0]
    assert good.calls == [3, 0, 1, 2, 3, "generation limit (3) reached"]
    lines = [line for line in capsys.readouterr().out.splitlines() if "callbacks:" in line]
    assert len(lines) == 1
    assert "Watcher.on_generation failed (KeyError: 'mine'; " in lines[0]
    assert "test_run.py" in lines[0]
    assert again.theta.tobytes() == run.theta.tobytes()


def test_a_callback_that_cannot_start_refuses_the_run(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"Watcher fails at the start: KeyError: 'mine'"):
        raes.fit("CartPole", run_dir=tmp_path / "run", callbacks=[Watcher(fail_in="on_start")], **SHORT)
    assert not (tmp_path / "run" / "metrics.jsonl").exists()


def test_any_object_with_on_generation_will_do() -> None:
    class Small:
        def __init__(self) -> None:
            self.records: list[Any] = []

        def on_generation(self, record: Any) -> None:
            self.records.append(record)

    small = Small()
    callbacks = Callbacks([small, Small], print)
    callbacks.start({})
    assert callbacks(("record", {"a": 1.0})) is None
    assert callbacks(("notice", "no record")) is None
    callbacks.end("over")
    assert small.records == [{"a": 1.0}]
