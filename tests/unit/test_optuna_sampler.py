"""The sampler for Optuna, in real studies."""

from __future__ import annotations

import pickle
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import pytest

import raes
from raes.types import UserError


@pytest.fixture(autouse=True)
def quiet() -> Iterator[None]:
    before = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    yield
    optuna.logging.set_verbosity(before)


def mixed(trial: optuna.Trial) -> float:
    rate = trial.suggest_float("rate", 1e-6, 1.0, log=True)
    layers = trial.suggest_int("layers", 1, 20)
    width = trial.suggest_int("width", 16, 512, step=16)
    drop = trial.suggest_float("drop", 0.0, 0.5, step=0.05)
    units = trial.suggest_int("units", 1, 1000, log=True)
    kind = trial.suggest_categorical("kind", ["relu", "tanh", None])
    weight = trial.suggest_float("weight", -2.0, 2.0)
    assert (width % 16, width >= 16, width <= 512) == (0, True, True)
    assert abs(drop / 0.05 - round(drop / 0.05)) < 1e-9
    log = abs(np.log10(rate) + 3) + abs(np.log10(units) - 2)
    return float(log + abs(layers - 7) + abs(width - 128) / 16 + 10 * abs(drop - 0.3) + (kind != "tanh") + weight**2)


def values(study: optuna.Study) -> list[float | None]:
    return [trial.value for trial in study.trials]


def of_study(objective: Any, trials: int, n_jobs: int = 1, **keys: Any) -> optuna.Study:
    study = optuna.create_study(sampler=raes.OptunaSampler(**({"seed": 0} | keys)))
    study.optimize(objective, n_trials=trials, n_jobs=n_jobs)
    return study


def test_all_kinds_of_parameters_are_searched() -> None:
    study = of_study(mixed, 500)
    assert study.best_value < 1.0
    assert study.best_params["kind"] == "tanh"
    assert all(isinstance(study.best_params[name], int) for name in ("layers", "width", "units"))
    random = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    random.optimize(mixed, n_trials=500)
    assert study.best_value < 0.5 * random.best_value


def test_the_same_seed_gives_the_same_bits() -> None:
    first, again, other = (of_study(mixed, 60, seed=seed) for seed in (3, 3, 4))
    assert [trial.params for trial in first.trials] == [trial.params for trial in again.trials]
    assert values(first) != values(other)


@pytest.mark.parametrize("algorithm", ["snes", "es", "surrogate"])
def test_other_methods_and_a_larger_value(algorithm: str) -> None:
    study = optuna.create_study(sampler=raes.OptunaSampler(algorithm, seed=1), direction="maximize")
    study.optimize(lambda trial: -((trial.suggest_float("x", -5, 5) - 1) ** 2), n_trials=80)
    assert study.best_value > -0.1


def test_trials_that_fail_or_are_pruned_rank_last() -> None:
    def partly(trial: optuna.Trial) -> float:
        x = trial.suggest_float("x", -5, 5)
        if x < 0:
            raise optuna.TrialPruned
        y = trial.suggest_float("y", -5, 5)
        if y < 0:
            raise ValueError("y")
        return (x - 1) ** 2 + (y - 1) ** 2

    study = optuna.create_study(sampler=raes.OptunaSampler(seed=0))
    study.optimize(partly, n_trials=300, catch=(ValueError,))
    assert study.best_value < 1e-3
    states = [trial.state.name for trial in study.trials]
    assert {"PRUNED", "FAIL", "COMPLETE"} <= set(states)
    assert states[-100:].count("COMPLETE") > 80


def test_trials_side_by_side() -> None:
    study = of_study(lambda trial: trial.suggest_float("x", -5, 5) ** 2 + trial.suggest_float("y", -5, 5) ** 2, 200, 4)
    assert len(study.trials) == 200
    assert study.best_value < 1e-2


def test_a_study_goes_on_in_another_process_with_the_same_bits(tmp_path: Path) -> None:
    whole = of_study(mixed, 90)
    storage = f"sqlite:///{tmp_path}/study.db"
    parts = optuna.create_study(study_name="s", storage=storage, sampler=raes.OptunaSampler(seed=0))
    parts.optimize(mixed, n_trials=40)
    sampler = pickle.loads(pickle.dumps(parts.sampler))
    again = optuna.load_study(study_name="s", storage=storage, sampler=sampler)
    again.optimize(mixed, n_trials=50)
    assert values(again) == values(whole)


def test_a_trial_that_was_put_elsewhere_is_no_point_of_the_search() -> None:
    points = []

    def objective(trial: optuna.Trial) -> float:
        x = trial.suggest_float("x", -5, 5)
        points.append(x)
        return (x - 2) ** 2

    study = optuna.create_study(sampler=raes.OptunaSampler(seed=0))
    study.optimize(objective, n_trials=3)
    study.enqueue_trial({"x": -4.5})
    study.optimize(objective, n_trials=30)
    plain, elsewhere = of_study(objective, 32), points[3]
    assert elsewhere == -4.5
    assert [x for x in points[:33] if x != -4.5] == [trial.params["x"] for trial in plain.trials]


def test_parameters_that_not_every_trial_has_are_random() -> None:
    def conditional(trial: optuna.Trial) -> float:
        x = trial.suggest_float("x", -1, 1)
        return x**2 + (abs(trial.suggest_float("y", 0, 1)) if x > 0 else 0.0)

    assert of_study(conditional, 100).best_value < 1e-2


def test_wrong_arguments_are_named() -> None:
    with pytest.raises(UserError, match="algorithm='cmaes': there is no such algorithm; did you mean cma_es"):
        raes.OptunaSampler("cmaes")
    with pytest.raises(UserError, match="seed must be a whole number"):
        raes.OptunaSampler(seed=-1)
    with pytest.raises(UserError, match="popsize of algorithm=cma_es: there is no such key"):
        raes.OptunaSampler(popsize=3)
    study = optuna.create_study(directions=["minimize", "minimize"], sampler=raes.OptunaSampler(seed=0))
    with pytest.raises(UserError, match="one objective"):
        study.optimize(lambda trial: (trial.suggest_float("x", 0, 1), 0.0), n_trials=3)
