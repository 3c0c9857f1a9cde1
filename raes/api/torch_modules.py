"""PyTorch modules from Python: from a module and a reward function to the trained module.

    raes.train_module(module, reward, population_size=50, sigma=0.1, learning_rate=0.001, iterations=300)

The arguments are those of the package PyTorch-ES, on Ray actors in the place of threads. Its learning rate has 1/sigma
in it, the stepsize of `optimizer` has not: an iteration is

    theta += learning_rate / (population_size * sigma) * sum_i z_i eps_i,    z = (F - mean F) / std F

which is `algorithm=es` without mirrors, with `shaping=zscore`, and plain SGD with a stepsize of learning_rate / sigma.
Deviations: sigma_decay shrinks the noise, and the factor 1/sigma stays that of the first iteration; both decays count
once an iteration, not once a tensor.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol, TypeVar

import numpy as np

from raes.algorithms.es import ES, ESSettings
from raes.api.keyword_arguments import warn_caller
from raes.api.module_workers import check_table, executor
from raes.api.notices import Notices
from raes.api.seeded_modules import LOOK, SeededTraining
from raes.policies.torch_policy import Parameters, reset
from raes.problems.function import FunctionSettings, FunctionSpec
from raes.runtime.rounds import RoundRunner
from raes.runtime.worker import WorkerSpec
from raes.search import noise, running_stats
from raes.search.optimizers import OptimizerSettings
from raes.search.spread import SpreadWatch
from raes.text import described
from raes.types import Float32, Float64, RunFailedError, UserError, check_fault
from raes.validation import no_such, number, real, whole

if TYPE_CHECKING:
    import torch

Module = TypeVar("Module", bound="torch.nn.Module")


def train_module(
    module: Module,
    reward: Callable[[Module], float],
    *,
    iterations: int = 1000,
    population_size: int = 50,
    sigma: float = 0.1,
    learning_rate: float = 0.001,
    decay: float = 1.0,
    sigma_decay: float = 1.0,
    mirrored: bool = False,
    reward_goal: float | None = None,
    consecutive_goals: int = 1,
    test_every: int = 10,
    save_path: str | Path | None = None,
    workers: int = 1,
    seed: int = 0,
    report: Callable[[int, float], None] | None = None,
    noise: Literal["table", "seeds"] = "table",
    parameters: Sequence[str] = ("*",),
    rank: int | None = None,
    tasks: Sequence[Any] | None = None,
) -> Module:
    """Train a module by Evolution Strategies; the same bits whatever the number of workers.

    Args:
        module: with parameters of float32. All of them are trained, those without `requires_grad` too, on the CPU,
            where the module stays. It is put into eval mode, its buffers stay as they are, and its method `reset()`,
            if it has one, is called before each call of `reward`.
        reward: takes the module, returns a number to maximise. With `workers` > 1 both travel to other processes.
            With `tasks` it takes the module and a task.
        iterations: at most.
        population_size: calls of `reward` an iteration, an even number.
        sigma: noise scale.
        learning_rate: see above.
        decay: factor on the learning rate each iteration.
        sigma_decay: factor on sigma each iteration.
        mirrored: whether the population comes in antithetic pairs, which is better and not what PyTorch-ES does.
        reward_goal: end once the module itself, without noise, reaches this ...
        consecutive_goals: ... in so many tests in a row.
        test_every: iterations between two tests, which also save and report.
        save_path: a file for `module.state_dict()`.
        workers: processes; 1: this one, without Ray.
        seed: of the noise.
        report: called with the iteration and the reward of each test, NaN where `reward` failed.
        noise: `table`: one table of noise that all workers share, for up to some ten million parameters; `seeds`: each
            worker keeps the module, makes its noise itself and is sent seeds alone, for any size, with parameters of
            float32, bfloat16 or float16, on a GPU too where `workers` is 1. The two kinds of noise are different.
        parameters: with `seeds`: patterns of the names of the parameters that are trained.
        rank: with `seeds`: of the noise of matrices; None for full rank.
        tasks: with `seeds`: in each iteration, and in each test, the seed draws one for all calls of `reward`.

    Returns:
        The same module, trained; after Ctrl-C the exception goes on, and the module is as the last iteration left it.

    Raises:
        UserError: an argument is wrong, or `reward` fails for the module as it is.
        RunFailedError: `reward` fails for a whole population.
    """
    _check_numbers(
        counts={"iterations": iterations, "consecutive_goals": consecutive_goals, "test_every": test_every,
                "workers": workers},
        positive={"sigma": sigma, "learning_rate": learning_rate},
        decays={"decay": decay, "sigma_decay": sigma_decay},
    )  # fmt: skip
    if whole("population_size", population_size, 2) % 2:
        raise UserError(f"population_size must be an even number, got {population_size}")
    if noise not in ("table", "seeds"):
        raise UserError(f"noise={noise!r}: {no_such('noise', noise, ('table', 'seeds'))}")
    if noise == "table" and (tuple(parameters) != ("*",) or rank is not None or tasks is not None):
        raise UserError(
            "parameters, rank and tasks have no effect with noise='table'; remove them, or use noise='seeds'"
        )
    if rank is not None:
        whole("rank", rank, 1)
    goal = math.nan if reward_goal is None else real("reward_goal", reward_goal)  # nothing reaches NaN
    if save_path is not None and not Path(save_path).absolute().parent.is_dir():
        raise UserError(f"save_path={save_path}: its folder does not exist; make it first")
    plain = OptimizerSettings(
        name="sgd", stepsize=learning_rate / sigma, stepsize_decay=decay, momentum=0.0, weight_decay=0.0
    )
    keys: dict[str, Any] = {"shaping": "zscore", "pairs": population_size // 2, "mirrored": mirrored}
    keys |= {"sigma": sigma, "sigma_decay": sigma_decay}
    with _as_it_was(module) as torch, ExitStack() as stack:
        training: _Training
        if noise == "seeds":
            training = SeededTraining(module, reward, keys, plain, seed, tasks, parameters, rank, workers, stack)
        else:
            training = _TableTraining(module, reward, keys, plain, seed, workers, stack)
        reached = 0
        for iteration in range(1, iterations + 1):
            training.step()
            if iteration % test_every and iteration < iterations:
                continue
            value = training.test()
            if report is not None:
                report(iteration, value)
            if save_path is not None:
                training.fetch()
                torch.save(module.state_dict(), save_path)
            reached = reached + 1 if value >= goal else 0
            if reached >= consecutive_goals:
                break
        training.fetch()
    return module


class _Training(Protocol):
    """What trains a module, iteration by iteration."""

    def step(self) -> None:
        """One iteration."""

    def test(self) -> float:
        """The reward without noise; NaN where it fails."""

    def fetch(self) -> None:
        """Make the module what it has been trained to."""


class _TableTraining:
    """Training with the shared table of noise; after each iteration the module is as it has been trained."""

    def __init__(
        self, module: Any, reward: Any, keys: dict[str, Any], optimizer: Any, seed: int, workers: int, stack: ExitStack
    ) -> None:
        self._parameters, self._tested = Parameters(module), _Reward(module, reward)
        settings, size = ESSettings(normalize_observations=False, **keys), noise.table_size(self._parameters.size)
        check_table(size, copies=1)
        self._algorithm = ES(settings, optimizer, seed, size)
        self._state = self._algorithm.init(self._parameters.theta(), running_stats.init(0))
        self._spread = SpreadWatch(settings, LOOK)
        _check(self._tested, self._parameters)
        spec = FunctionSpec(FunctionSettings(call=":reward", dim=self._parameters.size), self._tested, describes=False)
        self._evaluator = stack.enter_context(executor(WorkerSpec(spec, seed), size, workers))
        self._runner = RoundRunner(self._evaluator, Notices(self._evaluator))

    def step(self) -> None:
        upcoming = self._algorithm.next_round(self._state)
        self._runner.open(upcoming)
        finished = self._runner.collect()
        assert finished is not None
        if finished.batch is None:
            raise RunFailedError(f"the reward fails everywhere; the first reason: {finished.first_reason}")
        if (warning := self._spread.after(finished.batch)) is not None:
            warn_caller(warning)
        self._state, _ = self._algorithm.tell(self._state, upcoming, finished.batch, self._evaluator.weighted_noise_sum)
        self.fetch()

    def test(self) -> float:
        return _tested(self._tested, self._state.theta)

    def fetch(self) -> None:
        self._parameters.set(self._state.theta)


def _check_numbers(counts: dict[str, int], positive: dict[str, float], decays: dict[str, float]) -> None:
    """Refuse what is no number of its kind."""
    for key, count in counts.items():
        whole(key, count, 1)
    for key, value in positive.items():
        real(key, value, positive=True)
    for key, value in decays.items():
        if not 0 < real(key, value) <= 1:
            raise UserError(f"{key} must lie in (0, 1], got {value}")


@contextmanager
def _as_it_was(module: torch.nn.Module) -> Iterator[Any]:
    """The package PyTorch; afterwards parameters need gradients, and PyTorch has threads, as before.

    Raises:
        UserError: it is no module.
    """
    try:
        import torch
    except ImportError as error:
        raise UserError("train_module needs PyTorch; pip install 'raes[torch]'") from error
    if not isinstance(module, torch.nn.Module):
        raise UserError(f"module must be a torch.nn.Module, got {module!r}")
    needed, threads = [one.requires_grad for one in module.parameters()], torch.get_num_threads()
    try:
        yield torch
    finally:
        for one, need in zip(module.parameters(), needed, strict=True):
            if one.requires_grad != need:
                one.requires_grad_(need)
        torch.set_num_threads(threads)


def _tested(reward: _Reward, theta: Float32) -> float:
    """The reward without noise; NaN where it fails, as one failure of many means little."""
    try:
        return reward(theta)
    except BaseException as error:
        check_fault(error)
        return math.nan


def _check(tested: _Reward, parameters: Parameters) -> None:
    """Call the reward once, so that a fault is reported before anything starts."""
    try:
        value = tested(parameters.theta())
    except BaseException as error:
        check_fault(error)
        raise UserError(f"the reward of the module as it is fails: {described(error)}") from error
    if not np.isfinite(value):
        raise UserError(f"the reward of the module as it is must be a finite number, got {value}")


class _Reward:
    """The reward as a function of the parameters, with a module of its own in every process."""

    def __init__(self, module: Any, reward: Callable[[Any], float]) -> None:
        self._given, self._reward = module, reward
        self._module: Any = None

    def __call__(self, x: Float64 | Float32) -> float:
        if self._module is None:
            self._module = copy.deepcopy(self._given)
            self._parameters = Parameters(self._module)
        self._parameters.set(np.asarray(x, np.float32))
        reset(self._module)
        return number(self._reward(self._module))

    def __reduce__(self) -> Any:
        return _Reward, (self._given, self._reward)
