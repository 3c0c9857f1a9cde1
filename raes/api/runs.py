"""Runs from Python: `fit` trains as `python -m raes.train` does, `load` opens what a run left behind.

    import raes

    run = raes.fit(env="HalfCheetah", max_minutes=1, algorithm__sigma=0.05)
    action = run.policy(observation)
    print(run.best, run.evaluate(episodes=20)["return_mean"], run.run_dir)

    run = raes.load(run.run_dir)

Keyword arguments are the keys of the command line; where one has a dot, write two underscores.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Literal

import numpy as np
from gymnasium.spaces import Box
from threadpoolctl import threadpool_limits

from raes.api.keyword_arguments import warn_caller
from raes.config.cli import display_path
from raes.config.compose import compose
from raes.config.overrides import from_keywords
from raes.config.schema import Config
from raes.config.stored import load as load_config
from raes.config.stored import load_to_use
from raes.console.console import Console
from raes.console.screen import in_notebook, show_film
from raes.evaluate import EvaluateArguments, evaluate, policy_snapshot
from raes.models.settings import ModuleSettings
from raes.problems.atari import AtariSettings
from raes.problems.environment import EnvSettings, make_environment
from raes.problems.episode import EpisodeProblem
from raes.problems.function import FunctionSettings
from raes.problems.problem import EpisodeError
from raes.problems.registration import bind, enter, plain_name
from raes.storage.checkpoint import Checkpoint, Checkpoints
from raes.storage.location import Location, location, run_location
from raes.storage.metrics import Record, check_key, read_records
from raes.tasks import Snapshot
from raes.text import one_line
from raes.training.build import problem_spec
from raes.training.callbacks import run_with_callbacks
from raes.training.prepare import prepare
from raes.types import Float32, Float64, RunFailedError, UserError
from raes.validation import plain, real, whole

MakeEnvironment = Callable[..., Any]
"""A class of Gymnasium environments, or a function that makes one."""


def fit(
    env: str | MakeEnvironment | None = None,
    *,
    run_dir: str | Path | None = None,
    callbacks: Sequence[Any] = (),
    **keys: Any,
) -> Run:
    """Train a policy, in the foreground; the same bits as the command with the same keys.

    Ray is the one that this process is connected to, else the one of `ray__address`, and is then shut down afterwards.
    Ctrl-C, or the notebook's stop button, ends the run with a checkpoint and returns it; a second one raises
    KeyboardInterrupt. Nothing here exits the process.

    Args:
        env: a name, as of the command's `env=`, or a class of Gymnasium environments of your own, or a function that
            makes one; with `env="gymnasium"` any id: `env__id="Hopper-v5"`. No environment means CartPole.
        run_dir: the run's folder, or a URL; None: a new one under runs/.
        callbacks: objects with `on_generation(record)`, see `raes.Callback`; or texts `module:Class`.
        keys: every other key of the configuration: `max_minutes=1`, `algorithm="ars"`, `algorithm__sigma=0.05`,
            `env__kwargs={"gravity": 9}`; the form `**{"algorithm.sigma": 0.05}` is the same.

    Raises:
        UserError: a key or a value is wrong, or the environment does not work; the message has the cure.
        RunFailedError: the run could not go on. What it has done lies in its folder.
    """
    own: dict[str, Any] = {} if run_dir is None else {"run_dir": str(run_dir)}
    if isinstance(env, str):
        own["env"] = env
    elif env is not None:
        own |= {"env": "gymnasium", "env.id": enter(env), "env.name": plain_name(env)}
    prepared = prepare(compose(*from_keywords(own | keys)))
    config = prepared.config
    console = Console(config)
    try:
        outcome = run_with_callbacks(prepared, console, callbacks)
    finally:
        console.close()
    if outcome.code == 2:
        raise UserError(outcome.reason)
    if outcome.code == 1:
        raise RunFailedError(outcome.reason)
    return Run(location(str(config.run_dir)), None, outcome.reason, interrupted=outcome.code != 0, trust=True)


def load(
    run_dir: str | Path,
    checkpoint: str | int | None = None,
    env: MakeEnvironment | None = None,
    trust: bool = False,
) -> Run:
    """Open a run.

    Args:
        run_dir: its folder, or a URL.
        checkpoint: `best`, `latest` or a generation's number; None: the best if there is one, else the latest.
        env: the class or function that was given to `fit` in the place of a name, where this process has not done so.
            Other code than the run was trained with is used all the same, with a warning.
        trust: whether code that the run names, such as a policy's module, may be used though somebody else has trained
            it; without, only its figures and parameters are read.

    Raises:
        UserError: there is no such run or checkpoint.
    """
    run = Run(run_location(str(run_dir)), checkpoint, trust=trust)
    if env is not None and not bind(run.config["env"]["id"], env):
        warn_caller(
            f"{run_dir} was trained in env.id={run.config['env']['id']}, and {plain_name(env)} as it is now has other "
            "code: its episodes may differ"
        )
    return run


class Run:
    """A run that has ended, or still goes on elsewhere, seen at one of its checkpoints.

    Attributes:
        run_dir: its folder.
        config: all of its keys, nested, as `config.yaml` has them.
        checkpoint: the name of the checkpoint that `theta` and `policy` are of.
        reason: why `fit` came to an end; empty for a run that was loaded.
        interrupted: whether that was Ctrl-C.
    """

    def __init__(
        self,
        run_dir: Location,
        checkpoint: str | int | None,
        reason: str = "",
        interrupted: bool = False,
        trust: bool = False,
    ) -> None:
        self.run_dir, self.reason, self.interrupted, self._trust = run_dir, reason, interrupted, trust
        self._config = load_config(run_dir)
        store = Checkpoints(run_dir)
        if checkpoint is None:
            checkpoint = "latest" if store.pointed("best") is None else "best"
        self._checkpoint: Checkpoint = store.find(str(checkpoint))
        self.config, self.checkpoint = self._config.as_dict(), self._checkpoint.path.name

    def __repr__(self) -> str:
        what = f"{self._config.env.name}, {self._config.algorithm.name}, {self.checkpoint}"
        best = "" if self.best is None else f", best {self.best:.1f}"
        return f"Run({display_path(str(self.run_dir))!r}: {what}{best})"

    @property
    def theta(self) -> Float32:
        """The parameters, float32 (d,); of a function, float64, what the search moves in, see `x`; none of a model
        trained by seeds."""
        theta: Float32 = self._checkpoint.arrays["theta"]
        return theta

    @property
    def x(self) -> Float64:
        """Where the search of a function stands, float64 (d,), which `theta` is too unless there are bounds.

        Raises:
            UserError: the run searched no function.
        """
        if not isinstance(self._config.env, FunctionSettings):
            raise UserError(f"{self.run_dir} searched no function and has no x; its parameters are run.theta")
        return self._config.env.x(self._checkpoint.arrays["theta"])

    @property
    def records(self) -> list[Record]:
        """One dictionary a generation, as the lines of metrics.jsonl; read anew each time."""
        return read_records(self.run_dir / "metrics.jsonl")

    @property
    def best(self) -> float | None:
        """The highest evaluation mean so far; None before the first evaluation."""
        values = self.curve("eval/return_mean")[1]
        return float(values.max()) if values.size else None

    def curve(self, key: str, against: str = "progress/timesteps") -> tuple[Float64, Float64]:
        """Two arrays to plot, float64 (n,): of the generations whose records have both keys.

        Args:
            key: e.g. `eval/return_mean` or `returns/mean`.
            against: what lies on the x axis.

        Raises:
            UserError: a key is no metric; the message names those that are close.
        """
        records = self.records
        check_key(key, records)
        check_key(against, records)
        rows = [(record[against], record[key]) for record in records if key in record and against in record]
        values = np.array(rows, dtype=np.float64).reshape(-1, 2)
        return values[:, 0], values[:, 1]

    @cached_property
    def policy(self) -> Policy:
        """The trained policy: `run.policy(observation)` is an action.

        Raises:
            UserError: the run searched a function, or its environment cannot be made here.
        """
        if isinstance(self._config.env, FunctionSettings):
            raise UserError(f"{self.run_dir} searched a function and has no policy; its x is run.x")
        if isinstance(self._config.env, ModuleSettings):
            raise UserError(
                f"{self.run_dir} trained a model and has no policy; python -m raes.export writes its weights"
            )
        config = self._usable_config()
        with closing(problem_spec(config, self._checkpoint).build()) as problem:
            assert isinstance(problem, EpisodeProblem)
            return Policy(problem, policy_snapshot(config, self._checkpoint, problem))

    def make_env(self, **kwargs: Any) -> Any:
        """The environment that was trained in, e.g. with `render_mode="human"`.

        Args:
            kwargs: added to those of `env.kwargs`.

        Raises:
            UserError: it cannot be made, or the run searched a function.
        """
        settings = self._usable_config().env
        if isinstance(settings, FunctionSettings | ModuleSettings):
            what = "searched a function" if isinstance(settings, FunctionSettings) else "trained a model"
            raise UserError(f"{self.run_dir} {what} and has no environment")
        if kwargs and isinstance(settings, AtariSettings):
            raise UserError(f"make_env: Atari games take no further arguments, got {', '.join(kwargs)}")
        if isinstance(settings, EnvSettings):
            settings = replace(settings, kwargs={**settings.kwargs, **kwargs})
        return make_environment(settings)

    def evaluate(self, episodes: int = 100, seed: int = 0, workers: int = 1) -> dict[str, Any]:
        """Noiseless episodes on seeds that training never saw, as `python -m raes.evaluate`.

        Args:
            episodes: how many.
            seed: of the episodes.
            workers: processes; 1: this one, without Ray. The figures are the same.

        Returns:
            `return_mean`, `return_std`, `return_ci_low`, `return_ci_high`, `length_mean` and more. Std and
            interval are None for a single episode.

        Raises:
            UserError: an argument is wrong.
            RunFailedError: every episode failed.
        """
        episodes, workers, seed = whole("episodes", episodes, 1), whole("workers", workers, 1), whole("seed", seed, 0)
        number = self._checkpoint.state["generation"]
        runtime: Literal["serial", "ray"] = "serial" if workers == 1 else "ray"
        arguments = EvaluateArguments(str(self.run_dir), number, episodes, seed, workers, runtime, trust=self._trust)
        return evaluate(arguments, notify=lambda text: None)

    def play(
        self,
        episodes: int = 1,
        seed: int = 0,
        speed: float = 1.0,
        out: str | Path | None = None,
        seconds: float | Literal["auto"] | None = "auto",
    ) -> list[float]:
        """Watch the policy, as `python -m raes.play` does.

        Args:
            episodes: how many; they are those of `evaluate` with the same seed.
            seed: of the episodes.
            speed: 1 for the environment's own frame rate.
            out: an mp4 file; None: in a notebook below the cell, else a window where there is a display, else
                an mp4 in the run's `videos/`.
            seconds: of film after which to stop; None: whole episodes; `auto`: 60, and in a window whole episodes.

        Returns:
            What the episodes returned, as far as they were shown; NaN for one that failed.

        Raises:
            UserError: an argument is wrong, or there is nothing to see.
        """
        episodes, seed, speed = (
            whole("episodes", episodes, 1),
            whole("seed", seed, 0),
            real("speed", speed, positive=True),
        )
        if seconds not in (None, "auto"):
            seconds = real("seconds", seconds, positive=True)
        from raes import play

        shown_here = out is None and in_notebook()
        with TemporaryDirectory() as folder, threadpool_limits(1):
            film = str(Path(folder) / "film.mp4") if shown_here else None if out is None else str(location(str(out)))
            number = self._checkpoint.state["generation"]
            played = play.show(
                play.PlayArguments(str(self.run_dir), number, episodes, seed, speed, seconds, film, self._trust)
            )
            if shown_here:
                show_film(Path(str(film)))
        return [float("nan") if episode.reason is not None else float(episode.total) for episode in played]

    def _usable_config(self) -> Config:
        """The configuration, where the code that it names is trusted."""
        return load_to_use(self.run_dir, self._trust)


class Policy:
    """Acts without noise, with the observation statistics it was trained with.

    A policy with a memory (a PyTorch module with a method `reset`) forgets the episode before at `reset()`.
    """

    def __init__(self, problem: EpisodeProblem, snapshot: Snapshot) -> None:
        problem.use(snapshot)
        self._problem, self._theta = problem, snapshot.theta
        self.reset()

    def __repr__(self) -> str:
        return f"<Policy for {self._problem.spec.env.id}: {self._theta.size} parameters; call it with an observation>"

    def __call__(self, observation: Any) -> Any:
        """The action for one observation of the environment, in the action space's own form.

        Raises:
            UserError: the observation has not the form of those of the environment.
        """
        if isinstance(self._problem.env.observation_space, Box):
            observation = plain(observation)
        try:
            return self._problem.act(observation)
        except EpisodeError as error:
            raise UserError(
                f"env.id={self._problem.spec.env.id}: {one_line(error)}; give one observation at a time"
            ) from error

    def reset(self) -> None:
        """A new episode begins; only a policy with a memory needs it."""
        self._problem.policy.set_parameters(self._theta)
