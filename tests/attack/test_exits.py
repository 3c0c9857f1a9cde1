"""A user's code exits, or raises what is no `Exception`: a fault of the episode, never an end without a message."""

from __future__ import annotations

import numpy as np
import pytest
from integration.helpers import Commands, generations_of, latest_generation, records_of, theta_of
from integration.shared_ray import SharedRay

pytestmark = pytest.mark.attack

MODULE = """
import os, sys
import gymnasium, numpy as np
from examples.one_fifth import OneFifth
from trial_worlds import Line

class Odd(BaseException):
    pass

def end(how):
    if how == "sys.exit":
        sys.exit(0)
    if how == "os._exit":
        os._exit(0)
    raise {"KeyboardInterrupt": KeyboardInterrupt, "GeneratorExit": GeneratorExit, "Odd": Odd}[how]

class Ends(Line):
    '''Ends in one of its methods, in one episode of three; `where` and `how` as an argument.'''
    def __init__(self, where, how):
        super().__init__()
        self.where, self.how, self.bad = where, how, False
    def _end(self, where):
        if self.bad and where == self.where:
            end(self.how)
    def reset(self, *, seed=None, options=None):
        self.bad = bool(seed) and seed % 3 == 0
        self._end("reset")
        return super().reset(seed=seed, options=options)
    def step(self, action):
        self._end("step")
        return super().step(action)
    def close(self):
        self._end("close")

def behavior(episode):
    if episode.env.unwrapped.where == "behavior":
        episode.env.unwrapped._end("behavior")
    return episode.observation

def function(x, how):
    if x[0] > 1.0:
        end(how)
    return float(x[0])

class Callback:
    def on_generation(self, record):
        end("sys.exit")

class Algorithm(OneFifth):
    def tell(self, state, *rest):
        if state.generation == 2:
            sys.exit(0)
        return super().tell(state, *rest)

gymnasium.register("Ends-v0", entry_point=Ends)
"""
HOWS = ("sys.exit", "os._exit", "KeyboardInterrupt", "GeneratorExit", "Odd")
WORDS = ("env=gymnasium", "env.id=ends:Ends-v0", "policy=linear", "algorithm.pairs=6", "noise.size=50000",
         "algorithm.shared_reset=false", "evaluation.episodes=2", "generations=2", "faults.max_share=0.9",
         "console=plain", "run_dir=run")  # fmt: skip


@pytest.fixture(autouse=True)
def _module(commands: Commands) -> None:
    (commands.cwd / "ends.py").write_text(MODULE)


def at(where: str, how: str) -> str:
    return f"env.kwargs={{where:{where},how:{how}}}"


def assert_goes_on(commands: Commands, text: str, folder: str = "run") -> None:
    assert generations_of(commands.cwd / folder) == [0, 1, 2], text
    assert latest_generation(commands.cwd / folder) == 2
    assert "Traceback" not in text


@pytest.mark.parametrize("how", HOWS)
@pytest.mark.parametrize("where", ["reset", "step"])
def test_an_episode_that_ends_the_process_is_a_fault(commands: Commands, where: str, how: str) -> None:
    command = commands.run(*WORDS, at(where, how), "runtime=serial")
    assert_goes_on(commands, command.out + command.err)
    assert records_of(commands.cwd / "run")[-1]["faults/episodes_quarantined"] > 0
    assert ("os._exit(0)" if how == "os._exit" else how.replace("sys.exit", "SystemExit")) in command.out


@pytest.mark.parametrize(
    ("where", "words"), [("close", ("env.rebuild=true",)), ("behavior", ("behavior=ends:behavior",))]
)
def test_other_methods(commands: Commands, where: str, words: tuple[str, ...]) -> None:
    command = commands.run(*WORDS, at(where, "KeyboardInterrupt"), *words, "runtime=serial")
    assert_goes_on(commands, command.out + command.err)


@pytest.mark.parametrize("how", ["sys.exit", "KeyboardInterrupt", "os._exit"])
def test_on_ray_the_same_episodes_are_left_out(commands: Commands, shared_ray: SharedRay, how: str) -> None:
    words = (*WORDS, at("step", how), "evaluation.every=0", "generations=1")
    alone = commands.run(*words, "runtime=serial")
    on_ray = commands.run(*words, *shared_ray.words(), "workers=2", "run_dir=on_ray")
    np.testing.assert_array_equal(theta_of(commands.cwd / "run"), theta_of(commands.cwd / "on_ray"))
    lost = records_of(commands.cwd / "on_ray")[-1]["faults/actors_lost"]
    assert (lost > 0) == (how == "os._exit"), on_ray.out
    assert "Traceback" not in alone.out + on_ray.out + on_ray.err


@pytest.mark.parametrize("how", HOWS)
def test_a_function_that_ends_the_process(commands: Commands, how: str) -> None:
    command = commands.run(
        "env=function", "env.call=ends:function", "env.dim=2", f"env.kwargs={{how:{how}}}", "algorithm.sigma=1.0",
        "noise.size=50000", "generations=2", "faults.max_share=0.9", "runtime=serial", "run_dir=run", "console=plain",
    )  # fmt: skip
    assert_goes_on(commands, command.out + command.err)


def test_a_callback_that_exits(commands: Commands) -> None:
    command = commands.run(*WORDS, at("none", "Odd"), "callbacks=[ends:Callback]", "runtime=serial")
    assert_goes_on(commands, command.out + command.err)
    assert "on_generation failed (SystemExit" in command.out


@pytest.mark.parametrize("runtime", ["serial", "ray"])
def test_an_algorithm_that_exits_ends_the_run_with_a_checkpoint(
    commands: Commands, shared_ray: SharedRay, runtime: str
) -> None:
    words = (*WORDS[:3], *WORDS[4:5], *WORDS[6:7], "algorithm=custom", "algorithm.module=ends:Algorithm")
    there = ("runtime=serial",) if runtime == "serial" else (*shared_ray.words(), "workers=1")
    command = commands.run(
        *words, at("none", "Odd"), "algorithm.population=4", "generations=9", "run_dir=run", *there, code=1
    )
    assert "failed: SystemExit: 0" in command.out, str(command)
    assert latest_generation(commands.cwd / "run") == 2
