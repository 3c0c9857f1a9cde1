"""A sampler for Optuna that searches by one of RAES's methods; it needs the extra `optuna`.

    study = optuna.create_study(sampler=raes.OptunaSampler(seed=0))

All that it knows is in the study: a trial notes which member of which generation it is, so that a study goes on in
another process, and several processes share one.
"""

from __future__ import annotations

import json
import threading
import zlib
from typing import Any

import numpy as np

from raes.api.optimizer import Optimizer
from raes.search.domain import Category, Interval
from raes.types import Float64, UserError
from raes.validation import whole

try:
    from optuna.distributions import BaseDistribution, CategoricalDistribution, distribution_to_json
    from optuna.samplers import BaseSampler, RandomSampler
    from optuna.search_space import IntersectionSearchSpace
    from optuna.study import Study, StudyDirection
    from optuna.trial import FrozenTrial, TrialState
except ImportError as error:
    raise UserError("raes.OptunaSampler needs Optuna; pip install 'raes[optuna]'") from error

KEY = "raes:member"
"""Attribute of a trial: the search, the generation, and which of its points the trial is."""
ENDED = (TrialState.COMPLETE, TrialState.PRUNED, TrialState.FAIL)


class OptunaSampler(BaseSampler):
    """Searches with `raes.Optimizer`, from the middle of all ranges.

    Real and whole numbers, steps, logarithmic scales and categories are those of `raes.search.domain`. The parameters
    that every completed trial has are searched; the others, those of the first trial, and those of trials for which a
    generation has no point left, as with more trials side by side than it has points, are random. Trials that fail or
    are pruned rank last. With trials one after the other the same seed gives the same bits.
    """

    def __init__(self, algorithm: str = "cma_es", *, seed: int | None = None, **settings: Any) -> None:
        """Nothing is searched yet.

        Args:
            algorithm: a name in `raes.algorithms.ALGORITHMS`.
            seed: None draws one.
            settings: those of `raes.Optimizer`, e.g. `sigma`, a share of each range, or `population`.

        Raises:
            UserError: one is wrong.
        """
        self._seed = int(np.random.default_rng().integers(2**31)) if seed is None else whole("seed", seed, 0)
        self._algorithm, self._settings = algorithm, settings
        self._random, self._spaces = RandomSampler(seed=self._seed), IntersectionSearchSpace()
        self._searches: dict[str, _Search] = {}
        self._lock = threading.Lock()  # Optuna's n_jobs are threads
        Optimizer(algorithm, None, bounds=[(0, 1)], seed=self._seed, **settings)  # so that errors show here

    def __getstate__(self) -> dict[str, Any]:
        """Without the searches, which the study's trials give again."""
        return self.__dict__ | {"_searches": {}, "_lock": None}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state, _lock=threading.Lock())

    def reseed_rng(self) -> None:
        """Another seed for what is random; the search keeps its own."""
        self._random.reseed_rng()

    def infer_relative_search_space(self, study: Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        """What every completed trial has and what is not fixed."""
        space = self._spaces.calculate(study)
        return {name: one for name, one in sorted(space.items()) if not one.single()}

    def sample_relative(
        self, study: Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        """The next point of the search, or nothing where there is none left.

        Raises:
            UserError: the study has several objectives.
        """
        if not search_space:
            return {}
        if len(study.directions) > 1:
            raise UserError("raes.OptunaSampler searches for one objective, and the study has several")
        with self._lock:
            return self._next_point(study, trial, search_space)

    def sample_independent(
        self, study: Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        """A random value."""
        return self._random.sample_independent(study, trial, param_name, param_distribution)

    def _next_point(
        self, study: Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        text = json.dumps({name: distribution_to_json(one) for name, one in search_space.items()})
        name = f"{zlib.crc32(text.encode()):08x}"
        if name not in self._searches:
            domain = [_part(one) for one in search_space.values()]
            optimizer = Optimizer(self._algorithm, None, bounds=domain, seed=self._seed, **self._settings)
            self._searches[name] = _Search(name, optimizer, search_space)
        search = self._searches[name]
        member = search.next_member(study)
        if member is None:
            return {}
        study._storage.set_trial_system_attr(trial._trial_id, KEY, [name, search.generation, member])
        return search.parameters(member)


class _Search:
    """The search of one space.

    Attributes:
        generation: whose points are given out.
    """

    def __init__(self, name: str, optimizer: Optimizer, space: dict[str, BaseDistribution]) -> None:
        self._name, self._optimizer, self._space = name, optimizer, space
        self.generation = 0

    def next_member(self, study: Study) -> int | None:
        """The first point that no trial has; None where all are out. Complete generations update the search first."""
        trials = study.get_trials(deepcopy=False)
        while self._optimizer.ended is None:
            values = np.full(len(self._optimizer.asked()), np.nan)
            answered, out = np.zeros(len(values), bool), np.zeros(len(values), bool)
            for trial in reversed(trials):  # where two have the same point, the first one counts
                name, generation, member = trial.system_attrs.get(KEY, ("", 0, 0))
                if (name, generation) != (self._name, self.generation):
                    continue
                if trial.state is TrialState.RUNNING:
                    out[member] = True
                elif trial.state in ENDED and self._is_at(trial, member):
                    values[member], answered[member] = _fitness(study, trial), True
            if not answered.all():
                free = np.flatnonzero(~(answered | out))
                return int(free[0]) if free.size else None
            self._optimizer.tell(values)
            self.generation += 1
        return None

    def parameters(self, member: int) -> dict[str, Any]:
        """A point of this generation."""
        point: Float64 = self._optimizer.asked()[member]
        return {name: _value(one, x) for (name, one), x in zip(self._space.items(), point.tolist(), strict=True)}

    def _is_at(self, trial: FrozenTrial, member: int) -> bool:
        """Whether the trial was at this point, as far as it came, and not where `enqueue_trial` has put it."""
        return all(trial.params.get(name, value) == value for name, value in self.parameters(member).items())


def _fitness(study: Study, trial: FrozenTrial) -> float:
    """To be maximised; NaN of one that was pruned or failed."""
    if trial.state is not TrialState.COMPLETE or trial.value is None:
        return float("nan")
    return float(trial.value if study.direction == StudyDirection.MAXIMIZE else -trial.value)


def _part(distribution: Any) -> Interval | Category:
    """A parameter as a coordinate; one with steps is the number of its step."""
    if isinstance(distribution, CategoricalDistribution):
        return Category(len(distribution.choices))
    whole_number = isinstance(distribution.high, int)
    if _stepped(distribution):
        return Interval(0, round((distribution.high - distribution.low) / distribution.step), integer=True)
    return Interval(distribution.low, distribution.high, log=distribution.log, integer=whole_number)


def _value(distribution: Any, x: float) -> Any:
    """The parameter that a coordinate means."""
    if isinstance(distribution, CategoricalDistribution):
        return distribution.choices[int(x)]
    if _stepped(distribution):
        value = distribution.low + distribution.step * int(x)
        return min(value, distribution.high)
    return int(x) if isinstance(distribution.high, int) else x


def _stepped(distribution: Any) -> bool:
    return distribution.step is not None and (not isinstance(distribution.high, int) or distribution.step != 1)
